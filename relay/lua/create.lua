-- Writes a new record and its place in the index, unless there is one of its id or name.
-- KEYS[1]  hash of the record  2  index of its kind
-- ARGV     1 kind  2 id  3 field of the index that leads to it, '' where the index is a set
--          4 name  5… field, value, …
-- Returns  1 when it was written, 0 when the id or the name is taken
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if is_taken(KEYS[2], ARGV[1], ARGV[2], ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
if ARGV[3] == '' then
  redis.call('SADD', KEYS[2], ARGV[2])
else
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[2])
end
return 1
