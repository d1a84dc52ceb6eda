package oktasim

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tx is one change of the org: everything it does, it does at one instant. It
// holds mu.
type tx struct {
	*Org
	at     int64 // ns
	events []Event
}

func (t *tx) ms() int64 { return t.at / 1e6 }

func (t *tx) emit(h happening) { t.events = append(t.events, t.Org.emit(t.at, h)) }

// do runs one change. A change that fails did nothing.
func (o *Org) do(f func(t *tx) error) ([]Event, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := &tx{Org: o, at: o.tick()}
	if err := f(t); err != nil {
		return nil, fmt.Errorf("oktasim: %w", err)
	}
	return t.events, nil
}

func (o *Org) actor() target {
	if u, ok := o.users.get(o.admin); ok && u.now() != nil {
		return u.now().target()
	}
	return target{ID: "0oa1k2mzrTqLw8YdApp697", Type: "PublicClientApp", AlternateID: "unknown", DisplayName: "Provisioning"}
}

// put sets a value, and sees to it that its past is forgotten in time.
func put[T any](t *tx, h *hist[T], v *T, gone func()) {
	h.set(t.at, v)
	t.retire(t.at, func(cut int64) {
		h.trim(cut)
		if h.gone(cut) {
			gone()
		}
	})
}

func (t *tx) putUser(u *userNode, v *user) { put(t, &u.hist, v, func() { t.users.remove(u.key) }) }
func (t *tx) putGroup(g *groupNode, v *group) {
	put(t, &g.hist, v, func() { t.groups.remove(g.key) })
}
func (t *tx) putApp(a *appNode, v *app) { put(t, &a.hist, v, func() { t.apps.remove(a.key) }) }

func (t *tx) putMember(g *groupNode, u *userNode, v *member) {
	m, ok := g.members.get(u.key)
	if !ok {
		m = &node[member]{key: u.key}
		g.members.insert(m)
	}
	u.groups.add(g.key)
	put(t, &m.hist, v, func() { g.members.remove(m.key); u.groups.drop(g.key) })
	delta := 1
	if v == nil {
		delta = -1
	}
	t.countUsers(g, delta)
}

func (t *tx) countUsers(g *groupNode, delta int) {
	v := *g.now()
	v.users += delta
	v.lastMembershipUpdated = t.ms()
	t.putGroup(g, &v)
}

func (t *tx) putAppUser(a *appNode, u *userNode, v *appUser) {
	n, ok := a.users.get(u.key)
	if !ok {
		n = &node[appUser]{key: u.key}
		a.users.insert(n)
	}
	u.apps.add(a.key)
	put(t, &n.hist, v, func() { a.users.remove(n.key); u.apps.drop(a.key) })
}

func (t *tx) putRow(a *appNode, key string, v *appGroup) {
	n, ok := a.groups.get(key)
	if !ok {
		n = &node[appGroup]{key: key}
		a.groups.insert(n)
	}
	put(t, &n.hist, v, func() { a.groups.remove(key) })
}

func (t *tx) putFactor(u *userNode, id string, v *factor) {
	n, ok := u.factors.get(id)
	if !ok {
		n = &node[factor]{key: id}
		u.factors.insert(n)
	}
	put(t, &n.hist, v, func() { u.factors.remove(id) })
}

func (t *tx) user(id string) (*userNode, error) {
	u, ok := t.users.get(id)
	if !ok || u.now() == nil {
		return nil, fmt.Errorf("no user %s", id)
	}
	return u, nil
}

func (t *tx) group(id string) (*groupNode, error) {
	g, ok := t.groups.get(id)
	if !ok || g.now() == nil {
		return nil, fmt.Errorf("no group %s", id)
	}
	return g, nil
}

func (t *tx) app(id string) (*appNode, error) {
	a, ok := t.apps.get(id)
	if !ok || a.now() == nil {
		return nil, fmt.Errorf("no application %s", id)
	}
	return a, nil
}

// userDo, groupDo and appDo run a change of one thing.
func (o *Org) userDo(id string, f func(*tx, *userNode) error) ([]Event, error) {
	return o.do(func(t *tx) error {
		u, err := t.user(id)
		if err != nil {
			return err
		}
		return f(t, u)
	})
}

func (o *Org) groupDo(id string, f func(*tx, *groupNode) error) ([]Event, error) {
	return o.do(func(t *tx) error {
		g, err := t.group(id)
		if err != nil {
			return err
		}
		return f(t, g)
	})
}

func (o *Org) appDo(id string, f func(*tx, *appNode) error) ([]Event, error) {
	return o.do(func(t *tx) error {
		a, err := t.app(id)
		if err != nil {
			return err
		}
		return f(t, a)
	})
}

// Users

// CreateUser makes a user with the profile, which needs a login: STAGED, or
// ACTIVE and then with an activation of its own event.
func (o *Org) CreateUser(status string, profile map[string]any) (string, []Event, error) {
	var id string
	events, err := o.do(func(t *tx) error {
		v := t.userOf(&user{id: t.id("00u"), created: t.ms()}, profile)
		id = v.id
		return t.createUser(status, v)
	})
	return id, events, err
}

