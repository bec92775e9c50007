-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] how long to keep the key, in milliseconds (0: delete it)
-- ARGV[3] where to publish that it is gone, if the server does not report that by itself, else empty
-- ARGV[4] the key, in the slot of the lock's, of what may be noted about its owner, which goes with it; not one of KEYS, because
-- a user who may not touch it would be refused the release as well
-- ARGV[5] if the owner adopted the lock: whose it was before; that owner's key is released as well or, if ARGV[6] is given,
-- gets the owner's key back
-- 1 if the key was the owner's, or is kept by an earlier release of his, else 0; a key that is kept is nobody's any more,
-- so that an extension which arrives late does not make it live longer
local owner, kept = redis.call('GET', KEYS[1]), ARGV[1] .. ':released'
if owner == kept then
    return 1
end
if ARGV[6] and ARGV[6] ~= '' then
    local remaining = redis.call('PTTL', KEYS[1])
    if owner == ARGV[1] and remaining > 0 then
        redis.call('SET', KEYS[1], ARGV[5], 'XX', 'PX', remaining)
        return 1
    end
    return owner == ARGV[5] and 1 or 0
end
if not owner or owner ~= ARGV[1] and owner ~= ARGV[5] then
    return 0
end
if ARGV[4] and ARGV[4] ~= '' then
    redis.pcall('DEL', ARGV[4])
end
if ARGV[2] ~= '0' then
    redis.call('SET', KEYS[1], kept, 'XX', 'PX', ARGV[2])
    return 1
end
redis.call('DEL', KEYS[1])
if ARGV[3] and ARGV[3] ~= '' then
    -- Whoever may not publish releases all the same.
    redis.pcall('PUBLISH', ARGV[3], '')
end
return 1
