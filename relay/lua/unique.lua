-- Do two records of one kind have a name? Every record is read, so the answer is right for those
-- that an older release wrote as well, and no index of names can go stale.

-- The ids of all records that `index` lists: a set, or a hash from the secrets' hashes to them.
local function ids_in(index)
  local is_set = redis.call('TYPE', index).ok == 'set'
  return redis.call(is_set and 'SMEMBERS' or 'HVALS', index)
end

-- Does another record than `id` have this name, or this name as its id?
local function is_taken(index, kind, id, wanted)
  for _, other in ipairs(ids_in(index)) do
    if other ~= id
      and (other == wanted or redis.call('HGET', named(kind, other), 'name') == wanted) then
      return true
    end
  end
  return false
end
