package oktasim

import (
	"encoding/json"
	"strings"
)

// Snapshot is the org's present state, in the JSON that the API gives.
type Snapshot struct {
	Users   []json.RawMessage // all of them, DEPROVISIONED ones too
	Groups  []GroupState
	Apps    []AppState
	Factors map[string][]json.RawMessage // by user; users without factors are left out
	Org     json.RawMessage
	Support json.RawMessage // /api/v1/org/privacy/oktaSupport
}

// GroupState is a group, with its statistics, and its members.
type GroupState struct {
	ID       string
	Everyone bool
	JSON     json.RawMessage
	Members  []string // ids of users; of Everyone: all
}

// AppState is an application and its assignments.
type AppState struct {
	ID     string
	JSON   json.RawMessage
	Users  []json.RawMessage
	Groups []json.RawMessage // one for each row, by group and then by priority
}

// Snapshot returns what a reader would find if the org stood still.
func (o *Org) Snapshot() Snapshot {
	o.settle()
	o.mu.RLock()
	defer o.mu.RUnlock()
	s := Snapshot{Factors: map[string][]json.RawMessage{}, Org: o.orgJSON(), Support: supportJSON}
	var everyone []string
	for _, n := range o.users.nodes {
		u := n.now()
		if u == nil {
			continue
		}
		s.Users = append(s.Users, u.append(nil, o.url))
		everyone = append(everyone, u.id)
		for _, f := range n.factors.nodes {
			if v := f.now(); v != nil {
				s.Factors[u.id] = append(s.Factors[u.id], v.append(nil, o.url, u.id))
			}
		}
	}
	for _, n := range o.groups.nodes {
		g := n.now()
		if g == nil {
			continue
		}
		state := GroupState{ID: g.id, Everyone: n.everyone, JSON: g.append(nil, o.url, true)}
		if n.everyone {
			state.Members = everyone
		}
		for _, m := range n.members.nodes {
			if m.now() != nil {
				state.Members = append(state.Members, m.key)
			}
		}
		s.Groups = append(s.Groups, state)
	}
	for _, n := range o.apps.nodes {
		a := n.now()
		if a == nil {
			continue
		}
		state := AppState{ID: a.id, JSON: a.append(nil, o.url, nil)}
		for _, u := range n.users.nodes {
			if v := u.now(); v != nil {
				state.Users = append(state.Users, v.append(nil, o.url, a.id))
			}
		}
		for _, g := range n.groups.nodes {
			if v := g.now(); v != nil {
				state.Groups = append(state.Groups, v.append(nil, o.url, a.id))
			}
		}
		s.Apps = append(s.Apps, state)
	}
	return s
}

// MinimumCalls returns the fewest calls of a complete read: of users, groups,
// members, applications, app users, app groups and the support setting, and
// of factors on top if they are wanted.
func (o *Org) MinimumCalls(factors bool) int {
	o.settle()
	o.mu.RLock()
	defer o.mu.RUnlock()
	pages := func(n, size int) int { return (n + size - 1) / size }
	calls, users, groups, apps := 1, 0, 0, 0
	for _, n := range o.users.nodes {
		if u := n.now(); u != nil {
			users++
			if factors && factorsOf(u.status) {
				calls++
			}
		}
	}
	for _, n := range o.groups.nodes {
		if g := n.now(); g != nil {
			groups++
			if !n.everyone {
				calls += pages(g.users, 1000)
			}
		}
	}
	for _, n := range o.apps.nodes {
		if n.now() == nil {
			continue
		}
		apps++
		assigned, rows := 0, 0
		for _, u := range n.users.nodes {
			if u.now() != nil {
				assigned++
			}
		}
		for _, g := range n.groups.nodes {
			if g.now() != nil {
				rows++
			}
		}
		calls += max(1, pages(assigned, 500)) + max(1, pages(rows, 200))
	}
	return calls + max(1, pages(users, 200)) + max(1, pages(groups, 200)) + max(1, pages(apps, 200))
}

// UserIDs returns the present users with one of the statuses, or all of them;
// not the admin, whom tests had better leave alone.
func (o *Org) UserIDs(statuses ...string) []string {
	want := "," + strings.Join(statuses, ",") + ","
	o.mu.RLock()
	defer o.mu.RUnlock()
	var ids []string
	for _, n := range o.users.nodes {
		if u := n.now(); u != nil && n.key != o.admin && (len(statuses) == 0 || strings.Contains(want, ","+u.status+",")) {
			ids = append(ids, n.key)
		}
	}
	return ids
}

// GroupIDs returns the present groups of the type: OKTA_GROUP, APP_GROUP or
// BUILT_IN.
func (o *Org) GroupIDs(typ string) []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var ids []string
	for _, n := range o.groups.nodes {
		if g := n.now(); g != nil && g.typ == typ {
			ids = append(ids, n.key)
		}
	}
	return ids
}

// AppIDs returns the present applications with the name, or all for "".
func (o *Org) AppIDs(name string) []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var ids []string
	for _, n := range o.apps.nodes {
		if a := n.now(); a != nil && (name == "" || a.name == name) {
			ids = append(ids, n.key)
		}
	}
	return ids
}

// EveryoneID returns the id of the group Everyone, and AdminID that of the user
// by whom all is done; "" if the org began without users.
func (o *Org) EveryoneID() string { return o.everyone.key }

// AdminID: see EveryoneID.
func (o *Org) AdminID() string { return o.admin }

// Members returns the present members of a group.
func (o *Org) Members(groupID string) []string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	g, ok := o.groups.get(groupID)
	if !ok || g.now() == nil {
		return nil
	}
	var ids []string
	for _, u := range (&tx{Org: o}).membersOf(g) {
		ids = append(ids, u.key)
	}
	return ids
}
