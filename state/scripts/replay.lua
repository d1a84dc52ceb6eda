-- Send dead letters back to the inbox, each once.
-- KEYS: 1 the prefix of the instance's keys
-- ARGV: id, source, event of each
-- Returns: how many were still there.
local prefix, sent = KEYS[1], 0
for i = 1, #ARGV, 3 do
  if redis.call('XDEL', prefix .. 'dead', ARGV[i]) == 1 then
    redis.call('XADD', prefix .. 'inbox', '*', 'source', ARGV[i + 1], 'event', ARGV[i + 2])
    sent = sent + 1
  end
end
if sent > 0 then redis.pcall('PUBLISH', prefix .. 'inbox', 'grew') end
return sent
