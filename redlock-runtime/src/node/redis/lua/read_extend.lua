-- KEYS[1] the writer's key; KEYS[2] the readers, as in write.lua; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- ARGV[3] where to publish that the writer is gone, if the server does not report that by itself, else empty; ARGV[4] where one key
-- alone may be named: the readers
-- 1 if the owner is a reader, also one who was the writer until now; -1 if he is none and there is no writer; else 0; never lets
-- anybody in and never shortens his time
local readers = KEYS[2] or ARGV[4]
local writer = redis.call('GET', KEYS[1])
local since = tonumber(redis.call('ZSCORE', readers, ARGV[1]) or 0)
local is_told, time = pcall(redis.call, 'TIME')
if not is_told then
    return redis.error_reply('ERR readers need a server whose scripts may call TIME')
end
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if writer ~= ARGV[1] and since < now then
    return writer and 0 or -1
end
if writer == ARGV[1] then
    since = math.max(since, now + redis.call('PTTL', KEYS[1]))
end
local moment = math.max(now + ARGV[2], since)
redis.call('ZADD', readers, string.format('%.0f', moment), ARGV[1])
if redis.call('PTTL', readers) <= moment - now then
    redis.call('PEXPIRE', readers, string.format('%.0f', moment - now + 1))
end
if writer == ARGV[1] then
    redis.call('DEL', KEYS[1])
    if ARGV[3] ~= '' then
        -- Whoever may not publish goes on all the same.
        redis.pcall('PUBLISH', ARGV[3], '')
    end
end
return 1
