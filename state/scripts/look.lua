-- Look at what records give to the graph now.
-- ARGV: ids
-- Returns: of each what graph.lua gives, empty for what is not in the graph.
local out = {}
for i, id in ipairs(ARGV) do out[i] = encode(snapshot(load(id))) end
return out
