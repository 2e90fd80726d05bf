-- Hands out batches that somebody has to look at now.
-- Guarantees: for the length of the claim nobody else gets them. It ends by itself.
-- KEYS[1]  batches that are not booked yet, by when somebody looks at them next
-- ARGV     1 how many  2 length of the claim, ms
-- Returns  their ids
local now = now_ms()
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[2])), id) end
return ids
