-- Lets a webhook have its dead alerts after all: they are due at once, and so is the webhook.
-- KEYS[1]  the webhook's dead
-- ARGV     1 webhook  2 the one alert that is meant ('' = all)
-- Returns  how many
local now, count = now_ms(), 0
for _, row in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local one = cjson.decode(row)
  if ARGV[2] == '' or ARGV[2] == one.id then
    redis.call('LREM', KEYS[1], 1, row)
    enqueue(ARGV[1], one.id, one.alert, now, now)
    count = count + 1
  end
end
if count > 0 then redis.call('HDEL', named('webhook', ARGV[1]), 'rests_until') end
keep_for_a_week(ARGV[1])
return count
