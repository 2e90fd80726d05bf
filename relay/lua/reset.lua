-- Forgets every failure of an account: the whole account's and those of its classes of models.
-- KEYS[1]  account's fields
-- ARGV     1 account
-- Returns  nothing
local now = now_ms()
redis.call('HDEL', KEYS[1], 'checks_failed')
clear_state(ARGV[1], '', now)
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local class = string.match(field, '^state:(.+)$') or string.match(field, '^strikes:(.+)$')
  if class then clear_state(ARGV[1], class, now) end
end
return 0
