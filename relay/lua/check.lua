-- Books what a check of an account's credential found.
-- Guarantees: each change of state is told once, whoever checks.
-- KEYS[1]  accounts
-- ARGV     1 account  2 'ok', 'refused', 'failed', 'silent' (no answer at all) or 'spent'  3 state of a refused or spent one
--          4 reason  5 failures in a row that disable it  6 for how long it is spent, ms
-- Returns  the account's state before and after
local account, outcome, now = ARGV[1], ARGV[2], now_ms()
local key = named('account', account)
local a = redis.call('HMGET', key, 'enabled', 'state', 'name')
local state = a[2] or 'ok'
if not a[3] or a[1] ~= '1' then return {state, state} end

if outcome == 'spent' then
  -- What passes by itself, or has passed and was not tried since, gives way to what lasts.
  local lasts = state == 'unauthorized' or state == 'expired' or state == 'disabled'
  if lasts then return {state, state} end
  set_state(account, '', ARGV[3], ARGV[4], whole(now + tonumber(ARGV[6])), now)
  return {state, ARGV[3]}
end
-- Does another account answer its checks? What hits all is no account's fault.
local function another_answers()
  for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local b = redis.call('HMGET', named('account', id), 'enabled', 'state', 'checks_failed')
    local is_well = b[1] == '1' and b[2] ~= 'disabled' and figure(b[3]) == 0
    if id ~= account and is_well then return true end
  end
  return false
end

if outcome == 'failed' or outcome == 'silent' then
  local failures = add(key, 'checks_failed', 1)
  local lasts = state == 'unauthorized' or state == 'expired' or state == 'disabled'
  if failures < tonumber(ARGV[5]) or lasts then return {state, state} end
  -- Requests that are answered say more than a check that is not.
  local ok, failed = health_of(account, '', now)
  if ok > failed or (outcome == 'silent' and not another_answers()) then return {state, state} end
  set_state(account, '', 'disabled', ARGV[4], '', now)
  return {state, 'disabled'}
end
redis.call('HDEL', key, 'checks_failed')
if outcome == 'refused' then
  if state ~= ARGV[3] then set_state(account, '', ARGV[3], ARGV[4], '', now) end
  return {state, ARGV[3]}
end
-- Limits and overload pass by themselves; that the credential is good says nothing of them.
if state ~= 'unauthorized' and state ~= 'expired' and state ~= 'disabled' then
  return {state, state}
end
clear_state(account, '', now)
return {state, 'ok'}
