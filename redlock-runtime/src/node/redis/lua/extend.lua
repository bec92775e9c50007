-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- ARGV[3] the key, in the slot of the lock's, of what may be noted about its owner, which lives as long; not one of KEYS,
-- because a user who may not touch it would be refused the lock as well
-- 1 if the key is the owner's, -1 if there is none, else 0; never creates a key and never shortens its life: an extension
-- whose answer is lost must not leave a key that lives shorter than its owner believes
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        if ARGV[3] then
            redis.pcall('PEXPIRE', ARGV[3], ARGV[2])
        end
    end
    return 1
end
return owner and 0 or -1
