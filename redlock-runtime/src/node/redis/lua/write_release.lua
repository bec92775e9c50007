-- What a writer's release does besides release.lua, of which this is the beginning.
-- KEYS[2] where the intent of a writer stands whom readers keep out; where one key alone may be named, ARGV[8]
-- ARGV[7] whether the owner goes on waiting (1), then the intent stays; else (0) it goes with the lock, so that whoever comes first
-- gets in
-- ARGV[4] to ARGV[6] are empty where they are not given
if ARGV[7] == '0' and redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.pcall('DEL', ARGV[8] or KEYS[2])
end
