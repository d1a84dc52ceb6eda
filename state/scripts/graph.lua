-- Read one chunk of a scope as the graph has it now.
-- ARGV: 1 scope, 2 cursor, 3 records to look at, about
-- Returns: the next cursor ("0" at the end), then id, "<mfa>;<everyone>;<content>"
-- and version of each record in the graph. A shared object comes with the record that gives
-- it its properties; the factors of a user come with the user.

local scope, cursor, count = ARGV[1], ARGV[2], ARGV[3]
local out = {}
local function add(r)
  local s = snapshot(r)
  if not s then return end
  if s.person and winner('person/' .. s.person) == r.id then
    out[#out + 1] = 'person/' .. s.person
    out[#out + 1] = encode({content = s.content})
    out[#out + 1] = string.format('%.0f', r.v)
  end
  out[#out + 1] = r.id
  out[#out + 1] = encode(s)
  out[#out + 1] = string.format('%.0f', r.v)
  for role in pairs(s.roles or {}) do
    if winner(role) == r.id then
      out[#out + 1] = role
      out[#out + 1] = encode({})
      out[#out + 1] = string.format('%.0f', r.v)
    end
  end
end

local before = name(scope)
local chunk = redis.call('HSCAN', prefix .. 'rec:' .. scope, cursor, 'COUNT', count)
out[1] = chunk[1]
for i = 1, #chunk[2], 2 do
  local id = scope == 'account' and 'account' or before .. chunk[2][i]
  local r = parse(identify(id), chunk[2][i + 1])
  add(r)
  if r.kind == 'user' and r.present then
    local factors = redis.call('HGETALL', prefix .. 'rec:factors/' .. r.member)
    for j = 1, #factors, 2 do
      add(parse(identify('factor/' .. r.member .. '/' .. factors[j]), factors[j + 1]))
    end
  end
end
return out
