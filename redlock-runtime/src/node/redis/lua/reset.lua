-- KEYS[1] the lock's key; KEYS[2] what is noted about its owner
-- ARGV[1] where to publish that the lock is free, if the server does not report that by itself
-- 1 if the key was deleted, whoever had it; 0 if there was none; an error if it holds what no lock holds
local holds = redis.call('TYPE', KEYS[1]).ok
local are_readers = holds == 'zset' and string.find(KEYS[1], '^redlock%-readers:')
if holds ~= 'none' and holds ~= 'string' and not are_readers then
    return redis.error_reply('WRONGTYPE the key holds a ' .. holds .. ', which is no lock')
end
redis.call('DEL', KEYS[2])
local deleted = redis.call('DEL', KEYS[1])
if deleted == 1 and ARGV[1] then
    -- Whoever may not publish deletes all the same.
    redis.pcall('PUBLISH', ARGV[1], '')
end
return deleted
