-- KEYS[1…] the keys of locks that are granted together, and behind them, if they are fenced, their counters in the same order; where
-- one key alone may be named, the others are arguments from ARGV[8] on
-- ARGV[1] the owner, ARGV[2] the TTL in milliseconds, ARGV[3] to ARGV[5] as in acquire.lua, for all of them
-- ARGV[6] if the caller is one of those who wait: which process it is; then the last arguments are the keys where these are noted, one
-- for each lock
-- ARGV[7] how many locks there are
-- All are granted or none: nothing is set if one is another's. What is the owner's already is granted again.
-- granted: the counter, the same for all, or 1 if there is none, below zero if another process waits for one of them; refused: who
-- holds the first that is another's, for how long, and the greatest counter (false: one is missing on a node that may have forgotten it)
local count = tonumber(ARGV[7])
local is_fenced, is_waiter, is_young = ARGV[3] ~= '', ARGV[6] ~= '', ARGV[4] == ''
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 8, #ARGV - (is_waiter and count or 0) do
    keys[#keys + 1] = ARGV[index]
end
local function contention(index)
    return ARGV[#ARGV - count + index]
end

-- Before anything is written: what is written before an error stays.
local blocked, holder
local held = {}
for index = 1, count do
    local owner = redis.call('GET', keys[index])
    held[index] = owner
    if owner and owner ~= ARGV[1] and not blocked then
        blocked, holder = index, owner
    end
end
local greatest, is_missing = 0, false
local counters = {}
if is_fenced then
    for index = 1, count do
        local stored = redis.call('GET', keys[count + index])
        local number = stored and tonumber(stored) or 0
        if stored and not string.find(stored, '^-?%d+$') then
            -- As INCR says it.
            return redis.error_reply('ERR value is not an integer or out of range')
        end
        counters[index] = number > 0
        is_missing = is_missing or number < 1
        greatest = math.max(greatest, number)
    end
end

if not blocked then
    for index = 1, count do
        if not held[index] then
            redis.call('SET', keys[index], ARGV[1], 'NX', 'PX', ARGV[2])
        elseif redis.call('PTTL', keys[index]) < tonumber(ARGV[2]) then
            redis.call('PEXPIRE', keys[index], ARGV[2])
        end
    end
    local counter = 1
    if is_fenced then
        local token = math.max(greatest > 0 and greatest + 1 or 0, tonumber(ARGV[3]))
        if is_missing and not is_young then
            token = math.max(token, tonumber(ARGV[4]))
        end
        for index = 1, count do
            if counters[index] or not is_young then
                redis.call('SET', keys[count + index], string.format('%.0f', token), 'PX', ARGV[5])
            end
        end
        counter = is_missing and is_young and 1 or token
    end
    if is_waiter then
        for index = 1, count do
            -- Each stays there for three seconds.
            for _, process in ipairs(redis.pcall('ZRANGE', contention(index), 0, 1)) do
                if process ~= ARGV[6] then
                    counter = -math.abs(counter)
                end
            end
        end
    end
    return counter
end

if is_waiter then
    -- Whoever waits asks at least every two seconds.
    local is_told, time = pcall(redis.call, 'TIME')
    local now = is_told and time[1] * 1000 + math.floor(time[2] / 1000)
    local noted = contention(blocked)
    if now and type(redis.pcall('ZADD', noted, now + 3000, ARGV[6])) == 'number' then
        redis.pcall('PEXPIRE', noted, 3000)
        redis.pcall('ZREMRANGEBYSCORE', noted, '-inf', now)
    end
end
local told = greatest > 0 and not (is_missing and is_young) and string.format('%.0f', greatest)
return {holder, redis.call('PTTL', keys[blocked]), told}
