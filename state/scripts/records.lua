-- What the scripts of the records share: how a record is named, stored, and
-- seen in the graph. Prepended to merge.lua,
-- graph.lua, overdue.lua and look.lua.
-- KEYS: 1 the prefix of the instance's keys (state/doc.go lists them)

local prefix = KEYS[1]

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
local function num(n) return string.format('%.0f', n) end

-- identify takes an id apart: its kind, the owner and the member, where it is stored.
local function identify(id)
  local kind, rest = string.match(id, '^(%a+)/?(.*)$')
  local r = {id = id, kind = kind, owner = '', member = rest}
  if entity[kind] then
    r.scope = entity[kind]
    r.confirmed = true
    if kind == 'account' then r.member = 'account' end
  else
    r.owner, r.member = string.match(rest, '^([^/]*)/(.*)$')
    r.scope = listed[kind] .. r.owner
  end
  return r
end

-- parse fills in what a stored value says. Values:
--   absent                    A<version>
--   member, group, app, …     P<version>
--   user                      P<version>;<mfa: t, f or nothing>;<id of Everyone whose edge it has>
--   appuser, appgroup, factor P<version>;<newest absence>;<version of content>;<content>
local function parse(r, value)
  r.stored, r.present, r.v, r.absent, r.cv, r.mfa, r.everyone = false, false, 0, 0, 0, '', ''
  r.content = nil
  if not value then return r end
  r.stored = true
  r.present = string.sub(value, 1, 1) == 'P'
  if r.kind == 'user' and r.present then
    local v, mfa, e = string.match(value, '^P(%d+);(%a?);(.*)$')
    r.v, r.cv, r.mfa, r.everyone = tonumber(v), tonumber(v), mfa, e
  elseif inline[r.kind] and r.present then
    local v, a, cv, content = string.match(value, '^P(%d+);(%d+);(%d+);(.*)$')
    r.v, r.absent, r.cv = tonumber(v), tonumber(a), tonumber(cv)
    if content ~= '' then r.content = content end
  else
    r.v = tonumber(string.sub(value, 2))
    r.cv = r.v
  end
  return r
end

local function load(id)
  local r = identify(id)
  return parse(r, redis.call('HGET', prefix .. 'rec:' .. r.scope, r.member))
end

local function content(r)
  if r.confirmed and r.present and not r.content then
    r.content = redis.call('HGET', prefix .. 'content:' .. r.scope, r.member) or nil
  end
  return r.content
end

local function isPresent(scope, member)
  local value = redis.call('HGET', prefix .. 'rec:' .. scope, member)
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

-- snapshot is what the record gives to the graph now, or nil.
local function snapshot(r)
  if not visible(r) then return nil end
  local s = {content = content(r) or '', mfa = r.mfa, everyone = r.everyone}
  if r.kind == 'group' then s.moved = redis.call('HGET', prefix .. 'moved', r.member) or '' end
  if r.kind == 'user' then
    s.person = decode(s.content).personKey
  elseif (r.kind == 'appuser' or r.kind == 'appgroup') and s.content ~= '' then
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
    local id = before .. fields[i]
    local v = string.match(fields[i + 1], '^P(%d+)')
    if v then
      present = present + 1
      if tonumber(v) < 2 * ms and not (run and
          (redis.call('HEXISTS', prefix .. 'held:' .. run, id) == 1 or not visible(parse(identify(id), fields[i + 1])))) then
        n = n + 1
        if #samples < 5 then samples[#samples + 1] = id end
      end
    end
  end
  return n, present, samples
end
