-- KEYS[1] the lock's key; KEYS[2] what is noted about its owner
-- ARGV[1] the owner, ARGV[2] the label, ARGV[3] how long ago it acquired the lock, in milliseconds, ARGV[4] its fencing token
-- ARGV[5] the moment by the owner's clock, in milliseconds since 1970, for servers that do not tell their own within scripts
-- 1 if it was noted, for as long as the lock's key lives; 0 if the lock is not the owner's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
local remaining = redis.call('PTTL', KEYS[1])
if remaining < 1 then
    return 0
end
local is_told, time = pcall(redis.call, 'TIME')
local since = (is_told and time[1] * 1000 + math.floor(time[2] / 1000) or ARGV[5]) - ARGV[3]
redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'label', ARGV[2], 'since', string.format('%.0f', since), 'token', ARGV[4])
redis.call('PEXPIRE', KEYS[2], remaining)
return 1
