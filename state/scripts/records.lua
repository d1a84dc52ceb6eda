-- What the scripts of the records share: how a record is named, stored, and
-- seen in the graph. Prepended to merge.lua,
-- graph.lua, overdue.lua and look.lua.
-- KEYS: 1 the prefix of the instance's keys (state/doc.go lists them)

local prefix = KEYS[1]
if tonumber(redis.call('HGET', prefix .. 'facts', 'format') or 0) > format then
  return redis.error_reply('NEWER the instance is kept in another format')
end

-- Entities have their content in a hash of its own: what asks only whether an
-- end is present must not pay for its profile.
local entity = {user = 'users', group = 'groups', app = 'apps', account = 'account'}
local listed = {member = 'members/', appuser = 'appusers/', appgroup = 'appgroups/', factor = 'factors/'}
local inline = {appuser = true, appgroup = true, factor = true}
local confirmed = {users = 'user/', groups = 'group/', apps = 'app/', account = ''}

local decoded = {}
local function decode(content)
  if not content or content == '' then return {} end
  local c = decoded[content]
  if not c then
    c = cjson.decode(content)
    decoded[content] = c
  end
  return c
end

local marks = {}
local function mark(scope)
  local ms = marks[scope]
  if not ms then
    ms = tonumber(redis.call('HGET', prefix .. 'marks', scope) or 0)
    marks[scope] = ms
  end
  return ms
end

local everyoneID
local function everyone()
  if not everyoneID then everyoneID = redis.call('HGET', prefix .. 'facts', 'everyone') or '' end
  return everyoneID
end

-- num writes a version or time: %.14g, Lua's own, is exact to 14 digits.
local texts = {}
local function num(n)
  local text = texts[n]
  if not text then
    text = string.format('%.0f', n)
    texts[n] = text
  end
  return text
end

-- identify takes an id apart: its kind, the owner and the member, where it is
-- stored. All fields are named at once: a table that grows costs more.
local function identify(id)
  local kind, rest = string.match(id, '^(%a+)/?(.*)$')
  local owner, member, scope = '', rest, entity[kind]
  local byID = scope ~= nil
  if kind == 'account' then
    member = 'account'
  elseif not byID then
    owner, member = string.match(rest, '^([^/]*)/(.*)$')
    scope = listed[kind] .. owner
  end
  return {id = id, kind = kind, owner = owner, member = member, scope = scope, confirmed = byID,
    stored = false, present = false, v = 0, absent = 0, cv = 0, mfa = '', everyone = '', content = nil}
end

-- another is identify of r's id with more behind it.
local function another(r, more)
  return {id = r.id .. more, kind = r.kind, owner = r.owner, member = r.member .. more, scope = r.scope, confirmed = r.confirmed,
    stored = false, present = false, v = 0, absent = 0, cv = 0, mfa = '', everyone = '', content = nil}
end

-- The records of a scope are read and written through rows: of a page of a list
-- that is one HMGET and one HSET, and what many records need, as their group, is
-- read once. What reads a whole scope stores it first.
local rows = {} -- scope -> member -> value, false if it is not stored
local function rowsOf(scope)
  local of = rows[scope]
  if not of then
    of = {}
    rows[scope] = of
  end
  return of
end

local function row(scope, member)
  local of = rowsOf(scope)
  local value = of[member]
  if value == nil then
    value = redis.call('HGET', prefix .. 'rec:' .. scope, member)
    of[member] = value
  end
  return value
end

