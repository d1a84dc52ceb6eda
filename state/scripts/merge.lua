-- Merge a batch of observations into the records, append what that changes in
-- the graph to the changes, keep what must be read again, and move cursors: in
-- one atomic step. The rule is record.Model's; a property test compares them.
--
-- KEYS: 1 the prefix of the instance's keys (state/doc.go lists them)
-- ARGV: 1 control, JSON:
--           runs, asks          how many runs of observations, and asks, follow
--           mark                {scope, ms, cursor, source, cause}: the scope was listed to its
--                               end as of ms; one chunk of what it lacks is swept from cursor on.
--                               empty: the list held nothing; counted: how many records it did
--                               not show, if that is known; checked: they are known to be gone
--           walk                {target, cursor}: one chunk of an ask that is no read. everyone: give users their
--                               edge from Everyone; walk/<scope or record>: sweep what is empty, or was owned, see walk
--           chunk               how many records of a scope are looked at, at most about
--           set, del            [[hash, field, value]], [[hash, field]]: cursors to move
--           dead                [[source, event, reason]]: dead letters
--           postpone            [[target, ms]]: asks to be tried no earlier
--           token               of the owner: another one's batch is refused
--           ratio, day          the brake: what part of a kind's records may vanish in a day
--                               without an event that tells of it; absent, it is off
--           forced              the brake was lifted
--           verify              nothing that would change the graph is merged: it is held
--           holder              the run that holds what the brake or a verify does not let through
--           done                as del, once the mark is swept to its end
--           drop                hashes to delete
--           inbox               id of the last inbox entry that the batch takes in
--           margin, allowance   ms that a read, a list must begin after what it is to show
--           keep, keepDead      entries that the changes, the dead letters keep, about
--         then for each run of observations, which differ in few things: id up to the member,
--           version, "1" present or "0", source, cause, number of observations, "1" or "3":
--           how many arguments each has, of member, content or "", scopes shown empty joined by spaces
--         then for each ask: target, version to exceed, source, cause
-- Returns: number of transitions, cursor of the sweep or the walk ("0" at the end),
-- number of absences held. Nothing is swept yet if the cursor is
--   count: the scope is large, count what the list did not show
--   check: it is much, look whether these are gone: their ids follow

local control = cjson.decode(ARGV[1])
if (redis.call('HGET', prefix .. 'facts', 'fence') or '') ~= (control.token or '') then
  return redis.error_reply('FENCED another process works for the instance')
end
local meta = {source = '', cause = '', asOf = 0} -- of the observation at work
local transitions = 0
local moved = {} -- groups whose members an event changed -> the meta of the newest
local zero = {asOf = 0}
local dirty = {} -- users whose mfaEnabled may have changed: user -> the meta that did it
local counts = {} -- by kind: how many more records are present than before
local heldBack = 0
local owns = {user = {'factors/'}, group = {'members/'}, app = {'appusers/', 'appgroups/'}}

-- tally counts what a run holds: that one entry came, 1, or went, -1.
local function tally(run, entry, sign)
  local field = run .. ' ' .. entry.kind .. (entry.n > 0 and ' deletes' or ' changes')
  local n = redis.call('HINCRBY', prefix .. 'heldcounts', field, num(sign * math.max(entry.n, 1)))
  if n == 0 then redis.call('HDEL', prefix .. 'heldcounts', field) end
end

-- release takes back what a run holds of a record or scope.
local function release(run, target)
  local old = redis.call('HGET', prefix .. 'held:' .. run, target)
  if not old then return end
  tally(run, cjson.decode(old), -1)
  redis.call('HDEL', prefix .. 'held:' .. run, target)
end

-- hold keeps an observation, of a record or of a complete scope, for somebody
-- to approve. n is how many records it would make absent.
local function hold(target, kind, n, entry)
  entry.kind, entry.n, entry.source, entry.cause = kind, n, meta.source, meta.cause
  release(control.holder, target)
  tally(control.holder, entry, 1)
  redis.call('HSET', prefix .. 'held:' .. control.holder, target, cjson.encode(entry))
  redis.call('SADD', prefix .. 'holding', control.holder)
  heldBack = heldBack + n
end

-- few is how many records of a kind may always vanish.
local few = 10

