-- Store a delivery: every event not seen lately goes to the inbox, every event
-- that could not be understood to the dead letters.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: 1 seconds that a uuid is remembered, 2 dead letters to keep, about,
--       3 number of events; then uuid, source, body of each;
--       then event, reason of each dead letter
-- Returns: number of events that were new.

local prefix = KEYS[1]
local new, at = 0, 4
for _ = 1, tonumber(ARGV[3]) do
  if redis.call('SET', prefix .. 'seen:' .. ARGV[at], '1', 'NX', 'EX', ARGV[1]) then
    redis.call('XADD', prefix .. 'inbox', '*', 'source', ARGV[at + 1], 'event', ARGV[at + 2])
    new = new + 1
  end
  at = at + 3
end
for i = at, #ARGV, 2 do
  redis.call('XADD', prefix .. 'dead', 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[i], 'reason', ARGV[i + 1])
end
return new
