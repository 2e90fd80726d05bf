-- Which names do several records of one kind have? Earlier releases let two parallel creations do it.
-- KEYS[1]  index of the kind
-- ARGV     1 kind
-- Returns  the names
local seen, found = {}, {}
for _, id in ipairs(ids_in(KEYS[1])) do
  local name = redis.call('HGET', named(ARGV[1], id), 'name')
  if name and seen[name] and seen[name] ~= id then
    if seen[name] ~= '' then found[#found + 1] = name end
    seen[name] = ''
  elseif name then
    seen[name] = id
  end
end
return found
