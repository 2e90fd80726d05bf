-- Changes fields of a hash and counts the change; a hash that is gone stays so.
-- KEYS[1]  hash  2  index of its kind, where a new name must be no other record's
-- ARGV     1 field that must still be what the caller read, '' for none  2 its value, '' for none
--          3 kind  4 id  5 new name, '' for the one it has  6… field, value after, …
-- Returns  1 when they were changed, 2 when the name is taken
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] ~= '' and (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
-- Records of one name that an older release let be made keep it through other changes.
if ARGV[5] ~= '' and redis.call('HGET', KEYS[1], 'name') ~= ARGV[5]
  and is_taken(KEYS[2], ARGV[3], ARGV[4], ARGV[5]) then
  return 2
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('HINCRBY', KEYS[1], 'version', 1)
return 1
