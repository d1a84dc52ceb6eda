-- Replace the settings of an instance, unless others came since they were read.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 the settings as they were read, 2 the new ones
-- Returns: 1 if they were replaced, else 0.

if redis.call('GET', KEYS[1] .. 'instance') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1] .. 'instance', ARGV[2])
return 1
