-- Reads how much some scopes have used of their budgets. Changes nothing.
-- ARGV     1 the whole relay's budgets  2… scopes: relay, key:ID, owner:NAME, account:ID
-- Returns  JSON list of {scope, period, mode, limit, used, held, till?}
local now, found = now_ms(), {}
for i = 2, #ARGV do
  local kind, id = string.match(ARGV[i], '^(%a+):(.+)$')
  local budgets = ARGV[1]
  if kind then budgets = redis.call('HGET', named(kind, id), 'budgets') or nil end
  for _, one in ipairs(budgets_used(ARGV[i], budgets, now)) do
    one.scope = ARGV[i]
    found[#found + 1] = one
  end
end
return #found > 0 and cjson.encode(found) or '[]'
