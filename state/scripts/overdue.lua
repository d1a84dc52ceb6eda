-- Look for what a list of a scope did not show, in one chunk of the scope.
-- ARGV: 1 scope, 2 watermark that the list would set, ms, 3 cursor, 4 run of a verify or nothing
-- Returns: the next cursor, how many of the present records are older, how many
-- are present, and the ids of a few of the older.
local chunk = redis.call('HSCAN', prefix .. 'rec:' .. ARGV[1], ARGV[3], 'COUNT', 500)
local n, present, samples = overdue(ARGV[1], tonumber(ARGV[2]), chunk[2], ARGV[4] ~= '' and ARGV[4] or nil)
local out = {chunk[1], n, present}
for _, id in ipairs(samples) do out[#out + 1] = id end
return out
