-- The beginning of every script that is put to a server of a cluster while the slot of its keys is on its way there, so that one key
-- alone may be named; the last argument says how many of those before it are the others, and is no argument of what follows.
-- A server that has been given the slot meanwhile, and gives it away again, lets no command of a script touch a key that it has no
-- more. In the middle of a script that is too late, and there it may be taken for a key that holds what is no lock.
for index = #ARGV - ARGV[#ARGV], #ARGV - 1 do
    local held = redis.pcall('GET', ARGV[index])
    if type(held) == 'table' and held.err and string.find(held.err, 'non local key', 1, true) then
        return redis.error_reply('TRYAGAIN Multiple keys request during rehashing of slot')
    end
end
table.remove(ARGV)
