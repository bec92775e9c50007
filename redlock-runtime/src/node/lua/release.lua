-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] how long to keep the key, in milliseconds (0: delete it)
-- ARGV[3] where to publish that it is gone, if the server does not report that by itself
-- 1 if the key was the owner's, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
if ARGV[2] ~= '0' then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('DEL', KEYS[1])
if ARGV[3] then
    -- Whoever may not publish releases all the same.
    redis.pcall('PUBLISH', ARGV[3], '')
end
return 1
