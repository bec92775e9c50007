-- KEYS[1] the lock's key; ARGV[1] the owner, ARGV[2] the TTL in milliseconds
-- KEYS[2], ARGV[3], ARGV[4] if the lock is fenced: its counter, what that is raised to at least, and what it begins with if
-- there is none (empty: it is not created); ARGV[5] its retention in milliseconds
-- ARGV[6], ARGV[7] if the caller is one of those who wait: which process it is, and the key, in the slot of the lock's, where
-- these are noted; not one of KEYS, because a user who may not touch it would be refused the lock as well
-- ARGV[8] if the lock is asked for a fire: the least mark by which the fire is completed: then nothing is set (-: it is even so); the
-- last of KEYS is then that of the mark of completed fires
-- ARGV[9], ARGV[10] then, where all keys may be named: how much is left at least and at most, in milliseconds, of the life of a mark that
-- was certainly written since this server started
-- ARGV[9] if the lock is asked for no fire, and tokens are reserved for those who get it from the caller: how many; they are the numbers
-- up to the counter
-- ARGV[10] the counter, ARGV[11] the mark, where the lock's key alone may be named
-- granted: the counter, or 1 if there is none, below zero if another process waits; for a fire this number stands alone where the mark is
-- smaller and was certainly written since this server started, as nearly all are, in a list by itself where there is no mark, and
-- otherwise in a list with what is left of the mark's life, in milliseconds, and the mark, an empty text for what holds no text
-- refused: who holds it, for how long, the counter, the mark if it was asked for, and what is left of its life
-- Not nil: the answer to a refusal would end in front of it.
local is_fenced = ARGV[3] ~= nil and ARGV[3] ~= ''
local is_for_fire = ARGV[8] and ARGV[8] ~= ''
local fence = KEYS[2] or ARGV[10]
local room = not is_for_fire and tonumber(ARGV[9] ~= '' and ARGV[9] or 0) or 0
local mark, left, is_completed, is_usual
if is_for_fire then
    local done, least = ARGV[11] or KEYS[#KEYS], ARGV[8]
    mark = redis.pcall('GET', done)
    -- Not nil, which would end the answer in front of it.
    left = false
    if mark then
        mark = type(mark) == 'table' and '' or mark
        left = redis.call('PTTL', done)
        -- Digits are compared as text, which takes half as long as to read them.
        local completed = least ~= '-' and string.match(mark, '^0*(%d+):%d+$')
        is_completed = completed and (#completed > #least or #completed == #least and completed >= least)
        if completed and not is_completed and KEYS[2] and ARGV[10] then
            is_usual = left >= tonumber(ARGV[9]) and left <= tonumber(ARGV[10])
        end
    end
end
local counter = not is_completed and redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1
