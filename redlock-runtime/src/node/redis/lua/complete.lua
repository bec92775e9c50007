-- KEYS[1] the lock's key; ARGV[1] the owner
-- ARGV[2] the fire that was completed, ARGV[3] the mark that says so, ARGV[4] how long that is kept, in milliseconds; the last of KEYS is
-- that of the mark of completed fires, in the slot of the lock's
-- ARGV[5] how long to keep the lock's key, in milliseconds (0, or nothing: delete it; -1: it stays as it is)
-- ARGV[6] where to publish that it is gone, ARGV[7] what may be noted about its owner, both as in a release
-- ARGV[8] the key of the mark, where the lock's key alone may be named
-- 1 if the key was the owner's, and the mark is as great now; 2 if it was not, but the mark is as great; 3 if it was, but what
-- holds no mark stands there; else 0; or the error of a server that cannot keep the mark, which deletes the key even so
-- A mark says which fire is the greatest, so it never becomes smaller; and it comes to no node that has another owner's key, or
-- none: that node may have forgotten a greater one.
local done, keep = ARGV[8] or KEYS[#KEYS], ARGV[5] or '0'
local mark, fire = redis.pcall('GET', done), ARGV[2]
local completed = type(mark) == 'string' and string.match(mark, '^0*(%d+):%d+$')
-- Digits are compared as text, which takes half as long as to read them.
local is_as_great = completed and (#completed > #fire or #completed == #fire and completed >= fire)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return is_as_great and 2 or 0
end

local is_ours, written = completed or not mark, nil
if is_ours then
    if is_as_great then
        redis.call('PEXPIRE', done, ARGV[4])
    else
        written = redis.pcall('SET', done, ARGV[3], 'PX', ARGV[4])
    end
end

if keep ~= '-1' then
    if ARGV[7] and ARGV[7] ~= '' then
        redis.pcall('DEL', ARGV[7])
    end
    if keep ~= '0' then
        redis.call('SET', KEYS[1], ARGV[1] .. ':released', 'XX', 'PX', keep)
    else
        redis.call('DEL', KEYS[1])
        if ARGV[6] and ARGV[6] ~= '' then
            -- Whoever may not publish releases all the same.
            redis.pcall('PUBLISH', ARGV[6], '')
        end
    end
end
if written and written.err then
    return written
end
-- What holds no mark of ours is left alone.
return is_ours and 1 or 3
