-- Tells of limits that are used up to a mark: requests of a key by the calendar, and budgets.
-- Guarantees: each mark of a limit is told once in its period, whichever process looks and however
-- the limit is edited meanwhile. A budget for good has no next period: one that is raised is told
-- of again. A scope is looked at until all of its marks are told.
-- KEYS[1]  scopes that used something since somebody looked
-- ARGV     1 most scopes at one time  2 budgets of the whole relay  3… marks, per mille, rising
-- Returns  how many scopes were looked at
local now = now_ms()
local SOURCES = {key = {'name', 'budgets', 'daily_limit', 'monthly_limit'},
  account = {'name', 'budgets'}, owner = {'budgets', 'budgets'}}

-- `limit`: {kind, period, most, used, mode}.
local function tell_passed(scope, label, limit)
  local starts, till = STARTS[limit.period], end_of(limit.period, now)
  local since = starts and starts(now)
  local told = named('marks', scope, since and limit.period .. ':' .. day_of(since) or limit.period)
  for i = 3, #ARGV do
    if limit.used * 1000 < tonumber(ARGV[i]) * limit.most then return end
    local field = limit.kind .. ':' .. ARGV[i]
    local before = tonumber(redis.call('HGET', told, field))
    if not before or (not till and limit.most > before) then
      local kind, id = string.match(scope, '^(%a+):(.+)$')
      alert(limit.kind == 'budget' and 'budget' or limit.period .. '_limit', now,
        'scope', kind or scope, 'id', id or '', 'name', label, 'period', limit.period,
        'mode', limit.mode or '', 'mark', ARGV[i], 'limit', whole(limit.most),
        'used', whole(limit.used), 'since', since and whole(since) or '',
        'until', till and whole(till) or '')
      redis.call('HSET', told, field, whole(limit.most))
      -- A day longer than the period: a clock that is set back finds them there.
      if till then redis.call('PEXPIREAT', told, whole(till + DAY_MS)) end
    end
  end
end

local function look_at(scope)
  local kind, id = string.match(scope, '^(%a+):(.+)$')
  local found = kind and redis.call('HMGET', named(kind, id), unpack(SOURCES[kind]))
    or {'', ARGV[2]}
  if not found[1] then return end
  local label = kind == 'owner' and id or found[1]
  for period, mode, most in string.gmatch(found[2] or '', '(%a+) (%a+) (%d+)') do
    tell_passed(scope, label, {kind = 'budget', period = period, most = tonumber(most),
      used = sum_of(scope, period, '', now), mode = mode})
  end
  for period, most in pairs({daily = tonumber(found[3]), monthly = tonumber(found[4])}) do
    if most > 0 then
      tell_passed(scope, label, {kind = 'requests', period = period, most = most,
        used = sum_of(scope, period, ':requests', now)})
    end
  end
end

local scopes = redis.call('SRANDMEMBER', KEYS[1], ARGV[1])
for _, scope in ipairs(scopes) do look_at(scope) end
if scopes[1] then redis.call('SREM', KEYS[1], unpack(scopes)) end
return #scopes
