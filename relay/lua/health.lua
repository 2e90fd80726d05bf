-- How accounts have served of late: what went well and what failed, by the minute. A single failure
-- may have causes of its own, so only a share of an account's requests says something of it.

local MINUTE_MS, MINUTES = 60000, 5
local FAILING_SHARE = 0.5

local function health_key(account, now, back)
  return named('health', account, whole(math.floor(now / MINUTE_MS) - back))
end

-- Counts a request of an account: 'ok' or 'failed'.
local function note_health(account, what, now)
  local key = health_key(account, now, 0)
  if add(key, what, 1) == 1 then redis.call('PEXPIRE', key, (MINUTES + 1) * MINUTE_MS) end
end

-- Have so many of an account's requests of the last minutes failed, of at least `least`?
local function is_failing(account, least, now)
  local failed, total = 0, 0
  for back = 0, MINUTES - 1 do
    local h = redis.call('HMGET', health_key(account, now, back), 'ok', 'failed')
    failed, total = failed + figure(h[2]), total + figure(h[1]) + figure(h[2])
  end
  return failed > 0 and total >= least and failed >= FAILING_SHARE * total
end

-- After a cooldown an account starts afresh.
local function forget_health(account, now)
  for back = 0, MINUTES - 1 do redis.call('DEL', health_key(account, now, back)) end
end
