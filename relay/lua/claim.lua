-- Hands out the next alert that a webhook is to get.
-- Guarantees: one at a time per webhook, whichever process asks; an alert that was handed out and
-- whose outcome is never told (its process died) is handed out again. A webhook that is new gets
-- what happens from now on.
-- KEYS[1]  the webhook's fields
-- ARGV     1 webhook  2 word of the one who asks  3 how long it may take, ms  4 age at which an
--          alert is given up while the webhook fails, ms  5 events, one a line  6 marks, one a line
--          7 '1' = do not hand out, only take in
-- Returns  {} or {alert's id, its fields as JSON, tries with this one, failures in a row}
local webhook, now = ARGV[1], now_ms()
local w = redis.call('HMGET', KEYS[1], 'position', 'rests_until', 'busy_until', 'failures', 'error')
local failures = tonumber(w[4]) or 0
local due, waiting = named('webhook_due', webhook), named('webhook_waiting', webhook)

local function is_in(list, word)
  return string.find('\n' .. list .. '\n', '\n' .. word .. '\n', 1, true)
end

local function take_in(entry)
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if not is_in(ARGV[5], fields.event) then return end
  if fields.mark and not is_in(ARGV[6], fields.mark) then return end
  enqueue(webhook, entry[1], cjson.encode(fields), string.match(entry[1], '^%d+'), now)
end

if not w[1] then
  local last = redis.call('XREVRANGE', NAME.alerts, '+', '-', 'COUNT', 1)[1]
  redis.call('HSET', KEYS[1], 'position', last and last[1] or '0-0')
else
  local entries = redis.call('XRANGE', NAME.alerts, '(' .. w[1], '+', 'COUNT', 100)
  for _, entry in ipairs(entries) do take_in(entry) end
  if entries[1] then redis.call('HSET', KEYS[1], 'position', entries[#entries][1]) end
end
local too_many = redis.call('ZCARD', due) - MOST_WAITING
if too_many > 0 then
  for _, id in ipairs(redis.call('ZRANGE', due, 0, too_many - 1)) do
    bury(webhook, id, 'too many waited', now)
  end
end
keep_for_a_week(webhook)

if ARGV[7] == '1' or (tonumber(w[2]) or 0) > now or (tonumber(w[3]) or 0) > now then return {} end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now)) do
  local since = tonumber(redis.call('HGET', waiting, id .. ':since'))
  if failures == 0 or since + tonumber(ARGV[4]) > now then
    redis.call('HSET', KEYS[1], 'busy', ARGV[2], 'busy_until', whole(now + tonumber(ARGV[3])))
    local tries = redis.call('HINCRBY', waiting, id .. ':tries', 1)
    return {id, redis.call('HGET', waiting, id), tries, failures}
  end
  bury(webhook, id, w[5] or '', now)
end
return {}
