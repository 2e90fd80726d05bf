-- Drops the oldest of some hashes, so that the rest takes no more memory than it may.
-- KEYS[1]  usage records
-- ARGV     1 bytes that may be taken  2… the hashes, newest first
-- Returns  how many were dropped, and the newest of them or an empty text
local left, dropped, newest = tonumber(ARGV[1]), 0, ''
for i = 2, #ARGV do
  local size = redis.call('MEMORY', 'USAGE', ARGV[i], 'SAMPLES', '10')
  if size then
    left = left - size
    if left < 0 then
      redis.call('UNLINK', ARGV[i])
      dropped = dropped + 1
      if newest == '' then newest = ARGV[i] end
    end
  end
end
return {dropped, newest}
