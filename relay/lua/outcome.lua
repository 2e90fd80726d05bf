-- Books how the delivery of an alert to a webhook ended.
-- KEYS[1]  the webhook's fields
-- ARGV     1 webhook  2 word of the one who claimed it  3 alert  4 '' = delivered, else why not
--          5 until its next try, ms  6 until the webhook is tried again, ms  7 age at which it is
--          given up, ms  8 a line for the webhook's log
-- Returns  1 delivered, 2 to be tried again, 3 given up, 0 another one has it by now
local webhook, id, now = ARGV[1], ARGV[3], now_ms()
note_delivery(webhook, ARGV[8])
local is_mine = redis.call('HGET', KEYS[1], 'busy') == ARGV[2]
if is_mine then redis.call('HDEL', KEYS[1], 'busy', 'busy_until') end
if ARGV[4] == '' then
  dequeue(webhook, id)
  redis.call('HSET', KEYS[1], 'delivered_at', whole(now))
  redis.call('HDEL', KEYS[1], 'failures', 'rests_until', 'error', 'failed_at')
  return 1
end
if not is_mine then return 0 end
redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSET', KEYS[1], 'error', ARGV[4], 'failed_at', whole(now), 'rests_until',
  whole(now + tonumber(ARGV[6])))
local since = tonumber(redis.call('HGET', named('webhook_waiting', webhook), id .. ':since'))
if not since then return 0 end
if since + tonumber(ARGV[7]) <= now + tonumber(ARGV[5]) then
  bury(webhook, id, ARGV[4], now)
  return 3
end
redis.call('ZADD', named('webhook_due', webhook), whole(now + tonumber(ARGV[5])), id)
return 2
