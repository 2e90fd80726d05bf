-- Tells of keys that end soon: once when their end comes within each of some times.
-- KEYS[1]  keys by their hashes
-- ARGV     1 the times in ms, rising, spaces between  2… key ids
-- Returns  nothing
local now = now_ms()

local function look_at(id)
  local k = redis.call('HMGET', named('key', id), 'name', 'enabled', 'expires_at')
  local till = tonumber(k[3])
  if k[2] ~= '1' or not till or till <= now then return end
  local told, is_news, is_first = named('marks', 'key:' .. id, 'expiry'), false, true
  for within in string.gmatch(ARGV[1], '%d+') do
    if till - now <= tonumber(within) then
      -- The nearest time speaks for the farther ones; a new end is news again.
      if is_first then is_news = redis.call('HGET', told, within) ~= k[3] end
      is_first = false
      redis.call('HSET', told, within, k[3])
      redis.call('PEXPIREAT', told, whole(till))
    end
  end
  if is_news then alert('key_expiring', now, 'id', id, 'name', k[1], 'until', k[3]) end
end

for i = 2, #ARGV do look_at(ARGV[i]) end
return 0
