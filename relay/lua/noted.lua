-- Notes a delivery that was not of a claimed alert, such as a test.
-- KEYS[1]  the webhook's log
-- ARGV     1 webhook  2 the line
note_delivery(ARGV[1], ARGV[2])
return 1
