-- A lease that is the trial of an account is being answered well: the account's cooldown is over.
-- ARGV     1 lease
-- Returns  nothing
local l = redis.call('HMGET', named('lease', ARGV[1]), 'account', 'class', 'state')
if l[1] and not l[3] then end_trial(l[1], l[2] or '', ARGV[1], now_ms()) end
return 0
