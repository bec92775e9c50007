-- Tells what came of an acquire by a writer.
if counter then
    return counter
end
local writer = redis.call('GET', keys[1])
if writer then
    remaining = redis.call('PTTL', keys[1])
end
return {writer or reader, remaining, is_fenced and redis.call('GET', fence)}
