-- Why a request went where it went.
-- KEYS[1]  usage records, whose decisions stand beside them
-- ARGV     1 request
-- Returns  the decision as JSON, or nil
return decision_of(ARGV[1], DECISIONS, now_ms()) or false
