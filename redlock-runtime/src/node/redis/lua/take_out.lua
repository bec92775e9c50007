-- KEYS[1] the list of waiting counters; ARGV, three for each entry that goes: its position, itself, and the position of an
-- entry that is the same and stays (empty: none needs to); the greatest positions first
-- how many went; where the list has changed meanwhile nothing goes
-- The last entry takes the place of the one that goes, so that no step grows with the list; a reader who begins at the end
-- misses none by that.
local function at(position)
    return redis.call('LRANGE', KEYS[1], position, position)[1]
end
local gone = 0
for first = 1, #ARGV, 3 do
    local position, entry, other = ARGV[first], ARGV[first + 1], ARGV[first + 2]
    if at(position) == entry and (other == '' or at(other) == entry) then
        redis.call('LSET', KEYS[1], position, at(-1))
        -- No JSON: nobody else writes it, and the search begins with it.
        redis.call('LSET', KEYS[1], -1, 'taken out')
        redis.call('LREM', KEYS[1], -1, 'taken out')
        gone = gone + 1
    end
end
return gone
