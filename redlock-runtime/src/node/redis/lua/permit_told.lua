-- Tells what came of an acquire of a permit.
if not counter then
    for index = 1, slots do
        held[index] = held[index] .. ':' .. redis.call('PTTL', keys[1 + index])
    end
end
local counters = false
if is_fenced and ARGV[11] == '1' then
    counters = {}
    for index = 1, slots do
        local stored = redis.pcall('GET', keys[1 + slots + index])
        counters[index] = not stored and '-' or type(stored) == 'string' and string.match(stored, '^%d+$') or '?'
    end
    counters = table.concat(counters, ' ')
end
return {granted, counter or 0, said or false, table.concat(held, ' '), counters, lives}
