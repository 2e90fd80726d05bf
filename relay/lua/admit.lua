-- Decides whether a call may run, and on which account: all or nothing.
-- Guarantees: a refusal changes nothing; an admission holds one slot at the key and one at
-- the account until settle.lua frees them.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 process  3 key id  4 key hash  5 model ('' = none)  6 its class
--          7 kind of call  8 account that must serve ('' = any)  9 conversation ('' = none)
-- Returns  {'refused', code, detail, back in seconds or ''}  or
--          {'admitted', account id, version and name, key's name, model globs and 1 if it is told
--           the account, how many could serve, 'kept' | 'moved' | 'new' conversation or '',
--           skipped accounts as JSON}
local lease, process, key, hash, model, class, kind, bound, affinity = unpack(ARGV)
local now = now_ms()
if redis.call('EXISTS', named('lease', lease)) == 1 then return {'refused', 'void', '', ''} end

local k = redis.call('HMGET', named('key', key), 'name', 'enabled', 'expires_at', 'models', 'hash',
  'groups', 'shows_account')
if not k[1] or k[5] ~= hash then return {'refused', 'unknown', '', ''} end
if k[2] ~= '1' then return {'refused', 'disabled', '', ''} end
if k[3] and k[3] ~= '' and tonumber(k[3]) <= now then return {'refused', 'key_expired', k[3], ''} end
if model ~= '' and not matches(k[4], model) then return {'refused', 'key_model', model, ''} end

local wanted = affinity ~= '' and redis.call('GET', named('affinity', affinity)) or nil
local ask = {bound = bound, wanted = wanted, model = model, class = class, groups = k[6]}
local found = choose(ask, {}, now)
local best = found.best
if not best then
  if found.known == 0 then return {'refused', 'no_account', '', ''} end
  local back = found.back and whole(math.ceil((found.back - now) / 1000)) or ''
  return {'refused', 'account_' .. found.why, model, back}
end

redis.call('HSET', named('lease', lease), 'key', key, 'account', best.id, 'process', process,
  'model', model, 'class', class, 'kind', kind, 'started_at', whole(now), 'affinity', affinity,
  'groups', k[6] or '')
redis.call('ZADD', NAME.leases, now, lease)
redis.call('ZADD', named('inflight_key', key), now, lease)
take(lease, best, class, affinity, now)
local stays = affinity == '' and '' or not wanted and 'new' or wanted == best.id and 'kept' or 'moved'
return {'admitted', best.id, best.version, best.name, k[1], k[4] or '', k[7] or '', found.able,
  stays, found.skipped}
