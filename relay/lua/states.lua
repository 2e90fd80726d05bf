-- How an account's trouble is kept: as the state of the whole account, or of one class of its
-- models. An account without a state is well. A state ends by itself at `till`, then one request
-- tries (the probe), or it lasts until a check or a person ends it (no `till`).

-- The fields of an account in which the state of `class` stands ('' = the whole account).
local function state_fields(class)
  local tail = class ~= '' and ':' .. class or ''
  return {state = 'state' .. tail, since = 'state_since' .. tail, till = 'state_until' .. tail,
    reason = 'state_reason' .. tail, strikes = 'strikes' .. tail, probe = 'probe' .. tail,
    probe_at = 'probe_at' .. tail}
end

-- The names under which a request's class of models may have a state of its own: that of the class,
-- and for a request in fast mode, which has limits of its own, that of its fast lane as well.
local function lanes_of(class)
  if class == '' then return {} end
  local base = string.match(class, '^(.+)%-fast$')
  return base and {base, class} or {class}
end

-- States that follow from a share of failures, and not from what the upstream stated.
local BY_EVIDENCE = {overloaded = true, failing = true}

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
  redis.call('HDEL', key, f.probe, f.probe_at)
  note_change(account, class, before, state, reason, till, now)
end

-- Lets an account be well again.
local function clear_state(account, class, now)
  local key, f = named('account', account), state_fields(class)
  local before = redis.call('HGET', key, f.state) or 'ok'
  redis.call('HDEL', key, f.state, f.since, f.till, f.reason, f.strikes, f.probe, f.probe_at)
  note_change(account, class, before, 'ok', '', '', now)
end

-- No state lasts longer: what stands beyond it is an upstream's mistake that an earlier release
-- stored, and counts as over.
local LONGEST_MS = 366 * 86400000

-- While a trial runs, another one may begin after so long: an answer can take minutes.
local TRIAL_MS = 1000
-- How soon those that wait for a trial's outcome should ask again.
local TRIAL_NEWS_MS = 200

-- Why an account cannot serve by a state just now, and when it can (ms; nil when nobody knows).
-- `is_last`  no other account can serve: then a state by evidence lets a trial through at any time
local function rest_of(state, till, probe, probe_at, is_last, now)
  if not state then return nil end
  local back = tonumber(till)
  local is_over = back and (back <= now or back >= now + LONGEST_MS)
  if not is_over and not (is_last and BY_EVIDENCE[state]) then return state, back end
  local is_running = probe and redis.call('ZSCORE', NAME.leases, probe)
  if is_running and math.abs(now - figure(probe_at)) < TRIAL_MS then
    return state, now + TRIAL_NEWS_MS
  end
  return nil
end

-- Ends the states for which a lease was the trial, as it has gone well.
local function end_trial(account, class, lease, now)
  local lanes = lanes_of(class)
  table.insert(lanes, '')
  for _, lane in ipairs(lanes) do
    if redis.call('HGET', named('account', account), state_fields(lane).probe) == lease then
      clear_state(account, lane, now)
    end
  end
end
