-- A lease's account has failed it: note that, let the account cool down if it must, and choose
-- another.
-- Guarantees: the lease holds one slot at one account at most; no account is chosen twice for
-- one lease, but for the last one, which may be asked again when there is no other. A lease that
-- names what lives in one account goes to no other workspace; one whose conversation has an
-- organisation's thinking goes to no other organisation.
-- KEYS[1]  open leases
-- ARGV     1 lease  2 state of the failed account ('' = it stays as it is)  3 class of models
--          that it is about ('' = all)  4 reason  5 cooldown, ms
--          6 of so many requests at least a share must fail before it cools down (1: at once)
--          7 the most that it may wait before the same account is asked again, ms ('' = it may not
--          be asked again)  8 micro-dollars that the failed attempt is booked with  9 that
--          attempt, for the books of a process that dies
--          10 '1' when the failure may lie on a way that all accounts share
--          11 how many may wait in one line  12 '' asks for the first time, 'waits' has waited,
--          'last' may not wait any more  13 percent of an account's slots that one of several keys
--          may have  14… accounts that were tried
-- Returns  {'none'}, {'again', ms}: the same account may be asked after that at the earliest,
--          {'wait'}: it stands in line for a slot of an account, and asks once more, without a state
--          or  {'moved', account id, version, name, skipped accounts as JSON, 1 if it is the trial
--          of an account whose cooldown is over}
local lease, state, class, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local rest, least = tonumber(ARGV[5]), tonumber(ARGV[6])
local l = redis.call('HMGET', named('lease', lease), 'account', 'state', 'affinity', 'model',
  'class', 'groups', 'kind', 'call_most', 'call_expected', 'holders', 'held_account', 'lost',
  'lost_held', 'most', 'soft_burst', 'key', 'unbounded', 'home',
  'thought', 'goes_on', 'also')
if not l[1] or l[2] then return {'none'} end
local now, failed = now_ms(), named('account', l[1])

-- While an account fails more than it serves, requests come back to it at this pace, and none later
-- than this.
local REPEAT_EVERY_MS, LONGEST_PAUSE_MS = 200, 600000

-- Can another account serve the lease? The last one is never given up. Where the failure may lie on
-- a shared way it must be one that does not fail as well: what hits all is no account's fault.
local function another_serves(ask)
  for _, id in ipairs(redis.call('SMEMBERS', NAME.accounts)) do
    if id ~= l[1] and judged(id, ask, {}, now) then
      if ARGV[10] ~= '1' or not is_failing(id, class, 1, now) then return true end
    end
  end
  return false
end

-- A failure that may have had its own causes: it counts, and a share of them cools the account down.
local function count_failure(ask, is_trial)
  note_health(l[1], class, 'failed', now)
  local running = redis.call('ZCARD', named('inflight_account', l[1])) - 1
  if not is_trial and not is_failing(l[1], class, least, now, running) then return end
  if another_serves(ask) then
    set_state(l[1], class, state, reason, whole(now + rest), now)
    forget_health(l[1], class, now)
  elseif is_trial then
    clear_state(l[1], class, now)
  end
end

-- Returns  whether a cooldown began that the upstream itself stated
local function cool_down(ask)
  local f = state_fields(class)
  local was = redis.call('HMGET', failed, f.state, f.till, f.probe)
  local is_trial = was[3] == lease
  if least > 1 then
    -- What was sent before a cooldown began says nothing new.
    if is_trial or not was[1] then count_failure(ask, is_trial) end
  elseif is_trial or not was[1] then
    set_state(l[1], class, state, reason, whole(now + rest), now)
    return true
  elseif now + rest > (tonumber(was[2]) or math.huge) then
    -- It was sent before the cooldown began, and says only how long that has to be.
    redis.call('HSET', failed, f.till, whole(now + rest))
  end
end

