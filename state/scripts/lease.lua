-- Take the lease of an instance, or keep it; and find out whether Redis is
-- still the one that held the state.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 token, 2 ms that it lasts, 3 id of the running server, 4 a new epoch,
--       5 take or keep
-- Returns: holder, epoch. The lease is ours if the holder is our token. The
-- token is the fence too: what carries another is refused from now on. NEWER if
-- the instance is kept in a newer format than ours.

local prefix = KEYS[1]
local holder = redis.call('GET', prefix .. 'lease')
if holder and holder ~= ARGV[1] then return {holder, ''} end
-- Of an instance that was deleted, or lost, nothing is to come back.
if ARGV[5] == 'take' and redis.call('EXISTS', prefix .. 'instance') == 0 then return {'', ''} end
if ARGV[5] == 'keep' and redis.call('HGET', prefix .. 'facts', 'fence') ~= ARGV[1] then return {'', ''} end
if ARGV[5] == 'take' then
  local kept = tonumber(redis.call('HGET', prefix .. 'facts', 'format') or 0)
  if kept > format then return redis.error_reply('NEWER the instance is kept in another format') end
  if kept < format then redis.call('HSET', prefix .. 'facts', 'format', format) end
end
redis.call('SET', prefix .. 'lease', ARGV[1], 'PX', ARGV[2])
local facts = redis.call('HMGET', prefix .. 'facts', 'fence', 'epoch', 'server')
if facts[1] ~= ARGV[1] then redis.call('HSET', prefix .. 'facts', 'fence', ARGV[1]) end
if facts[2] and (not facts[3] or facts[3] == ARGV[3]) then
  if not facts[3] then redis.call('HSET', prefix .. 'facts', 'server', ARGV[3]) end
  return {ARGV[1], facts[2]}
end
redis.call('HSET', prefix .. 'facts', 'epoch', ARGV[4], 'server', ARGV[3])
-- A restarted server may have lost its last moments: until the owner has seen
-- to it, the state is to be repaired.
if facts[2] then redis.call('HSET', prefix .. 'facts', 'repair', ARGV[4]) end
return {ARGV[1], ARGV[4]}
