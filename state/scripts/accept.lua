-- Store events: those not seen lately go to the inbox, those that could not be
-- understood to the dead letters. Of the System Log, the place in it moves in
-- the same step, and only its owner may do that.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 source, 2 seconds that a uuid is remembered, 3 dead letters to keep, about,
--       4 token of the owner and 5 the new place in the log, both of a log page only,
--       6 the instance's settings that the sender was let in by, or '',
--       7 number of events; then uuid, type, ms it took to come, trace or '', body of each;
--       then event, reason of each dead letter
-- Returns: number of events that were new; GONE if the instance was deleted; CHANGED if it
-- has other settings.

local prefix, source = KEYS[1], ARGV[1]
local settings = redis.call('GET', prefix .. 'instance')
if not settings then return redis.error_reply('GONE no such instance') end
if ARGV[6] ~= '' and ARGV[6] ~= settings then return redis.error_reply('CHANGED the instance has other settings') end
if ARGV[5] ~= '' then
  if (redis.call('HGET', prefix .. 'facts', 'fence') or '') ~= ARGV[4] then
    return redis.error_reply('FENCED another process works for the instance')
  end
  redis.call('HSET', prefix .. 'cursors', 'log', ARGV[5])
end
local coverage = {} -- by type: events that were new, their delays' sum and the greatest
local new, at = 0, 8
for _ = 1, tonumber(ARGV[7]) do
  local seen, typ, delay = prefix .. 'seen:' .. ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if redis.call('SET', seen, source, 'NX', 'EX', ARGV[2]) then
    if ARGV[at + 3] == '' then
      redis.call('XADD', prefix .. 'inbox', '*', 'source', source, 'event', ARGV[at + 4])
    else
      redis.call('XADD', prefix .. 'inbox', '*', 'source', source, 'event', ARGV[at + 4], 'trace', ARGV[at + 3])
    end
    new = new + 1
    local c = coverage[typ] or {n = 0, sum = 0, max = 0}
    c.n, c.sum, c.max = c.n + 1, c.sum + delay, math.max(c.max, delay)
    coverage[typ] = c
  elseif source == 'hook' and redis.call('GET', seen) == 'log' then
    redis.call('SET', seen, 'both', 'EX', ARGV[2])
    redis.call('HINCRBY', prefix .. 'coverage', typ .. ' late', 1)
  end
  at = at + 5
end
for typ, c in pairs(coverage) do
  local name = typ .. ' ' .. source
  redis.call('HINCRBY', prefix .. 'coverage', name, c.n)
  redis.call('HINCRBY', prefix .. 'coverage', name .. ' sum', c.sum)
  if c.max > tonumber(redis.call('HGET', prefix .. 'coverage', name .. ' max') or 0) then
    redis.call('HSET', prefix .. 'coverage', name .. ' max', c.max)
  end
end
for i = at, #ARGV, 2 do
  redis.call('XADD', prefix .. 'dead', 'MAXLEN', '~', ARGV[3], '*', 'source', source, 'event', ARGV[i], 'reason', ARGV[i + 1])
  redis.call('HINCRBY', prefix .. 'facts', 'dead', 1)
end
-- The owner goes on until the inbox is empty: it is told of the first only. pcall,
-- for where publishing is forbidden: then it looks each second.
if new > 0 and redis.call('XLEN', prefix .. 'inbox') == new then redis.pcall('PUBLISH', prefix .. 'inbox', 'grew') end
return new
