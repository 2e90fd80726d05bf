-- What one webhook is still to get: alerts with the time of their next try, and those given up.
-- The keys of a webhook that nobody asks for any more are gone after a week, the dead after a month.

local WEEK_MS = 7 * 86400000
local MOST_WAITING, MOST_DEAD, MOST_LOGGED = 1000, 1000, 200

local function keep_for_a_week(webhook)
  -- Not each time: every write goes to the disk.
  for _, kind in ipairs({'webhook', 'webhook_due', 'webhook_waiting'}) do
    local key = named(kind, webhook)
    if redis.call('PTTL', key) < WEEK_MS / 2 then redis.call('PEXPIRE', key, WEEK_MS) end
  end
end

local function enqueue(webhook, id, fields, due, now)
  redis.call('ZADD', named('webhook_due', webhook), due, id)
  redis.call('HSET', named('webhook_waiting', webhook), id, fields, id .. ':since', whole(now),
    id .. ':tries', '0')
end

local function dequeue(webhook, id)
  redis.call('ZREM', named('webhook_due', webhook), id)
  redis.call('HDEL', named('webhook_waiting', webhook), id, id .. ':since', id .. ':tries')
end

-- Gives an alert up: it stays in a list of the dead, for a person to look at or to revive.
local function bury(webhook, id, why, now)
  local w = redis.call('HMGET', named('webhook_waiting', webhook), id, id .. ':tries')
  local dead = named('webhook_dead', webhook)
  redis.call('RPUSH', dead, cjson.encode({id = id, alert = w[1], tries = w[2], error = why,
    at = whole(now)}))
  redis.call('LTRIM', dead, -MOST_DEAD, -1)
  redis.call('PEXPIRE', dead, 30 * 86400000)
  dequeue(webhook, id)
end


-- Keeps a line about a delivery, newest first.
local function note_delivery(webhook, line)
  local log = named('webhook_log', webhook)
  redis.call('LPUSH', log, line)
  redis.call('LTRIM', log, 0, MOST_LOGGED - 1)
  redis.call('PEXPIRE', log, 30 * 86400000)
end
