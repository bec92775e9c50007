-- KEYS[1] a key, if it is declared; else ARGV[1]
-- an error if a script may not touch it, the error itself where the server lets it go on
return redis.pcall('GET', KEYS[1] or ARGV[1])
