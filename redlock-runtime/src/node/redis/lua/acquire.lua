-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- KEYS[2], ARGV[3], ARGV[4] if the lock is fenced: its counter, what that is raised to at least, and what it begins with if
-- there is none (empty: it is not created); ARGV[5] its retention in milliseconds
-- ARGV[8] the counter, where the lock's key alone may be named
-- ARGV[6], ARGV[7] if the caller is one of those who wait: which process it is, and the key, in the slot of the lock's, where
-- these are noted; not one of KEYS, because a user who may not touch it would be refused the lock as well
-- ARGV[9] if the lock is asked for a fire: the key of the mark of completed fires, which is one of KEYS unless the lock's alone
-- may be named; ARGV[10] the least mark by which the fire is completed: then nothing is set (empty: it is even so)
-- ARGV[11] if tokens are reserved for those who get the lock from the caller: how many; they are the numbers up to the counter
-- granted: the counter, or 1 if there is none, below zero if another process waits; refused: who holds it, for how long, and
-- the counter; in both cases the mark as well, if it was asked for, behind the rest: an empty text for what holds no text, and how
-- many milliseconds are left of its life
-- Not nil: the answer to a refusal would end in front of it.
local is_fenced = ARGV[3] ~= nil and ARGV[3] ~= ''
local fence = KEYS[2] or ARGV[8]
local room = tonumber(ARGV[11] or 0)
local mark, left, is_completed
local is_for_fire = ARGV[9] and ARGV[9] ~= ''
if is_for_fire then
    mark = redis.pcall('GET', ARGV[9])
    mark = type(mark) == 'table' and '' or mark
    left = mark and redis.call('PTTL', ARGV[9])
    -- Digits are compared as text, which takes half as long as to read them.
    local least, completed = ARGV[10], mark and string.match(mark, '^0*(%d+):%d+$')
    is_completed = least and least ~= '' and completed
        and (#completed > #least or #completed == #least and completed >= least)
end
local counter = not is_completed and redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1
