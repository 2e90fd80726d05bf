-- Books what a batch has cost and gives its reservation back.
-- Guarantees: the same batch is booked once, however often and by whomever this runs. It counts
-- on the day on which it was made, whatever became of its key or account since.
-- KEYS[1]  batches that are not booked yet
-- ARGV     1 batch  2 decision  3 decision's life in seconds  4 counters' life in seconds
--          5 for how long it is remembered that it was booked, in seconds
--          6 what its answers named that lives in its account, one a line (see homes.lua)
--          7… model, record, amounts as PLACE=AMOUNT with spaces between; for each model
-- Returns  1 booked, 0 there was nothing to book
local batch = named('batch', ARGV[1])
local b = redis.call('HMGET', batch, 'key', 'account', 'started_at', 'owner', 'holders', 'most',
  'expected', 'held_account', 'booked', 'lease')
if not b[1] or b[9] then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
local started, total, MONEY = figure(b[3]), 0, 1
for i = 7, #ARGV, 3 do
  local amounts = {}
  for place, amount in string.gmatch(ARGV[i + 2], '(%d+)=(%d+)') do
    amounts[tonumber(place)] = figure(amount)
  end
  add_amounts(b[1], b[2], ARGV[i], started, amounts, ARGV[4])
  total = total + (amounts[MONEY] or 0)
  redis.call('XADD', NAME.usage, '*', 'record', ARGV[i + 1], 'at', whole(started), 'model', ARGV[i],
    'state', 'settled', 'replaces', '')
end
spend('account:' .. b[2], total, started)
spend('key:' .. b[1], total, started)
if b[4] ~= '' then spend('owner:' .. b[4], total, started) end
spend('relay', total, started)
local cost = reservation(b[6], b[7])
for scope in string.gmatch(b[5], '[^\n]+') do hold(scope, cost, -1) end
if b[8] ~= '' then hold('account:' .. b[8], cost, -1) end
if ARGV[6] ~= '' then keep_homes(ARGV[6], b[2], now_ms()) end
keep_decision(b[10], ARGV[2], ARGV[3], now_ms())
redis.call('HSET', batch, 'booked', whole(total))
redis.call('EXPIRE', batch, ARGV[5])
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
