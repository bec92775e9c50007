-- KEYS[1] the writer's key; KEYS[2] the readers, each with the moment until which he has the lock, in milliseconds by the server's
-- clock; KEYS[3] where the intent of a writer stands whom readers keep out; KEYS[4] if the lock is fenced: its counter; where one key
-- alone may be named, the others are arguments from ARGV[9] on
-- ARGV[1] the owner, ARGV[2] the TTL in milliseconds, ARGV[3] to ARGV[7] as in acquire.lua
-- ARGV[8] if the caller is one of those who wait: which process it is
-- Answers as acquire.lua. A writer is granted the lock where no reader has it; one whom readers alone keep out, and who waits, leaves
-- his intent for as long as waiters are noted.
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 9, #ARGV do
    keys[#keys + 1] = ARGV[index]
end
local is_fenced, is_completed, counter = ARGV[3] ~= '', false, false
local fence, room = is_fenced and keys[4], 0

-- The one who has it for longest; he is told where the server does not tell the time, too.
local reader = redis.call('ZRANGE', keys[2], -1, -1)[1]
local remaining = -1
if reader then
    local is_told, time = pcall(redis.call, 'TIME')
    if is_told then
        remaining = redis.call('ZSCORE', keys[2], reader) - (time[1] * 1000 + math.floor(time[2] / 1000))
        reader = remaining >= 0 and reader
    end
end
if not reader then
    counter = redis.call('SET', keys[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1
elseif ARGV[8] ~= '' and redis.call('EXISTS', keys[1]) == 0 then
    redis.call('SET', keys[3], ARGV[8], 'PX', 3000)
end
