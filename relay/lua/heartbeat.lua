-- Tells that a process lives and how far each of its open leases has come.
-- KEYS[1]  open leases
-- ARGV     lease, its attempt, input tokens, characters sent, lease, …
-- Returns  how many of them are still open
local now = now_ms()
local open = 0
-- A full Redis refuses a script's first write if that takes memory. This one takes none, so the
-- living are not taken for dead meanwhile.
redis.call('PERSIST', KEYS[1])
for i = 1, #ARGV, 4 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], now, ARGV[i])
    -- What was sent for an attempt that is over already is booked as that attempt.
    local attempt = redis.call('HGET', named('lease', ARGV[i]), 'attempt') or '0'
    if attempt == ARGV[i + 1] then
      redis.call('HSET', named('lease', ARGV[i]), 'input', ARGV[i + 2], 'chars', ARGV[i + 3])
    end
    open = open + 1
  end
end
return open