-- How long a lease that comes back to its account has to wait; nil when that is too long for it.
local function pace()
  local most = tonumber(ARGV[7])
  if not most or least <= 1 or not is_failing(l[1], class, least, now) then return most and 0 end
  local at = figure(redis.call('HGET', failed, 'repeat_at'))
  -- The clock may have been set back.
  if at > now + LONGEST_PAUSE_MS then at = 0 end
  at = math.max(at, now)
  if at - now > most then return nil end
  redis.call('HSET', failed, 'repeat_at', whole(at + REPEAT_EVERY_MS))
  return at - now
end

local tried = {}
for i = 14, #ARGV do tried[ARGV[i]] = true end
local key, cost = l[16], reservation(l[8], l[9])
local counts = l[7] == 'messages' or l[7] == 'batch'
-- Leases of the release before do not say how many budgets more may be under way: it was one.
cost.burst = tonumber(l[15]) or 1
local ask = {lease = lease, key = key, percent = tonumber(ARGV[13]), bound = '', model = l[4],
  also = l[21] or '', class = l[5], groups = l[6], cost = counts and cost,
  unbounded = l[17] or ''}
local is_first = state ~= '' and redis.call('EXISTS', failed) == 1 and cool_down(ask)
-- A lost attempt is booked: beside it the next one needs its whole reservation again. That passes
-- no bound either: what was lost before and now is spent, and the next one is as a new request.
local lost, again = figure(ARGV[8]), {}
local own = figure(l[14])
local beside = {most = lost, expected = lost, burst = cost.burst, own = own,
  least = math.max(0, own - cost.most) + lost}
for scope in string.gmatch(lost > 0 and l[10] or '', '[^\n]+') do
  if check_budgets(scope, budgets_of(scope, lease), beside, now) then
    if ARGV[12] ~= '' then leave_lines(lease, key) end
    return {'none'}
  end
  again[#again + 1] = scope
end
ask.bound, ask.thinking = l[18] or '', thinking_of(l[19])
-- A conversation that has only begun has nothing at the account that failed.
ask.wanted = l[20] == '1' and l[1] or nil
local found = choose(ask, tried, now)

-- The attempt is over: if this process dies, it stands beside the next one in the books.
local function note_attempt()
  add(named('lease', lease), 'attempt', 1)
  redis.call('HSET', named('lease', lease), 'lost', (l[12] or '') .. ARGV[9] .. '\n')
  redis.call('HDEL', named('lease', lease), 'input', 'chars')
  if lost <= 0 then return end
  if l[11] and l[11] ~= '' then
    hold('account:' .. l[11], {most = lost, expected = lost}, 1)
    redis.call('HSET', named('lease', lease), 'lost_held',
      (l[13] or '') .. l[11] .. ' ' .. whole(lost) .. '\n')
  end
  for _, scope in ipairs(again) do hold(scope, {most = lost, expected = lost}, 1) end
  add(named('lease', lease), 'most', lost)
  add(named('lease', lease), 'expected', lost)
end

local has_place = not found.best and found.full and ARGV[12] ~= 'last'
  and stand_in_line('accounts', lease, key, tonumber(ARGV[11]), now, found.full)
local slots = named('inflight_account', l[1])
-- Who has waited for another account has no slot at this one any more.
local pause = not found.best and not has_place and redis.call('ZSCORE', slots, lease) and pace()
if pause then
  if is_first then
    -- Nobody else is to be the first after a cooldown that this lease waits for.
    local f = state_fields(class)
    redis.call('HSET', failed, f.probe, lease, f.probe_at, whole(now + rest))
  end
  note_attempt()
  return {'again', whole(pause)}
end
redis.call('ZREM', slots, lease)
if has_place then return {'wait'} end
if ARGV[12] ~= '' then leave_lines(lease, key) end
if not found.best then return {'none'} end
redis.call('HSET', named('lease', lease), 'account', found.best.id)
note_attempt()
hold_account(lease, l[11], found.best, counts and cost)
take(lease, key, found.best, l[3], now)
note_served(found.best.id, key)
return {'moved', found.best.id, found.best.version, found.best.name, found.skipped,
  found.best.trials[1] and 1 or 0}
