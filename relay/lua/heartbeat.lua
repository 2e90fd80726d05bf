-- Tells that a process lives and how far each of its open leases has come.
-- KEYS[1]  open leases
-- ARGV     lease, input tokens, characters sent, lease, input tokens, characters sent, …
-- Returns  how many of them are still open
local now = now_ms()
local open = 0
for i = 1, #ARGV, 3 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], now, ARGV[i])
    redis.call('HSET', named('lease', ARGV[i]), 'input', ARGV[i + 1], 'chars', ARGV[i + 2])
    open = open + 1
  end
end
return open
