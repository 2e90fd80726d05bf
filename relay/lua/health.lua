-- How accounts have served of late: what went well and what failed, by the minute. A single failure
-- may have causes of its own, so only a share of an account's requests says something of it. What
-- an upstream answers counts for the class of models that was asked; everything for the account.

local MINUTE_MS, MINUTES = 60000, 5
local FAILING_SHARE = 0.5

local function health_key(account, now, back)
  return named('health', account, whole(math.floor(now / MINUTE_MS) - back))
end

local function health_field(what, class)
  return class ~= '' and what .. ':' .. class or what
end

-- Counts a request of an account or of one of its classes ('' = the account): 'ok' or 'failed'.
local function note_health(account, class, what, now)
  local key = health_key(account, now, 0)
  if add(key, health_field(what, class), 1) == 1 then
    redis.call('PEXPIRE', key, (MINUTES + 1) * MINUTE_MS)
  end
end

-- How many requests of the last minutes went well, and how many failed.
local function health_of(account, class, now)
  local ok, failed = 0, 0
  for back = 0, MINUTES - 1 do
    local h = redis.call('HMGET', health_key(account, now, back), health_field('ok', class),
      health_field('failed', class))
    ok, failed = ok + figure(h[1]), failed + figure(h[2])
  end
  return ok, failed
end

-- Have so many of an account's requests of the last minutes failed, of at least `least`?
-- `running` (nil = 0) are under way and have not failed so far: a stream that runs well for
-- minutes counts before its end.
local function is_failing(account, class, least, now, running)
  local ok, failed = health_of(account, class, now)
  local total = ok + failed
  if failed == 0 or total < least then return false end
  return failed >= FAILING_SHARE * (total + (running or 0))
end

-- After a cooldown an account, or a class of its models, starts afresh.
local function forget_health(account, class, now)
  for back = 0, MINUTES - 1 do
    redis.call('HDEL', health_key(account, now, back), health_field('ok', class),
      health_field('failed', class))
  end
end
