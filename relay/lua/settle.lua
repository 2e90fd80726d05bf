-- Ends a lease: frees its slots, books its figures, keeps its record and its decision.
-- Guarantees: the same lease is booked once, however often this runs. A lease that was
-- recovered for dead and settles after all has its estimate taken back first. A lease that is
-- voided before its admission arrives (the connection broke between) is not admitted any more.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 'settled', 'recovered' or 'void'  3 record ('' = none is kept)
--          4 decision ('' = none)  5 decision's life in seconds  6 counters' life in seconds
--          7 how long a recovered lease stays open to correction, in seconds
--          8 '1' when the lease's account served it well  9 model to count under
--          10 what is left of the upstream's limits, per mille ('' = not told)
--          11 until when that holds, ms  12… account, counter name, amount, account, counter name, amount, …
-- Returns  1 booked, 2 estimate replaced, 0 there was nothing to settle
local lease, state, record, decision = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local l = redis.call('HMGET', named('lease', lease), 'key', 'account', 'started_at', 'state',
  'class')
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
  if amount ~= 0 then redis.call('HINCRBY', counters, field, whole(amount)) end
end

free_slots(lease, key, account)
-- A request that was sent before its account began to rest says nothing of the present.
local function is_well(class)
  local f = state_fields(class)
  local a = redis.call('HMGET', named('account', account), f.state, f.probe, f.strikes)
  if (a[1] and a[2] == lease) or (not a[1] and a[3]) then clear_state(account, class, now_ms()) end
end
if ARGV[8] == '1' then
  is_well('')
  if l[5] and l[5] ~= '' then is_well(l[5]) end
end
if ARGV[10] ~= '' and redis.call('EXISTS', named('account', account)) == 1 then
  redis.call('HSET', named('account', account), 'headroom', ARGV[10], 'headroom_until', ARGV[11])
end
if late then
  local before = redis.call('HGETALL', named('booked', lease))
  for i = 1, #before, 2 do count(before[i], -tonumber(before[i + 1])) end
  redis.call('DEL', named('booked', lease))
end
for i = 12, #ARGV, 3 do
  local field = key .. '|' .. ARGV[i] .. '|' .. ARGV[9] .. '|' .. ARGV[i + 1]
  count(field, tonumber(ARGV[i + 2]))
  if state == 'recovered' then
    redis.call('HSET', named('booked', lease), field, ARGV[i + 2])
  end
end
if #ARGV > 11 then redis.call('EXPIRE', counters, ARGV[6]) end
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
