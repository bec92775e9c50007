-- What every script finds beside KEYS and ARGV; returns what runs a script.
local call, protected_call, sha1hex, describe, line, note_unknown = ...
local error, pcall, xpcall, tostring, type = error, pcall, xpcall, tostring, type

redis = {
    call = call,
    pcall = protected_call,
    sha1hex = sha1hex,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
}

function redis.log() end

function redis.status_reply(text)
    return {ok = text}
end

function redis.error_reply(text)
    text = text:gsub('^-', '')
    if not text:find(' ', 1, true) then
        text = 'ERR ' .. text
    end
    return {err = text}
end

-- A script that catches an error of a command gets its text.
local function caught(succeeded, ...)
    if succeeded then
        return true, ...
    end
    local raised = ...
    return false, describe(raised) or type(raised) == 'table' and raised.err or raised
end

function _G.pcall(...)
    return caught(pcall(...))
end

-- What could differ from one run to another, or reach out of the script.
for _, name in ipairs {'print', 'dofile', 'loadfile', 'collectgarbage', 'newproxy', 'gcinfo', 'module', 'require'} do
    _G[name] = nil
end
math.random, math.randomseed = nil, nil

-- Those that are there may be set.
KEYS, ARGV = {}, {}

setmetatable(redis, {
    __index = function(_, name)
        note_unknown('redis.' .. tostring(name) .. ' within a script')
    end,
})
setmetatable(_G, {
    __index = function(_, name)
        if name == 'cjson' or name == 'cmsgpack' or name == 'bit' or name == 'struct' then
            note_unknown(name .. ' within a script')
        end
        error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
    end,
    __newindex = function()
        error('Attempt to modify a readonly table', 2)
    end,
})

local function handler(raised)
    local text = describe(raised)
    if not text then
        text = type(raised) == 'table' and raised.err or 'ERR ' .. tostring(raised)
    end
    return {err = text, line = line()}
end

return function(script, keys, arguments)
    KEYS, ARGV = keys, arguments
    return xpcall(script, handler)
end
