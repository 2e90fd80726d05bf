-- Appends an entry to the audit, if the one before it still is the last.
-- KEYS[1]  audit   KEYS[2]  the last entry's number and seal
-- ARGV     1 the last number and seal as the caller knows them ('' = none)  2 the new ones
--          3 entry
-- Returns  1 when it was appended
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[1], '*', 'entry', ARGV[3], 'mark', ARGV[2])
redis.call('SET', KEYS[2], ARGV[2])
return 1
