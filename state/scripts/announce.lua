-- Tell that a process works here, and learn which others do.
-- KEYS: 1 the replicas: sorted set, name by when it was last told, ms on the clock of Redis
-- ARGV: 1 name, 2 ms after which one that tells nothing is gone, 3 most replicas that are kept
-- Returns: the names of those that live, ours among them.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
return redis.call('ZRANGE', KEYS[1], 0, -1)
