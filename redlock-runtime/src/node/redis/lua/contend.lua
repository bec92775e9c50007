-- Notes those who wait, and tells of them; the part of a script between what grants and what answers.
-- Rules of the server, or a strange value there, cost fairness between processes and nothing else: hence pcall.
local is_waiter = ARGV[6] and ARGV[6] ~= ''
if counter and is_waiter then
    -- Each stays there for three seconds; of whoever waits no longer, others are told until somebody is refused.
    for _, process in ipairs(redis.pcall('ZRANGE', ARGV[7], 0, 1)) do
        if process ~= ARGV[6] then
            counter = -math.abs(counter)
        end
    end
elseif is_waiter and not is_completed then
    -- Whoever waits asks at least every two seconds.
    local is_told, time = pcall(redis.call, 'TIME')
    local now = is_told and time[1] * 1000 + math.floor(time[2] / 1000)
    if now and type(redis.pcall('ZADD', ARGV[7], now + 3000, ARGV[6])) == 'number' then
        redis.pcall('PEXPIRE', ARGV[7], 3000)
        redis.pcall('ZREMRANGEBYSCORE', ARGV[7], '-inf', now)
    end
end
