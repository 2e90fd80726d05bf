-- Counts requests that were refused before admission, in the hour and day of now.
-- KEYS[1]  usage records, whose counters stand beside them
-- ARGV     1 counters' life in seconds  2… key, model, counter's place, amount, key, model, …
local now = now_ms()
for i = 2, #ARGV, 4 do
  local amounts = {[tonumber(ARGV[i + 2])] = figure(ARGV[i + 3])}
  add_amounts(ARGV[i], '', ARGV[i + 1], now, amounts, ARGV[1])
end
return #ARGV