func (t *tx) createUser(status string, v *user) error {
	if v.login == "" || t.logins[strings.ToLower(v.login)] != nil {
		return fmt.Errorf("login %q is missing or taken", v.login)
	}
	if status != "STAGED" && status != "ACTIVE" {
		return fmt.Errorf("a user cannot be created %s", status)
	}
	v.status, v.lastUpdated = status, t.ms()
	if status == "ACTIVE" {
		v.activated, v.statusChanged, v.passwordChanged = t.ms(), t.ms(), t.ms()
	}
	u := &userNode{node: node[user]{key: v.id}}
	t.users.insert(u)
	t.putUser(u, v)
	t.logins[strings.ToLower(v.login)] = u
	t.countUsers(t.everyone, 1)
	t.emit(happening{typ: "user.lifecycle.create", targets: []target{v.target()}, uri: "/api/v1/users"})
	if status == "ACTIVE" {
		t.emit(happening{typ: "user.lifecycle.activate", targets: []target{v.target()}, uri: "/api/v1/users"})
	}
	t.resolveUser(u, "application.user_membership.add")
	return nil
}

// UpdateProfile sets attributes of a user's profile; nil removes one.
func (o *Org) UpdateProfile(id string, changes map[string]any) ([]Event, error) {
	return o.userDo(id, func(t *tx, u *userNode) error { return t.updateProfile(u, changes) })
}

// RenameLogin gives a user another login.
func (o *Org) RenameLogin(id, login string) ([]Event, error) {
	return o.UpdateProfile(id, map[string]any{"login": login})
}

// PassLogin gives the login of one user to another, who gets it once the first
// has newLogin.
func (o *Org) PassLogin(from, to, newLogin string) ([]Event, error) {
	var old string
	first, err := o.userDo(from, func(t *tx, u *userNode) error {
		if old = u.now().login; strings.EqualFold(old, newLogin) {
			return errors.New("the user has this login: it cannot pass it on")
		}
		return t.updateProfile(u, map[string]any{"login": newLogin})
	})
	if err != nil {
		return nil, err
	}
	second, err := o.RenameLogin(to, old)
	return append(first, second...), err
}

func (t *tx) updateProfile(u *userNode, changes map[string]any) error {
	v := u.now()
	if u.now().status == "DEPROVISIONED" {
		return fmt.Errorf("user %s is DEPROVISIONED", u.key)
	}
	if err := t.setProfile(u, changes); err != nil {
		return err
	}
	h := happening{
		typ: "user.account.update_profile", targets: []target{u.now().target()}, uri: "/api/v1/users/" + v.id,
		debug: map[string]string{"changedAttributes": strings.Join(slices.Sorted(maps.Keys(changes)), ",")},
	}
	if t.profiles++; t.cfg.NullTargets && t.profiles%3 == 0 {
		h.targets = nil
	}
	t.emit(h)
	return nil
}

// setProfile changes a profile silently.
func (t *tx) setProfile(u *userNode, changes map[string]any) error {
	v := *u.now()
	p := decodeProfile(v.profile)
	for k, x := range changes {
		if x == nil {
			delete(p, k)
		} else {
			p[k] = x
		}
	}
	old := strings.ToLower(v.login)
	n := t.userOf(&v, p)
	login := strings.ToLower(n.login)
	if other := t.logins[login]; login == "" || other != nil && other != u {
		return fmt.Errorf("login %q is missing or taken", n.login)
	}
	delete(t.logins, old)
	t.logins[login] = u
	v.lastUpdated = t.ms()
	t.putUser(u, &v)
	return nil
}

// to moves a user from one of the statuses to another, with its event.
func (t *tx) to(u *userNode, status string, h happening, from ...string) error {
	v := *u.now()
	if !slices.Contains(from, v.status) || u.deleting {
		return fmt.Errorf("user %s is %s: it cannot become %s", u.key, v.status, status)
	}
	v.status, v.statusChanged, v.lastUpdated = status, t.ms(), t.ms()
	if status == "ACTIVE" && v.activated == 0 {
		v.activated = t.ms()
	}
	t.putUser(u, &v)
	if h.typ == "" {
		return nil
	}
	if h.targets == nil && h.typ != "user.account.lock" {
		h.targets = []target{v.target()}
	}
	if h.uri == "" {
		h.uri = "/api/v1/users/" + v.id + "/lifecycle/" + h.typ[strings.LastIndexByte(h.typ, '.')+1:]
	}
	t.emit(h)
	return nil
}

// Activate makes a STAGED user ACTIVE, and a DEPROVISIONED one PROVISIONED;
// the applications of its groups come with events of their own.
func (o *Org) Activate(id string) ([]Event, error) { return o.userDo(id, (*tx).activate) }

func (t *tx) activate(u *userNode) error {
	status := "ACTIVE"
	if u.now().status == "DEPROVISIONED" {
		status = "PROVISIONED"
	}
	if err := t.to(u, status, happening{typ: "user.lifecycle.activate"}, "STAGED", "DEPROVISIONED", "PROVISIONED"); err != nil {
		return err
	}
	u.dropped = nil
	t.resolveUser(u, "application.user_membership.add")
	return nil
}

// Reactivate makes a DEPROVISIONED or PROVISIONED user PROVISIONED. All its
// applications come back, by events that only the System Log has.
func (o *Org) Reactivate(id string) ([]Event, error) { return o.userDo(id, (*tx).reactivate) }

func (t *tx) reactivate(u *userNode) error {
	if err := t.to(u, "PROVISIONED", happening{typ: "user.lifecycle.reactivate"}, "DEPROVISIONED", "PROVISIONED"); err != nil {
		return err
	}
	for _, d := range u.dropped {
		if a, err := t.app(d.app); err == nil {
			row := *d.row
			row.lastUpdated, row.statusChanged = t.ms(), t.ms()
			t.putAppUser(a, u, &row)
			t.emit(happening{typ: "application.user_membership.restore", targets: row.targets(a.now(), u.now()), job: true, actor: systemActor, debug: map[string]string{"appname": a.now().name}})
		}
	}
	u.dropped = nil
	t.resolveUser(u, "application.user_membership.restore")
	return nil
}