-- within tells whether n more records of a kind may vanish today without an
-- event that told of it.
local function within(kind, n)
  if not control.ratio then return true, n end
  local day, gone = string.match(redis.call('HGET', prefix .. 'brake', kind) or '', '^(%d+) (%d+)$')
  gone = day == num(control.day) and tonumber(gone) or 0
  local present = tonumber(redis.call('HGET', prefix .. 'counts', kind) or 0) + (counts[kind] or 0)
  return control.forced or gone + n <= few or gone + n <= control.ratio * (present + gone), gone + n
end

-- pass is within, and takes note of them; of what was approved, too: after one mass
-- deletion that day the next is to be looked at.
local function pass(kind, n)
  local ok, gone = within(kind, n)
  if ok and control.ratio then
    redis.call('HSET', prefix .. 'brake', kind, num(control.day) .. ' ' .. num(gone))
  end
  return ok
end

-- write is to store a value, or with false nothing. store does it, at the end
-- and before a scope is read as a whole.
local written = {} -- scope -> member -> true
local function write(scope, member, value)
  rowsOf(scope)[member] = value
  local of = written[scope]
  if not of then
    of = {}
    written[scope] = of
  end
  of[member] = true
end

local function store(scope)
  local of, set, del = rows[scope], {}, {}
  for member in pairs(written[scope] or {}) do
    local value = of[member]
    if value then
      set[#set + 1], set[#set + 2] = member, value
    else
      del[#del + 1] = member
    end
  end
  written[scope] = nil
  local function inParts(command, args) -- Lua can take so many
    for from = 1, #args, 500 do
      redis.call(command, prefix .. 'rec:' .. scope, unpack(args, from, math.min(from + 499, #args)))
    end
  end
  inParts('HSET', set)
  inParts('HDEL', del)
end

-- whole asks Redis for all of a scope.
local function whole(command, scope, ...)
  store(scope)
  return redis.call(command, prefix .. 'rec:' .. scope, ...)
end

-- exceeds tells what version an ask wants exceeded. Mostly few are waiting.
local asked -- target -> what is stored, if they are fewer than the observations
local function exceeds(target)
  if asked == nil then
    asked = redis.call('HLEN', prefix .. 'refresh') <= #ARGV / 3 and {}
    local all = asked and redis.call('HGETALL', prefix .. 'refresh') or {}
    for i = 1, #all, 2 do asked[all[i]] = all[i + 1] end
  end
  local value
  if asked then value = asked[target] else value = redis.call('HGET', prefix .. 'refresh', target) end
  return value and tonumber(string.match(value, '^%d+'))
end

local function setAsk(target, value)
  redis.call('HSET', prefix .. 'refresh', target, value)
  if asked then asked[target] = value end
end

local function removeAsk(target)
  redis.call('HDEL', prefix .. 'refresh', target)
  redis.call('ZREM', prefix .. 'due', target)
  redis.call('ZREM', prefix .. 'unanswered', target)
  if asked then asked[target] = nil end
end

local function emit(id, before, after)
  local b, a = encode(before), encode(after)
  if a == b then return end
  redis.call('XADD', prefix .. 'changes', 'MAXLEN', '~', control.keep, '*',
    'id', id, 'b', b, 'a', a, 't', num(meta.asOf), 's', meta.source, 'c', meta.cause)
  transitions = transitions + 1
end

local function personContent(id)
  return {content = redis.call('HGET', prefix .. 'content:users', identify(id).member) or ''}
end
local function noContent() return {} end

-- gain and lose keep who gives a shared object, and emit what that changes.
-- contentOf tells the content of another giver.
local function gain(shared, r, after, contentOf)
  local old = winner(shared)
  redis.call('ZADD', prefix .. 'shared:' .. shared, 0, r.id)
  if winner(shared) == r.id then emit(shared, old and contentOf(old) or nil, after) end
end

local function lose(shared, r, before, contentOf)
  local old = winner(shared)
  redis.call('ZREM', prefix .. 'shared:' .. shared, r.id)
  if old == r.id then
    local new = winner(shared)
    emit(shared, before, new and contentOf(new) or nil)
  end
end

-- show appends what the record and the objects it shares with others changed
-- in the graph: entities before edges when they come, after them when they go.
local function show(r, before, after)
  local b, a = before or {}, after or {}
  if a.person and a.person ~= b.person then
    gain('person/' .. a.person, r, {content = a.content}, personContent)
  elseif a.person and winner('person/' .. a.person) == r.id then
    emit('person/' .. a.person, {content = b.content}, {content = a.content})
  end
  emit(r.id, before, after)
  if b.person and a.person ~= b.person then
    lose('person/' .. b.person, r, {content = b.content}, personContent)
  end
  for role in pairs(a.roles or {}) do
    if not (b.roles or {})[role] then gain(role, r, {}, noContent) end
  end
  for role in pairs(b.roles or {}) do
    if not (a.roles or {})[role] then lose(role, r, {}, noContent) end
  end
end

-- hang runs a command on the hash that tells which edges hang on a record: kept
-- packed it takes a third of what a set does. Builds until November 2026 kept a set.
local function hang(command, on, ...)
  local key = prefix .. 'hang:' .. on
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    local members = redis.call('SMEMBERS', key)
    redis.call('DEL', key)
    for _, member in ipairs(members) do redis.call('HSET', key, member, '') end
    reply = redis.call(command, key, ...)
  end
  return reply
end

-- hanging lists the records of which r is an end.
local function hanging(r)
  local ids = {}
  local function of(kind, scope, owner)
    for _, member in ipairs(whole('HKEYS', scope)) do
      ids[#ids + 1] = kind .. owner .. '/' .. member
    end
  end
  if r.kind == 'group' then
    of('member/', 'members/' .. r.member, r.member)
    for _, app in ipairs(hang('HKEYS', 'group/' .. r.member)) do
      ids[#ids + 1] = 'appgroup/' .. app .. '/' .. r.member
    end
  elseif r.kind == 'app' then
    of('appuser/', 'appusers/' .. r.member, r.member)
    of('appgroup/', 'appgroups/' .. r.member, r.member)
  elseif r.kind == 'user' then
    of('factor/', 'factors/' .. r.member, r.member)
    for _, edge in ipairs(hang('HKEYS', 'user/' .. r.member)) do
      local kind = string.sub(edge, 1, 1) == 'm' and 'member/' or 'appuser/'
      ids[#ids + 1] = kind .. string.sub(edge, 2) .. '/' .. r.member
    end
  end
  return ids
end

-- index says where, and how, a record is noted that is not in its end's scope.
local function index(r)
  if r.kind == 'member' then return 'user/' .. r.member, 'm' .. r.owner end
  if r.kind == 'appuser' then return 'user/' .. r.member, 'a' .. r.owner end
  if r.kind == 'appgroup' then return 'group/' .. r.member, r.owner end
end

local function save(r)
  local value
  if not r.present then
    value = 'A' .. num(r.v)
  elseif r.kind == 'user' then
    value = 'P' .. num(r.v) .. ';' .. r.mfa .. ';' .. r.everyone
  elseif inline[r.kind] then
    -- An absence that the watermark tells, and a content as new as the record, go without saying.
    value = 'P' .. num(r.v)
    if not r.content or r.cv ~= r.v or r.absent > 2 * mark(r.scope) then
      value = value .. ';' .. num(r.absent) .. ';' .. num(r.cv) .. ';'
    end
    value = value .. (r.content or '')
  else
    value = 'P' .. num(r.v)
  end
  write(r.scope, r.member, value)
  if not r.stored then
    local on, edge = index(r)
    if on then hang('HSET', on, edge, '') end
  end
end

local function forget(r)
  write(r.scope, r.member, false)
  local on, edge = index(r)
  if on then hang('HDEL', on, edge) end
end

local function mfa(user)
  local read = mark('factors/' .. user) > 0
  for _, value in ipairs(whole('HVALS', 'factors/' .. user)) do
    local f = parse({}, value)
    if f.present then
      read = true
      if decode(f.content).active then return 't' end
    end
  end
  return read and 'f' or ''
end

-- replace turns the stored record old into new (nil: not stored), in the
-- store and in the graph, with what hangs on it.
local function replace(old, new)
  local before = snapshot(old)
  local isEntity = old.confirmed and old.kind ~= 'account'
  local wasEveryone = old.kind == 'group' and everyone() == old.member
  local isEveryone = old.kind == 'group' and new ~= nil and new.present and decode(new.content).everyone == true
  local nowPresent = new ~= nil and new.present
  local hung, hungBefore
  if isEntity then
    local ends = old.present ~= nowPresent or wasEveryone ~= isEveryone
    if old.kind == 'app' and old.present and nowPresent then
      ends = decode(content(old)).awsAccount ~= decode(new.content).awsAccount
    end
    if ends then
      hung, hungBefore = hanging(old), {}
      for i, id in ipairs(hung) do hungBefore[i] = snapshot(load(id)) or false end
    end
  end

  local more = (nowPresent and 1 or 0) - (old.present and 1 or 0)
  if more ~= 0 then counts[old.kind] = (counts[old.kind] or 0) + more end
  if new then save(new) else forget(old) end
  if old.confirmed then
    if not nowPresent then
      redis.call('HDEL', prefix .. 'content:' .. old.scope, old.member)
    elseif new.content ~= content(old) then
      redis.call('HSET', prefix .. 'content:' .. old.scope, old.member, new.content or '')
    end
  end
  if wasEveryone ~= isEveryone then
    if isEveryone then everyoneID = old.member else everyoneID = '' end
    redis.call('HSET', prefix .. 'facts', 'everyone', everyoneID)
    setAsk('everyone', num(2 * meta.asOf) .. ' ' .. meta.source .. ' ' .. meta.cause)
    redis.call('ZADD', prefix .. 'due', 0, 'everyone')
    redis.call('ZADD', prefix .. 'unanswered', 'LT', num(meta.asOf), 'everyone')
  end

  local after = new and snapshot(new) or nil
  if after then show(old, before, after) end
  if hung then
    for i, id in ipairs(hung) do
      local h = load(id)
      show(h, hungBefore[i] or nil, snapshot(h))
    end
  end
  if not after then show(old, before, nil) end
end

local function version(target)
  local kind = string.match(target, '^%a+')
  if entity[kind] or (listed[kind] and string.find(target, '/', 1, true)) then
    local r = load(target)
    return math.max(r.v, 2 * mark(r.scope))
  end
  return 2 * mark(target)
end

-- due is when a read can first answer: lists lag behind, reads by id do not.
-- The factors of one user are read at their own address, not out of an index.
local function due(target, exceed)
  local wait = control.margin
  if string.find(target, '^member/') or string.find(target, '^changed/') or string.find(target, '^userapps/') or
     string.find(target, '^members/') or string.find(target, '^appusers/') or string.find(target, '^appgroups/') then
    wait = control.allowance
  end
  return math.floor(exceed / 2) + wait + 1 -- exceeded, not met
end

local function ask(target, exceed)
  if version(target) > exceed then return end
  -- A newer ask takes the place of an older one; how long it waits stays known.
  redis.call('ZADD', prefix .. 'unanswered', 'LT', num(math.floor(exceed / 2)), target)
  local old = exceeds(target)
  if old and old >= exceed then return end
  setAsk(target, num(exceed) .. ' ' .. meta.source .. ' ' .. meta.cause)
  redis.call('ZADD', prefix .. 'due', due(target, exceed), target)
end

local function strike(target, v)
  local exceed = exceeds(target)
  if exceed and (v or version(target)) > exceed then removeAsk(target) end
end

-- drop forgets a tombstone of a user, group or application, and what hangs on
-- it: none of that is in the graph.
local function drop(r)
  for _, id in ipairs(hanging(r)) do forget(identify(id)) end
  for _, scope in ipairs(owns[r.kind] or {}) do
    redis.call('HDEL', prefix .. 'marks', scope .. r.member)
    marks[scope .. r.member] = nil
  end
  if r.kind == 'group' then
    redis.call('HDEL', prefix .. 'moved', r.member)
    moved[r.member] = nil
  end
  forget(r)
end

-- sweep judges the records found in one chunk of a scope by its watermark.
local function sweep(scope, fields)
  local ms = mark(scope)
  local v = 2 * ms
  local before, byID = name(scope), confirmed[scope]
  local _, owner = string.match(scope, '^(%a+)/(.*)$')
  for i = 1, #fields, 2 do
    local h, content = split(fields[i + 1])
    local old = h.v < v or not h.present and h.v == v
    local id, r
    if old or content and h.cv < v then
      id = before .. fields[i]
      r = parse(identify(id), fields[i + 1])
    end
    if not r then
      -- as the list showed it
    elseif byID then
      if r.present then
        local why = meta -- the source tells the read whether the brake counts what it finds
        meta = {source = control.forced and 'approved' or 'reconcile', cause = why.cause, asOf = why.asOf}
        ask(id, v + 1)
        meta = why
      else
        drop(r)
      end
    elseif old then
      replace(r, nil)
      strike(id, v)
      if r.kind == 'factor' then dirty[owner] = meta end
    elseif r.present and not control.verify then
      local new = parse(identify(id), fields[i + 1])
      new.content, new.cv = nil, 0
      replace(r, new)
    end
  end
end

-- complete moves the watermark of a scope; true if it moved.
local function complete(scope, ms)
  if ms <= mark(scope) then return false end
  redis.call('HSET', prefix .. 'marks', scope, num(ms))
  marks[scope] = ms
  local user = string.match(scope, '^factors/(.*)$')
  if user then dirty[user] = meta end
  return true
end


local function kindOf(scope) return string.match(name(scope), '^%a*') end

-- walk has a scope swept in steps because an observation shows it empty, as of
-- version v: the scope itself, or those that a record owns. Of a record its own
-- end comes last, so that its edges leave the graph before it does; until then it
-- is as it was. The ask keeps what is to be done: graph and changes agree at every
-- step, and a crash repeats some.
local function walk(target, v)
  local old = exceeds('walk/' .. target)
  if not old or v > old then
    setAsk('walk/' .. target, num(v) .. ' ' .. meta.source .. ' ' .. meta.cause)
  end
  redis.call('ZADD', prefix .. 'due', 0, 'walk/' .. target)
  redis.call('ZADD', prefix .. 'unanswered', 'LT', num(math.floor(v / 2)), 'walk/' .. target)
end

-- ownsMuch tells whether what goes with the end of a record is too much for one step.
local function ownsMuch(r, ms)
  for _, scope in ipairs(owns[r.kind] or {}) do
    if ms > mark(scope .. r.member) and whole('HLEN', scope .. r.member) > control.chunk then return true end
  end
  return false
end

-- empty: an observation shows that a scope is empty. Unless an event told of it,
-- the brake judges that as it judges a list; of many records the list itself
-- is read.
local function empty(scope, ms, told)
  if ms <= mark(scope) then return end
  if not control.verify and whole('HLEN', scope) > control.chunk then
    if told or control.forced or not control.ratio then
      if not told then pass(kindOf(scope), whole('HLEN', scope)) end -- so many, at most
      walk(scope, 2 * ms)
    else
      ask(scope, 2 * ms + 1)
    end
    return
  end
  local fields = whole('HGETALL', scope)
  if not told and (control.ratio or control.verify) then
    local kind, n = kindOf(scope), overdue(scope, ms, fields, control.verify and control.holder)
    if control.verify then -- the watermark stays: what is held may be older than it would be
      if n > 0 then hold(scope, kind, n, {ms = ms}) end
      return
    elseif n > few and not control.forced then
      ask(scope, 2 * ms + 1)
      return
    elseif n > 0 and not pass(kind, n) then
      hold(scope, kind, n, {ms = ms})
      return
    end
  end
  if complete(scope, ms) then
    sweep(scope, fields)
    strike(scope, 2 * ms)
  end
end

-- partial: the list of such a scope is no proof of absence.
local function partial(scope) return string.find(scope, '^changed/') or string.find(scope, '^userapps/') end

-- judge tells what is to become of a list: go, held, count, check. fields are all of a small scope.
local function judge(m, fields)
  local scope, n, present, samples = m.scope, m.counted, 0, {}
  if control.verify and partial(scope) then return 'held' end -- what it brought is held: the ask stays
  if scope == 'account' or partial(scope) then return 'go' end
  if not (control.ratio or control.verify) or m.ms <= mark(scope) then return 'go' end
  if not n then
    if not fields then return 'count' end
    n, present, samples = overdue(scope, m.ms, fields,
      control.verify and control.holder)
    if n > few and not confirmed[scope] and not m.checked and not control.forced then
      return 'check', samples
    end
  end
  if n == 0 then
    return control.verify and 'held' or 'go' -- the watermark stays in a verify
  end
  local kind = kindOf(scope)
  local ok
  if control.verify then
    ok = false
  elseif confirmed[scope] then -- each is asked for, and counted if it is gone
    ok = control.forced or not m.empty and within(kind, n)
  else
    ok = pass(kind, n)
  end
  if ok then return 'go' end
  hold(scope, kind, n, {ms = m.ms, samples = samples})
  return 'held'
end

local walked = false -- the end of a record that waited for its walk is at work
local function observe(old, v, present, given, empties)
  local id = old.id
  local watermark = 2 * mark(old.scope)
  local p, a, cv, c = 0, 0, 0, nil
  if not old.stored then
    a = watermark
  elseif old.present then
    p, a, cv, c = old.v, old.absent, old.cv, content(old)
    if not old.confirmed then a = math.max(a, watermark) end
  else
    a = math.max(old.v, watermark)
  end

  if present then
    p = math.max(p, v)
    if given ~= '' and (v > cv or (v == cv and given ~= c and redis.sha1hex(given) > redis.sha1hex(c or ''))) then
      c, cv = given, v
    end
  else
    a = math.max(a, v)
  end

  local there = p > 0 and p >= a
  if there and cv < a then c, cv = nil, 0 end
  if control.verify then
    release(control.holder, id)
    if there ~= old.present or there and c ~= content(old) then
      hold(id, old.kind, there and 0 or 1, {v = v, present = present, content = given})
      for scope in string.gmatch(empties, '%S+') do empty(scope, math.floor(v / 2), false) end
      return
    end
  elseif not present and not walked and owns[old.kind] and exceeds('walk/' .. id) then
    walk(id, v) -- this absence, if it is newer
    strike(id, v)
    return
  elseif old.present and not there and v % 2 == 0 and old.confirmed and not walked and not pass(old.kind, 1) then
    hold(id, old.kind, 1, {v = v, present = false, content = ''})
    strike(id, v) -- it is answered, but not what was asked for since
    return
  end

  if not present and not walked and not control.verify and not (control.forced and there) and ownsMuch(old, math.floor(v / 2)) then
    walk(id, v)
    strike(id, v)
    return
  end

  if there and old.present and old.content == c and (old.kind ~= 'user' or old.everyone == everyone()) then
    if old.v ~= p or old.absent ~= a or old.cv ~= cv then -- nothing shows, as in most of a night's lists
      old.v, old.absent, old.cv = p, a, cv
      save(old)
    end
  elseif there or old.stored or a > watermark then
    local new -- nil: the watermark tells as much
    if there then
      new = another(old, '')
      new.stored, new.present, new.v, new.absent, new.cv, new.content = old.stored, true, p, a, cv, c
      if new.kind == 'user' then
        new.everyone = everyone()
        if old.present then new.mfa = old.mfa else new.mfa = mfa(new.member) end
      end
    elseif a > watermark then
      new = another(old, '')
      new.stored, new.v = old.stored, a
    end
    if there or old.present or not new or old.v ~= a then
      replace(old, new)
      if old.kind == 'factor' then dirty[old.owner] = meta end
    end
  end
  if there and p == a and p % 2 == 1 then ask(id, p) end -- two events contradict each other
  strike(id)

  local ms = math.floor(v / 2)
  if old.kind == 'member' and v % 2 == 1 and ms > (moved[old.owner] or zero).asOf then moved[old.owner] = meta end
  if empties ~= '' then
    for scope in string.gmatch(empties, '%S+') do empty(scope, ms, false) end
  end
  -- An absence that is approved late says nothing of what hangs on a record that
  -- was seen since.
  if not present and not (control.forced and there) then
    if old.kind == 'user' then
      empty('factors/' .. old.member, ms, true)
    elseif old.kind == 'group' then
      empty('members/' .. old.member, ms, true)
    elseif old.kind == 'app' then
      empty('appusers/' .. old.member, ms, true)
      empty('appgroups/' .. old.member, ms, true)
    end
  end
end

-- That events changed the members of a group shows in the group itself, once a batch.
local function settleGroups()
  for group, why in pairs(moved) do
    if why.asOf > tonumber(redis.call('HGET', prefix .. 'moved', group) or 0) then
      local r = load('group/' .. group)
      local before = snapshot(r)
      redis.call('HSET', prefix .. 'moved', group, num(why.asOf))
      meta = why
      emit(r.id, before, snapshot(r))
    end
  end
end

-- What the users take from their factors is computed once a batch.
local function settleUsers()
  for user, why in pairs(dirty) do
    local old = load('user/' .. user)
    if old.present then
      local new = parse(identify(old.id), row('users', user))
      new.mfa, new.content = mfa(user), content(old)
      if new.mfa ~= old.mfa then
        meta = why
        replace(old, new)
      end
    end
  end
end

-- fetchRun reads ahead what a run of observations needs, and returns how many
-- different records it is about.
local function fetchRun(first, at, n, width)
  local members, new, of = {}, {}, rowsOf(first.scope)
  for i = 1, n do members[i] = first.member .. ARGV[at + (i - 1) * width] end
  local different = fetch(first.scope, members)
  for _, member in ipairs(members) do -- it shows only if its ends are there
    if not of[member] then new[#new + 1] = member end
  end
  if first.kind == 'member' or first.kind == 'appuser' then
    fetch('users', new)
  elseif first.kind == 'appgroup' then
    fetch('groups', new)
  end
  return different
end

-- shown is how many records of the mark's scope the batch itself holds, of one
-- page, all as new as the mark.
local at, shown = 2, nil
for _ = 1, control.runs do
  local first, v, present = identify(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2] == '1'
  meta = {source = ARGV[at + 3], cause = ARGV[at + 4], asOf = math.floor(v / 2)}
  local n, width = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  at = at + 7
  local different = n > 1 and fetchRun(first, at, n, width)
  if control.runs == 1 and different and present and (width == 3 or not inline[first.kind]) and not control.verify and control.mark and control.mark.scope == first.scope and
      v >= 2 * control.mark.ms then
    shown = different
  end
  for i = at, at + (n - 1) * width, width do
    local r = another(first, ARGV[i])
    parse(r, row(r.scope, r.member))
    if width == 1 then
      observe(r, v, present, '', '')
    else
      if ARGV[i + 1] == '' then shown = nil end -- what content there was may be older than the list
      observe(r, v, present, ARGV[i + 1], ARGV[i + 2])
    end
  end
  at = at + n * width
end
for _ = 1, control.asks or 0 do
  local exceed = tonumber(ARGV[at + 1])
  meta = {source = ARGV[at + 2], cause = ARGV[at + 3], asOf = math.floor(exceed / 2)}
  ask(ARGV[at], exceed)
  at = at + 4
end

local cursor, samples = '0', {}
if control.mark then
  local m = control.mark
  meta = {source = m.source, cause = m.cause, asOf = m.ms}
  local verdict, fields = 'go', nil
  if shown and whole('HLEN', m.scope) == shown then
    fields = {} -- the batch holds all of the scope, as newest: nothing is left to judge
  elseif m.cursor == '0' then
    -- A small scope is read once.
    if not partial(m.scope) and whole('HLEN', m.scope) <= control.chunk then fields = whole('HGETALL', m.scope) end
    if control.verify then release(control.holder, m.scope) end
    verdict, samples = judge(m, fields)
  end
  if verdict == 'count' or verdict == 'check' then
    cursor = verdict
  elseif verdict == 'go' then
    complete(m.scope, m.ms)
    if fields then
      sweep(m.scope, fields)
    elseif not partial(m.scope) then
      local chunk = whole('HSCAN', m.scope, m.cursor, 'COUNT', control.chunk)
      cursor = chunk[1]
      sweep(m.scope, chunk[2])
    end
    -- Only the whole sweep answers what was asked: a crash between two chunks has it listed again.
    if cursor == '0' then strike(m.scope, 2 * m.ms) end
  elseif verdict == 'held' and not control.verify then
    strike(m.scope, 2 * m.ms) -- it waits for somebody's approval, not for another list
  end
end

-- walkEveryone gives one chunk of users their edge from Everyone.
local function walkEveryone()
  local chunk = whole('HSCAN', 'users', control.walk.cursor, 'COUNT', math.ceil(control.chunk / 2))
  for i = 1, #chunk[2], 2 do
    local old = parse(identify('user/' .. chunk[2][i]), chunk[2][i + 1])
    if old.present and old.everyone ~= everyone() then
      local new = parse(identify(old.id), chunk[2][i + 1])
      new.content, new.everyone = content(old), everyone()
      replace(old, new)
    end
  end
  return chunk[1]
end

-- walkEmpty sweeps one chunk of what the ask shows empty as of version v. The
-- cursor is v, the number of the scope, and the place in it: from the start if a
-- newer absence came meanwhile.
local function walkEmpty(target, v)
  local kind, member = string.match(target, '^(%a+)/(.*)$')
  local scopes = {target}
  if entity[kind] then
    scopes = {}
    for i, scope in ipairs(owns[kind]) do scopes[i] = scope .. member end
  end
  local from, n, at = string.match(control.walk.cursor, '^(%d+) (%d+) (%d+)$')
  if from ~= num(v) then n, at = 1, '0' end
  n = tonumber(n)
  local scope, ms = scopes[n], math.floor(v / 2)
  if ms >= mark(scope) then -- else a newer list has swept it
    complete(scope, ms)
    local chunk = whole('HSCAN', scope, at, 'COUNT', control.chunk)
    at = chunk[1]
    sweep(scope, chunk[2])
  else
    at = '0'
  end
  if at == '0' then
    strike(scope, 2 * ms)
    n = n + 1
  end
  if scopes[n] then return num(v) .. ' ' .. n .. ' ' .. at end
  if entity[kind] then
    walked = true
    observe(load(target), v, false, '', '')
  end
  return '0'
end

if control.walk then
  local target = control.walk.target
  local v, source, cause = string.match(redis.call('HGET', prefix .. 'refresh', target) or '', '^(%d+) (%S*) (.*)$')
  if v then
    meta = {source = source, cause = cause, asOf = math.floor(v / 2)}
    cursor = target == 'everyone' and walkEveryone() or walkEmpty(string.match(target, '^walk/(.*)$'), tonumber(v))
    if cursor == '0' then removeAsk(target) end
  end
end
settleGroups()
settleUsers()

-- strikeOut deletes fields; what is held is counted, too.
local function strikeOut(cells)
  for _, d in ipairs(cells) do
    local run = string.match(d[1], '^held:(.*)$')
    if run then release(run, d[2]) else redis.call('HDEL', prefix .. d[1], d[2]) end
  end
end

for _, s in ipairs(control.set or {}) do redis.call('HSET', prefix .. s[1], s[2], s[3]) end
strikeOut(control.del or {})
if cursor == '0' then strikeOut(control.done or {}) end
for _, hash in ipairs(control.drop or {}) do
  redis.call('DEL', prefix .. hash)
  local run = string.match(hash, '^held:(.*)$')
  for _, field in ipairs(run and redis.call('HKEYS', prefix .. 'heldcounts') or {}) do
    if string.find(field, run .. ' ', 1, true) == 1 then redis.call('HDEL', prefix .. 'heldcounts', field) end
  end
end
for _, p in ipairs(control.postpone or {}) do redis.call('ZADD', prefix .. 'due', 'XX', 'GT', p[2], p[1]) end
for _, dead in ipairs(control.dead or {}) do
  redis.call('XADD', prefix .. 'dead', 'MAXLEN', '~', control.keepDead, '*',
    'source', dead[1], 'event', dead[2], 'reason', dead[3])
  redis.call('HINCRBY', prefix .. 'facts', 'dead', 1)
end
for scope in pairs(written) do store(scope) end
for kind, more in pairs(counts) do
  if more ~= 0 then redis.call('HINCRBY', prefix .. 'counts', kind, more) end
end
if control.holder and redis.call('EXISTS', prefix .. 'held:' .. control.holder) == 0 then
  redis.call('SREM', prefix .. 'holding', control.holder)
end
if control.inbox then
  redis.call('HSET', prefix .. 'cursors', 'inbox', control.inbox)
  redis.call('XTRIM', prefix .. 'inbox', 'MINID', control.inbox)
  redis.call('XDEL', prefix .. 'inbox', control.inbox)
end
if transitions > 0 then redis.pcall('PUBLISH', prefix .. 'changes', 'grew') end
local out = {transitions, cursor, heldBack}
for _, id in ipairs(samples or {}) do out[#out + 1] = id end
return out
