-- KEYS[1…] slots of a lock with permits; where one key alone may be named, the others are arguments from ARGV[6] on
-- ARGV[1] the owner, ARGV[2] how long to keep his slot, in milliseconds (0: delete it), ARGV[3] what stands before a slot's key
-- where to publish that it is gone, if the server does not report that by itself, else empty
-- ARGV[4] what may be noted about the owner, as in release.lua; ARGV[5] whether the first slot is the one that he has (1), or he
-- knows of none (0)
-- 1 if the slot was the owner's, or is kept by an earlier release of his, else 0. Nobody knows what a node granted him that
-- answered late, so every slot that is his goes.
local kept, is_done = ARGV[1] .. ':released', 0
local function release(slot, is_his)
    local owner = redis.pcall('GET', slot)
    if owner == kept then
        is_done = 1
    elseif owner == ARGV[1] then
        if is_his or ARGV[5] == '0' then
            is_done = 1
        end
        if is_his and ARGV[2] ~= '0' then
            redis.call('SET', slot, kept, 'XX', 'PX', ARGV[2])
            return
        end
        redis.call('DEL', slot)
        if ARGV[3] ~= '' then
            -- Whoever may not publish releases all the same.
            redis.pcall('PUBLISH', ARGV[3] .. slot, '')
        end
    end
end
for index, slot in ipairs(KEYS) do
    if slot ~= ARGV[4] then
        release(slot, index == 1 and ARGV[5] == '1')
    end
end
for index = 6, #ARGV do
    release(ARGV[index], false)
end
if is_done == 1 and ARGV[4] ~= '' then
    redis.pcall('DEL', ARGV[4])
end
return is_done
