-- Reads the counters of several hours and days at one moment.
-- KEYS[1]  usage records
-- ARGV     1 cells to read, their numbers with commas between ('' = all)  2… days and hours
-- Returns  {id of the newest record ever, {number, packed cell, …} for each period}
local answer = {'0-0'}
if redis.call('EXISTS', KEYS[1]) == 1 then
  local told = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #told, 2 do
    if told[i] == 'last-generated-id' then answer[1] = told[i + 1] end
  end
end
local wanted = {}
for number in string.gmatch(ARGV[1], '[^,]+') do wanted[#wanted + 1] = number end
for i = 2, #ARGV do
  local period = named(#ARGV[i] == 10 and 'count_day' or 'count_hour', ARGV[i])
  local row = {}
  if #wanted == 0 then
    row = redis.call('HGETALL', period)
  else
    for place, packed in ipairs(redis.call('HMGET', period, unpack(wanted))) do
      if packed then
        row[#row + 1] = wanted[place]
        row[#row + 1] = packed
      end
    end
  end
  answer[i] = row
end
return answer