// Deactivate makes a user DEPROVISIONED: its factors go silently, its
// assignments with events of their own; its memberships stay.
func (o *Org) Deactivate(id string) ([]Event, error) { return o.userDo(id, (*tx).deactivate) }

func (t *tx) deactivate(u *userNode) error {
	if err := t.to(u, "DEPROVISIONED", happening{typ: "user.lifecycle.deactivate"},
		"ACTIVE", "PROVISIONED", "STAGED", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED", "AWAITING_REVIEW"); err != nil {
		return err
	}
	for _, f := range u.factors.nodes {
		if f.now() != nil {
			t.putFactor(u, f.key, nil)
		}
	}
	u.dropped = nil
	for _, id := range slices.Clone(u.apps) {
		a, ok := t.apps.get(id)
		if !ok {
			continue
		}
		n, ok := a.users.get(u.key)
		if !ok || n.now() == nil {
			continue
		}
		row := n.now()
		if row.scope == "USER" {
			u.dropped = append(u.dropped, dropped{id, row})
		}
		t.putAppUser(a, u, nil)
		t.emit(happening{typ: "application.user_membership.remove", targets: row.targets(a.now(), u.now()), job: true, actor: systemActor, debug: map[string]string{"appname": a.now().name}})
	}
	return nil
}

// Suspend makes an ACTIVE user SUSPENDED.
func (o *Org) Suspend(id string) ([]Event, error) { return o.userDo(id, (*tx).suspend) }

func (t *tx) suspend(u *userNode) error {
	return t.to(u, "SUSPENDED", happening{typ: "user.lifecycle.suspend"}, "ACTIVE")
}

// Unsuspend makes a SUSPENDED user ACTIVE.
func (o *Org) Unsuspend(id string) ([]Event, error) { return o.userDo(id, (*tx).unsuspend) }

func (t *tx) unsuspend(u *userNode) error {
	return t.to(u, "ACTIVE", happening{typ: "user.lifecycle.unsuspend"}, "SUSPENDED")
}

// Lock makes an ACTIVE user LOCKED_OUT. The event has no target, the user is
// its actor, and its outcome is a FAILURE.
func (o *Org) Lock(id string) ([]Event, error) { return o.userDo(id, (*tx).lock) }

func (t *tx) lock(u *userNode) error {
	return t.to(u, "LOCKED_OUT", happening{
		typ: "user.account.lock", actor: u.now().target(), uri: "/idp/idx/challenge/answer",
		result: "FAILURE", reason: "LOCKED_OUT", debug: map[string]string{"threatSuspected": "false"},
	}, "ACTIVE")
}

// Unlock makes a LOCKED_OUT user ACTIVE.
func (o *Org) Unlock(id string) ([]Event, error) { return o.userDo(id, (*tx).unlock) }

func (t *tx) unlock(u *userNode) error {
	return t.to(u, "ACTIVE", happening{typ: "user.account.unlock_by_admin", uri: "/api/v1/users/" + u.key + "/lifecycle/unlock"}, "LOCKED_OUT")
}

// ResetPassword makes an ACTIVE user RECOVERY.
func (o *Org) ResetPassword(id string) ([]Event, error) { return o.userDo(id, (*tx).resetPassword) }

func (t *tx) resetPassword(u *userNode) error {
	return t.to(u, "RECOVERY", happening{typ: "user.account.reset_password"}, "ACTIVE")
}

// UpdatePassword makes an ACTIVE, RECOVERY or PASSWORD_EXPIRED user ACTIVE.
func (o *Org) UpdatePassword(id string) ([]Event, error) { return o.userDo(id, (*tx).updatePassword) }

func (t *tx) updatePassword(u *userNode) error {
	if err := t.to(u, "ACTIVE", happening{}, "ACTIVE", "RECOVERY", "PASSWORD_EXPIRED"); err != nil {
		return err
	}
	v := *u.now()
	v.passwordChanged = t.ms()
	t.putUser(u, &v)
	t.emit(happening{typ: "user.account.update_password", targets: []target{v.target()}, uri: "/api/v1/users/" + v.id + "/credentials/change_password"})
	return nil
}

// ExpirePassword makes an ACTIVE user PASSWORD_EXPIRED; only the System Log
// tells.
func (o *Org) ExpirePassword(id string) ([]Event, error) { return o.userDo(id, (*tx).expirePassword) }

func (t *tx) expirePassword(u *userNode) error {
	return t.to(u, "PASSWORD_EXPIRED", happening{typ: "user.account.expire_password"}, "ACTIVE")
}

// DeleteUser deletes a DEPROVISIONED user: after Config.DeleteDelay it is gone,
// of which only the System Log tells. Its memberships go without events.
func (o *Org) DeleteUser(id string) ([]Event, error) { return o.userDo(id, (*tx).deleteUser) }

func (t *tx) deleteUser(u *userNode) error {
	v := u.now()
	if v.status != "DEPROVISIONED" || u.deleting {
		return fmt.Errorf("user %s is %s, or its delete is under way", u.key, v.status)
	}
	u.deleting = true
	t.emit(happening{typ: "user.lifecycle.delete.initiated", targets: []target{v.target()}, uri: "/api/v1/users/" + v.id})
	if d := t.cfg.DeleteDelay; d > 0 {
		o := t.Org
		o.due = append(o.due, due{t.at + int64(d), func(at int64) { (&tx{Org: o, at: at}).removeUser(u) }})
		return nil
	}
	t.removeUser(u)
	return nil
}

