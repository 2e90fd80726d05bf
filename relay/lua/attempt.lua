-- Counts an attempt in each of some scopes, unless the next one of a scope is to wait; or takes one
-- back that turned out right. Waits double from a second with each attempt after the free ones.
-- KEYS     the scopes
-- ARGV     1 'count' or 'undo'  2 life of a count after its last attempt, ms
--          then of each scope: free attempts, longest wait in ms
-- Returns  {ms to wait before another attempt (0: this one is counted), attempts of the last scope}
local now, wait, count = now_ms(), 0, 0
if ARGV[1] == 'undo' then
  for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 and redis.call('HINCRBY', key, 'n', -1) <= 0 then
      redis.call('DEL', key)
    end
  end
  return {0, 0}
end
for _, key in ipairs(KEYS) do
  wait = math.max(wait, (tonumber(redis.call('HGET', key, 'until')) or 0) - now)
end
if wait > 0 then return {wait, 0} end
for i, key in ipairs(KEYS) do
  local free, longest = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  count = redis.call('HINCRBY', key, 'n', 1)
  if count >= free then
    local pause = math.min(longest, 1000 * 2 ^ math.min(count - free, 30))
    redis.call('HSET', key, 'until', whole(now + pause))
  end
  redis.call('PEXPIRE', key, ARGV[2])
end
return {0, count}
