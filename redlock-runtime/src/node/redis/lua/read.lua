-- KEYS[1] the writer's key; KEYS[2] the readers, KEYS[3] a writer's intent, KEYS[4] if the lock is fenced its counter, as in write.lua;
-- where one key alone may be named, the others are arguments from ARGV[6] on
-- ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- ARGV[3] if the lock is fenced: what its counter begins with if there is none (empty: it is not created), ARGV[4] its retention in
-- milliseconds; ARGV[5] whether the owner has the lock, and this node has lost him (1), or comes (0)
-- Answers as acquire.lua; the counter is told, and not raised: it is at least every token that a writer had.
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 6, #ARGV do
    keys[#keys + 1] = ARGV[index]
end
local is_fenced = ARGV[4] ~= ''
local counter = 1
local stored = is_fenced and redis.call('GET', keys[4])
if stored then
    if not string.find(stored, '^-?%d+$') then
        -- As INCR says it.
        return redis.error_reply('ERR value is not an integer or out of range')
    end
    -- More is told as what it is: too great.
    counter = math.min(math.max(tonumber(stored), 1), 2 ^ 53)
end

local writer = redis.call('GET', keys[1])
if writer and writer ~= ARGV[1] then
    return {writer, redis.call('PTTL', keys[1]), stored}
end
if ARGV[5] == '0' and redis.call('EXISTS', keys[3]) == 1 then
    -- The process that waits, which is the same on every node: a reader who is refused for nobody would take it for a vote that was split,
    -- and ask again.
    local intent = redis.pcall('GET', keys[3])
    return {type(intent) == 'string' and intent, redis.call('PTTL', keys[3]), stored}
end

-- Before anything is written. Nobody else's clock will do: a reader who expires too early lets a writer in.
local is_told, time = pcall(redis.call, 'TIME')
if not is_told then
    return redis.error_reply('ERR readers need a server whose scripts may call TIME')
end
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local since = tonumber(redis.call('ZSCORE', keys[2], ARGV[1]) or 0)
redis.call('ZADD', keys[2], string.format('%.0f', math.max(now + ARGV[2], since)), ARGV[1])
if redis.call('PTTL', keys[2]) <= tonumber(ARGV[2]) then
    redis.call('PEXPIRE', keys[2], ARGV[2] + 1)
end
-- A thousand at a time: a server stands still meanwhile.
for _, reader in ipairs(redis.call('ZRANGEBYSCORE', keys[2], '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, 1000)) do
    redis.call('ZREM', keys[2], reader)
end
if writer then
    redis.call('DEL', keys[1])
end
if is_fenced and counter == 1 and ARGV[3] ~= '' then
    redis.call('SET', keys[4], ARGV[3], 'PX', ARGV[4])
    counter = tonumber(ARGV[3])
end
return counter
