-- KEYS[1] the list of waiting counters; ARGV[1] how the list names one, ARGV[2] its name
-- 1 if it was added, 0 if the list had it; JSON can write the same text in several ways
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    local is_json, name = pcall(cjson.decode, entry)
    if is_json and name == ARGV[2] then
        return 0
    end
end
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
