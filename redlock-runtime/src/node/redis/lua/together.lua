-- What several locks of one key each are asked for in the same turn. No key comes twice, but for counters.
-- KEYS: the lock of each release; the lock and the counter of each commit; the lock and the counter of each acquire of a fenced lock;
-- the lock of each acquire of one that is not fenced
-- ARGV[1] to ARGV[4] how many there are of these; ARGV[5] how long counters are kept, in milliseconds; then the owner of each release;
-- the owner and the token of each commit; the owner, the TTL in milliseconds, what the counter is raised to at least and what it begins
-- with if there is none (empty: it is not created) of each acquire of a fenced lock; the owner and the TTL of each other one
-- One answer each, in this order, as release.lua, commit.lua and acquire.lua give it; an error spoils nothing but the answer to what it is
-- about.
local call, try, retention, answers = redis.call, redis.pcall, ARGV[5], {}
local quarter = retention * 250
-- The last of KEYS and ARGV, and of the answers, that were seen to.
local key, arg, last = 0, 5, 0

local function release_all(count)
    -- All at once: what is no text is told as nothing, and is no lock.
    local found, gone = try('MGET', unpack(KEYS, 1, count)), {}
    -- Whose rights do not go so far asks for each.
    local is_told = not found.err
    for i = 1, count do
        local owner = ARGV[i + 5]
        local stored = found[i]
        if not is_told then
            stored = try('GET', KEYS[i])
        end
        if stored == owner then
            gone[#gone + 1] = KEYS[i]
            answers[i] = 1
        elseif type(stored) == 'table' then
            answers[i] = stored
        else
            answers[i] = stored == owner .. ':released' and 1 or 0
        end
    end
    local done = gone[1] and try('DEL', unpack(gone))
    if type(done) == 'table' then
        for i = 1, count do
            answers[i] = answers[i] == 1 and done or answers[i]
        end
    end
end

local function commit(lock, fence, owner, token)
    if call('GET', lock) ~= owner then
        return false
    end
    local counter = call('GET', fence)
    if counter and tonumber(counter) >= tonumber(token) then
        return tonumber(counter)
    end
    call('SET', fence, token, 'PX', retention)
    return tonumber(token)
end

local function raise(fence, least, first)
    -- Nearly always the counter is below, and both are as long: then this is all.
    local stored = call('SET', fence, least, 'GET', 'KEEPTTL')
    local lowest = tonumber(least)
    local counter, before = lowest, stored
    if not stored then
        if first == '' then
            call('DEL', fence)
            return 1
        end
        call('SET', fence, first, 'PX', retention)
        return tonumber(first)
    elseif #stored ~= #least or stored >= least or not string.find(stored, '^[1-9]%d*$') then
        call('SET', fence, stored, 'KEEPTTL')
        counter = call('INCR', fence)
        before = counter - 1
        if counter <= 1 then
            -- Somebody may have set it to a number that none has.
            if first == '' then
                call('DEL', fence)
                return 1
            end
            call('SET', fence, first, 'PX', retention)
            return tonumber(first)
        elseif counter < lowest then
            counter = call('INCRBY', fence, string.format('%.0f', lowest - counter))
        end
    end
    -- Counters follow the clock, in microseconds: a quarter of the retention begins, or this one is far ahead.
    if math.floor(before / quarter) ~= math.floor(counter / quarter)
        or counter - lowest > 600000000 and call('PTTL', fence) < retention * 0.75
    then
        call('PEXPIRE', fence, retention)
    end
    return counter
end

local function acquire(lock, fence, owner, ttl, least, first)
    if call('SET', lock, owner, 'NX', 'PX', ttl) then
        return fence and raise(fence, least, first) or 1
    end
    return {call('GET', lock), call('PTTL', lock), fence and call('GET', fence)}
end

local function answer(done, told)
    last = last + 1
    if not done and type(told) ~= 'table' then
        -- Where a script learns errors as text, the code stands in front of it all the same.
        told = {err = told}
    end
    answers[last] = told
end

local releases, commits, fenced, plain = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if releases > 0 then
    release_all(releases)
    key, arg, last = releases, arg + releases, releases
end
for _ = 1, commits do
    answer(pcall(commit, KEYS[key + 1], KEYS[key + 2], ARGV[arg + 1], ARGV[arg + 2]))
    key, arg = key + 2, arg + 2
end
for _ = 1, fenced do
    answer(pcall(acquire, KEYS[key + 1], KEYS[key + 2], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4]))
    key, arg = key + 2, arg + 4
end
for _ = 1, plain do
    answer(pcall(acquire, KEYS[key + 1], false, ARGV[arg + 1], ARGV[arg + 2]))
    key, arg = key + 1, arg + 2
end
return answers
