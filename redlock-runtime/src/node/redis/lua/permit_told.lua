-- Tells what came of an acquire of a permit.
if not counter then
    for index = 1, slots do
        held[index] = held[index] .. ':' .. redis.call('PTTL', keys[1 + index])
    end
end
return {granted, counter or 0, said, table.concat(held, ' ')}
