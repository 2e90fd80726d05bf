-- Which account serves. Able are those that are enabled, well, of the key's groups, serve the
-- model and have a slot free. A conversation's own account comes first, then those of its workspace,
-- then those of its organisation. Else it goes by turns within the best priority, in proportion to weight (start-time fair queueing), past accounts
-- that run much more than their share; one near its upstream's limits counts for less.

-- Below this part of an upstream's limit an account's weight shrinks with what is left.
local ENOUGH, LEAST = 0.5, 0.05

local function weight_of(weight, headroom, till, now)
  local left = figure(till) > now and figure(headroom) / 1000 or 1
  return (tonumber(weight) or 1) * math.max(LEAST, math.min(1, left / ENOUGH))
end

-- The first of `models` (one a line) that an account calls something else.
local function maps_any(id, models)
  local map = redis.call('HGET', named('account', id), 'model_map')
  if not map or map == '' then return nil end
  map = cjson.decode(map)
  for model in string.gmatch(models, '[^\n]+') do
    if map[model] then return model end
  end
end

-- Where accounts belong by their answers' headers, as this run read it.
local found_places = {}

local function place_of(id)
  if not found_places[id] then
    local p = redis.call('HMGET', named('account', id), 'organization', 'workspace')
    found_places[id] = {organization = p[1] or '', workspace = p[2] or ''}
  end
  return found_places[id]
end

-- How much of what lives at one account another has as well: 2 all of it (they share a workspace),
-- 1 what an organisation shares, 0 nothing that is known of.
local function nearness(id, other)
  if id == other then return 2 end
  local a, b = place_of(id), place_of(other)
  if a.organization == '' or a.organization ~= b.organization then return 0 end
  return a.workspace ~= '' and a.workspace == b.workspace and 2 or 1
end

-- An account's thinking in a conversation ('ID ORGANISATION') as {id, organization}, or nil.
local function thinking_of(text)
  local id, organization = string.match(text or '', '^(%S+) (.*)$')
  if not id then return nil end
  local now_of = place_of(id).organization
  return {id = id, organization = now_of ~= '' and now_of or organization}
end

-- Does an account have what `ask` needs to be answered there?
local function has_what_it_needs(id, ask)
  if ask.bound ~= '' and nearness(id, ask.bound) < 2 then return false end
  local thinking = ask.thinking
  if not thinking or id == thinking.id then return true end
  return thinking.organization ~= '' and place_of(id).organization == thinking.organization
end

-- Are the accounts that may serve ('' = every one) known to serve everywhere, and not in the US alone?
local function serve_everywhere(bound)
  for _, id in ipairs(redis.call('SMEMBERS', NAME.accounts)) do
    local may_serve = bound == '' or nearness(id, bound) == 2
    if may_serve and redis.call('HGET', named('account', id), 'inference_geo') ~= 'global' then return false end
  end
  return true
end

-- A fast request's class of models has a state beside that of its fast lane: why it keeps an
-- account from serving, and when it is back. Adds it to `trials` if the request would be one.
local function base_rest(id, class, is_last, trials, now)
  local lanes = lanes_of(class)
  if not lanes[2] then return nil end
  local f = state_fields(lanes[1])
  local a = redis.call('HMGET', named('account', id), f.state, f.till, f.probe, f.probe_at)
  local why, back = rest_of(a[1], a[2], a[3], a[4], is_last, now)
  if a[1] then table.insert(trials, lanes[1]) end
  return why, back
end

-- Which of the models that a request names an account calls something else, or nil. Names beside
-- `model` go on as they are, and so do all of a batch.
local function renamed(id, ask)
  local own = ask.is_batch and maps_any(id, ask.model)
  return own or (ask.also ~= '' and maps_any(id, ask.also)) or nil
end

-- Judges one account for `ask` ({lease, key, percent, bound, thinking, wanted, model, also,
-- class, groups, cost, is_batch, unbounded, is_last}).
-- Returns  the account, or nil with its name, why not, when it will be back (ms or nil), how
--          many slots it has if they are what is missing, and which model if that is
local function judged(id, ask, tried, now)
  local f = state_fields(ask.class)
  local a = redis.call('HMGET', named('account', id), 'name', 'enabled', 'version', 'state',
    'state_until', 'probe', 'groups', 'models', 'max_concurrency', 'token_until', 'priority',
    'weight', 'headroom', 'headroom_until', 'turn', 'used_at', 'probe_at', 'budgets',
    f.state, f.till, f.probe, f.probe_at)
  if not a[1] then return nil end
  if tried[id] then return nil, a[1], 'tried' end
  if a[2] ~= '1' then return nil, a[1], 'disabled' end
  -- Who looks at an object of an account names no model, and needs it wherever it lies.
  if ask.bound == '' or ask.model ~= '' then
    if not share_a_word(ask.groups, a[7]) then return nil, a[1], 'group' end
    local lacks = unmatched(a[8], ask.model) or unmatched(a[8], ask.also)
    if lacks then return nil, a[1], 'model', nil, nil, lacks end
    lacks = renamed(id, ask)
    if lacks then return nil, a[1], 'mapped', nil, nil, lacks end
  end
  local trials = {}
  local why, back = rest_of(a[4], a[5], a[6], a[17], ask.is_last, now)
  if a[4] then trials[1] = '' end
  if not why and ask.class ~= '' then
    why, back = rest_of(a[19], a[20], a[21], a[22], ask.is_last, now)
    if a[19] then table.insert(trials, ask.class) end
    if not why then why, back = base_rest(id, ask.class, ask.is_last, trials, now) end
  end
  if why then return nil, a[1], why, back end
  if a[10] and (tonumber(a[10]) or math.huge) <= now then return nil, a[1], 'expired' end
  local load, most = redis.call('ZCARD', named('inflight_account', id)), tonumber(a[9]) or 0
  if most > 0 and not has_shared_slot(id, ask.lease, ask.key, load, most, ask.percent) then
    return nil, a[1], 'full', nil, most
  end
  local budgets = a[18] and a[18] ~= '' and a[18]
  if budgets and ask.cost then
    if (ask.unbounded or '') ~= '' and string.find(budgets, ' strict ', 1, true) then
      return nil, a[1], 'unbounded'
    end
    local passed = check_budgets('account:' .. id, budgets, ask.cost, now)
    if passed then return nil, a[1], 'budget', passed.till end
  end
  return {id = id, name = a[1], budgets = budgets, version = a[3], load = load, used = tonumber(a[16]) or 0,
    priority = tonumber(a[11]) or 50, weight = weight_of(a[12], a[13], a[14], now),
    turn = tonumber(a[15]) or 0, trials = trials}
