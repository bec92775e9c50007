-- Tells what came of an acquire of one key.
if counter then
    if is_for_fire and not is_usual then
        return mark and {counter, left, mark} or {counter}
    end
    return counter
end
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), is_fenced and redis.call('GET', fence), mark, left}
