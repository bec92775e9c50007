-- KEYS[1] the lock's key; KEYS[2] what is noted about its owner
-- ARGV[1] the moment by the asker's clock, in milliseconds since 1970, for servers that do not tell their own within scripts
-- false if nobody has the key; else its value, how long it lives, what this owner is called, how long ago it acquired
-- the lock, in milliseconds, and its fencing token; without the last three if nothing is noted, or about an earlier owner
local owner = redis.call('GET', KEYS[1])
if not owner then
    return false
end
local sight = {owner, redis.call('PTTL', KEYS[1])}
local note = redis.call('HMGET', KEYS[2], 'owner', 'label', 'since', 'token')
if note[1] == owner and note[2] and note[3] then
    local is_told, time = pcall(redis.call, 'TIME')
    local now = is_told and time[1] * 1000 + math.floor(time[2] / 1000) or ARGV[1]
    sight[3] = note[2]
    -- A clock that was set back makes no lock that is acquired tomorrow.
    sight[4] = math.max(now - note[3], 0)
    sight[5] = tonumber(note[4] or 0)
end
return sight
