-- Books what a check of an account's credential found.
-- Guarantees: each change of state is told once, whoever checks.
-- KEYS[1]  accounts
-- ARGV     1 account  2 'ok', 'refused', 'failed' or 'spent'  3 state of a refused or spent one
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
if outcome == 'failed' then
  local failures = redis.call('HINCRBY', key, 'checks_failed', 1)
  if failures < tonumber(ARGV[5]) or state == 'unauthorized' or state == 'expired' then
    return {state, state}
  end
  if state ~= 'disabled' then set_state(account, '', 'disabled', ARGV[4], '', now) end
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