func (t *tx) removeUser(u *userNode) {
	v := u.now()
	t.putUser(u, nil)
	delete(t.logins, strings.ToLower(v.login))
	for _, id := range slices.Clone(u.groups) {
		if g, ok := t.groups.get(id); ok && t.isMember(g, u.key) {
			t.putMember(g, u, nil)
		}
	}
	t.countUsers(t.everyone, -1)
	t.emit(happening{typ: "user.lifecycle.delete.completed", targets: []target{v.target()}, job: true, actor: systemActor})
}

// FailToDeactivate emits the event of a deactivation that was refused.
// Nothing changes.
func (o *Org) FailToDeactivate(id string) ([]Event, error) {
	return o.userDo(id, func(t *tx, u *userNode) error {
		t.emit(happening{typ: "user.lifecycle.deactivate", targets: []target{u.now().target()}, uri: "/api/v1/users/" + u.key + "/lifecycle/deactivate", result: "FAILURE", reason: "Operation is not allowed"})
		return nil
	})
}

// Emit writes an event of any type, about things that need not exist, to the
// log. Nothing changes.
func (o *Org) Emit(eventType, targetType, targetID string) Event {
	events, _ := o.do(func(t *tx) error {
		t.emit(happening{typ: eventType, targets: []target{{ID: targetID, Type: targetType, AlternateID: "unknown", DisplayName: "Something"}}, uri: "/api/v1/things"})
		return nil
	})
	return events[0]
}

// Groups

// CreateGroup makes an OKTA_GROUP.
func (o *Org) CreateGroup(name, description string) (string, []Event, error) {
	var id string
	events, err := o.do(func(t *tx) error {
		g := t.createGroup(&group{typ: "OKTA_GROUP", name: name, profile: mustJSON(map[string]any{"name": name, "description": description})})
		id = g.key
		t.emit(happening{typ: "group.lifecycle.create", targets: []target{g.now().target()}, uri: "/api/v1/groups"})
		return nil
	})
	return id, events, err
}

func (t *tx) createGroup(v *group) *groupNode {
	v.id, v.created, v.lastUpdated, v.lastMembershipUpdated = t.id("00g"), t.ms(), t.ms(), t.ms()
	g := &groupNode{node: node[group]{key: v.id}}
	t.groups.insert(g)
	t.putGroup(g, v)
	return g
}

// UpdateGroup changes the profile of an OKTA_GROUP; nil removes an attribute.
func (o *Org) UpdateGroup(id string, changes map[string]any) ([]Event, error) {
	return o.groupDo(id, func(t *tx, g *groupNode) error {
		if err := t.own(g); err != nil {
			return err
		}
		t.setGroup(g, changes)
		t.emit(happening{typ: "group.profile.update", targets: []target{g.now().target()}, uri: "/api/v1/groups/" + id})
		return nil
	})
}

func (t *tx) setGroup(g *groupNode, changes map[string]any) {
	v := *g.now()
	p := decodeProfile(v.profile)
	for k, x := range changes {
		if x == nil {
			delete(p, k)
		} else {
			p[k] = x
		}
	}
	if name, ok := p["name"].(string); ok {
		v.name = name
	}
	v.profile, v.lastUpdated = mustJSON(p), t.ms()
	t.putGroup(g, &v)
}

// own tells whether admins may change the group.
func (t *tx) own(g *groupNode) error {
	if typ := g.now().typ; typ != "OKTA_GROUP" {
		return fmt.Errorf("group %s is a %s: only imports and Okta itself change it", g.key, typ)
	}
	return nil
}

// DeleteGroup deletes an OKTA_GROUP. Neither its memberships nor its
// assignments have events; the app users that came through it have.
func (o *Org) DeleteGroup(id string) ([]Event, error) { return o.groupDo(id, (*tx).deleteGroup) }

func (t *tx) deleteGroup(g *groupNode) error {
	if err := t.own(g); err != nil {
		return err
	}
	v := g.now()
	var users []*userNode
	for _, m := range g.members.nodes {
		if m.now() == nil {
			continue
		}
		if u, ok := t.users.get(m.key); ok {
			users = append(users, u)
			put(t, &m.hist, nil, func() { g.members.remove(m.key); u.groups.drop(g.key) })
		}
	}
	t.putGroup(g, nil)
	t.emit(happening{typ: "group.lifecycle.delete", targets: []target{v.target()}, uri: "/api/v1/groups/" + g.key})
	apps := g.apps
	g.apps = nil
	for _, id := range apps {
		a, _ := t.apps.get(id)
		t.clearRows(a, g)
		for _, u := range users {
			t.resolve(a, u, "application.user_membership.add")
		}
	}
	return nil
}

// AddMember puts a user into an OKTA_GROUP. The applications of the group
// follow with events of their own.
func (o *Org) AddMember(groupID, userID string) ([]Event, error) {
	return o.groupDo(groupID, func(t *tx, g *groupNode) error {
		u, err := t.user(userID)
		if err != nil {
			return err
		}
		if err := t.own(g); err != nil {
			return err
		}
		return t.addMember(g, u, happening{uri: "/api/v1/groups/" + groupID + "/users/" + userID})
	})
}

func (t *tx) addMember(g *groupNode, u *userNode, h happening) error {
	if t.isMember(g, u.key) || u.deleting {
		return fmt.Errorf("user %s is in group %s already, or being deleted", u.key, g.key)
	}
	t.putMember(g, u, &member{})
	h.typ, h.targets = "group.user_membership.add", []target{u.now().target(), g.now().target()}
	t.emit(h)
	t.resolveAll(g.apps, u)
	return nil
}

