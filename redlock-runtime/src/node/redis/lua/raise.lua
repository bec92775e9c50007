-- Raises the fencing counter of what was just granted, by `room` more than by one; the part of a script between what grants and what
-- answers.
if counter and is_fenced then
    counter = redis.call('INCR', fence)
    if counter > 1 then
        local before, least = counter - 1, tonumber(ARGV[3])
        local raised = math.max(counter, least) + room
        if counter < raised then
            counter = redis.call('INCRBY', fence, string.format('%.0f', raised - counter))
        end
        -- Counters follow the clock, in microseconds: a quarter of the retention begins, or this one is far ahead.
        local quarter = ARGV[5] * 250
        if math.floor(before / quarter) ~= math.floor(counter / quarter)
            or counter - least > 600000000 and redis.call('PTTL', fence) < ARGV[5] * 0.75
        then
            redis.call('PEXPIRE', fence, ARGV[5])
        end
    elseif ARGV[4] == '' then
        redis.call('DEL', fence)
        -- Somebody may have set it to a number that none has.
        counter = 1
    else
        redis.call('SET', fence, ARGV[4], 'PX', ARGV[5])
        counter = tonumber(ARGV[4])
    end
end
