-- Confirms that a process's calls still wait, and returns which of them may ask again now.
-- KEYS[1]  when each waiting call was last heard of
-- ARGV     1 silence after which a call waits no more, ms  2 requests of the whole relay at one
--          time  3 percent of shared slots that one of several keys may have
--          4 how many have left  5… those that left: lease, key, lease, key, …
--          then those that wait: lease, scope, lease, scope, …
-- Returns  the leases among the latter that have a slot before them
local now, silence, left = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[4])
local relay_most, percent = tonumber(ARGV[2]), tonumber(ARGV[3])
for i = 5, 4 + 2 * left, 2 do leave_lines(ARGV[i], ARGV[i + 1]) end

local scopes = {}
for i = 5 + 2 * left, #ARGV, 2 do
  local lease, scope = ARGV[i], ARGV[i + 1]
  redis.call('ZADD', KEYS[1], now, lease)
  scopes[scope] = scopes[scope] or {}
  scopes[scope][lease] = true
end
redis.call('PEXPIRE', KEYS[1], LINE_LIFE_MS)
redis.call('PEXPIRE', NAME.waiting_calls, LINE_LIFE_MS)
-- Nothing is left of the calls of a dead process, in whichever line they stood.
for _, range in ipairs({{'-inf', now - silence - 1}, {now + silence + 1, '+inf'}}) do
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], range[1], range[2])) do
    redis.call('ZREM', KEYS[1], lease)
    redis.call('HDEL', NAME.waiting_calls, lease)
  end
end

-- Takes those out of a line for whom nobody waits any more.
local function clear(scope)
  local alive = {}
  for _, call in ipairs(calls_in(scope)) do
    if redis.call('ZSCORE', KEYS[1], call.lease) then
      alive[#alive + 1] = call
    else
      redis.call('ZREM', named('waiting', scope), call.lease)
    end
  end
  found_lines[scope] = alive
end

-- Those of a key's own line that have a slot before them. A limit that was taken away lets
-- everybody through.
local function ready_of_key(key, calls)
  local most = tonumber(redis.call('HGET', named('key', key), 'concurrency')) or 0
  local free = most - redis.call('ZCARD', named('inflight_key', key))
  local ready = {}
  for i, call in ipairs(calls) do ready[call.lease] = most == 0 or i <= free end
  return ready
end

-- Those that have a slot before them at one of the accounts that they wait for.
local function ready_of_accounts(calls)
  local ready, accounts = {}, {}
  for _, call in ipairs(calls) do
    for id in string.gmatch(call.accounts, '%S+') do accounts[id] = true end
  end
  for id in pairs(accounts) do
    local some = waiting_for(id)
    local most = tonumber(redis.call('HGET', named('account', id), 'max_concurrency')) or 0
    if most == 0 then
      -- An account that is gone or has no limit any more lets everybody ask again.
      for _, call in ipairs(some) do ready[call.lease] = true end
    else
      local free = most - redis.call('ZCARD', named('inflight_account', id))
      for lease in pairs(turns(some, id, most, free, percent)) do ready[lease] = true end
    end
  end
  return ready
end

local function ready_in(scope, calls)
  local key = string.match(scope, '^key:(.+)$')
  if key then return ready_of_key(key, calls) end
  if scope == 'accounts' then return ready_of_accounts(calls) end
  return turns(calls, nil, relay_most, relay_most - redis.call('ZCARD', NAME.leases), percent)
end

local all = {}
for scope, own in pairs(scopes) do
  redis.call('PEXPIRE', named('waiting', scope), LINE_LIFE_MS)
  clear(scope)
  local ready = ready_in(scope, calls_in(scope))
  for _, call in ipairs(calls_in(scope)) do
    if own[call.lease] and ready[call.lease] then all[#all + 1] = call.lease end
    own[call.lease] = nil
  end
  -- Whoever lost its place (put out, or this process was silent for too long) asks for a new one.
  for lease in pairs(own) do all[#all + 1] = lease end
end
return all