// RemoveMember takes a user out of an OKTA_GROUP.
func (o *Org) RemoveMember(groupID, userID string) ([]Event, error) {
	return o.groupDo(groupID, func(t *tx, g *groupNode) error {
		u, err := t.user(userID)
		if err != nil {
			return err
		}
		if err := t.own(g); err != nil {
			return err
		}
		return t.removeMember(g, u, happening{uri: "/api/v1/groups/" + groupID + "/users/" + userID})
	})
}

func (t *tx) removeMember(g *groupNode, u *userNode, h happening) error {
	if !t.isMember(g, u.key) {
		return fmt.Errorf("user %s is not in group %s", u.key, g.key)
	}
	t.putMember(g, u, nil)
	h.typ, h.targets = "group.user_membership.remove", []target{u.now().target(), g.now().target()}
	t.emit(h)
	t.resolveAll(g.apps, u)
	return nil
}

// Assignments

// resolve gives the user what the groups say that it has of the application,
// with its event, of which gain is the one for an app user that appears.
func (t *tx) resolve(a *appNode, u *userNode, gain string) {
	var cur, next *appUser
	if n, ok := a.users.get(u.key); ok {
		cur = n.now()
	}
	if v := u.now(); v == nil || v.status == "DEPROVISIONED" {
		return // deactivation took them all
	}
	if cur != nil && cur.scope == "USER" {
		return
	}
	if rows := t.rowsOf(a, u.key); len(rows) > 0 {
		if cur == nil {
			next = t.newAppUser(u.now(), t.ms())
			next.scope, next.profile = "GROUP", groupProfile(u.now().email, rows)
		} else {
			email, _ := decodeProfile(cur.profile)["email"].(string)
			v := *cur
			v.profile, v.lastUpdated = groupProfile(email, rows), t.ms()
			if bytes.Equal(v.profile, cur.profile) {
				return
			}
			next = &v
		}
	}
	h := happening{job: true, debug: map[string]string{"appname": a.now().name}}
	switch {
	case next == nil && cur == nil:
		return
	case next == nil:
		h.typ, h.targets = "application.user_membership.remove", cur.targets(a.now(), u.now())
	case cur == nil:
		h.typ, h.targets = gain, next.targets(a.now(), u.now())
	default:
		h.typ, h.targets = "application.user_membership.update", next.targets(a.now(), u.now())
	}
	t.putAppUser(a, u, next)
	t.emit(h)
}

func (t *tx) resolveAll(apps keys, u *userNode) {
	for _, id := range apps {
		if a, ok := t.apps.get(id); ok {
			t.resolve(a, u, "application.user_membership.add")
		}
	}
}

// resolveUser gives a user the applications of all its groups.
func (t *tx) resolveUser(u *userNode, gain string) {
	var apps keys
	for _, id := range append(slices.Clone(u.groups), t.everyone.key) {
		if g, ok := t.groups.get(id); ok && t.isMember(g, u.key) {
			for _, a := range g.apps {
				apps.add(a)
			}
		}
	}
	for _, id := range apps {
		a, _ := t.apps.get(id)
		t.resolve(a, u, gain)
	}
}

// membersOf returns the present members of a group.
func (t *tx) membersOf(g *groupNode) []*userNode {
	var users []*userNode
	if g.everyone {
		for _, u := range t.users.nodes {
			if u.now() != nil {
				users = append(users, u)
			}
		}
		return users
	}
	for _, m := range g.members.nodes {
		if m.now() != nil {
			u, _ := t.users.get(m.key)
			users = append(users, u)
		}
	}
	return users
}

// AssignUser assigns an application to a user directly; of an assignment
// through a group it makes a direct one.
func (o *Org) AssignUser(appID, userID string, profile map[string]any) ([]Event, error) {
	return o.appDo(appID, func(t *tx, a *appNode) error {
		u, err := t.user(userID)
		if err != nil {
			return err
		}
		return t.assignUser(a, u, profile)
	})
}

func (t *tx) assignUser(a *appNode, u *userNode, profile map[string]any) error {
	if u.now().status == "DEPROVISIONED" {
		return fmt.Errorf("user %s is DEPROVISIONED", u.key)
	}
	row := t.newAppUser(u.now(), t.ms())
	typ := "application.user_membership.add"
	if n, ok := a.users.get(u.key); ok && n.now() != nil {
		if n.now().scope == "USER" {
			return fmt.Errorf("application %s is assigned to user %s already", a.key, u.key)
		}
		v := *n.now()
		v.lastUpdated = t.ms()
		row, typ = &v, "application.user_membership.update"
	}
	row.scope, row.profile = "USER", mustJSON(profile)
	t.putAppUser(a, u, row)
	t.emit(happening{typ: typ, targets: row.targets(a.now(), u.now()), uri: "/api/v1/apps/" + a.key + "/users", debug: map[string]string{"appname": a.now().name}})
	return nil
}

// UnassignUser takes a direct assignment away. If the user has the application
// through a group as well, the assignment becomes one through the group.
func (o *Org) UnassignUser(appID, userID string) ([]Event, error) {
	return o.appDo(appID, func(t *tx, a *appNode) error {
		u, err := t.user(userID)
		if err != nil {
			return err
		}
		return t.unassignUser(a, u)
	})
}

func (t *tx) unassignUser(a *appNode, u *userNode) error {
	n, ok := a.users.get(u.key)
	if !ok || n.now() == nil || n.now().scope != "USER" {
		return fmt.Errorf("application %s is not assigned to user %s directly", a.key, u.key)
	}
	v := *n.now()
	h := happening{typ: "application.user_membership.remove", targets: v.targets(a.now(), u.now()), uri: "/api/v1/apps/" + a.key + "/users/" + u.key, debug: map[string]string{"appname": a.now().name}}
	if rows := t.rowsOf(a, u.key); len(rows) > 0 {
		v.scope, v.profile, v.lastUpdated = "GROUP", groupProfile(u.now().email, rows), t.ms()
		h.typ = "application.user_membership.update"
		t.putAppUser(a, u, &v)
	} else {
		t.putAppUser(a, u, nil)
	}
	t.emit(h)
	return nil
}

