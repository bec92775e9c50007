-- KEYS[1] the key of the mark of completed fires
-- ARGV[1] what was read there: `=` and the text, `none`, or `other` for what holds no text; ARGV[2] the mark that replaces it, ARGV[3] how
-- long that is kept, in milliseconds
-- 1 if it was replaced; 0 if it was changed meanwhile: then it is left alone, because this may come late, behind a completion
local stored = redis.pcall('GET', KEYS[1])
local found = 'none'
if type(stored) == 'string' then
    found = '=' .. stored
elseif stored then
    found = 'other'
end
if found ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
