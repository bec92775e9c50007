-- KEYS[1] the waiting counter; KEYS[2] until when each process answers for its waiters; KEYS[3] how many each process has
-- ARGV[1] the process, ARGV[2] how many waiters it has now (empty: only look), ARGV[3] how long its lease is,
-- ARGV[4] how long the counter lives on when ours alone are counted in it, ARGV[5] when others are; all times in milliseconds
-- ARGV[6] the moment by the asker's clock, in milliseconds since 1970, for servers that do not tell their own within scripts
-- the counter, or false if there is none; may be repeated at will, unlike INCR and DECR
local is_told, time = pcall(redis.call, 'TIME')
local now = is_told and time[1] * 1000 + math.floor(time[2] / 1000) or tonumber(ARGV[6])
local counter = redis.call('GET', KEYS[1])
if counter and not (string.find(counter, '^-?%d+$') and #counter < 16) then
    -- Before anything is written: what is written before an error stays, without an expiry.
    return redis.error_reply('WRONGTYPE the waiting counter is no number')
end
counter = tonumber(counter)

local is_ours, change, gone = ARGV[2] ~= '', 0, {}
-- Five hundred at a time: a server stands still meanwhile, for about a millisecond. Of more, the next who looks takes the rest away.
for _, process in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 500)) do
    if not is_ours or process ~= ARGV[1] then
        change = change - (redis.call('HGET', KEYS[3], process) or 0)
        gone[#gone + 1] = process
    end
end
if is_ours then
    change = change + ARGV[2] - (redis.call('HGET', KEYS[3], ARGV[1]) or 0)
    if ARGV[2] == '0' then
        gone[#gone + 1] = ARGV[1]
    end
end

-- Of more processes than a thousand it is enough to know that each has a waiter: a server stands still while all are added up.
local live = 1001
if #redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '+inf', 'LIMIT', 1000 + #gone, 1) == 0 then
    live = change
    for _, waiters in ipairs(redis.call('HVALS', KEYS[3])) do
        live = live + waiters
    end
end
if is_ours and ARGV[2] ~= '0' then
    redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[3]), ARGV[1])
end
-- Others count without leases: their numbers are kept, as long as they are possible.
local least = math.max((counter or 0) + change, live)
if counter ~= least and (counter or least > 0) and (is_ours or change ~= 0) then
    counter = redis.call('INCRBY', KEYS[1], string.format('%.0f', least - (counter or 0)))
end
if counter and (change ~= 0 or is_ours and live > 0) then
    -- Ours live as long, so that whoever looks then still finds what to take away.
    local life = counter > live and ARGV[5] or ARGV[4]
    for _, key in ipairs(KEYS) do
        redis.call('PEXPIRE', key, life)
    end
end
if #gone > 0 then
    -- The very last: a server of a cluster that gives the slot of the keys away lets no script touch a key that it has emptied, because
    -- that might be where the slot goes; and what was written before that stays.
    redis.call('HDEL', KEYS[3], unpack(gone))
    redis.call('ZREM', KEYS[2], unpack(gone))
end
return counter or false
