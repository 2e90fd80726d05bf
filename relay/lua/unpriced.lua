-- Stores models that were booked without a row in the price table. The first day of each stays.
-- KEYS[1]  models without a row
-- ARGV     1 most of them  2… model, day, model, day, …
for i = 2, #ARGV, 2 do
  if redis.call('HLEN', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
