-- Decides whether a call may run, and on which account: all or nothing.
-- Guarantees: a refusal changes nothing; an admission holds one slot at the key and one at
-- the account until settle.lua frees them.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 process  3 key id  4 key hash  5 model ('' = none)  6 kind of call
--          7 account that must serve ('' = any)  8 conversation ('' = none)
-- Returns  {'refused', code, detail}  or
--          {'admitted', account id, account version, key name, key's model globs,
--           number of candidates, account name, 'kept' | 'moved' | 'new' conversation or ''}
local lease, process, key, hash, model, kind, bound, affinity = unpack(ARGV)
local now = now_ms()
if redis.call('EXISTS', named('lease', lease)) == 1 then return {'refused', 'void', ''} end

local k = redis.call('HMGET', named('key', key), 'name', 'enabled', 'expires_at', 'models', 'hash')
if not k[1] or k[5] ~= hash then return {'refused', 'unknown', ''} end
if k[2] ~= '1' then return {'refused', 'disabled', ''} end
if k[3] and k[3] ~= '' and tonumber(k[3]) <= now then return {'refused', 'expired', k[3]} end
if model ~= '' and not matches(k[4], model) then return {'refused', 'model', model} end

local wanted = affinity ~= '' and redis.call('GET', named('affinity', affinity)) or nil
local best, able, known, back, why = choose(bound, {}, now, wanted)
if not best and back then return {'refused', why, tostring(math.ceil((back - now) / 1000))} end
if not best then return {'refused', 'no_account', tostring(known)} end

redis.call('HSET', named('lease', lease), 'key', key, 'account', best[1], 'process', process,
  'model', model, 'kind', kind, 'started_at', now, 'affinity', affinity)
redis.call('ZADD', NAME.leases, now, lease)
redis.call('ZADD', named('inflight_key', key), now, lease)
take(lease, best, now, affinity)
local stays = affinity == '' and '' or not wanted and 'new' or wanted == best[1] and 'kept' or 'moved'
return {'admitted', best[1], best[2], k[1], k[4] or '', able, best[3], stays}
