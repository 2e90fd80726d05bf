-- Lists leases whose process has died, for the living to settle.
-- Guarantees: after a gap in which nobody looked (Redis was away, or its clock jumped) every
-- lease gets a fresh heartbeat first, so that living processes are not taken for dead.
-- KEYS[1]  open leases   KEYS[2]  when somebody last looked
-- ARGV     1 silence that means death, ms   2 gap that means we were away, ms
-- Returns  {lease, key, account, model, kind, started_at, input, chars, lost attempts} for each,
--          at most 100; {lease} alone where that cannot be read
local now = now_ms()
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
redis.call('SET', KEYS[2], whole(now))
if math.abs(now - last) > tonumber(ARGV[2]) then
  for _, lease in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZADD', KEYS[1], now, lease)
  end
  return {}
end
local dead = {}
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]), 'LIMIT', 0, 100)
for _, lease in ipairs(ids) do
  local l = redis.pcall('HMGET', named('lease', lease),
    'key', 'account', 'model', 'kind', 'started_at', 'input', 'chars', 'lost')
  if l.err or (l[1] and not (l[2] and l[3] and l[4] and l[5])) then
    dead[#dead + 1] = {lease}
  elseif l[1] then
    dead[#dead + 1] = {lease, l[1], l[2], l[3], l[4], l[5], l[6] or '0', l[7] or '0', l[8] or ''}
  else
    redis.call('ZREM', KEYS[1], lease)
  end
end
return dead
