-- KEYS[1] the lock's key; KEYS[2] its fencing counter; ARGV[1] the owner, ARGV[2] the token, ARGV[3] how long the counter is
-- kept, in milliseconds
-- the counter afterwards, or false if the key is not the owner's: a commit that comes late must not put an older token first;
-- may be repeated at will
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return false
end
local counter = redis.call('GET', KEYS[2])
if counter and tonumber(counter) >= tonumber(ARGV[2]) then
    return tonumber(counter)
end
-- As text, as it came: a number of Lua would be written with an exponent.
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return tonumber(ARGV[2])
