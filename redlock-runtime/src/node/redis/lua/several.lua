-- KEYS[1…] the keys of locks that are granted together, and behind them, if they are fenced, their counters in the same order; where
-- one key alone may be named, the others are arguments from ARGV[12] on
-- ARGV[1] the owner, ARGV[2] the TTL in milliseconds, ARGV[3] to ARGV[5] as in acquire.lua, for all of them
-- ARGV[6] if the caller is to be noted among those who wait: which process it is
-- ARGV[7] how many locks there are
-- ARGV[8] if the caller waits: how long he has by now, in milliseconds, ARGV[9] his number, ARGV[10] how long another one has waited
-- who has precedence over him, ARGV[11] for how long he has it himself if he is refused now (0: not at all)
-- With ARGV[6] or ARGV[8], the last arguments are the keys where it is noted who waits, one for each lock.
-- All are granted or none: nothing is set if one is another's, or if another one who waits has precedence. What is the owner's already
-- is granted again.
-- granted: the counter, the same for all, or 1 if there is none, below zero if another process waits for one of them; refused: who
-- holds what is another's (of several others a digest; false: nobody, another one has precedence), for how long the first of these, and
-- the greatest counter (false: one is missing on a node that may have forgotten it)
local count = tonumber(ARGV[7])
local is_fenced, is_waiter, is_young = ARGV[3] ~= '', ARGV[6] ~= '', ARGV[4] == ''
local waits = ARGV[8] ~= ''
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 12, #ARGV - ((is_waiter or waits) and count or 0) do
    keys[#keys + 1] = ARGV[index]
end
local function contention(index)
    return ARGV[#ARGV - count + index]
end

-- Before anything is written: what is written before an error stays.
local blocked, holders = nil, {}
local held = {}
for index = 1, count do
    local owner = redis.call('GET', keys[index])
    held[index] = owner
    if owner and owner ~= ARGV[1] then
        blocked = blocked or index
        holders[#holders + 1] = index .. owner
    end
end
local holder = blocked and held[blocked] or false
if #holders > 1 then
    -- Whoever waits for several tells by it whether anything has changed: not only who has the first of them.
    holder = redis.sha1hex(table.concat(holders, ' '))
end
local greatest, is_missing = 0, false
local counters = {}
if is_fenced then
    for index = 1, count do
        local stored = redis.call('GET', keys[count + index])
        local number = stored and tonumber(stored) or 0
        if stored and not string.find(stored, '^-?%d+$') then
            -- As INCR says it.
            return redis.error_reply('ERR value is not an integer or out of range')
        end
        counters[index] = number > 0
        is_missing = is_missing or number < 1
        greatest = math.max(greatest, number)
    end
end

-- Asked for only where it is needed: older servers let no script write that knows the time.
local moment
local function now()
    if not moment then
        local is_told, time = pcall(redis.call, 'TIME')
        moment = is_told and time[1] * 1000 + math.floor(time[2] / 1000) or 0
    end
    return moment
end

-- Those who wait for several locks are noted as 'set NUMBER SINCE', by this server's clock, for as long as they have precedence, which is
-- less than a second. Processes that wait are noted for longer, and there may be many: they stand behind.
local began, own, left = math.huge, {}, nil
for index = 1, waits and count or 0 do
    local from = 0
    repeat
        local noted = redis.pcall('ZRANGE', contention(index), from, from + 15, 'WITHSCORES')
        for entry = 1, #noted, 2 do
            local number, since = string.match(noted[entry], '^set (%S+) (%d+)$')
            if number == ARGV[9] then
                began, own[index] = math.min(began, tonumber(since)), noted[entry]
            elseif number and not blocked and noted[entry + 1] - now() > 0 and now() - since > tonumber(ARGV[10]) then
                blocked, left = index, noted[entry + 1] - now()
            end
        end
        from = from + 16
        -- A server stands still meanwhile: of hundreds whose time is over, the next who is refused takes them away.
    until #noted < 32 or noted[32] - now() > 1000 or from >= 512
end

if not blocked then
    for index, member in pairs(own) do
        redis.pcall('ZADD', contention(index), 0, member)
        redis.pcall('ZREMRANGEBYSCORE', contention(index), 0, 0)
    end
    for index = 1, count do
        if not held[index] then
            redis.call('SET', keys[index], ARGV[1], 'NX', 'PX', ARGV[2])
        elseif redis.call('PTTL', keys[index]) < tonumber(ARGV[2]) then
            redis.call('PEXPIRE', keys[index], ARGV[2])
        end
    end
    local counter = 1
    if is_fenced then
        local token = math.max(greatest > 0 and greatest + 1 or 0, tonumber(ARGV[3]))
        if is_missing and not is_young then
            token = math.max(token, tonumber(ARGV[4]))
        end
        for index = 1, count do
            if counters[index] or not is_young then
                redis.call('SET', keys[count + index], string.format('%.0f', token), 'PX', ARGV[5])
            end
        end
        counter = is_missing and is_young and 1 or token
    end
    if is_waiter then
        for index = 1, count do
            -- Each stays there for three seconds.
            for _, process in ipairs(redis.pcall('ZRANGE', contention(index), 0, 1)) do
                if process ~= ARGV[6] then
                    counter = -math.abs(counter)
                end
            end
        end
    end
    return counter
end

local function note(index, member, precedence)
    if now() > 0 and type(redis.pcall('ZADD', contention(index), now() + precedence, member)) == 'number' then
        redis.pcall('PEXPIRE', contention(index), 3000)
        redis.pcall('ZREMRANGEBYSCORE', contention(index), '-inf', now())
    end
end
if is_waiter then
    -- Whoever waits asks at least every two seconds.
    note(blocked, ARGV[6], 3000)
end
for index = 1, waits and ARGV[11] ~= '0' and count or 0 do
    note(index, 'set ' .. ARGV[9] .. ' ' .. math.min(began, now() - ARGV[8]), tonumber(ARGV[11]))
end
local told = greatest > 0 and not (is_missing and is_young) and string.format('%.0f', greatest)
return {holder, left or redis.call('PTTL', keys[blocked]), told}
