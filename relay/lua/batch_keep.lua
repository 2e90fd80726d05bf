-- Keeps a batch that an account has taken: from now on the reservation is the batch's, not its
-- lease's, so it is held without a slot until batch_book.lua books what the batch cost.
-- Guarantees: the same batch is kept once, however often this runs. A lease that was recovered
-- for dead meanwhile gave its reservation back; it is held anew.
-- KEYS[1]  batches that are not booked yet, by when somebody looks at them next
-- ARGV     1 batch  2 lease  3 in how long it is looked at first, ms
--          4… field, value of what else is kept: its key, account, models, …
-- Returns  1 kept, 0 it was kept before
local batch = named('batch', ARGV[1])
if redis.call('EXISTS', batch) == 1 then return 0 end
local lease = named('lease', ARGV[2])
local l = redis.call('HMGET', lease, 'started_at', 'state', 'owner', 'holders', 'most', 'expected',
  'held_account')
redis.call('HSET', batch, 'lease', ARGV[2], 'started_at', l[1] or whole(now_ms()),
  'owner', l[3] or '', 'holders', l[4] or '', 'most', l[5] or '0', 'expected', l[6] or '0',
  'held_account', l[7] or '', unpack(ARGV, 4))
redis.call('ZADD', KEYS[1], whole(now_ms() + tonumber(ARGV[3])), ARGV[1])
local b = redis.call('HMGET', batch, 'key', 'account', 'started_at')
redis.call('HSET', named('object', ARGV[1]), 'key', b[1], 'account', b[2], 'kind', 'batch')
redis.call('ZADD', named('objects', b[1], 'batch'), b[3], ARGV[1])
if l[2] == 'recovered' then
  local cost = reservation(l[5], l[6])
  for scope in string.gmatch(l[4] or '', '[^\n]+') do hold(scope, cost, 1) end
  if l[7] and l[7] ~= '' then hold('account:' .. l[7], cost, 1) end
elseif l[1] then
  redis.call('HSET', lease, 'holders', '', 'held_account', '')
end
return 1
