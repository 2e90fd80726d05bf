-- What a key may use: requests and tokens in sliding windows, requests by the calendar, and money.
-- Every check only reads; what they allow is written once nothing refuses.

local DAY_MS = 86400000

local function start_of_day(now) return math.floor(now / DAY_MS) * DAY_MS end

-- When the calendar periods that hold `now` began; 1970-01-01 was a Thursday.
local function start_of_week(now)
  local day = math.floor(now / DAY_MS)
  return (day - (day + 3) % 7) * DAY_MS
end

local function start_of_month(now)
  return start_of_day(now) - (tonumber(string.sub(day_of(now), 9)) - 1) * DAY_MS
end

local STARTS = {daily = start_of_day, weekly = start_of_week, monthly = start_of_month}

-- When a period is over (ms), nil for the one that never is.
local function end_of(period, now)
  if period == 'daily' then return start_of_day(now) + DAY_MS end
  if period == 'weekly' then return start_of_week(now) + 7 * DAY_MS end
  if period == 'monthly' then return start_of_month(start_of_month(now) + 31 * DAY_MS) end
end

-- The sum of a scope's daily figures since a period began. Fields are DAY and a suffix.
local function sum_of(scope, period, suffix, now)
  local key = named('spend', scope)
  if period == 'total' then return tonumber(redis.call('HGET', key, 'total' .. suffix)) or 0 end
  local days, sum = {}, 0
  for ms = STARTS[period](now), now, DAY_MS do days[#days + 1] = day_of(ms) .. suffix end
  for _, figure in ipairs(redis.call('HMGET', key, unpack(days))) do
    sum = sum + (tonumber(figure) or 0)
  end
  return sum
end

-- More is held nowhere: it is what an odd figure has left there, and it would never be given back.
local MOST_HELD = 9007199254740991

local function held_at(stored)
  local held = figure(stored)
  return held <= MOST_HELD and held or 0
end

-- Has a soft budget no room for `cost`? A request that runs alone does while the budget is not
-- spent, whatever it may cost. With others it has none when all of them could use up the budget by
-- what is expected, or pass it by more than `burst` budgets at most.
-- Returns  nil, 'spent', or 'crowded': there is room again when others have ended
local function soft_refuses(b, cost, most, expected)
  if b.used + (cost.least or 0) > b.limit then return 'spent' end
  if most - (cost.own or 0) <= 0 then return nil end
  local is_over = b.used + expected + cost.expected > b.limit
  is_over = is_over or b.used + most + cost.most > (1 + cost.burst) * b.limit
  return is_over and 'crowded' or nil
end

-- The budgets of a scope, one a line: period, mode, micro-dollars.
-- `cost`   {most, expected, burst, least, own}: what is added to what is held, in micro-dollars;
--          `least` is known to be spent (nil = 0), `own` of what is held is the lease's (nil = 0)
-- Returns  the one that `cost` would pass and that ends last, or nil; and the fullest of those that
--          reset. Each as {scope, period, mode, limit, used, till, crowded}
local function check_budgets(scope, budgets, cost, now)
  if not budgets or budgets == '' then return nil, nil end
  local held = redis.call('HMGET', named('spend', scope), 'held_most', 'held_expected')
  local passed, fullest
  for period, mode, amount in string.gmatch(budgets, '(%a+) (%a+) (%d+)') do
    local b = {scope = scope, period = period, mode = mode, limit = tonumber(amount),
      used = sum_of(scope, period, '', now), till = end_of(period, now)}
    local passes
    if mode == 'strict' then
      passes = b.used + (tonumber(held[1]) or 0) + cost.most > b.limit
    else
      passes = soft_refuses(b, cost, held_at(held[1]), held_at(held[2]))
      if passes == 'crowded' then b.crowded, b.till = true, now + 1000 end
    end
    if passes then
      local ends_later = passed and (b.till or math.huge) > (passed.till or math.huge)
      if not passed or ends_later then passed = b end
    end
    local resets = period ~= 'total'
    if resets and (not fullest or b.used / b.limit > fullest.used / fullest.limit) then
      fullest = b
    end
  end
  return passed, fullest
end

-- What a scope has used of each of its budgets, one a line: {period, mode, limit, used, held, till}.
local function budgets_used(scope, budgets, now)
  local held, found = redis.call('HMGET', named('spend', scope), 'held_most', 'held_expected'), {}
  for period, mode, amount in string.gmatch(budgets or '', '(%a+) (%a+) (%d+)') do
    found[#found + 1] = {period = period, mode = mode, limit = tonumber(amount),
      used = sum_of(scope, period, '', now), till = end_of(period, now),
      held = tonumber(mode == 'strict' and held[1] or held[2]) or 0}
  end
  return found
end

-- A reservation as it is stored. What no counter can hold was never held: the release before this
-- rule failed when it tried.
local function reservation(most, expected)
  local given = tonumber(most) or 0
  if given ~= given or math.abs(given) > LARGEST then return {most = 0, expected = 0} end
  return {most = given, expected = figure(expected)}
end

-- Holds a lease's reservation at a scope, or gives it back with -1. Never is less than nothing held.
local function hold(scope, cost, sign)
  local key = named('spend', scope)
  if add(key, 'held_most', sign * cost.most) < 0 then redis.call('HSET', key, 'held_most', '0') end
  if add(key, 'held_expected', sign * cost.expected) < 0 then
    redis.call('HSET', key, 'held_expected', '0')
  end
end

-- Gives back everything that a lease (its fields by name) holds, wherever it holds it.
local function give_back(lease)
  local own = reservation(lease.most, lease.expected)
  for scope in string.gmatch(lease.holders or '', '[^\n]+') do hold(scope, own, -1) end
  if lease.held_account and lease.held_account ~= '' then
    hold('account:' .. lease.held_account, reservation(lease.call_most, lease.call_expected), -1)
  end
  for id, lost in string.gmatch(lease.lost_held or '', '(%S+) (%d+)') do
    hold('account:' .. id, reservation(lost, lost), -1)
  end
end

-- The budgets of a scope that a lease's reservation is held at.
local function budgets_of(scope, lease)
  local kind, id = string.match(scope, '^(%a+):(.+)$')
  if not kind then return redis.call('HGET', named('lease', lease), 'relay_budgets') end
  return redis.call('HGET', named(kind, id), 'budgets')
end

-- Moves a lease's reservation from the account that held it (nil or '' = none) to another.
local function hold_account(lease, before, account, cost)
  if before and before ~= '' then hold('account:' .. before, cost, -1) end
  local holds = account.budgets and cost
  if holds then hold('account:' .. account.id, cost, 1) end
  redis.call('HSET', named('lease', lease), 'held_account', holds and account.id or '')
end

-- Books micro-dollars at a scope, on the day of the lease's admission; marks.lua looks at it later.
local function spend(scope, amount, started)
  if amount == 0 then return end
  local key = named('spend', scope)
  add(key, day_of(started), amount)
  add(key, 'total', amount)
  redis.call('SADD', NAME.touched, scope)
end

-- Forgets what has left a window of `ms`, and the tokens that stood there.
local function slide(what, key, ms, now)
  local window, old = named('window', what, key), now - ms
  if what == 'tokens' then
    local gone = redis.call('ZRANGEBYSCORE', window, '-inf', old)
    for _, lease in ipairs(gone) do
      add(named('tokens', key), 'sum', -figure(redis.call('HGET', named('tokens', key), lease)))
      redis.call('HDEL', named('tokens', key), lease)
    end
  end
  redis.call('ZREMRANGEBYSCORE', window, '-inf', old)
end

-- A lease's exact tokens in its key's minute, instead of those that were expected.
local function set_tokens(lease, key, tokens)
  local before = redis.call('HGET', named('tokens', key), lease)
  if not before then return end
  redis.call('HSET', named('tokens', key), lease, whole(tokens))
  add(named('tokens', key), 'sum', tokens - figure(before))
end

-- An admission that never ran leaves nothing in any window.
local function uncount(lease, key, has_tokens, counts, started)
  redis.call('ZREM', named('window', 'requests', key), lease)
  if has_tokens then
    set_tokens(lease, key, 0)
    redis.call('ZREM', named('window', 'tokens', key), lease)
    redis.call('HDEL', named('tokens', key), lease)
  end
  if counts then
    add(named('spend', 'key:' .. key), day_of(started) .. ':requests', -1)
  end
end

-- Entries of the future, there since the clock was set back, count as made now: so nobody waits
-- longer than the window is.
local function without_future(window, now)
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', window, '(' .. whole(now), '+inf')) do
    redis.call('ZADD', window, now, lease)
  end
end

-- When a window has room for one more request; nil when it has.
local function check_rate(key, most, ms, now)
  local window = named('window', 'requests', key)
  if redis.call('ZCOUNT', window, '(' .. whole(now - ms), '+inf') < most then return nil end
  if most < 1 then return now + ms end
  local since = tonumber(redis.call('ZREVRANGE', window, most - 1, most - 1, 'WITHSCORES')[2])
  if since > now then without_future(window, now) end
  return math.min(since, now) + ms
end

-- When a minute has room for so many tokens; nil when it has. What is larger than the limit by
-- itself goes when nothing else does.
local function check_tokens(key, most, wanted, now)
  local sum = tonumber(redis.call('HGET', named('tokens', key), 'sum')) or 0
  if sum + wanted <= most or sum <= 0 then return nil end
  local window = named('window', 'tokens', key)
  local rows = redis.call('ZRANGE', window, 0, -1, 'WITHSCORES')
  for i = 1, #rows, 2 do
    sum = sum - (tonumber(redis.call('HGET', named('tokens', key), rows[i])) or 0)
    if sum + wanted <= most or sum <= 0 then
      local since = tonumber(rows[i + 1])
      if since > now then without_future(window, now) end
      -- What has left the minute already makes room at once.
      local free = math.min(since, now) + 60000
      return free > now and free or nil
    end
  end
  return now + 60000
end

-- Is an address (32 hex digits) in one of the networks (HEX/BITS, one a line)?
local function is_within(networks, address)
  if not networks or networks == '' then return true end
  for hex, bits in string.gmatch(networks, '(%x+)/(%d+)') do
    local nibbles, rest = math.floor(tonumber(bits) / 4), tonumber(bits) % 4
    local same = string.sub(hex, 1, nibbles) == string.sub(address, 1, nibbles)
    if same and rest > 0 then
      local unit = 2 ^ (4 - rest)
      local a = tonumber(string.sub(hex, nibbles + 1, nibbles + 1), 16)
      local b = tonumber(string.sub(address, nibbles + 1, nibbles + 1), 16)
      same = b ~= nil and math.floor(a / unit) == math.floor(b / unit)
    end
    if same then return true end
  end
  return false
end
