-- Give the lease back.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 token
local lease = KEYS[1] .. 'lease'
if redis.call('GET', lease) == ARGV[1] then redis.call('DEL', lease) end
return 1
