-- KEYS[1] the lock's key; ARGV[1] the owner
-- ARGV[2] the key of the mark of completed fires, in the slot of the lock's, which is one of KEYS unless the lock's alone may be
-- named; ARGV[3] the fire that was completed, ARGV[4] the mark that says so, ARGV[5] how long that is kept, in milliseconds
-- ARGV[6] how long to keep the lock's key, in milliseconds (0: delete it; -1: it stays as it is)
-- ARGV[7] where to publish that it is gone, ARGV[8] what may be noted about its owner, both as in a release
-- 1 if the key was the owner's, and the mark is as great now; 2 if it was not, but the mark is as great; 3 if it was, but what
-- holds no mark stands there; else 0; or the error of a server that cannot keep the mark, which deletes the key even so
-- A mark says which fire is the greatest, so it never becomes smaller; and it comes to no node that has another owner's key, or
-- none: that node may have forgotten a greater one.
local mark, fire = redis.pcall('GET', ARGV[2]), ARGV[3]
local completed = type(mark) == 'string' and string.match(mark, '^0*(%d+):%d+$')
-- Digits are compared as text, which takes half as long as to read them.
local is_as_great = completed and (#completed > #fire or #completed == #fire and completed >= fire)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return is_as_great and 2 or 0
end

local is_ours, written = completed or not mark, nil
if is_ours then
    if is_as_great then
        redis.call('PEXPIRE', ARGV[2], ARGV[5])
    else
        written = redis.pcall('SET', ARGV[2], ARGV[4], 'PX', ARGV[5])
    end
end

if ARGV[6] ~= '-1' then
    if ARGV[8] and ARGV[8] ~= '' then
        redis.pcall('DEL', ARGV[8])
    end
    if ARGV[6] ~= '0' then
        redis.call('SET', KEYS[1], ARGV[1] .. ':released', 'XX', 'PX', ARGV[6])
    else
        redis.call('DEL', KEYS[1])
        if ARGV[7] ~= '' then
            -- Whoever may not publish releases all the same.
            redis.pcall('PUBLISH', ARGV[7], '')
        end
    end
end
if written and written.err then
    return written
end
-- What holds no mark of ours is left alone.
return is_ours and 1 or 3
