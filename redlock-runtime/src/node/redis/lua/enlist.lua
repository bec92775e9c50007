-- KEYS[1] the list of waiting counters; ARGV[1] how everybody who writes to the list names one
-- 1 if it was added, 0 if the list had it
-- Called where no marker says that the list has it. An entry that outlived its marker is looked for among the latest alone: no
-- step may grow with the list, and one that is there twice is read once and taken out when somebody reads them all. Servers
-- before 6.0.6 do not know LPOS.
local position = redis.pcall('LPOS', KEYS[1], ARGV[1], 'RANK', -1, 'MAXLEN', 1000)
if type(position) == 'number' then
    return 0
end
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
