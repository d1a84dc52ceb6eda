package record

import (
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"slices"
	"strings"
)

// Model is the merge rule over records in memory: short, naive, and the
// measure of state/scripts/merge.lua. It is what tests compare with, not what
// the service runs.
//
// A stored record is present or a tombstone, at a version. A record that is not
// stored counts as absent, at the version of its scope's watermark. The newest
// observation wins; at one version, present wins against absent.
type Model struct {
	records map[ID]entry
	marks   map[Scope]int64 // the watermarks, ms
	asks    map[string]Ask
	moved   map[string]int64 // the newest event of a group's members, ms
}

// entry is a stored record.
type entry struct {
	present  bool
	version  Version
	absent   Version // of a present record: its newest absence, older than version
	content  []byte
	contentV Version // the version of content: an event can be newer, having none
}

// NewModel returns a model of nothing observed.
func NewModel() *Model {
	return &Model{records: map[ID]entry{}, marks: map[Scope]int64{}, asks: map[string]Ask{}, moved: map[string]int64{}}
}

// Merge takes observations, then asks.
func (m *Model) Merge(observations []Observation, asks []Ask) {
	for _, o := range observations {
		m.observe(o)
	}
	for _, a := range asks {
		m.Ask(a)
	}
}

func (m *Model) observe(o Observation) {
	scope := o.ID.Scope()
	mark := AsRead(m.marks[scope])
	old, stored := m.records[o.ID]

	var present, absent, contentV Version
	var content []byte
	switch {
	case !stored:
		absent = mark
	case old.present:
		present, absent, content, contentV = old.version, old.absent, old.content, old.contentV
		if !scope.Confirmed() {
			absent = max(absent, mark)
		}
	default:
		absent = max(old.version, mark)
	}

	if o.Present {
		present = max(present, o.Version)
		if o.Content != nil && (o.Version > contentV || o.Version == contentV && greater(o.Content, content)) {
			content, contentV = o.Content, o.Version
		}
	} else {
		absent = max(absent, o.Version)
	}

	switch {
	case present > 0 && present >= absent:
		if contentV < absent {
			content, contentV = nil, 0
		}
		m.records[o.ID] = entry{true, present, absent, content, contentV}
		if present == absent && present == AsEvent(present.Millis()) {
			m.Ask(Ask{string(o.ID), present, o.Cause}) // two events contradict each other
		}
	case absent > mark:
		m.records[o.ID] = entry{version: absent}
	default:
		delete(m.records, o.ID)
	}
	m.strike(string(o.ID))
	if o.ID.Kind() == KindMember && o.Version == AsEvent(o.Version.Millis()) {
		group, _ := o.ID.Split()
		m.moved[group] = max(m.moved[group], o.Version.Millis())
	}

	for _, empty := range o.Empty {
		m.Complete(empty, o.Version.Millis(), o.Cause)
	}
	if !o.Present {
		for _, empty := range o.ID.Owns() {
			m.Complete(empty, o.Version.Millis(), o.Cause)
		}
	}
}

// greater orders two contents of one version. Any order does that is the same
// everywhere; Lua compares text by locale, so digests are compared.
func greater(a, b []byte) bool {
	x, y := sha1.Sum(a), sha1.Sum(b)
	return bytes.Compare(x[:], y[:]) > 0
}

// Complete says that a list of the scope was read to its end, as of ms, and
// that all it held is merged. What it did not hold is absent, or asked for.
func (m *Model) Complete(scope Scope, ms int64, cause Cause) {
	if ms <= m.marks[scope] {
		return
	}
	m.marks[scope] = ms
	mark := AsRead(ms)
	m.strike(string(scope))
	for id, e := range m.records {
		if id.Scope() != scope {
			continue
		}
		switch {
		case e.present && e.version < mark && scope.Confirmed():
			m.Ask(Ask{string(id), AsEvent(ms), cause})
		case !e.present && e.version <= mark && scope.Confirmed():
			m.drop(id)
		case e.present && e.version < mark, !e.present && e.version <= mark:
			delete(m.records, id)
			m.strike(string(id))
		case e.contentV < mark && !scope.Confirmed():
			e.content, e.contentV = nil, 0
			m.records[id] = e
		}
	}
}

// drop forgets a tombstone of a user, group or application, and what hangs on it.
func (m *Model) drop(id ID) {
	delete(m.records, id)
	if _, member := id.Split(); id.Kind() == KindGroup {
		delete(m.moved, member)
	}
	for _, scope := range id.Owns() {
		delete(m.marks, scope)
	}
	for other := range m.records {
		if slices.Contains(other.Ends(), id) {
			delete(m.records, other)
		}
	}
}

// Ask keeps an ask, unless what it wants is known already.
func (m *Model) Ask(a Ask) {
	if m.version(a.Target) > a.Exceed {
		return
	}
	if old, ok := m.asks[a.Target]; !ok || a.Exceed > old.Exceed {
		m.asks[a.Target] = a
	}
}

// strike removes the ask for the target once it is answered.
func (m *Model) strike(target string) {
	if a, ok := m.asks[target]; ok && m.version(target) > a.Exceed {
		delete(m.asks, target)
	}
}