// UpdateAppUser sets the profile of a direct assignment.
func (o *Org) UpdateAppUser(appID, userID string, profile map[string]any) ([]Event, error) {
	return o.appDo(appID, func(t *tx, a *appNode) error {
		u, err := t.user(userID)
		if err != nil {
			return err
		}
		return t.updateAppUser(a, u, profile)
	})
}

func (t *tx) updateAppUser(a *appNode, u *userNode, profile map[string]any) error {
	n, ok := a.users.get(u.key)
	if !ok || n.now() == nil || n.now().scope != "USER" {
		return fmt.Errorf("application %s is not assigned to user %s directly", a.key, u.key)
	}
	v := *n.now()
	v.profile, v.lastUpdated = mustJSON(profile), t.ms()
	t.putAppUser(a, u, &v)
	t.emit(happening{typ: "application.user_membership.update", targets: v.targets(a.now(), u.now()), uri: "/api/v1/apps/" + a.key + "/users/" + u.key, debug: map[string]string{"appname": a.now().name}})
	return nil
}

// RenameAppUser gives a user another name in an application; only the System
// Log tells.
func (o *Org) RenameAppUser(appID, userID, userName string) ([]Event, error) {
	return o.appDo(appID, func(t *tx, a *appNode) error {
		u, err := t.user(userID)
		if err != nil {
			return err
		}
		n, ok := a.users.get(u.key)
		if !ok || n.now() == nil {
			return fmt.Errorf("application %s is not assigned to user %s", a.key, u.key)
		}
		v := *n.now()
		v.userName, v.lastUpdated = userName, t.ms()
		t.putAppUser(a, u, &v)
		t.emit(happening{typ: "application.user_membership.change_username", targets: v.targets(a.now(), u.now()), uri: "/api/v1/apps/" + a.key + "/users/" + u.key, debug: map[string]string{"appname": a.now().name}})
		return nil
	})
}

// AssignGroup assigns an application to a group, with one row for each
// profile, or one with none. Its members follow with events of their own.
func (o *Org) AssignGroup(appID, groupID string, rows ...map[string]any) ([]Event, error) {
	return o.rowsDo(appID, groupID, func(t *tx, a *appNode, g *groupNode) error { return t.assignGroup(a, g, rows) })
}

// UpdateGroupAssignment replaces the rows of an assignment.
func (o *Org) UpdateGroupAssignment(appID, groupID string, rows ...map[string]any) ([]Event, error) {
	return o.rowsDo(appID, groupID, func(t *tx, a *appNode, g *groupNode) error { return t.updateRows(a, g, rows) })
}

// UnassignGroup takes an application from a group.
func (o *Org) UnassignGroup(appID, groupID string) ([]Event, error) {
	return o.rowsDo(appID, groupID, (*tx).unassignGroup)
}

func (o *Org) rowsDo(appID, groupID string, f func(*tx, *appNode, *groupNode) error) ([]Event, error) {
	return o.appDo(appID, func(t *tx, a *appNode) error {
		g, err := t.group(groupID)
		if err != nil {
			return err
		}
		return f(t, a, g)
	})
}

func (t *tx) assignGroup(a *appNode, g *groupNode, rows []map[string]any) error {
	if slices.Contains(g.apps, a.key) {
		return fmt.Errorf("application %s is assigned to group %s already", a.key, g.key)
	}
	t.setRows(a, g, nil, rows)
	g.apps.add(a.key)
	t.countApps(g, 1)
	t.groupEvent("group.application_assignment.add", a, g)
	t.resolveMembers(a, g)
	return nil
}

func (t *tx) updateRows(a *appNode, g *groupNode, rows []map[string]any) error {
	if !slices.Contains(g.apps, a.key) {
		return fmt.Errorf("application %s is not assigned to group %s", a.key, g.key)
	}
	t.setRows(a, g, t.clearRows(a, g), rows)
	t.groupEvent("group.application_assignment.update", a, g)
	t.resolveMembers(a, g)
	return nil
}

func (t *tx) unassignGroup(a *appNode, g *groupNode) error {
	if !slices.Contains(g.apps, a.key) {
		return fmt.Errorf("application %s is not assigned to group %s", a.key, g.key)
	}
	t.clearRows(a, g)
	g.apps.drop(a.key)
	t.countApps(g, -1)
	t.groupEvent("group.application_assignment.remove", a, g)
	t.resolveMembers(a, g)
	return nil
}

func (t *tx) resolveMembers(a *appNode, g *groupNode) {
	for _, u := range t.membersOf(g) {
		t.resolve(a, u, "application.user_membership.add")
	}
}

func (t *tx) groupEvent(typ string, a *appNode, g *groupNode) {
	t.emit(happening{typ: typ, targets: []target{g.now().target(), a.now().target()}, job: true, debug: map[string]string{"groupAppAssignmentId": t.id("0ga")}})
}

// clearRows takes the rows of a group away and returns their priorities.
func (t *tx) clearRows(a *appNode, g *groupNode) []int {
	var priorities []int
	for _, n := range a.groups.nodes {
		if r := n.now(); r != nil && r.group == g.key {
			priorities = append(priorities, r.priority)
			t.putRow(a, n.key, nil)
		}
	}
	return priorities
}

