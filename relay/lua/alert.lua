-- Something that somebody is to be told. The newest five thousand are kept.
local function alert(event, now, ...)
  redis.call('XADD', NAME.alerts, 'MAXLEN', '~', 5000, '*', 'event', event, 'at', whole(now), ...)
end

