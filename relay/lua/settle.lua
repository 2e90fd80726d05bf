-- Ends a lease: frees its slots, books its figures, keeps its record and its decision.
-- Guarantees: the same lease is booked once, however often this runs. A lease that was
-- recovered for dead and settles after all has its estimate taken back first, and its new record
-- (empty when there is none) names the one that it replaces. A lease that is voided before its
-- admission arrives (the connection broke) is not admitted any more. A lease whose admission a killed
-- Redis has forgotten is booked as well: its decision tells whether it was booked before.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 'settled', 'recovered' or 'void'  3 record ('' = none is kept)
--          4 decision ('' = none)  5 decision's life in seconds  6 counters' life in seconds
--          7 how long a recovered lease stays open to correction, in seconds
--          8 '1' when the lease's account served it well  9 model that the record counts under
--          10 what is left of the upstream's limits, per mille ('' = not told)
--          11 until when that holds, ms  12 tokens that count for the key's tokens per minute
--          13 key  14 account that had the lease last
--          15 what the answer named that lives in its account, one a line (see homes.lua)
--          16 organisation and 17 workspace by the answer's headers ('' = as known before), of the
--          account at its 18 version
--          19… account, model, how many arguments follow for them, counter's place, amount,
--          counter's place, amount, …; then the next account and model
-- Returns  1 booked, 2 estimate replaced, 0 there was nothing to settle
local lease, state, record, decision = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local l = redis.call('HMGET', named('lease', lease), 'key', 'account', 'started_at', 'state',
  'class', 'owner', 'holders', 'most', 'expected', 'held_account', 'call_most', 'call_expected',
  'tpm', 'counts', 'model', 'lost_held', 'record', 'max_tokens')
if not l[1] then
  if state == 'void' then
    redis.call('HSET', named('lease', lease), 'state', 'void')
    redis.call('EXPIRE', named('lease', lease), ARGV[7])
  end
  local now = now_ms()
  local was_booked = redis.call('EXISTS', named('lease', lease)) == 1 or decision_of(lease, 144, now)
  if state ~= 'settled' or record == '' or decision == '' or was_booked then return 0 end
  add(named('spend', 'key:' .. ARGV[13]), day_of(now) .. ':requests', 1)
  l = {ARGV[13], ARGV[14], whole(now), false, '',
    redis.call('HGET', named('key', ARGV[13]), 'owner') or '', '', '0', '0', ''}
end
local late = l[4] == 'recovered'
if late and state == 'recovered' then return 0 end
local key, account = l[1], l[2] or ''
local started, total, tokens, output = figure(l[3]), 0, figure(ARGV[12]), 0
local MONEY, OUTPUT = 1, 7

-- Adds amounts, by their place, to an account's counters; money is spent at every scope as well.
local function count(at, model, amounts)
  add_amounts(key, at, model, started, amounts, ARGV[6])
  total = total + (amounts[MONEY] or 0)
  spend('account:' .. at, amounts[MONEY] or 0, started)
end

free_slots(lease, key, account)
if ARGV[8] == '1' then
  local now = now_ms()
  if l[14] == '1' then
    note_health(account, '', 'ok', now)
    if l[5] and l[5] ~= '' then note_health(account, l[5], 'ok', now) end
  end
  end_trial(account, l[5] or '', lease, now)
end
if ARGV[10] ~= '' and redis.call('EXISTS', named('account', account)) == 1 then
  redis.call('HSET', named('account', account), 'headroom', ARGV[10], 'headroom_until', ARGV[11])
end
if late then
  local before = redis.call('HGETALL', named('booked', lease))
  for i = 1, #before, 2 do
    local at, model = string.match(before[i], '^([^|]*)|(.*)$')
    local amounts = {}
    for place, amount in pairs(unpacked(before[i + 1])) do amounts[place] = -amount end
    count(at, model, amounts)
  end
  redis.call('DEL', named('booked', lease))
end
if ARGV[16] ~= '' and redis.call('HGET', named('account', account), 'version') == ARGV[18] then
  redis.call('HSET', named('account', account), 'organization', ARGV[16], 'workspace', ARGV[17])
end
if ARGV[15] ~= '' then keep_homes(ARGV[15], account, now_ms()) end
local i = 19
while ARGV[i] do
  local at, model, last, amounts = ARGV[i], ARGV[i + 1], i + 2 + tonumber(ARGV[i + 2]), {}
  for j = i + 3, last, 2 do amounts[tonumber(ARGV[j])] = figure(ARGV[j + 1]) end
  count(at, model, amounts)
  output = output + (amounts[OUTPUT] or 0)
  if state == 'recovered' then
    redis.call('HSET', named('booked', lease), at .. '|' .. model, cmsgpack.pack(amounts))
  end
  i = last + 1
end
spend('key:' .. key, total, started)
if l[6] and l[6] ~= '' then spend('owner:' .. l[6], total, started) end
spend('relay', total, started)

if not late then
  -- What was held is free again, and the exact figures stand where the expected ones did.
  give_back({holders = l[7], most = l[8], expected = l[9], held_account = l[10],
    call_most = l[11], call_expected = l[12], lost_held = l[16]})
  if state == 'void' then
    uncount(lease, key, l[13] == '1', l[14] == '1', started)
  elseif l[13] == '1' then
    set_tokens(lease, key, tokens)
  end
  if state == 'settled' and ((l[7] and l[7] ~= '') or l[13] == '1') then
    learn(key, l[15] or '', figure(l[18]), output)
  end
end
if late and state == 'settled' and l[13] == '1' then set_tokens(lease, key, tokens) end
local entry
if record ~= '' or (late and l[17]) then
  entry = redis.call('XADD', NAME.usage, '*', 'record', record, 'at', whole(started), 'model',
    ARGV[9], 'state', state, 'replaces', late and l[17] or '')
end
if decision ~= '' then keep_decision(lease, decision, ARGV[5], now_ms()) end

if state == 'recovered' then
  redis.call('HSET', named('lease', lease), 'state', 'recovered')
  if entry then redis.call('HSET', named('lease', lease), 'record', entry) end
  redis.call('EXPIRE', named('lease', lease), ARGV[7])
  redis.call('EXPIRE', named('booked', lease), ARGV[7])
else
  redis.call('DEL', named('lease', lease))
end
return late and 2 or 1
