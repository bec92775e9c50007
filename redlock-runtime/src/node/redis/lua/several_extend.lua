-- KEYS[1…] the keys of locks that are held together; where one key alone may be named, the others are arguments from ARGV[3] on
-- ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- 1 if all keys are the owner's, 0 if one is another's, else -1: then one is missing, and none is extended; never creates a key and
-- never shortens its life
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 3, #ARGV do
    keys[#keys + 1] = ARGV[index]
end
local is_missing = false
for _, key in ipairs(keys) do
    local owner = redis.call('GET', key)
    if owner and owner ~= ARGV[1] then
        return 0
    end
    is_missing = is_missing or not owner
end
if is_missing then
    return -1
end
for _, key in ipairs(keys) do
    if redis.call('PTTL', key) < tonumber(ARGV[2]) then
        redis.call('PEXPIRE', key, ARGV[2])
    end
end
return 1
