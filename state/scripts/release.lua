-- Give the lease back, and tell whoever waits for it.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 token, 2 channel and 3 message that tell of it
local lease = KEYS[1] .. 'lease'
if redis.call('GET', lease) == ARGV[1] then
  redis.call('DEL', lease)
  redis.pcall('PUBLISH', ARGV[2], ARGV[3])
end
return 1
