-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] how long to keep the key, in milliseconds (0: delete it)
-- 1 if the key was the owner's, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
if ARGV[2] == '0' then
    return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