// version is that of a record or a scope.
func (m *Model) version(target string) Version {
	if id := ID(target); id.isRecord() {
		return max(m.records[id].version, AsRead(m.marks[id.Scope()]))
	}
	return AsRead(m.marks[Scope(target)])
}

// Asks returns what is to be read again.
func (m *Model) Asks() map[string]Ask { return m.asks }

// Versions returns the versions of the stored records, tombstones included.
func (m *Model) Versions() map[ID]Version {
	versions := make(map[ID]Version, len(m.records))
	for id, e := range m.records {
		versions[id] = e.version
	}
	return versions
}

// Graph returns the projection of everything that is in the graph.
func (m *Model) Graph() map[ID]Projection {
	graph := map[ID]Projection{}
	everyone := m.everyone()
	for id, e := range m.records {
		if !m.visible(id, everyone) {
			continue
		}
		p := Projection{Content: e.content}
		if id.Kind() == KindUser {
			_, user := id.Split()
			p.MFA, p.Everyone = m.mfa(user), everyone
		}
		if id.Kind() == KindGroup {
			_, group := id.Split()
			p.Moved = m.moved[group]
		}
		graph[id] = p
	}
	// The graph objects that several records can give.
	persons := map[ID]ID{}
	for id, p := range graph {
		c := decode(p.Content)
		switch id.Kind() {
		case KindUser:
			if c.PersonKey == "" {
				break
			}
			person := ID("person/" + c.PersonKey)
			if other, ok := persons[person]; !ok || id < other {
				persons[person] = id
			}
		case KindAppUser, KindAppGroup:
			app, _ := id.Split()
			for _, role := range Roles(id, c, decode(m.records[App(app)].content).AWSAccount) {
				graph[role] = Projection{}
			}
		}
	}
	for person, user := range persons {
		graph[person] = Projection{Content: graph[user].Content}
	}
	return graph
}

// visible: an edge is in the graph only while both its ends are present. The
// members of Everyone are all users, whatever its own members say.
func (m *Model) visible(id ID, everyone string) bool {
	if !m.records[id].present {
		return false
	}
	for _, end := range id.Ends() {
		if !m.records[end].present {
			return false
		}
	}
	if id.Kind() == KindMember {
		group, _ := id.Split()
		return group != everyone
	}
	return true
}

func (m *Model) everyone() string {
	everyone := ""
	for id, e := range m.records {
		if id.Kind() == KindGroup && e.present && decode(e.content).Everyone {
			if _, group := id.Split(); everyone == "" || group < everyone {
				everyone = group
			}
		}
	}
	return everyone
}

// mfa: nil while the factors of the user were not read.
func (m *Model) mfa(user string) *bool {
	active := false
	_, read := m.marks[Factors(user)]
	for id, e := range m.records {
		if id.Scope() == Factors(user) && e.present {
			read = true
			active = active || decode(e.content).Active
		}
	}
	if !read {
		return nil
	}
	return &active
}

func decode(content []byte) Content {
	var c Content
	if content != nil {
		_ = json.Unmarshal(content, &c) // ours: written by json.Marshal
	}
	return c
}

// Confirmed tells whether an absence from a complete list of the scope has to
// be confirmed by a read of the object itself.
func (s Scope) Confirmed() bool {
	return s == Users || s == Groups || s == Apps || s == AccountScope
}

// Owns returns the scopes that are empty once the record is absent.
func (id ID) Owns() []Scope {
	_, member := id.Split()
	switch id.Kind() {
	case KindUser:
		return []Scope{Factors(member)}
	case KindGroup:
		return []Scope{Members(member)}
	case KindApp:
		return []Scope{AppUsers(member), AppGroups(member)}
	default:
		return nil
	}
}

// Ends returns the records that must be present for this one to be in the graph.
func (id ID) Ends() []ID {
	owner, member := id.Split()
	switch id.Kind() {
	case KindMember:
		return []ID{Group(owner), User(member)}
	case KindAppUser:
		return []ID{App(owner), User(member)}
	case KindAppGroup:
		return []ID{App(owner), Group(member)}
	case KindFactor:
		return []ID{User(owner)}
	default:
		return nil
	}
}

// Roles returns the ids of the AWS roles that an assignment gives to its user
// or group: none unless the application has an AWS account.
func Roles(id ID, c Content, account string) []ID {
	if account == "" {
		return nil
	}
	_, member := id.Split()
	subject := User(member)
	if id.Kind() == KindAppGroup {
		subject = Group(member)
	}
	var roles []ID
	for _, role := range c.ARNRoles {
		roles = append(roles, ID("role/"+string(subject)+"/"+account+"/"+role))
	}
	for _, role := range c.AliasRoles {
		roles = append(roles, ID("role/"+string(subject)+"/-/"+role))
	}
	return roles
}

// isRecord tells a record from a scope.
func (id ID) isRecord() bool {
	switch id.Kind() {
	case KindUser, KindGroup, KindApp, KindMember, KindAppUser, KindAppGroup, KindFactor, KindAccount:
		return true
	}
	return false
}

// IsScope tells a scope from a record among the targets of asks.
func IsScope(target string) bool {
	return !ID(target).isRecord() && !strings.HasPrefix(target, "everyone")
}
