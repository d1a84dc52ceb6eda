-- Start a run, unless one is running.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 id of the run, 2 its description, JSON, 3 runs to keep,
--       4 token of the owner that starts it, or nothing;
--       then scopes to read, with their families before them
-- Returns: the id of the run that is running now.

local prefix = KEYS[1]
if ARGV[4] ~= '' and redis.call('HGET', prefix .. 'facts', 'fence') ~= ARGV[4] then
  return redis.error_reply('FENCED another process works for the instance')
end
local running = redis.call('HGET', prefix .. 'facts', 'run')
if running then return running end
redis.call('HSET', prefix .. 'facts', 'run', ARGV[1])
redis.call('HSET', prefix .. 'runs', ARGV[1], ARGV[2])
redis.call('LPUSH', prefix .. 'runlist', ARGV[1])
local old = redis.call('LRANGE', prefix .. 'runlist', ARGV[3], -1)
for i = #old, 1, -1 do
  local id = old[i]
  -- What a run holds is not to vanish unseen.
  if redis.call('SISMEMBER', prefix .. 'holding', id) == 0 then
    redis.call('HDEL', prefix .. 'runs', id)
    redis.call('LREM', prefix .. 'runlist', -1, id)
  end
end
for i = 5, #ARGV, 2 do redis.call('HSET', prefix .. 'pending:' .. ARGV[i], ARGV[i + 1], '') end
return ARGV[1]
