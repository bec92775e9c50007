-- KEYS[1] the writer's key; KEYS[2] the readers, as in write.lua
-- ARGV[1] the owner, ARGV[2] how long to keep him as a reader, in milliseconds (0: not at all); ARGV[3] what stands before a key where
-- to publish that it is free, if the server does not report that by itself, else empty; ARGV[4] what may
-- be noted about him as the writer, as in release.lua; ARGV[5] where one key alone may be named: the readers
-- 1 if the owner was a reader, or the writer who became one, or is kept by an earlier release, else 0
local readers, kept, is_done = KEYS[2] or ARGV[5], ARGV[1] .. ':released', 0
local function publish(key)
    if ARGV[3] ~= '' then
        -- Whoever may not publish releases all the same.
        redis.pcall('PUBLISH', ARGV[3] .. key, '')
    end
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
    publish(KEYS[1])
    is_done = 1
end
if redis.call('ZSCORE', readers, ARGV[1]) then
    is_done = 1
    local is_told, time = pcall(redis.call, 'TIME')
    local is_kept = is_told and ARGV[2] ~= '0'
    if is_kept then
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        redis.call('ZADD', readers, string.format('%.0f', now + ARGV[2]), kept)
        if redis.call('PTTL', readers) <= tonumber(ARGV[2]) then
            redis.call('PEXPIRE', readers, ARGV[2] + 1)
        end
    end
    -- Asked before he goes: a server of a cluster that gives the slot of the keys away lets no script touch a key that it has emptied.
    local is_last = #redis.call('ZRANGE', readers, 0, 1) == 1
    redis.call('ZREM', readers, ARGV[1])
    if is_last then
        publish(readers)
    end
elseif redis.call('ZSCORE', readers, kept) then
    is_done = 1
end
if is_done == 1 and ARGV[4] ~= '' then
    redis.pcall('DEL', ARGV[4])
end
return is_done
