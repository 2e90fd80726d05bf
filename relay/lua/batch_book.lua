-- Books what a batch has cost and gives its reservation back.
-- Guarantees: the same batch is booked once, however often and by whomever this runs. It counts
-- on the day on which it was made, whatever became of its key or account since.
-- KEYS[1]  batches that are not booked yet
-- ARGV     1 batch  2 record  3 decision  4 decision's life in seconds  5 counters' life in seconds
--          6 for how long it is remembered that it was booked, in seconds
--          7… model, counter name, amount, model, counter name, amount, …
-- Returns  1 booked, 0 there was nothing to book
local batch = named('batch', ARGV[1])
local b = redis.call('HMGET', batch, 'key', 'account', 'started_at', 'owner', 'holders', 'most',
  'expected', 'held_account', 'booked', 'lease')
if not b[1] or b[9] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
local started, total = tonumber(b[3]), 0
local counters = named('count', day_of(started))
for i = 7, #ARGV, 3 do
  local amount = tonumber(ARGV[i + 2])
  local field = table.concat({b[1], b[2], ARGV[i], ARGV[i + 1]}, '|')
  redis.call('HINCRBY', counters, field, whole(amount))
  if ARGV[i + 1] == 'cost_micros' then total = total + amount end
end
redis.call('EXPIRE', counters, ARGV[5])
spend('account:' .. b[2], total, started)
spend('key:' .. b[1], total, started)
if b[4] ~= '' then spend('owner:' .. b[4], total, started) end
spend('relay', total, started)
local cost = {most = tonumber(b[6]), expected = tonumber(b[7])}
for scope in string.gmatch(b[5], '[^\n]+') do hold(scope, cost, -1) end
if b[8] ~= '' then hold('account:' .. b[8], cost, -1) end
redis.call('XADD', NAME.usage, '*', 'record', ARGV[2])
redis.call('SET', named('decision', b[10]), ARGV[3], 'EX', ARGV[4])
redis.call('HSET', batch, 'booked', whole(total))
redis.call('EXPIRE', batch, ARGV[6])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
