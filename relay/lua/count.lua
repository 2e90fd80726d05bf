-- Counters by hour and by day, for 13 months. A cell holds what one key used of one model at one
-- account in one hour or day: amounts by their place in COUNTERS (store/values.py), packed. It
-- stands under a small number, that of key, account and model in the month's series, so that a
-- cell takes about 40 bytes.

local SERIES_LIFE_S = 440 * 86400
-- Series that a key may begin in a month: the models' names are the clients' and the upstreams'.
-- What is more is counted under one name for each account.
local MOST_SERIES, OTHER = 100, 'other'

local function series_of(month, key, account, model)
  local names, label = named('series', month), key .. '|' .. account .. '|' .. model
  local number = redis.call('HGET', names, label)
  if number then return number end
  if model ~= OTHER and figure(redis.call('HGET', names, '#' .. key)) >= MOST_SERIES then
    return series_of(month, key, account, OTHER)
  end
  number = whole(redis.call('HLEN', names))
  redis.call('HSET', names, label, number)
  redis.call('HINCRBY', names, '#' .. key, 1)
  redis.call('EXPIRE', names, SERIES_LIFE_S)
  return number
end

-- Up to here the sums of a cell are exact; nobody uses more.
local MOST_COUNTED = 9007199254740991

-- What a packed cell holds. What cannot be read, or was never used by anybody, counts as 0.
local function unpacked(packed)
  local is_read, sums = pcall(cmsgpack.unpack, packed)
  if not is_read or type(sums) ~= 'table' then return {} end
  for place, sum in ipairs(sums) do
    local is_sound = type(sum) == 'number' and math.abs(sum) <= MOST_COUNTED
    if not is_sound then sums[place] = 0 end
  end
  return sums
end

-- Adds amounts, by their place, to a cell of a period.
local function add_to(period, cell, amounts, life_s)
  local packed = redis.call('HGET', period, cell)
  local sums = packed and unpacked(packed) or {}
  for place, amount in pairs(amounts) do
    for i = #sums + 1, place do sums[i] = 0 end
    sums[place] = math.max(-MOST_COUNTED, math.min(MOST_COUNTED, sums[place] + figure(amount)))
  end
  if redis.call('HSET', period, cell, cmsgpack.pack(sums)) == 1 then
    redis.call('EXPIRE', period, life_s)
  end
end

-- Adds amounts to the hour and the day of a moment (ms).
local function add_amounts(key, account, model, ms, amounts, life_s)
  local day = day_of(ms)
  local hour = string.format('%sT%02d', day, math.floor(ms / 3600000) % 24)
  local cell = series_of(string.sub(day, 1, 7), key, account, model)
  add_to(named('count_hour', hour), cell, amounts, life_s)
  add_to(named('count_day', day), cell, amounts, life_s)
end
