-- Lines of calls that wait for a slot: of a key, of the whole relay or of an account. A key's own
-- line is first come, first served. Slots that keys share go by fair shares: a free slot goes to
-- the waiting key that has the fewest of them, of several to the one that was served longest ago;
-- within a key the first call comes first. No running request is ended for another one.
-- A waiting call is confirmed again and again (see wait.lua); one that is not is passed over.

-- A line outlives its last sign of life by this.
local LINE_LIFE_MS = 5000
-- How long it is remembered which key was served when, after the last one was.
local SERVED_LIFE_MS = 60000

-- Lines as this run found them, the shared slots that are scarce (calls wait for them, or one is
-- free), and whether there are several keys.
local found_lines, scarce, are_several = {}, {}, nil

-- Marks a key's leases among an account's, so that they can be counted (by ZCOUNT).
local function mark_of(key)
  return tonumber(string.sub(redis.sha1hex(key), 1, 12), 16)
end

-- How many of the shared slots a key has: of an account, or of the relay (no account).
local function held_by(key, account)
  if not account then return redis.call('ZCARD', named('inflight_key', key)) end
  local mark = mark_of(key)
  return redis.call('ZCOUNT', named('inflight_account', account), mark, mark)
end

-- How many of `most` shared slots one of several keys may have, so that a key that comes anew finds
-- a slot beside endless streams.
local function most_of_one(most, percent)
  return math.max(1, math.ceil(most * percent / 100))
end

-- As before, or all of them when there is one key only.
local function most_of_key(most, percent)
  if are_several == nil then are_several = redis.call('HLEN', NAME.key_by_hash) > 1 end
  return are_several and most_of_one(most, percent) or most
end

-- The calls of a line in their order: {lease, key, accounts (' ID ID … ')}.
local function calls_in(scope)
  if found_lines[scope] then return found_lines[scope] end
  local calls, leases = {}, redis.call('ZRANGE', named('waiting', scope), 0, -1)
  for first = 1, #leases, 1000 do
    local last = math.min(first + 999, #leases)
    for i, note in ipairs(redis.call('HMGET', NAME.waiting_calls, unpack(leases, first, last))) do
      local key, accounts = string.match(note or '', '^%d+ (%S+)(.*)$')
      calls[#calls + 1] = {lease = leases[first + i - 1], key = key or '', accounts = accounts or ''}
    end
  end
  found_lines[scope] = calls
  return calls
end

-- The waiting calls that a shared slot can serve: of an account, or of the relay (no account).
local function waiting_for(account)
  if not account then return calls_in('relay') end
  local some = {}
  for _, call in ipairs(calls_in('accounts')) do
    if string.find(call.accounts, ' ' .. account .. ' ', 1, true) then some[#some + 1] = call end
  end
  return some
end

-- Which of `calls` get the free ones of `most` shared slots: leases as a set.
local function turns(calls, account, most, free, percent)
  local queues, order = {}, {}
  for _, call in ipairs(calls) do
    if not queues[call.key] then
      order[#order + 1] = call.key
      queues[call.key] = {held = held_by(call.key, account), served = 0, at = 1}
    end
    table.insert(queues[call.key], call.lease)
  end
  local served, granted = named('served', account or 'relay'), {}
  for _, key in ipairs(#order > 1 and order or {}) do
    queues[key].served = figure(redis.call('HGET', served, key))
  end
  local most_held = most_of_key(most, percent)
  for _ = 1, free do
    local first
    for _, key in ipairs(order) do
      local q = queues[key]
      local is_before = not first or q.held < first.held
        or (q.held == first.held and q.served < first.served)
      if q[q.at] and q.held < most_held and is_before then first = q end
    end
    if not first then break end
    granted[first[first.at]] = true
    first.at, first.held, first.served = first.at + 1, first.held + 1, math.huge
  end
  return granted
end

-- May this lease take one of `most` shared slots now, with all that wait for them before it?
local function has_shared_slot(account, lease, key, running, most, percent)
  if running >= most then return false end
  local calls = waiting_for(account)
  scarce[account or 'relay'] = calls[1] or running + 1 >= most
  if not calls[1] then
    -- Most of the time so much is free that no key need be counted.
    return running < most_of_one(most, percent) or held_by(key, account) < most_of_key(most, percent)
  end
  local all, stands = {}, false
  for i, call in ipairs(calls) do
    all[i], stands = call, stands or call.lease == lease
  end
  if not stands then all[#all + 1] = {lease = lease, key = key} end
  return turns(all, account, most, most - running, percent)[lease] or false
end

-- Is a slot of its own key free for this lease, past everybody who stands before it?
local function has_key_slot(scope, lease, running, most)
  local line = named('waiting', scope)
  local before = redis.call('ZRANK', line, lease) or redis.call('ZCARD', line)
  return running + before < most
end

-- The last call of the key that has the most in a full line, when `key` has two fewer at least:
-- what keys wait in is shared by them as well.
local function crowded_out(scope, key)
  local counts, last, fullest = {}, {}, nil
  for _, call in ipairs(calls_in(scope)) do
    counts[call.key], last[call.key] = (counts[call.key] or 0) + 1, call.lease
    if not fullest or counts[call.key] > counts[fullest] then fullest = call.key end
  end
  return fullest and counts[fullest] > (counts[key] or 0) + 1 and last[fullest] or nil
end

-- Puts a lease into a line, unless it stands there already; a lease that stood in another one has
-- its place by the time that it came. `accounts`: what it waits for, in the accounts' line.
-- Returns  false when the line is full
local function stand_in_line(scope, lease, key, most, now, accounts)
  local line, note = named('waiting', scope), redis.call('HGET', NAME.waiting_calls, lease)
  local came, leaves = string.match(note or '', '^%d+'), nil
  if not redis.call('ZSCORE', line, lease) then
    if redis.call('ZCARD', line) >= most then
      -- A key's own line is its own: nobody else stands there.
      leaves = most > 0 and scope ~= 'key:' .. key and crowded_out(scope, key)
      if not leaves then return false end
    end
    local last = redis.call('ZRANGE', line, -1, -1, 'WITHSCORES')[2]
    came = came or whole(math.max(now, figure(last) + 1))
    redis.call('ZADD', line, came, lease)
  end
  -- A call that is put out finds that it has lost its place, and asks once more.
  if leaves then redis.call('ZREM', line, leaves) end
  local ids = accounts and ' ' .. table.concat(accounts, ' ') .. ' ' or ''
  redis.call('HSET', NAME.waiting_calls, lease, (came or whole(now)) .. ' ' .. key .. ids)
  redis.call('ZADD', NAME.waiting_seen, now, lease)
  for _, name in ipairs({line, NAME.waiting_calls, NAME.waiting_seen}) do
    redis.call('PEXPIRE', name, LINE_LIFE_MS)
  end
  return true
end

-- A lease waits in one line at a time.
local function leave_lines(lease, key, but)
  for _, scope in ipairs({'relay', 'accounts', 'key:' .. key}) do
    if scope ~= but then redis.call('ZREM', named('waiting', scope), lease) end
  end
  if not but then
    redis.call('ZREM', NAME.waiting_seen, lease)
    redis.call('HDEL', NAME.waiting_calls, lease)
  end
end

-- Remembers which key got one of the scarce slots, so that keys take turns.
local function note_served(account, key)
  for _, scope in ipairs({'relay', account}) do
    if scarce[scope] then
      local served = named('served', scope)
      redis.call('HSET', served, key, redis.call('HINCRBY', served, '', 1))
      redis.call('PEXPIRE', served, SERVED_LIFE_MS)
    end
  end
end
