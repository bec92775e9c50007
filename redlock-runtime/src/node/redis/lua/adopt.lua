-- KEYS[1] the lock's key; ARGV[1] the new owner, ARGV[2] the TTL in milliseconds, ARGV[3] the owner before
-- KEYS[2] if the lock is fenced: its counter; ARGV[4] that, where the lock's key alone may be named
-- whose the key is now, for how long, and the counter, which is only told: what is asked again raises nothing twice, and an
-- owner that has the key already is granted it again; false for the owner if there is no key
local owner = redis.call('GET', KEYS[1])
local remaining = redis.call('PTTL', KEYS[1])
if owner == ARGV[1] or owner == ARGV[3] then
    -- Never shorter than it was: whoever tries again must not shorten what was believed before.
    remaining = math.max(remaining, tonumber(ARGV[2]))
    redis.call('SET', KEYS[1], ARGV[1], 'XX', 'PX', string.format('%.0f', remaining))
    owner = ARGV[1]
end
local fence = KEYS[2] or ARGV[4]
return {owner, remaining, fence and redis.call('GET', fence) or false}
