-- Reads how much of its limits a key has used. Changes nothing but windows, which it slides.
-- ARGV     1 key id  2 usual requests per window (0 = any)  3 usual window, ms
-- Returns  JSON {rate?, tokens?, daily?, monthly?, concurrency?, budgets, spent}: of each limit its
--          size and what is used of it; the budgets are the key's and its owner's; `spent` is what
--          the key has spent today, this week and this month, in micro-dollars
local key, now = ARGV[1], now_ms()
local k = redis.call('HMGET', named('key', key), 'rate_max', 'rate_ms', 'daily_limit',
  'monthly_limit', 'concurrency', 'tokens_per_minute', 'budgets', 'owner')
local found, scope = {budgets = {}, spent = {}}, 'key:' .. key

for period in pairs(STARTS) do found.spent[period] = sum_of(scope, period, '', now) end
local has_own = k[1] and k[1] ~= ''
local rate_max = tonumber(has_own and k[1] or ARGV[2]) or 0
if rate_max > 0 then
  local ms = tonumber(has_own and k[2] or ARGV[3])
  slide('requests', key, ms, now)
  found.rate = {limit = rate_max, window_ms = ms,
    used = redis.call('ZCARD', named('window', 'requests', key))}
end
local tpm = tonumber(k[6]) or 0
if tpm > 0 then
  slide('tokens', key, 60000, now)
  found.tokens = {limit = tpm, used = tonumber(redis.call('HGET', named('tokens', key), 'sum')) or 0}
end
for period, most in pairs({daily = k[3], monthly = k[4]}) do
  if (tonumber(most) or 0) > 0 then
    found[period] = {limit = tonumber(most), used = sum_of(scope, period, ':requests', now),
      till = end_of(period, now)}
  end
end
if (tonumber(k[5]) or 0) > 0 then
  found.concurrency = {limit = tonumber(k[5]),
    used = redis.call('ZCARD', named('inflight_key', key))}
end

local function add_budgets(whose, at, budgets)
  for _, one in ipairs(budgets_used(at, budgets, now)) do
    one.whose = whose
    table.insert(found.budgets, one)
  end
end
add_budgets('key', scope, k[7] or nil)
if k[8] and k[8] ~= '' then
  add_budgets('owner', 'owner:' .. k[8], redis.call('HGET', named('owner', k[8]), 'budgets') or nil)
end
if #found.budgets == 0 then found.budgets = nil end
return cjson.encode(found)
