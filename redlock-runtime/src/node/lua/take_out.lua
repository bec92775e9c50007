-- KEYS[1] the list of waiting counters; ARGV the names to be taken out of it
-- the names that it has from now on, each once; what names none is left as it is
local unwanted = {}
for _, name in ipairs(ARGV) do
    unwanted[name] = true
end
local names = {}
local taken_out = false
for index, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    local is_json, name = pcall(cjson.decode, entry)
    if is_json and type(name) == 'string' then
        if unwanted[name] then
            -- No JSON: nobody else writes it.
            redis.call('LSET', KEYS[1], index - 1, 'taken out')
            taken_out = true
        else
            names[#names + 1] = name
            unwanted[name] = true
        end
    end
end
if taken_out then
    redis.call('LREM', KEYS[1], 0, 'taken out')
end
return names
