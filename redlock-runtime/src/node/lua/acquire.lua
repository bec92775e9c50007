-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- KEYS[2], ARGV[3], ARGV[4] if the lock is fenced: its counter, what that is raised to at least, and what it begins with if
-- there is none (empty: it is not created); ARGV[5] its retention in milliseconds
-- the last of KEYS, ARGV[6] if the caller waits: where the processes are noted that do, and which one this is
-- granted: the counter, or 1 if there is none, below zero if another process waits; refused: who holds it, for how long, and
-- the counter
local is_fenced, is_waiting = ARGV[3] and ARGV[3] ~= '', ARGV[6]
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    local counter = 1
    if is_fenced then
        counter = redis.call('INCR', KEYS[2])
        if counter == 1 then
            if ARGV[4] == '' then
                redis.call('DEL', KEYS[2])
            else
                redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
                counter = tonumber(ARGV[4])
            end
        else
            local before, least = counter - 1, tonumber(ARGV[3])
            if counter < least then
                counter = redis.call('INCRBY', KEYS[2], string.format('%.0f', least - counter))
            end
            -- Counters follow the clock, in microseconds: a quarter of the retention begins, or this one is far ahead.
            local quarter = ARGV[5] * 250
            if math.floor(before / quarter) ~= math.floor(counter / quarter)
                or counter - least > 600000000 and redis.call('PTTL', KEYS[2]) < ARGV[5] * 0.75
            then
                redis.call('PEXPIRE', KEYS[2], ARGV[5])
            end
        end
    end
    if is_waiting then
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[#KEYS], now, '+inf', 'LIMIT', 0, 2)) do
            if process ~= ARGV[6] then
                return -counter
            end
        end
    end
    return counter
end
if is_waiting then
    -- Whoever waits asks at least every two seconds.
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[#KEYS], time[1] * 1000 + math.floor(time[2] / 1000) + 3000, ARGV[6])
    redis.call('PEXPIRE', KEYS[#KEYS], 3000)
end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), is_fenced and redis.call('GET', KEYS[2])}
