-- Stands before every script. NAME holds the key names, handed over by store/names.py,
-- the one place that knows them.

-- All that a script does is done at one time.
local time_of_call
local function now_ms()
  if not time_of_call then
    local t = redis.call('TIME')
    time_of_call = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
  end
  return time_of_call
end

local function named(kind, ...)
  return string.format(NAME[kind], ...)
end

-- No figure is larger: a little less than what a 64-bit counter of Redis holds.
local LARGEST = 9000000000000000000

-- What is given or stored as a number within those bounds; 0 when it is none.
local function figure(value)
  local number = tonumber(value)
  if not number or number ~= number then return 0 end
  return math.max(-LARGEST, math.min(LARGEST, number))
end

-- A number as text, whole, without an exponent, and never a negative zero.
local function whole(number)
  number = figure(number)
  return number == 0 and '0' or string.format('%.0f', number)
end

-- Adds to a hash's field and returns the sum. This cannot fail halfway through a script: a sum
-- beyond the bounds stays at them, and what is stored but is no number counts as 0.
local function add(key, field, amount)
  local sum = redis.pcall('HINCRBY', key, field, whole(amount))
  if type(sum) == 'number' then return sum end
  sum = figure(figure(redis.call('HGET', key, field)) + figure(amount))
  redis.call('HSET', key, field, whole(sum))
  return sum
end

-- The UTC day of a Unix time in milliseconds, as YYYY-MM-DD (proleptic Gregorian calendar).
local function day_of(ms)
  local z = math.floor(ms / 86400000) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
    - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02d', year, month, day)
end

-- Does `text` match one of the globs in `list` (one a line)? An empty list matches everything.
local function matches(list, text)
  if not list or list == '' then return true end
  for glob in string.gmatch(list, '[^\n]+') do
    local pattern = string.gsub(glob, '[%^%$%(%)%%%.%[%]%+%-]', '%%%0')
    pattern = string.gsub(string.gsub(pattern, '%*', '.*'), '%?', '.')
    if string.find(text, '^' .. pattern .. '$') then return true end
  end
  return false
end

-- The first of `models` (one a line; mostly it is one) that the globs in `list` do not match.
local function unmatched(list, models)
  for model in string.gmatch(models, '[^\n]+') do
    if not matches(list, model) then return model end
  end
end

-- Have two lists (one word a line) a word in common? An empty `wanted` wants nothing.
local function share_a_word(wanted, list)
  if not wanted or wanted == '' then return true end
  for word in string.gmatch(wanted, '[^\n]+') do
    if string.find('\n' .. (list or '') .. '\n', '\n' .. word .. '\n', 1, true) then return true end
  end
  return false
end

-- Ends an open lease's hold on its slots.
local function free_slots(lease, key, account)
  redis.call('ZREM', NAME.leases, lease)
  redis.call('ZREM', named('inflight_key', key), lease)
  redis.call('ZREM', named('inflight_account', account), lease)
end
