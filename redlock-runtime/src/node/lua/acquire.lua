-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- KEYS[2], ARGV[3] if the caller is one of those who wait: where their processes are noted, and which one it is
-- 1, or 2 if another process waits; refused: who holds it, and for how long
local is_granted = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if KEYS[2] then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    if is_granted then
        for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf', 'LIMIT', 0, 2)) do
            if process ~= ARGV[3] then
                return 2
            end
        end
    else
        -- Whoever waits asks at least every two seconds.
        redis.call('ZADD', KEYS[2], now + 3000, ARGV[3])
        redis.call('PEXPIRE', KEYS[2], 3000)
    end
end
if is_granted then
    return 1
end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
