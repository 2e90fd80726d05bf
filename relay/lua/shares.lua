-- Reads which share of max_tokens a key's requests are expected to use.
-- ARGV     1 key id  2… models
-- Returns  for each model millionths, and what one request cost on average in micro-dollars where
--          nothing else is known of it (else 0)
local found = {}
for i = 2, #ARGV do
  local share, micros = share_of(ARGV[1], ARGV[i])
  found[#found + 1] = share
  found[#found + 1] = whole(micros)
end
return found
