-- Tells that a process's calls still wait, and which of them may ask again now.
-- KEYS[1]  when each waiting call was last heard of
-- ARGV     1 silence after which a call waits no more, ms  2 requests of the whole relay at one
--          time  3 how many have left  4… those that left: lease, key, lease, key, …
--          then those that wait: lease, scope, lease, scope, …
-- Returns  the leases among the latter that have a slot before them
local now, silence, left = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[3])
for i = 4, 3 + 2 * left, 2 do leave_lines(ARGV[i], ARGV[i + 1]) end

local scopes = {}
for i = 4 + 2 * left, #ARGV, 2 do
  local lease, scope = ARGV[i], ARGV[i + 1]
  redis.call('ZADD', KEYS[1], now, lease)
  scopes[scope] = scopes[scope] or {}
  scopes[scope][lease] = true
end
redis.call('PEXPIRE', KEYS[1], LINE_LIFE_MS)

-- How many slots of a scope are free.
local function free_slots_of(scope)
  local key = string.match(scope, '^key:(.+)$')
  if not key then return tonumber(ARGV[2]) - redis.call('ZCARD', NAME.leases) end
  local most = tonumber(redis.call('HGET', named('key', key), 'concurrency')) or 0
  -- A limit that was taken away lets everybody through.
  if most == 0 then most = math.huge end
  return most - redis.call('ZCARD', named('inflight_key', key))
end

local ready = {}
for scope, own in pairs(scopes) do
  local line, free = named('waiting', scope), free_slots_of(scope)
  redis.call('PEXPIRE', line, LINE_LIFE_MS)
  for _, lease in ipairs(redis.call('ZRANGE', line, 0, -1)) do
    local seen = own[lease] and now or tonumber(redis.call('ZSCORE', KEYS[1], lease))
    if not seen or math.abs(now - seen) > silence then
      redis.call('ZREM', line, lease)
    else
      if own[lease] and free > 0 then ready[#ready + 1] = lease end
      own[lease], free = nil, free - 1
    end
  end
  -- Whoever lost its place (this process was silent for too long) asks for a new one.
  for lease in pairs(own) do ready[#ready + 1] = lease end
end
return ready
