-- Books corrections: what requests cost by another price table, less what they were booked with.
-- Guarantees: a correction's record and its counters are written in one step, and none is written
-- once another run may have begun: the lock is looked at in the same step.
-- KEYS[1]  the lock of the run
-- ARGV     1 the lock's owner  2 the lock's life in ms  3 counters' life in seconds
--          4… for each correction: key, model, when its request was admitted (ms), record, how
--          many amounts follow, and for each of them account, model, amount
-- Returns  1 booked, 0 the lock has gone to somebody else
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local MONEY = 1

-- What was dropped to save memory stays dropped: a cell by itself would look like all of its hour.
local function correct(period, cell, amount)
  if redis.call('EXISTS', period) == 1 then add_to(period, cell, {[MONEY] = amount}, ARGV[3]) end
end

-- A scope that is gone gets no spending back.
local function spend_again(scope, amount, started)
  if redis.call('EXISTS', named('spend', scope)) == 1 then spend(scope, amount, started) end
end

local i = 4
while ARGV[i] do
  local key, started, total = ARGV[i], figure(ARGV[i + 2]), 0
  local model, record, last = ARGV[i + 1], ARGV[i + 3], i + 4 + 3 * tonumber(ARGV[i + 4])
  local day = day_of(started)
  local hour = string.format('%sT%02d', day, math.floor(started / 3600000) % 24)
  for j = i + 5, last, 3 do
    local account, amount = ARGV[j], figure(ARGV[j + 2])
    local cell = series_of(string.sub(day, 1, 7), key, account, ARGV[j + 1])
    correct(named('count_hour', hour), cell, amount)
    correct(named('count_day', day), cell, amount)
    spend_again('account:' .. account, amount, started)
    total = total + amount
  end
  spend_again('key:' .. key, total, started)
  local owner = redis.call('HGET', named('key', key), 'owner') or ''
  if owner ~= '' then spend_again('owner:' .. owner, total, started) end
  spend_again('relay', total, started)
  redis.call('XADD', NAME.usage, '*', 'record', record, 'at', whole(started), 'model', model,
    'state', 'repriced', 'replaces', '')
  i = last + 1
end
return 1