// setRows sets one row for each profile: at the given priorities, and then
// behind all others.
func (t *tx) setRows(a *appNode, g *groupNode, priorities []int, rows []map[string]any) {
	if len(rows) == 0 {
		rows = []map[string]any{{}}
	}
	next := 0
	for _, p := range priorities {
		next = max(next, p+1)
	}
	for _, n := range a.groups.nodes {
		if r := n.now(); r != nil {
			next = max(next, r.priority+1)
		}
	}
	for i, profile := range rows {
		if i == len(priorities) {
			priorities = append(priorities, next)
			next++
		}
		p := priorities[i]
		t.putRow(a, rowKey(g.key, p), &appGroup{group: g.key, ga: t.id("0ga"), priority: p, lastUpdated: t.ms(), profile: mustJSON(profile)})
	}
}

func (t *tx) countApps(g *groupNode, delta int) {
	v := *g.now()
	v.apps += delta
	t.putGroup(g, &v)
}

// Applications

// CreateApp makes an application.
func (o *Org) CreateApp(name, label, signOnMode string, settings map[string]any) (string, []Event, error) {
	return o.createApp(name, label, signOnMode, settings, "application.lifecycle.create", "/api/v1/apps")
}

// CreateAppInConsole makes an application of which only an
// application.lifecycle.update tells, as the Admin Console may do.
func (o *Org) CreateAppInConsole(name, label, signOnMode string, settings map[string]any) (string, []Event, error) {
	return o.createApp(name, label, signOnMode, settings, "application.lifecycle.update", "/admin/app/"+name+"/instance/_new_")
}

func (o *Org) createApp(name, label, mode string, settings map[string]any, typ, uri string) (string, []Event, error) {
	var id string
	events, err := o.do(func(t *tx) error {
		v := &app{id: t.id("0oa"), name: name, label: label, status: "ACTIVE", signOnMode: mode, created: t.ms(), lastUpdated: t.ms(), settings: mustJSON(settings)}
		id = v.id
		a := &appNode{node: node[app]{key: id}}
		t.apps.insert(a)
		t.putApp(a, v)
		t.emit(happening{typ: typ, targets: []target{v.target()}, uri: uri})
		return nil
	})
	return id, events, err
}

// UpdateApp changes the label of an application and, if not nil, its settings.
func (o *Org) UpdateApp(id, label string, settings map[string]any) ([]Event, error) {
	return o.appDo(id, func(t *tx, a *appNode) error {
		v := *a.now()
		old := v.label
		v.label, v.lastUpdated = label, t.ms()
		if settings != nil {
			v.settings = mustJSON(settings)
		}
		t.putApp(a, &v)
		x := v.target()
		x.Change = map[string]any{"from": map[string]any{"label": old}, "to": map[string]any{"label": label}}
		t.emit(happening{typ: "application.lifecycle.update", targets: []target{x}, uri: "/api/v1/apps/" + id})
		return nil
	})
}

// ActivateApp makes an INACTIVE application ACTIVE.
func (o *Org) ActivateApp(id string) ([]Event, error) { return o.appDo(id, (*tx).activateApp) }

func (t *tx) activateApp(a *appNode) error { return t.appTo(a, "INACTIVE", "ACTIVE", "activate") }

// DeactivateApp makes an ACTIVE application INACTIVE. Its assignments stay.
func (o *Org) DeactivateApp(id string) ([]Event, error) { return o.appDo(id, (*tx).deactivateApp) }

func (t *tx) deactivateApp(a *appNode) error { return t.appTo(a, "ACTIVE", "INACTIVE", "deactivate") }

func (t *tx) appTo(a *appNode, from, to, verb string) error {
	v := *a.now()
	if v.status != from {
		return fmt.Errorf("application %s is %s", a.key, v.status)
	}
	v.status, v.lastUpdated = to, t.ms()
	t.putApp(a, &v)
	t.emit(happening{typ: "application.lifecycle." + verb, targets: []target{v.target()}, uri: "/api/v1/apps/" + a.key + "/lifecycle/" + verb})
	return nil
}

// DeleteApp deletes an INACTIVE application. Its assignments have no events.
func (o *Org) DeleteApp(id string) ([]Event, error) { return o.appDo(id, (*tx).deleteApp) }

func (t *tx) deleteApp(a *appNode) error {
	v := a.now()
	if v.status != "INACTIVE" {
		return fmt.Errorf("application %s is %s: only an INACTIVE one can be deleted", a.key, v.status)
	}
	for _, n := range a.users.nodes {
		if n.now() != nil {
			u, _ := t.users.get(n.key)
			t.putAppUser(a, u, nil)
		}
	}
	for _, n := range a.groups.nodes {
		if r := n.now(); r != nil {
			t.putRow(a, n.key, nil)
			if g, err := t.group(r.group); err == nil && slices.Contains(g.apps, a.key) {
				g.apps.drop(a.key)
				t.countApps(g, -1)
			}
		}
	}
	t.putApp(a, nil)
	t.emit(happening{typ: "application.lifecycle.delete", targets: []target{v.target()}, uri: "/api/v1/apps/" + a.key})
	return nil
}

// Factors

// FactorTypes are the types that EnrollFactor knows.
func FactorTypes() []string {
	var types []string
	for _, k := range factorKinds {
		types = append(types, k.typ)
	}
	return types
}

// EnrollFactor gives a user an ACTIVE factor of the type.
func (o *Org) EnrollFactor(userID, factorType string) (string, []Event, error) {
	var id string
	events, err := o.userDo(userID, func(t *tx, u *userNode) error {
		kind := slices.Index(FactorTypes(), factorType)
		if kind < 0 {
			return fmt.Errorf("no factor type %q", factorType)
		}
		f, err := t.enroll(u, kind)
		id = f
		return err
	})
	return id, events, err
}

