-- Ends a lease: frees its slots, books its figures, keeps its record and its decision.
-- Guarantees: the same lease is booked once, however often this runs. A lease that was
-- recovered for dead and settles after all has its estimate taken back first. A lease that is
-- voided before its admission arrives (the connection broke between) is not admitted any more.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 'settled', 'recovered' or 'void'  3 record ('' = none is kept)
--          4 decision ('' = none)  5 decision's life in seconds  6 counters' life in seconds
--          7 how long a recovered lease stays open to correction, in seconds
--          8 '1' when the lease's account served it well  9 model to count under
--          10… account, counter name, amount, account, counter name, amount, …
-- Returns  1 booked, 2 estimate replaced, 0 there was nothing to settle
local lease, state, record, decision = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local l = redis.call('HMGET', named('lease', lease), 'key', 'account', 'started_at', 'state')
if not l[1] then
  if state == 'void' then
    redis.call('HSET', named('lease', lease), 'state', 'void')
    redis.call('EXPIRE', named('lease', lease), ARGV[7])
  end
  return 0
end
local late = l[4] == 'recovered'
if late and state == 'recovered' then return 0 end
local key, account = l[1], l[2]
local counters = named('count', day_of(tonumber(l[3])))

local function count(field, amount)
  if amount ~= 0 then redis.call('HINCRBY', counters, field, string.format('%.0f', amount)) end
end

free_slots(lease, key, account)
if ARGV[8] == '1' then
  redis.call('HDEL', named('account', account), 'state', 'state_since', 'state_until', 'strikes',
    'probe')
end
if late then
  local before = redis.call('HGETALL', named('booked', lease))
  for i = 1, #before, 2 do count(before[i], -tonumber(before[i + 1])) end
  redis.call('DEL', named('booked', lease))
end
for i = 10, #ARGV, 3 do
  local field = key .. '|' .. ARGV[i] .. '|' .. ARGV[9] .. '|' .. ARGV[i + 1]
  count(field, tonumber(ARGV[i + 2]))
  if state == 'recovered' then
    redis.call('HSET', named('booked', lease), field, ARGV[i + 2])
  end
end
if #ARGV > 9 then redis.call('EXPIRE', counters, ARGV[6]) end
if record ~= '' then redis.call('XADD', NAME.usage, '*', 'record', record) end
if decision ~= '' then redis.call('SET', named('decision', lease), decision, 'EX', ARGV[5]) end

if state == 'recovered' then
  redis.call('HSET', named('lease', lease), 'state', 'recovered')
  redis.call('EXPIRE', named('lease', lease), ARGV[7])
  redis.call('EXPIRE', named('booked', lease), ARGV[7])
else
  redis.call('DEL', named('lease', lease))
end
return late and 2 or 1
