-- The account in which something lives that a request names. Files, batches and the like are in the
-- table of objects as long as they exist. What an answer named (a thread, a container, a credit) is
-- remembered as long as it lives, in hashes each for a stretch of time (see buckets.lua), under a
-- hash of the key and the id: what another key was given is not found.

-- How long a stretch is in ms, and how many of them are looked through.
local HOMES = {credit = {100000, 4}, thread = {1800000, 3}, container = {604800000, 6},
  thinking = {604800000, 6}}

-- The account of one of what a request names ('KIND FIELD'), or nil.
local function home_of(named_thing, key, now)
  local kind, field = string.match(named_thing, '^(%S+) (%S+)$')
  local life = HOMES[kind]
  if not life then
    local o = redis.call('HMGET', named('object', field), 'key', 'kind', 'account')
    return o[1] == key and o[2] == kind and o[3] or nil
  end
  for back = 0, life[2] - 1 do
    local number = whole(math.floor(now / life[1]) - back)
    local found = redis.call('HGET', named('homes', kind, number), field)
    if found then return found end
  end
end

-- The account of all that a request names (one a line), or nil and why there is none:
-- 'unknown' and the number of the line, or 'split' and the numbers of two.
-- An unknown credit is for the upstream to judge: it lives a few minutes only.
local function home_of_all(lines, key, now)
  local home, first, number = '', nil, 0
  for line in string.gmatch(lines, '[^\n]+') do
    local kind = string.match(line, '^%S+')
    local account = kind ~= 'thinking' and home_of(line, key, now)
    if not account and kind ~= 'credit' and kind ~= 'thinking' then
      return nil, 'unknown', whole(number)
    end
    if account and home ~= '' and account ~= home then
      return nil, 'split', whole(first) .. ' ' .. whole(number)
    end
    if account and home == '' then home, first = account, number end
    number = number + 1
  end
  return home
end

-- The account that thought what a request hands back, newest first, as 'ID ORGANISATION', or nil.
local function thought_of(lines, key, now)
  for field in string.gmatch(lines, 'thinking (%S+)') do
    local found = home_of('thinking ' .. field, key, now)
    if found then return found end
  end
end

-- Remembers where what an answer named lives; of what it thought the organisation as well, which
-- outlives the account.
local function keep_homes(lines, account, now)
  for kind, field in string.gmatch(lines, '(%S+) (%S+)') do
    local life, value = HOMES[kind], account
    if kind == 'thinking' then
      value = account .. ' ' .. (redis.call('HGET', named('account', account), 'organization') or '')
    end
    local number = whole(math.floor(now / life[1]))
    put(named('homes', kind, number), field, value, life[1] * life[2] / 1000)
  end
end
