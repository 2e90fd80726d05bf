-- What a key's requests have used of their max_tokens, so that a request of the key can be reserved
-- with what it is expected to cost.

-- Shares are in millionths of max_tokens. This one stands for a model without history: agents use a
-- few per cent of what they ask for, short questions by programs a third.
local ALL, USUAL_SHARE = 1000000, 100000
-- Models of which a key has a history: their names are the client's.
local MOST_SHARES = 200
-- Each request moves the share so far towards its own.
local WEIGHT = 0.2

local function bounded_share(stored) return math.max(0, math.min(ALL, figure(stored))) end

-- The share that a key's requests to a model have used of late. Where the release before has left
-- averages of a whole request: no share, micro-dollars, tokens.
local function share_of(key, model)
  local stored = redis.call('HMGET', named('average', key), model .. '|share', model,
    model .. '|tokens')
  if stored[1] then return bounded_share(stored[1]), 0, 0 end
  if stored[2] then return 0, figure(stored[2]), figure(stored[3]) end
  return USUAL_SHARE, 0, 0
end

-- Learns from a request that has ended: it asked for `most` tokens and got `output` of them.
local function learn(key, model, most, output)
  if most <= 0 or output <= 0 then return end
  local name, field = named('average', key), model .. '|share'
  local own, before = math.min(ALL, ALL * output / most), redis.call('HGET', name, field)
  redis.call('HDEL', name, model, model .. '|tokens')
  if not before and redis.call('HLEN', name) >= MOST_SHARES then return end
  local share = before and bounded_share(before) * (1 - WEIGHT) + own * WEIGHT or own
  redis.call('HSET', name, field, whole(share))
  redis.call('EXPIRE', name, 30 * 86400)
end
