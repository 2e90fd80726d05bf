-- Stores a price table instead of the one that somebody saw, and nothing if it is another by now.
-- KEYS[1]  the stored price table
-- ARGV     1 the version that was seen ('' = none was stored)  2… field, value, field, value, …
-- Returns  1 stored, 0 there is another one
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
