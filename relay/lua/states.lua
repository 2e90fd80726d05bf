-- How an account's trouble is kept: as the state of the whole account, or of one class of its
-- models. An account without a state is well. A state ends by itself at `till`, then one request
-- tries (the probe), or it lasts until a check or a person ends it (no `till`).

-- The fields of an account in which the state of `class` stands ('' = the whole account).
local function state_fields(class)
  local tail = class ~= '' and ':' .. class or ''
  return {state = 'state' .. tail, since = 'state_since' .. tail, till = 'state_until' .. tail,
    reason = 'state_reason' .. tail, strikes = 'strikes' .. tail, probe = 'probe' .. tail}
end

-- States that are no passing matter: somebody is told of them.
local IS_ERROR = {unauthorized = true, expired = true, disabled = true, exhausted = true}

-- Keeps a change of state for the account's history; one to or from an error is an alert as well.
local function note_change(account, class, before, after, reason, till, now)
  if before == after then return end
  local label = redis.call('HGET', named('account', account), 'name') or ''
  local event = {'account', account, 'name', label, 'class', class, 'before', before,
    'state', after, 'reason', reason, 'until', till}
  redis.call('XADD', NAME.states, 'MAXLEN', '~', 5000, '*', 'at', whole(now), unpack(event))
  if IS_ERROR[before] or IS_ERROR[after] then alert('account_error', now, unpack(event)) end
end

-- Gives an account a state. `till` in ms, or '' when nothing but a check or a person ends it.
local function set_state(account, class, state, reason, till, now)
  local key, f = named('account', account), state_fields(class)
  local before = redis.call('HGET', key, f.state) or 'ok'
  redis.call('HSET', key, f.state, state, f.since, whole(now), f.till, till, f.reason, reason)
  redis.call('HDEL', key, f.probe)
  note_change(account, class, before, state, reason, till, now)
end

-- Lets an account be well again.
local function clear_state(account, class, now)
  local key, f = named('account', account), state_fields(class)
  local before = redis.call('HGET', key, f.state) or 'ok'
  redis.call('HDEL', key, f.state, f.since, f.till, f.reason, f.strikes, f.probe)
  note_change(account, class, before, 'ok', '', '', now)
end

-- No state lasts longer: what stands beyond it is an upstream's mistake that an earlier release
-- stored, and counts as over.
local LONGEST_MS = 366 * 86400000

-- Why an account cannot serve by a state just now, and when it can (ms; nil when nobody knows).
local function rest_of(state, till, probe, now)
  if not state then return nil end
  local back = tonumber(till)
  if not back or (back > now and back < now + LONGEST_MS) then return state, back end
  if probe and redis.call('ZSCORE', NAME.leases, probe) then return state, now + 1000 end
  return nil
end
