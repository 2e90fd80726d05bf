-- Adds an alert, or not if it was added before.
-- KEYS[1]  alerts
-- ARGV     1 event  2 a word under which it is told once ('' = always)  3 for how long, ms
--          4… field, value, …
-- Returns  1 when it was added
if ARGV[2] ~= '' and not redis.call('SET', named('marks', 'once', ARGV[2]), '1', 'NX', 'PX', ARGV[3])
then
  return 0
end
alert(ARGV[1], now_ms(), unpack(ARGV, 4))
return 1
