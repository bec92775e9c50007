-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- 1, or how long the other owner's key lives
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return 1
end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
