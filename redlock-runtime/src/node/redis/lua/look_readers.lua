-- KEYS[1] the readers of a lock, as in write.lua
-- ARGV[1] the moment by the asker's clock, in milliseconds since 1970, for servers that do not tell their own within scripts
-- how many there are, and for how long the one stays who stays for longest, in milliseconds; those whose time is over are no more
-- counted, but for very many of them
local last = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
if not last then
    return {0, 0}
end
local is_told, time = pcall(redis.call, 'TIME')
local now = is_told and time[1] * 1000 + math.floor(time[2] / 1000) or tonumber(ARGV[1])
local remaining = redis.call('ZSCORE', KEYS[1], last) - now
if remaining < 0 then
    return {0, 0}
end
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, 1000)
return {redis.call('ZCARD', KEYS[1]) - #over, remaining}
