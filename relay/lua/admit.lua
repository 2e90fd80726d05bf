-- Decides whether a call may run, and on which account: all or nothing.
-- Guarantees: a refusal changes nothing; an admission holds one slot at the key and one at the
-- account, and its reservation at every scope that has a budget, until settle.lua frees them.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 process  3 key id  4 key hash  5 model ('' = none; a batch's, one a line)  6 its class
--          7 kind of call  8 account that must serve ('' = any)  9 conversation ('' = none)
--          10 clients that the caller may be, one a line  11 its address, 32 hex digits
--          12 the most it can cost, micro-dollars  13 its input's cost  14 its input's tokens
--          15 what of it cannot be bounded ('' = nothing)
--          16 usual requests per window (0 = any)  17 usual window, ms
--          18 requests of the whole relay at one time (0 = any)  19 budgets of the whole relay
--          20 how many may wait in one line  21 how long for a slot that keys share, ms
--          22 '' asks for the first time, 'waits' has waited, 'last' may not wait any more
--          23 its max_tokens  24 what those cost as output, micro-dollars
--          25 how many budgets more may be under way at a soft one
--          26 percent of shared slots that one of several keys may have
--          27 the most it can cost where every account serves everywhere (0 = the same)
--          28 what it names that lives in one account, one a line (see homes.lua)
--          29 models that it names beside its own, one a line
-- Returns  {'refused', code, detail, back in seconds or '', the same in ms or 0}: with
--          'home_unknown' and 'home_split' the detail is the number of the line that 28 has, from 0,
--          and with the latter of another  or
--          {'wait', scope, ms}: the lease stands in the line for a slot of the scope: its key's, the
--          relay's or the accounts'  or
--          {'admitted', account id, version and name, key's name, model globs and 1 if it is told
--           the account, how many could serve, 'kept' | 'moved' | 'new' conversation or '',
--           skipped accounts as JSON, the key's fullest budget as JSON or '', 1 if it is the trial
--           of an account whose cooldown is over}
local lease, process, key, hash, model, class, kind, bound, affinity = unpack(ARGV, 1, 9)
local now = now_ms()

local function refused(code, detail, till)
  if ARGV[22] ~= '' then leave_lines(lease, key) end
  local back = till and whole(math.max(1, math.ceil((till - now) / 1000))) or ''
  return {'refused', code, detail or '', back, till and math.max(0, till - now) or 0}
end

if redis.call('EXISTS', named('lease', lease)) == 1 then return refused('void') end
local k = redis.call('HMGET', named('key', key), 'name', 'enabled', 'expires_at', 'models', 'hash',
  'groups', 'shows_account', 'clients', 'networks', 'rate_max', 'rate_ms', 'daily_limit',
  'monthly_limit', 'concurrency', 'tokens_per_minute', 'budgets', 'owner', 'hash_before',
  'hash_before_until', 'concurrency_wait')
local is_before = k[18] == hash and (tonumber(k[19]) or 0) > now
if not k[1] or (k[5] ~= hash and not is_before) then return refused('unknown') end
if k[2] ~= '1' then return refused('disabled') end
if k[3] and k[3] ~= '' and tonumber(k[3]) <= now then return refused('key_expired', k[3]) end
if not is_within(k[9], ARGV[11]) then return refused('address') end
if not share_a_word(k[8], ARGV[10]) then return refused('client', k[8]) end
local also = ARGV[29]
local forbidden = unmatched(k[4], model) or unmatched(k[4], also)
if forbidden then return refused('key_model', forbidden) end
if ARGV[28] ~= '' then
  local home, why, line = home_of_all(ARGV[28], key, now)
  if not home then return refused('home_' .. why, line) end
  if home ~= '' then bound = home end
end

-- What counts: a call to a model counts once whatever its outcome; count_tokens only obeys.
local counts = kind == 'messages' or kind == 'batch'
local rate_max = tonumber(k[10] ~= '' and k[10] or ARGV[16]) or 0
local rate_ms = tonumber(k[10] and k[10] ~= '' and k[11] or ARGV[17])
if counts or kind == 'count_tokens' then
  if rate_max > 0 then
    local free = check_rate(key, rate_max, rate_ms, now)
    if free then return refused('rate', whole(rate_max) .. '|' .. whole(rate_ms), free) end
  end
end

local scope, owner = 'key:' .. key, k[17] and k[17] ~= '' and 'owner:' .. k[17]
-- A batch brings its own estimate, and its tokens come when the upstream sees fit.
local is_batch = kind == 'batch'
local share, known_cost, known_tokens = 0, 0, 0
if counts and not is_batch then share, known_cost, known_tokens = share_of(key, model) end
local most_tokens, input = figure(ARGV[23]), figure(ARGV[13])
local tokens = math.max(math.floor(figure(ARGV[14]) + most_tokens * share / ALL), known_tokens)
-- Without budgets of the key, its owner and the relay nobody asks for the lesser figure.
local has_budgets = owner or (k[16] or '') ~= '' or ARGV[19] ~= ''
local most = has_budgets and figure(ARGV[27]) > 0 and serve_everywhere(bound) and ARGV[27] or ARGV[12]
local cost = {most = figure(most), burst = tonumber(ARGV[25]), least = input,
  expected = math.max(math.floor(input + figure(ARGV[24]) * share / ALL), known_cost)}
local tpm, fullest = not is_batch and tonumber(k[15]) or 0, nil
local holders, is_counted = {}, false
if counts then
  for period, field in pairs({daily = 12, monthly = 13}) do
    local most = tonumber(k[field]) or 0
    is_counted = is_counted or most > 0
    if most > 0 and sum_of(scope, period, ':requests', now) >= most then
      return refused(period .. '_limit', whole(most), end_of(period, now))
    end
  end
  if tpm > 0 then
    local free = check_tokens(key, tpm, tokens, now)
    if free then return refused('tokens', whole(tpm), free) end
  end
  local owners = owner and redis.call('HGET', named('owner', k[17]), 'budgets')
  for _, pair in ipairs({{scope, k[16]}, {owner, owners}, {'relay', ARGV[19]}}) do
    if pair[1] and pair[2] and pair[2] ~= '' then
      if ARGV[15] ~= '' and string.find(pair[2], ' strict ', 1, true) then
        return refused('unbounded', ARGV[15])
      end
      local passed, full = check_budgets(pair[1], pair[2], cost, now)
      if passed then return refused('budget', cjson.encode(passed), passed.till) end
      if pair[1] == scope then fullest = full end
      holders[#holders + 1] = pair[1]
    end
  end
end

-- A place in line is worth something only to who may run otherwise, so this comes late.
local function waits(line, wait, accounts)
  if wait <= 0 or ARGV[22] == 'last' then return nil end
  if not stand_in_line(line, lease, key, tonumber(ARGV[20]), now, accounts) then return nil end
  if ARGV[22] ~= '' then leave_lines(lease, key, line) end
  return {'wait', line, wait}
end

if counts or kind == 'count_tokens' then
  local most, running = tonumber(k[14]) or 0, named('inflight_key', key)
  if most > 0 and not has_key_slot(scope, lease, redis.call('ZCARD', running), most) then
    return waits(scope, tonumber(k[20]) or 0) or refused('concurrency', whole(most))
  end
end
-- Whatever holds a slot of the relay is asked for it: files and lists as well as messages.
local wait_ms, relay_most, percent = tonumber(ARGV[21]), tonumber(ARGV[18]), tonumber(ARGV[26])
if relay_most > 0
  and not has_shared_slot(nil, lease, key, redis.call('ZCARD', NAME.leases), relay_most, percent) then
  return waits('relay', wait_ms) or refused('relay_full', whole(relay_most))
end

local wanted = affinity ~= '' and account_of(affinity, now) or nil
local thought = ARGV[28] ~= '' and thought_of(ARGV[28], key, now) or ''
local ask = {lease = lease, key = key, percent = percent, bound = bound, wanted = wanted,
  model = model, also = also, class = class, groups = k[6], cost = counts and cost,
  is_batch = is_batch, unbounded = ARGV[15], thinking = thinking_of(thought)}
local found = choose(ask, {}, now)
if ask.thinking and bound == '' and found.known == 0 then
  -- The organisation has no account here any more: nobody can read that thinking.
  ask.thinking, thought = nil, ''
  found = choose(ask, {}, now)
end
local best = found.best
if not best then
  if found.known == 0 then return refused('no_account') end
  if found.full then
    return waits('accounts', wait_ms, found.full) or refused('account_full', whole(found.slots))
  end
  local detail = found.why == 'unbounded' and ARGV[15] or model
  local names_it = found.why == 'model' or found.why == 'mapped'
  if names_it and not share_a_word(model, found.lacks) then detail = found.lacks end
  local holder = ask.thinking and bound == '' and 'thinking_' or 'account_'
  return refused(holder .. found.why, detail, found.back)
end

-- The first write must be one that a full Redis refuses, for it refuses no other after it.
redis.call('HSET', named('lease', lease), 'key', key, 'account', best.id, 'process', process,
  'model', model, 'class', class, 'kind', kind, 'started_at', whole(now), 'affinity', affinity,
  'groups', k[6] or '', 'owner', k[17] or '', 'holders', table.concat(holders, '\n'),
  'most', whole(cost.most), 'expected', whole(cost.expected), 'call_most', whole(cost.most),
  'call_expected', whole(cost.expected), 'relay_budgets', ARGV[19], 'tpm', tpm > 0 and '1' or '',
  'counts', counts and '1' or '', 'max_tokens', whole(most_tokens), 'soft_burst', ARGV[25],
  'unbounded', ARGV[15], 'goes_on', wanted and '1' or '')
if bound ~= '' or thought ~= '' then
  redis.call('HSET', named('lease', lease), 'home', bound, 'thought', thought)
end
if also ~= '' then redis.call('HSET', named('lease', lease), 'also', also) end
if ARGV[22] ~= '' then leave_lines(lease, key) end
redis.call('ZADD', NAME.leases, now, lease)
redis.call('ZADD', named('inflight_key', key), now, lease)
take(lease, key, best, affinity, now)
note_served(best.id, key)
for _, holder in ipairs(holders) do hold(holder, cost, 1) end
hold_account(lease, nil, best, counts and cost)
if rate_max > 0 and (counts or kind == 'count_tokens') then
  slide('requests', key, rate_ms, now)
  redis.call('ZADD', named('window', 'requests', key), now, lease)
  redis.call('PEXPIRE', named('window', 'requests', key), rate_ms)
end
if counts then
  local day = day_of(now) .. ':requests'
  add(named('spend', scope), day, 1)
  if is_counted then redis.call('SADD', NAME.touched, scope) end
  if tpm > 0 then
    slide('tokens', key, 60000, now)
    redis.call('ZADD', named('window', 'tokens', key), now, lease)
    redis.call('HSET', named('tokens', key), lease, whole(tokens))
    add(named('tokens', key), 'sum', tokens)
  end
end
local stays = affinity == '' and '' or not wanted and 'new' or wanted == best.id and 'kept' or 'moved'
return {'admitted', best.id, best.version, best.name, k[1], k[4] or '', k[7] or '', found.able,
  stays, found.skipped, fullest and cjson.encode(fullest) or '', best.trials[1] and 1 or 0}
