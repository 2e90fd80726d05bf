-- Counts errors of Relay's own that no usage record tells of, by minute.
-- KEYS[1]  usage records, beside which the counters stand
-- ARGV     1 counters' life in seconds  2… age in minutes, what, amount, age, what, …
local minute = math.floor(now_ms() / 60000)
for i = 2, #ARGV, 3 do
  local counter = named('own_errors', whole(minute - figure(ARGV[i])))
  add(counter, ARGV[i + 1], ARGV[i + 2])
  redis.call('EXPIRE', counter, ARGV[1])
end
return #ARGV
