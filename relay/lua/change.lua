-- Changes fields of a hash and counts the change; a hash that is gone stays so.
-- KEYS[1]  hash
-- ARGV     1 field that must still be what the caller read, '' for none  2 its value, '' for none
--          3… field, value after, …
-- Returns  1 when they were changed
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] ~= '' and (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('HINCRBY', KEYS[1], 'version', 1)
return 1
