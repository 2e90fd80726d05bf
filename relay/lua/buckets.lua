-- What grows with requests and is of use for a while stands in hashes, each for a stretch of time:
-- that takes less memory than a key for each, and the oldest can be dropped at once when memory
-- is short (store/shares.py says who may take how much).

local DECISIONS_MS, DECISIONS = 600000, 1009
local AFFINITY_MS, AFFINITIES = 1800000, 3

local function bucket(kind, length_ms, now, back)
  return named(kind, whole(math.floor(now / length_ms) - back))
end

local function put(name, field, value, life_s)
  if redis.call('HSET', name, field, value) == 1 and redis.call('HLEN', name) == 1 then
    redis.call('EXPIRE', name, life_s)
  end
end

-- Keeps why a request went where it went.
local function keep_decision(lease, decision, life_s, now)
  put(bucket('decisions', DECISIONS_MS, now, 0), lease, decision, life_s)
end

-- The newest decision of a request, looked for as far back as `buckets` of them; nil when there is
-- none. Earlier releases gave each a key of its own.
local function decision_of(lease, buckets, now)
  for back = 0, math.min(buckets, DECISIONS) - 1 do
    local found = redis.call('HGET', bucket('decisions', DECISIONS_MS, now, back), lease)
    if found then return found end
  end
  return redis.call('GET', named('decision', lease)) or nil
end

-- The account of a conversation that had a request within the last hour, or nil.
local function account_of(affinity, now)
  for back = 0, AFFINITIES - 1 do
    local found = redis.call('HGET', bucket('affinity', AFFINITY_MS, now, back), affinity)
    if found then return found end
  end
end

local function keep_account(affinity, account, now)
  put(bucket('affinity', AFFINITY_MS, now, 0), affinity, account, AFFINITIES * AFFINITY_MS / 1000)
end
