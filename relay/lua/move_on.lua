-- A lease's account has failed it: let that account rest if it must, and choose another.
-- Guarantees: the lease holds one slot at one account at most; an account is never chosen twice
-- for one lease.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 state of the failed account ('' = it stays as it is)  3 rest, ms
--          4 longest rest, ms: it doubles with each failure in a row up to this
--          5 failures in a row before it rests  6… accounts that were tried
-- Returns  {'none'}  or  {'moved', account id, account version, account name}
local lease, state = ARGV[1], ARGV[2]
local l = redis.call('HMGET', named('lease', lease), 'account', 'state', 'affinity')
if not l[1] or l[2] then return {'none'} end
local now, failed = now_ms(), named('account', l[1])

if state ~= '' and redis.call('EXISTS', failed) == 1 then
  local over = redis.call('HINCRBY', failed, 'strikes', 1) - tonumber(ARGV[5])
  if over >= 0 then
    local rest = math.min(tonumber(ARGV[3]) * 2 ^ math.min(over, 30), tonumber(ARGV[4]))
    redis.call('HSET', failed, 'state', state, 'state_since', now,
      'state_until', string.format('%.0f', now + rest))
  end
  redis.call('HDEL', failed, 'probe')
end
redis.call('ZREM', named('inflight_account', l[1]), lease)

local tried = {}
for i = 6, #ARGV do tried[ARGV[i]] = true end
local best = choose('', tried, now)
if not best then return {'none'} end
redis.call('HSET', named('lease', lease), 'account', best[1])
take(lease, best, now, l[3])
return {'moved', best[1], best[2], best[3]}