end

-- Of the accounts of one priority, the one whose turn it is.
local function by_turn(able, now_at)
  local busy, weights, best = 1, 0, nil
  for _, a in ipairs(able) do busy, weights = busy + a.load, weights + a.weight end
  for _, a in ipairs(able) do
    local is_crowded = a.load > 2 + 1.5 * busy * a.weight / weights
    a.turn = math.max(a.turn, now_at)
    local is_before = best and (a.turn < best.turn or (a.turn == best.turn and a.used < best.used))
    if not is_crowded and (not best or is_before) then best = a end
  end
  return best
end

-- Of able accounts those that have most of what the conversation has at the account `near` (its
-- prompt cache, what it thought), and of these those of the best priority.
local function best_of(able, near)
  local best = {}
  for _, a in ipairs(able) do
    a.near = near and nearness(a.id, near) or 0
    local b = best[1]
    if b and (a.near > b.near or (a.near == b.near and a.priority < b.priority)) then
      best, b = {}, nil
    end
    if not b or (a.near == b.near and a.priority == b.priority) then best[#best + 1] = a end
  end
  return best
end

-- Notes in `found` why an account cannot serve.
local function note_skipped(found, id, label, why, back, slots, lacks)
  if slots then
    found.full, found.slots = found.full or {}, (found.slots or 0) + slots
    table.insert(found.full, id)
  end
  if BY_EVIDENCE[why] then found.failing = found.failing or {}; table.insert(found.failing, id) end
  found.skipped = found.skipped or {}
  found.skipped[why] = found.skipped[why] or {}
  -- Decisions stay small, however many accounts there are.
  local names = found.skipped[why]
  if #names < 5 then table.insert(names, label) else names[6] = 'and others' end
  -- What passes soonest is what a client should hear of.
  if back and (not found.back or back < found.back) then found.back, found.why = back, why end
  local tells = found.why == '' or why == 'full' or (why == 'unbounded' and found.why ~= 'full')
  if not found.back and tells then found.why, found.lacks = why, lacks end
end

-- Those of `ids` that can serve; notes in `found` what there is to say.
local function able_of(ids, ask, tried, found, now)
  local able = {}
  local first = ask.bound ~= '' and ask.bound or ask.wanted
  for _, id in ipairs(ids) do
    local a, label, why, back, slots, lacks
    if has_what_it_needs(id, ask) then
      a, label, why, back, slots, lacks = judged(id, ask, tried, now)
    end
    if (a or label) and not ask.is_last then found.known = found.known + 1 end
    if a then
      found.able = found.able + 1
      if id == first then found.best = a end
      able[#able + 1] = a
    elseif label and why ~= 'tried' then
      if ask.is_last then
        if back and back < (found.back or math.huge) then found.back, found.why = back, why end
      else
        note_skipped(found, id, label, why, back, slots, lacks)
      end
    end
  end
  return able
end

-- Returns  {best = account or nil, able = how many could serve, known = how many there are,
--          why = what keeps the rest from serving, back = when the first is back (ms or nil),
--          lacks = which model it is, where `why` is 'model' or 'mapped',
--          skipped = JSON of reason → names, or '',
--          full = accounts that only want for a slot, or nil, slots = how many those have}
local function choose(ask, tried, now)
  local found = {able = 0, known = 0, why = ''}
  local able = able_of(redis.call('SMEMBERS', NAME.accounts), ask, tried, found, now)
  if found.able == 0 and found.failing and not found.full then
    -- Nothing but accounts that failed of late is left: they are used, one trial at a time.
    ask.is_last = true
    able = able_of(found.failing, ask, tried, found, now)
  end
  found.skipped = found.skipped and cjson.encode(found.skipped) or ''
  if not found.best and able[1] then
    local near = ask.bound ~= '' and ask.bound or ask.thinking and ask.thinking.id or ask.wanted
    found.best = by_turn(best_of(able, near), tonumber(redis.call('GET', NAME.turn) or '0'))
    found.best.by_turn = true
  end
  return found
end

-- Gives a lease its slot at a chosen account, which its conversation then keeps for an hour.
local function take(lease, key_id, account, affinity, now)
  local key = named('account', account.id)
  redis.call('ZADD', named('inflight_account', account.id), mark_of(key_id), lease)
  redis.call('HSET', key, 'used_at', whole(now))
  if account.by_turn then
    redis.call('HSET', key, 'turn', string.format('%.17g', account.turn + 1 / account.weight))
    redis.call('SET', NAME.turn, string.format('%.17g', account.turn))
  end
  if affinity ~= '' then keep_account(affinity, account.id, now) end
  for _, lane in ipairs(account.trials) do
    local f = state_fields(lane)
    redis.call('HSET', key, f.probe, lease, f.probe_at, whole(now))
  end
end
