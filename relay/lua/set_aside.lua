-- Puts a lease aside that cannot be settled: it leaves its slots, gives back what it holds and is
-- remembered for the operator. Its own process may still book it, as a lease that Redis has forgotten.
-- KEYS[1]  open leases   KEYS[2]  leases that were put aside, the newest hundred
-- ARGV     1 lease  2 why
-- Returns  1 put aside, 0 it is not open any more
local lease = ARGV[1]
if not redis.call('ZSCORE', KEYS[1], lease) then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', 100, '*', 'lease', lease, 'why', ARGV[2])
redis.call('ZREM', KEYS[1], lease)
local row, l = redis.pcall('HGETALL', named('lease', lease)), {}
for i = 1, #row, 2 do l[row[i]] = row[i + 1] end
-- Whatever else is wrong with it, it is gone after this.
pcall(free_slots, lease, l.key or '', l.account or '')
pcall(give_back, l)
redis.call('DEL', named('lease', lease), named('booked', lease))
return 1
