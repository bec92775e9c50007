-- KEYS[1…] the keys of locks that are held together, and behind them their fencing counters in the same order; where one key alone may
-- be named, the others are arguments from ARGV[5] on; ARGV[1] the owner, ARGV[2] the token, ARGV[3] how long the counters are kept, in
-- milliseconds, ARGV[4] how many locks there are
-- the greatest of the counters afterwards, all of which are as great as the token, or false if one of the keys is not the owner's; may
-- be repeated at will
local count = tonumber(ARGV[4])
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 5, #ARGV do
    keys[#keys + 1] = ARGV[index]
end
for index = 1, count do
    if redis.call('GET', keys[index]) ~= ARGV[1] then
        return false
    end
end
local greatest = tonumber(ARGV[2])
for index = 1, count do
    local counter = redis.call('GET', keys[count + index])
    if counter and tonumber(counter) >= tonumber(ARGV[2]) then
        greatest = math.max(greatest, tonumber(counter))
    else
        -- As text, as it came: a number of Lua would be written with an exponent.
        redis.call('SET', keys[count + index], ARGV[2], 'PX', ARGV[3])
    end
end
return greatest
