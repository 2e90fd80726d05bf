-- Books container or session hours of a day to an account, as a record of their own.
-- Guarantees: what is remembered as booked and what is on the books change in one step, and only
-- if nobody booked meanwhile: so each hour is booked once, however often and by whomever this runs.
-- KEYS[1]  what is booked: hash of "ACCOUNT MICROS" by day, kind and workspace
-- ARGV     1 field  2 what it holds ('' = nothing)  3 what it is to hold  4 key  5 account  6 model
--          7 moment in whose hour and day they count, ms  8 micro-dollars more, or less
--          9 record  10 counters' life in seconds
-- Returns  1 booked, 0 somebody else booked meanwhile
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
local MONEY = 1
local key, account, model, at, amount = ARGV[4], ARGV[5], ARGV[6], figure(ARGV[7]), figure(ARGV[8])
local day = day_of(at)
local hour = string.format('%sT%02d', day, math.floor(at / 3600000) % 24)

-- The first write must be one that a full Redis refuses, for it refuses no other after it.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
local cell = series_of(string.sub(day, 1, 7), key, account, model)
add_to(named('count_day', day), cell, {[MONEY] = amount}, ARGV[10])
-- What was dropped to save memory stays dropped: a cell by itself would look like all of its hour.
if hour > (redis.call('GET', NAME.hours_dropped) or '') then
  add_to(named('count_hour', hour), cell, {[MONEY] = amount}, ARGV[10])
end
for _, scope in ipairs({'account:' .. account, 'key:' .. key, 'relay'}) do
  spend(scope, amount, at)
end
redis.call('XADD', NAME.usage, '*', 'record', ARGV[9], 'at', whole(at), 'model', model,
  'state', 'settled', 'replaces', '')
return 1
