-- Keeps a day's report and hands it to the alerts, once.
-- KEYS[1]  reports
-- ARGV     1 day  2 the report as JSON  3… an alert's fields and values; none = no alert
-- Returns  1 when it was not kept before, else 0
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
if #ARGV > 2 then
  alert('report', now_ms(), unpack(ARGV, 3))
end
return 1
