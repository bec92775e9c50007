-- KEYS[1] how many permits the lock has; KEYS[2…] its slots, in the order in which the caller wants them, and behind them, if the
-- lock is fenced, their fencing counters in the same order; where one key alone may be named, the others are arguments from ARGV[12]
-- on
-- ARGV[1] the owner, ARGV[2] the TTL in milliseconds, ARGV[3] to ARGV[7] as in acquire.lua
-- ARGV[8] how many slots there are
-- ARGV[9] how many permits the caller says that the lock has, ARGV[10] how long that is kept, in milliseconds
-- ARGV[11] 1 if the fencing counters of all slots are told
-- The first slot that is free is granted. Told are its number in this order and its counter as in acquire.lua, or twice 0; how many
-- permits somebody said before (false: nobody); and what every slot held before, in this order and in one text: "-" nothing, else the
-- first letters of its value, where none is granted with how long it lives behind a colon; then in the
-- same way the counters, if they are asked for: "-" there is none, "?" what holds no number; and
-- how long it would have been kept how many permits somebody said, in milliseconds.
local keys = {}
for _, key in ipairs(KEYS) do
    keys[#keys + 1] = key
end
for index = 12, #ARGV do
    keys[#keys + 1] = ARGV[index]
end
local slots, is_fenced, room = tonumber(ARGV[8]), ARGV[3] ~= '', 0
local is_completed, counter, fence, granted = false, false, false, 0
local held = {}

-- What is no text is left alone.
local said, lives = redis.pcall('GET', keys[1]), 0
if type(said) == 'string' or not said then
    said = said and tonumber(said)
    lives = said and redis.call('PTTL', keys[1]) or 0
    if not said or said < tonumber(ARGV[9]) then
        redis.call('SET', keys[1], ARGV[9], 'PX', ARGV[10])
    elseif said == tonumber(ARGV[9]) and lives < ARGV[10] * 0.9 then
        redis.call('PEXPIRE', keys[1], ARGV[10])
    end
else
    said = false
end

for index = 1, slots do
    -- What is no text is nobody's, and not free.
    local value = redis.pcall('GET', keys[1 + index])
    value = type(value) == 'table' and '?' or value
    if not value and granted == 0 and redis.call('SET', keys[1 + index], ARGV[1], 'NX', 'PX', ARGV[2]) then
        granted, counter = index, 1
        fence = is_fenced and keys[1 + slots + index]
    end
    held[index] = value and string.gsub(string.sub(value, 1, 8), '%W', '?') or '-'
end