-- fetch reads the rows of many members, those that are not known yet, and
-- returns how many they are.
local function fetch(scope, members)
  local of, wanted = rowsOf(scope), {}
  for _, member in ipairs(members) do
    if of[member] == nil then
      wanted[#wanted + 1] = member
      of[member] = false
    end
  end
  for from = 1, #wanted, 500 do -- as many arguments as Lua can take
    local values = redis.call('HMGET', prefix .. 'rec:' .. scope, unpack(wanted, from, math.min(from + 499, #wanted)))
    for i, value in ipairs(values) do of[wanted[from + i - 1]] = value end
  end
  return #wanted
end

-- A value is a head and, of edges, the content behind it. Heads:
--   absent                    A<version>
--   member, group, app, …     P<version>
--   user                      P<version>;<mfa: t, f or nothing>;<id of Everyone whose edge it has>
--   appuser, appgroup, factor P<version>;<newest absence>;<version of content>;
--                             or P<version>, which is the content's too, if no absence is newer than the watermark
-- All records that a list brought have the same head or few: each is parsed once.
local heads = {}
local function parseHead(text)
  local h = {present = string.sub(text, 1, 1) == 'P', absent = 0, mfa = '', everyone = ''}
  local v, absent, cv = string.match(text, '^P(%d+);(%d+);(%d+);$')
  if v then
    h.absent, h.cv = tonumber(absent), tonumber(cv)
  else
    local _, mfa, everyone = string.match(text, '^P(%d+);(%a?);(.*)$')
    if mfa then h.mfa, h.everyone = mfa, everyone end
    v = string.match(text, '^.(%d+)')
  end
  h.v = tonumber(v)
  h.cv = h.cv or h.v
  heads[text] = h
  return h
end

-- split takes a value apart: what its head says, where its content begins if it has one.
local function split(value)
  local at = string.find(value, '{', 1, true)
  local text = at and string.sub(value, 1, at - 1) or value
  return heads[text] or parseHead(text), at
end

-- parse fills in what a stored value says.
local function parse(r, value)
  if not value then return r end
  local h, at = split(value)
  r.stored, r.present, r.v, r.absent, r.cv, r.mfa, r.everyone = true, h.present, h.v, h.absent, h.cv, h.mfa, h.everyone
  if at then r.content = string.sub(value, at) end
  return r
end

local function load(id)
  local r = identify(id)
  return parse(r, row(r.scope, r.member))
end

local function content(r)
  if r.confirmed and r.present and not r.content then
    r.content = redis.call('HGET', prefix .. 'content:' .. r.scope, r.member) or nil
  end
  return r.content
end

local function isPresent(scope, member)
  local value = row(scope, member)
  return value and string.sub(value, 1, 1) == 'P'
end

-- visible: an edge is in the graph only while both its ends are present. The
-- members of Everyone are all users, whatever its own members say.
local function visible(r)
  if not r.present then return false end
  if r.kind == 'member' then
    return r.owner ~= everyone() and isPresent('groups', r.owner) and isPresent('users', r.member)
  elseif r.kind == 'appuser' then
    return isPresent('apps', r.owner) and isPresent('users', r.member)
  elseif r.kind == 'appgroup' then
    return isPresent('apps', r.owner) and isPresent('groups', r.member)
  elseif r.kind == 'factor' then
    return isPresent('users', r.owner)
  end
  return true
end

-- personKey tells whose Person a user gives. It is the last field of the content:
-- a profile takes longer to decode than all else that is done with a user.
local function personKey(content)
  return string.match(content, '"personKey":"([^"\\]+)"}$', -200) or decode(content).personKey
end

-- snapshot is what the record gives to the graph now, or nil.
local function snapshot(r)
  if not visible(r) then return nil end
  local s = {content = content(r) or '', mfa = r.mfa, everyone = r.everyone}
  if r.kind == 'group' then s.moved = redis.call('HGET', prefix .. 'moved', r.member) or '' end
  if r.kind == 'user' then
    s.person = personKey(s.content)
  elseif (r.kind == 'appuser' or r.kind == 'appgroup') and string.find(s.content, 'Roles":', 1, true) then
    local c = decode(s.content)
    if c.arnRoles or c.aliasRoles then
      local account = decode(redis.call('HGET', prefix .. 'content:apps', r.owner) or nil).awsAccount
      if account then
        local subject = (r.kind == 'appuser' and 'user/' or 'group/') .. r.member
        s.roles = {}
        for _, role in ipairs(c.arnRoles or {}) do
          s.roles['role/' .. subject .. '/' .. account .. '/' .. role] = true
        end
        for _, role in ipairs(c.aliasRoles or {}) do
          s.roles['role/' .. subject .. '/-/' .. role] = true
        end
      end
    end
  end
  return s
end

local function encode(s)
  if not s then return '' end
  return (s.mfa or '') .. (s.moved or '') .. ';' .. (s.everyone or '') .. ';' .. (s.content or '')
end

-- name gives the ids of a scope's records, but for the member.
local owned = {members = 'member/', appusers = 'appuser/', appgroups = 'appgroup/', factors = 'factor/'}
local function name(scope)
  if confirmed[scope] then return confirmed[scope] end
  local kind, owner = string.match(scope, '^(%a+)/(.*)$')
  return owned[kind] .. owner .. '/'
end

-- A graph object that several records give stays as long as one does, and has
-- the properties that the record with the smallest id gives it.
local function winner(shared)
  return redis.call('ZRANGE', prefix .. 'shared:' .. shared, 0, 0)[1]
end

-- overdue counts, among the fields of a scope, the present records that are
-- older than a list as of ms, and the present ones; with a few of the older.
-- For a verify, which names its run, only those count that are in the graph and
-- of which nothing newer is held.
local function overdue(scope, ms, fields, run)
  local before, n, present, samples = name(scope), 0, 0, {}
  for i = 1, #fields, 2 do
    local h = split(fields[i + 1])
    if h.present then
      present = present + 1
      if h.v < 2 * ms then
        local id = before .. fields[i]
        if not (run and (redis.call('HEXISTS', prefix .. 'held:' .. run, id) == 1 or
            not visible(parse(identify(id), fields[i + 1])))) then
          n = n + 1
          if #samples < 5 then samples[#samples + 1] = id end
        end
      end
    end
  end
  return n, present, samples
end
