-- Stands before every script. NAME holds the key names, handed over by store.py,
-- the one place that knows them.

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function named(kind, ...)
  return string.format(NAME[kind], ...)
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

-- Ends an open lease's hold on its slots.
local function free_slots(lease, key, account)
  redis.call('ZREM', NAME.leases, lease)
  redis.call('ZREM', named('inflight_key', key), lease)
  redis.call('ZREM', named('inflight_account', account), lease)
end

-- The account that may serve now: `wanted` if it can, else the least busy one, among equals the
-- one that rested longest.
-- An account that cooled down serves one request at first; its outcome decides about the rest.
-- Returns  the account ({id, version, name}) or nil, how many could serve, how many there are,
--          when the first resting one is back (ms, or nil) and why it rests
local function choose(bound, tried, now, wanted)
  local best, best_load, best_used, able, known, back, why = nil, nil, nil, 0, 0, nil, ''
  local ids = bound ~= '' and {bound} or redis.call('SMEMBERS', NAME.accounts)
  for _, id in ipairs(ids) do
    local a = redis.call('HMGET', named('account', id), 'name', 'enabled', 'version', 'used_at',
      'state', 'state_until', 'probe')
    if a[1] then known = known + 1 end
    local may_serve = a[1] and a[2] == '1' and not tried[id]
    if may_serve and a[5] then
      local till = tonumber(a[6])
      if till > now then
        may_serve = false
        if not back or till < back then back, why = till, a[5] end
      elseif a[7] and redis.call('ZSCORE', NAME.leases, a[7]) then
        may_serve = false
        if not back or now + 1000 < back then back, why = now + 1000, a[5] end
      end
    end
    if may_serve then
      able = able + 1
      local load = redis.call('ZCARD', named('inflight_account', id))
      local used = tonumber(a[4] or '0')
      if id == wanted then load = -1 end
      if not best or load < best_load or (load == best_load and used < best_used) then
        best, best_load, best_used = {id, a[3], a[1], a[5]}, load, used
      end
    end
  end
  return best, able, known, back, why
end

-- Gives a lease its slot at a chosen account, which its conversation then keeps for an hour.
local function take(lease, account, now, affinity)
  if affinity and affinity ~= '' then
    redis.call('SET', named('affinity', affinity), account[1], 'EX', 3600)
  end
  redis.call('ZADD', named('inflight_account', account[1]), now, lease)
  redis.call('HSET', named('account', account[1]), 'used_at', now)
  if account[4] then redis.call('HSET', named('account', account[1]), 'probe', lease) end
end