func (t *tx) enroll(u *userNode, kind int) (string, error) {
	if !factorsOf(u.now().status) {
		return "", fmt.Errorf("user %s is %s: it cannot enrol factors", u.key, u.now().status)
	}
	f := t.newFactor(u.now(), kind, t.ms())
	f.status = "ACTIVE"
	t.putFactor(u, f.id, f)
	name := factorKinds[kind].name
	t.emit(happening{
		typ: "user.mfa.factor.activate", uri: "/idp/idx/challenge/poll", actor: u.now().target(),
		targets: []target{u.now().target(), {ID: t.id("pfd"), Type: "AuthenticatorEnrollment", AlternateID: "unknown", DisplayName: name}},
		reason:  "User set up " + name + " factor", debug: map[string]string{"factor": name},
	})
	return f.id, nil
}

// UpdateFactor changes the profile of a factor.
func (o *Org) UpdateFactor(userID, factorID string, changes map[string]any) ([]Event, error) {
	return o.userDo(userID, func(t *tx, u *userNode) error {
		n, ok := u.factors.get(factorID)
		if !ok || n.now() == nil {
			return fmt.Errorf("user %s has no factor %s", userID, factorID)
		}
		v := *n.now()
		p := decodeProfile(v.profile)
		maps.Copy(p, changes)
		v.profile, v.lastUpdated = mustJSON(p), t.ms()
		if v.status != "ACTIVE" {
			v.status = "ACTIVE"
		}
		t.putFactor(u, factorID, &v)
		t.emit(happening{typ: "user.mfa.factor.update", targets: []target{u.now().target()}, uri: "/api/v1/users/" + userID + "/factors/" + factorID})
		return nil
	})
}

// ResetFactor takes one factor away.
func (o *Org) ResetFactor(userID, factorID string) ([]Event, error) {
	return o.userDo(userID, func(t *tx, u *userNode) error {
		n, ok := u.factors.get(factorID)
		if !ok || n.now() == nil {
			return fmt.Errorf("user %s has no factor %s", userID, factorID)
		}
		name := strings.ToUpper(n.now().factorType)
		t.putFactor(u, factorID, nil)
		t.emit(happening{typ: "user.mfa.factor.deactivate", targets: []target{u.now().target()}, uri: "/api/v1/users/" + userID + "/factors/" + factorID, reason: "User reset " + name + " factor", debug: map[string]string{"factor": name}})
		return nil
	})
}

// ResetFactors takes all factors of a user away.
func (o *Org) ResetFactors(userID string) ([]Event, error) {
	return o.userDo(userID, func(t *tx, u *userNode) error {
		for _, n := range u.factors.nodes {
			if n.now() != nil {
				t.putFactor(u, n.key, nil)
			}
		}
		t.emit(happening{typ: "user.mfa.factor.reset_all", targets: []target{u.now().target()}, uri: "/api/v1/users/" + userID + "/lifecycle/reset_factors"})
		return nil
	})
}

// Imports change things silently; CompleteImport is all that tells.

// ImportGroup makes an APP_GROUP of an application, with members of which no
// event tells.
func (o *Org) ImportGroup(appID, name string, members ...string) (string, []Event, error) {
	var id string
	events, err := o.appDo(appID, func(t *tx, a *appNode) error {
		for _, m := range members {
			if _, err := t.user(m); err != nil {
				return err
			}
		}
		t.emit(happening{typ: "system.import.start", targets: []target{a.now().target()}, job: true, actor: systemActor})
		g := t.createGroup(&group{typ: "APP_GROUP", name: name, source: appID, profile: mustJSON(map[string]any{"name": name, "description": nil, "externalId": t.hex(8)})})
		id = g.key
		t.emit(happening{typ: "system.import.group.create", targets: []target{a.now().target(), g.now().target()}, job: true, actor: systemActor})
		for _, m := range members {
			if u, _ := t.user(m); !t.isMember(g, m) {
				t.putMember(g, u, &member{})
			}
		}
		t.completeImport(a)
		return nil
	})
	return id, events, err
}

// ImportProfile changes a profile, without any event.
func (o *Org) ImportProfile(userID string, changes map[string]any) error {
	_, err := o.userDo(userID, func(t *tx, u *userNode) error { return t.setProfile(u, changes) })
	return err
}

// ImportMember puts a user into a group without an event of the membership;
// the applications of the group follow with theirs.
func (o *Org) ImportMember(groupID, userID string) ([]Event, error) {
	return o.groupDo(groupID, func(t *tx, g *groupNode) error { return t.importMember(g, userID, &member{}) })
}

// ImportRemoval takes a user out of a group, likewise.
func (o *Org) ImportRemoval(groupID, userID string) ([]Event, error) {
	return o.groupDo(groupID, func(t *tx, g *groupNode) error { return t.importMember(g, userID, nil) })
}

func (t *tx) importMember(g *groupNode, userID string, v *member) error {
	u, err := t.user(userID)
	if err != nil {
		return err
	}
	if g.everyone || t.isMember(g, userID) == (v != nil) {
		return fmt.Errorf("group %s and user %s are as wanted already", g.key, userID)
	}
	t.putMember(g, u, v)
	t.resolveAll(g.apps, u)
	return nil
}

// CompleteImport emits the event of an import that ended.
func (o *Org) CompleteImport(appID string) ([]Event, error) {
	return o.appDo(appID, func(t *tx, a *appNode) error {
		t.completeImport(a)
		return nil
	})
}

func (t *tx) completeImport(a *appNode) {
	t.emit(happening{typ: "system.import.complete", targets: []target{a.now().target()}, job: true, actor: systemActor})
}
