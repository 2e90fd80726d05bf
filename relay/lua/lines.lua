-- Lines of calls that wait for a slot, of a key or of the whole relay: first come, first served.
-- Who waits says so again and again (see wait.lua); who does not any more is passed over.

-- A line outlives its last sign of life by this.
local LINE_LIFE_MS = 5000

-- Is a slot free for this lease, past everybody who stands before it?
local function has_room(scope, lease, running, most)
  local line = named('waiting', scope)
  local before = redis.call('ZRANK', line, lease) or redis.call('ZCARD', line)
  return running + before < most
end

-- Puts a lease at the end of a line, unless it stands there already. False when the line is full.
local function stand_in_line(scope, lease, most, now)
  local line = named('waiting', scope)
  if not redis.call('ZSCORE', line, lease) then
    if redis.call('ZCARD', line) >= most then return false end
    local last = redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')[2]
    redis.call('ZADD', line, math.max(now, (tonumber(last) or 0) + 1), lease)
  end
  redis.call('ZADD', NAME.waiting_seen, now, lease)
  redis.call('PEXPIRE', line, LINE_LIFE_MS)
  redis.call('PEXPIRE', NAME.waiting_seen, LINE_LIFE_MS)
  return true
end

local function leave_lines(lease, key)
  redis.call('ZREM', named('waiting', 'relay'), lease)
  redis.call('ZREM', named('waiting', 'key:' .. key), lease)
  redis.call('ZREM', NAME.waiting_seen, lease)
end
