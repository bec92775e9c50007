-- KEYS[1] the writer's key; KEYS[2] the readers, as in write.lua; KEYS[3] the fencing counter; where one key alone may be named, the
-- others are ARGV[4] and ARGV[5]
-- ARGV[1] the owner, ARGV[2] the token, ARGV[3] how long the counter is kept, in milliseconds
-- the token, if the counter is at least as great now, or false if the owner is no reader; may be repeated at will. Readers share
-- tokens, so a greater counter is as good as the same.
local readers, fence = KEYS[2] or ARGV[4], KEYS[3] or ARGV[5]
local is_told, time = pcall(redis.call, 'TIME')
local now = is_told and time[1] * 1000 + math.floor(time[2] / 1000) or 0
local since = tonumber(redis.call('ZSCORE', readers, ARGV[1]) or -1)
if since < now and redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return false
end
local counter = redis.call('GET', fence)
if not counter or tonumber(counter) < tonumber(ARGV[2]) then
    -- As text, as it came: a number of Lua would be written with an exponent.
    redis.call('SET', fence, ARGV[2], 'PX', ARGV[3])
end
return tonumber(ARGV[2])
