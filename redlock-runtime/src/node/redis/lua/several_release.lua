-- KEYS[1…] the keys of locks that are held together; where one key alone may be named, the others are arguments from ARGV[4] on
-- ARGV[1] the owner, ARGV[2] how long to keep the keys, in milliseconds (0: delete them), ARGV[3] what stands before a key where to
-- publish that it is gone, if the server does not report that by itself, else empty
-- 1 if one of the keys was the owner's, or is kept by an earlier release of his, else 0
local kept, is_done = ARGV[1] .. ':released', 0
local function release(key)
    -- What is no text is no lock's, and keeps none of the others.
    local owner = redis.pcall('GET', key)
    if owner == kept then
        is_done = 1
    elseif owner == ARGV[1] then
        is_done = 1
        if ARGV[2] ~= '0' then
            redis.call('SET', key, kept, 'XX', 'PX', ARGV[2])
            return
        end
        redis.call('DEL', key)
        if ARGV[3] ~= '' then
            -- Whoever may not publish releases all the same.
            redis.pcall('PUBLISH', ARGV[3] .. key, '')
        end
    end
end
for _, key in ipairs(KEYS) do
    release(key)
end
for index = 4, #ARGV do
    release(ARGV[index])
end
return is_done
