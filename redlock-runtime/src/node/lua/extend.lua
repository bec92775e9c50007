-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- 1 if the key is the owner's, else 0; never creates a key
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
