-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- ARGV[3], ARGV[4] if the caller is one of those who wait: which process it is, and the key, in the slot of the lock's, where
-- these are noted; no KEYS[2], because a user who may not touch it would be refused the lock as well
-- 1, or 2 if another process waits; refused: who holds it, and for how long
local is_granted = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])

local function note_contention()
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if is_granted then
        for _, process in ipairs(redis.call('ZRANGEBYSCORE', ARGV[4], now, '+inf', 'LIMIT', 0, 2)) do
            if process ~= ARGV[3] then
                return true
            end
        end
    else
        -- Whoever waits asks at least every two seconds.
        redis.call('ZADD', ARGV[4], now + 3000, ARGV[3])
        redis.call('PEXPIRE', ARGV[4], 3000)
    end
    return false
end

if ARGV[3] then
    -- Rules of the server, or a strange value there, cost fairness between processes and nothing else.
    local is_noted, is_wanted = pcall(note_contention)
    if is_noted and is_wanted then
        return 2
    end
end
if is_granted then
    return 1
end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
