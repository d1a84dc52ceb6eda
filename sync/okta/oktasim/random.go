package oktasim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Kind is a kind of random change.
type Kind string

// The kinds of random changes.
const (
	CreatesUser       Kind = "create user"
	UpdatesProfile    Kind = "update profile"
	RenamesLogin      Kind = "rename login"
	PassesLogin       Kind = "pass login" // from one user to another
	ActivatesUser     Kind = "activate user"
	DeactivatesUser   Kind = "deactivate user"
	ReactivatesUser   Kind = "reactivate user"
	SuspendsUser      Kind = "suspend user"
	UnsuspendsUser    Kind = "unsuspend user"
	LocksUser         Kind = "lock user"
	UnlocksUser       Kind = "unlock user"
	ResetsPassword    Kind = "reset password"
	UpdatesPassword   Kind = "update password"
	DeletesUser       Kind = "delete user"
	AddsMember        Kind = "add member"
	RemovesMember     Kind = "remove member"
	TogglesMember     Kind = "toggle member" // the pair of the last change again
	CreatesGroup      Kind = "create group"
	UpdatesGroup      Kind = "update group"
	DeletesGroup      Kind = "delete group"
	AssignsUser       Kind = "assign user"
	UnassignsUser     Kind = "unassign user"
	UpdatesAppUser    Kind = "update app user"
	AssignsGroup      Kind = "assign group"
	UnassignsGroup    Kind = "unassign group"
	UpdatesAssignment Kind = "update group assignment" // that has one row
	CreatesApp        Kind = "create app"
	UpdatesApp        Kind = "update app"
	ActivatesApp      Kind = "activate app"
	DeactivatesApp    Kind = "deactivate app"
	DeletesApp        Kind = "delete app"
	EnrollsFactor     Kind = "enroll factor"
	UpdatesFactor     Kind = "update factor"
	ResetsFactor      Kind = "reset factor"
	ResetsFactors     Kind = "reset factors"
	ImportsGroup      Kind = "import group"       // with members of which no event tells
	ImportsSilently   Kind = "import silently"    // a profile or a membership; then system.import.complete
	UpdatesRows       Kind = "update rows"        // an assignment that gets or has several rows
	ExpiresPassword   Kind = "expire password"    // only the System Log tells
	RenamesAppUser    Kind = "rename app user"    // likewise
	FailsToDeactivate Kind = "fail to deactivate" // nothing changes
	StartsSession     Kind = "start session"      // nothing changes
	SeesSomethingNew  Kind = "see something new"  // an unknown type of event; nothing changes
)

// defaultKinds leaves out, with a weight of 0, what event hooks alone cannot
// follow.
var defaultKinds = map[Kind]int{
	CreatesUser: 6, UpdatesProfile: 14, RenamesLogin: 3, PassesLogin: 2,
	ActivatesUser: 4, DeactivatesUser: 4, ReactivatesUser: 2, SuspendsUser: 3, UnsuspendsUser: 3,
	LocksUser: 2, UnlocksUser: 2, ResetsPassword: 1, UpdatesPassword: 2, DeletesUser: 2,
	AddsMember: 16, RemovesMember: 10, TogglesMember: 6, CreatesGroup: 3, UpdatesGroup: 4, DeletesGroup: 1,
	AssignsUser: 8, UnassignsUser: 6, UpdatesAppUser: 4, AssignsGroup: 3, UnassignsGroup: 2, UpdatesAssignment: 2,
	CreatesApp: 2, UpdatesApp: 3, ActivatesApp: 1, DeactivatesApp: 1, DeletesApp: 1,
	EnrollsFactor: 6, UpdatesFactor: 2, ResetsFactor: 4, ResetsFactors: 1,
	ImportsGroup: 0, ImportsSilently: 0, UpdatesRows: 0, ExpiresPassword: 0, RenamesAppUser: 0,
	FailsToDeactivate: 1, StartsSession: 1, SeesSomethingNew: 1,
}

// DefaultKinds returns the weights of a new org, to change and set: what event
// hooks can follow, unless Config.DeleteDelay makes them leave a deleted user's
// end to the System Log.
func DefaultKinds() map[Kind]int { return maps.Clone(defaultKinds) }

// LogKinds returns weights of all that the System Log can follow: those of
// DefaultKinds, what only the log tells, and imports, which change things
// silently and end with system.import.complete. UpdatesRows is left out: a
// read by id shows only one of an assignment's rows, however it is told.
func LogKinds() map[Kind]int {
	kinds := DefaultKinds()
	kinds[ExpiresPassword], kinds[RenamesAppUser] = 2, 3
	kinds[ImportsGroup], kinds[ImportsSilently] = 1, 3
	return kinds
}

// MutateKinds sets how often Mutate does what.
func (o *Org) MutateKinds(weights map[Kind]int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kinds = maps.Clone(weights)
}

// Mutate makes n random changes, each of which is valid at its time, and
// returns their events in the order in which they happened. A change may have
// several events, or none. The admin, by whom all is done, stays as it is.
func (o *Org) Mutate(n int) []Event {
	var events []Event
	for done, tried := 0, 0; done < n && tried < 50*(n+1); tried++ {
		e, err := o.mutateOnce()
		if err == nil {
			done++
			events = append(events, e...)
		}
	}
	return events
}

var errNoCandidate = errors.New("the org holds nothing that could change so")

func (o *Org) mutateOnce() ([]Event, error) {
	o.mu.Lock()
	weights := o.kinds
	if weights == nil {
		weights = defaultKinds
	}
	total := 0
	for _, w := range weights {
		total += w
	}
	if total == 0 {
		o.mu.Unlock()
		return nil, errNoCandidate
	}
	at := o.rng.IntN(total)
	var kind Kind
	for _, k := range slices.Sorted(maps.Keys(weights)) {
		if at -= weights[k]; at < 0 {
			kind = k
			break
		}
	}
	r := &picker{o}
	plan := r.plan(kind)
	o.mu.Unlock()
	if plan == nil {
		return nil, errNoCandidate
	}
	return plan()
}

// picker draws candidates; mu is held.
type picker struct{ *Org }

// user draws a user of one of the statuses, or of any. It is not the admin.
func (p *picker) user(statuses ...string) *userNode {
	for range 30 {
		if len(p.users.nodes) == 0 {
			return nil
		}
		u := p.users.nodes[p.rng.IntN(len(p.users.nodes))]
		if v := u.now(); v != nil && u.key != p.admin && !u.deleting && (len(statuses) == 0 || slices.Contains(statuses, v.status)) {
			return u
		}
	}
	return nil
}

func (p *picker) group(types ...string) *groupNode {
	for range 30 {
		if len(p.groups.nodes) == 0 {
			return nil
		}
		g := p.groups.nodes[p.rng.IntN(len(p.groups.nodes))]
		if v := g.now(); v != nil && slices.Contains(types, v.typ) {
			return g
		}
	}
	return nil
}

func (p *picker) app(statuses ...string) *appNode {
	for range 30 {
		if len(p.apps.nodes) == 0 {
			return nil
		}
		a := p.apps.nodes[p.rng.IntN(len(p.apps.nodes))]
		if v := a.now(); v != nil && (len(statuses) == 0 || slices.Contains(statuses, v.status)) {
			return a
		}
	}
	return nil
}

func (p *picker) member(g *groupNode) string {
	for range 30 {
		if len(g.members.nodes) == 0 {
			return ""
		}
		if m := g.members.nodes[p.rng.IntN(len(g.members.nodes))]; m.now() != nil {
			return m.key
		}
	}
	return ""
}

func (p *picker) assigned(scope string) (app, user string) {
	for range 30 {
		a := p.app()
		if a == nil || len(a.users.nodes) == 0 {
			continue
		}
		if u := a.users.nodes[p.rng.IntN(len(a.users.nodes))]; u.now() != nil && u.now().scope == scope {
			return a.key, u.key
		}
	}
	return "", ""
}

// row draws an assignment to a group, with the number of its rows.
func (p *picker) row() (a *appNode, group string, rows int) {
	for range 30 {
		a = p.app()
		if a == nil || len(a.groups.nodes) == 0 {
			continue
		}
		r := a.groups.nodes[p.rng.IntN(len(a.groups.nodes))].now()
		if r == nil {
			continue
		}
		for _, n := range a.groups.nodes {
			if n.now() != nil && n.now().group == r.group {
				rows++
			}
		}
		return a, r.group, rows
	}
	return nil, "", 0
}

func (p *picker) factor() (user, factor string) {
	for range 30 {
		u := p.user()
		if u == nil || len(u.factors.nodes) == 0 {
			continue
		}
		if f := u.factors.nodes[p.rng.IntN(len(u.factors.nodes))]; f.now() != nil {
			return u.key, f.key
		}
	}
	return "", ""
}

func (p *picker) word() string {
	return teams[p.rng.IntN(len(teams))] + " " + fmt.Sprint(p.rng.IntN(1000))
}

func (p *picker) rowProfile(a *appNode) map[string]any {
	if a.now().name == "amazon_aws" {
		return roleProfile(p.rng.IntN(4))
	}
	return map[string]any{}
}

func (p *picker) login(u *userNode) string {
	first, last := firstNames[p.rng.IntN(len(firstNames))], lastNames[p.rng.IntN(len(lastNames))]
	return fmt.Sprintf("%s.%s.%s@example.com", first, last, u.key[3:7])
}

type plan func() ([]Event, error)

// userPlan plans a change of one user.
func (p *picker) userPlan(f func(string) ([]Event, error), statuses ...string) plan {
	u := p.user(statuses...)
	if u == nil {
		return nil
	}
	id := u.key
	return func() ([]Event, error) { return f(id) }
}

// plan draws what to change. It returns nil if there is nothing that fits.
func (p *picker) plan(kind Kind) plan {
	o := p.Org
	switch kind {
	case CreatesUser:
		status := []string{"ACTIVE", "ACTIVE", "STAGED"}[p.rng.IntN(3)]
		profile := decodeProfile(o.newUser(p.rng.IntN(990)+10, 1).profile)
		login := fmt.Sprintf("%s.%s", o.hex(4), profile["login"])
		profile["login"] = login
		return func() ([]Event, error) { _, e, err := o.CreateUser(status, profile); return e, err }
	case UpdatesProfile:
		u := p.user("ACTIVE", "STAGED", "PROVISIONED", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED")
		if u == nil {
			return nil
		}
		changes := p.profileChange()
		return func() ([]Event, error) { return o.UpdateProfile(u.key, changes) }
	case RenamesLogin:
		u := p.user("ACTIVE", "SUSPENDED", "PROVISIONED")
		if u == nil {
			return nil
		}
		login := p.login(u)
		return func() ([]Event, error) { return o.RenameLogin(u.key, login) }
	case PassesLogin:
		from, to := p.user("ACTIVE"), p.user("ACTIVE")
		if from == nil || to == nil || from == to {
			return nil
		}
		login := p.login(from)
		return func() ([]Event, error) { return o.PassLogin(from.key, to.key, login) }
	case ActivatesUser:
		return p.userPlan(o.Activate, "STAGED", "DEPROVISIONED", "PROVISIONED")
	case DeactivatesUser:
		return p.userPlan(o.Deactivate, "ACTIVE", "PROVISIONED", "STAGED", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED")
	case ReactivatesUser:
		return p.userPlan(o.Reactivate, "DEPROVISIONED", "PROVISIONED")
	case SuspendsUser:
		return p.userPlan(o.Suspend, "ACTIVE")
	case UnsuspendsUser:
		return p.userPlan(o.Unsuspend, "SUSPENDED")
	case LocksUser:
		return p.userPlan(o.Lock, "ACTIVE")
	case UnlocksUser:
		return p.userPlan(o.Unlock, "LOCKED_OUT")
	case ResetsPassword:
		return p.userPlan(o.ResetPassword, "ACTIVE")
	case UpdatesPassword:
		return p.userPlan(o.UpdatePassword, "ACTIVE", "RECOVERY", "PASSWORD_EXPIRED")
	case ExpiresPassword:
		return p.userPlan(o.ExpirePassword, "ACTIVE")
	case DeletesUser:
		return p.userPlan(o.DeleteUser, "DEPROVISIONED")
	case FailsToDeactivate:
		return p.userPlan(o.FailToDeactivate)
	case StartsSession:
		return func() ([]Event, error) {
			return []Event{o.Emit("user.session.start", "AppInstance", "0oaUnknownApp1234697")}, nil
		}
	case SeesSomethingNew:
		return func() ([]Event, error) {
			return []Event{o.Emit("resource.something.new", "Thing", "thg1a2b3c4d5e6f7g697")}, nil
		}

	case AddsMember:
		g, u := p.group("OKTA_GROUP"), p.user()
		if g == nil || u == nil {
			return nil
		}
		return p.toggle(g.key, u.key, o.AddMember)
	case RemovesMember:
		g := p.group("OKTA_GROUP")
		if g == nil {
			return nil
		}
		if u := p.member(g); u != "" {
			return p.toggle(g.key, u, o.RemoveMember)
		}
		return nil
	case TogglesMember:
		group, user := p.lastPair[0], p.lastPair[1]
		g, found := p.groups.get(group)
		if !found {
			return nil
		}
		if p.isMember(g, user) {
			return p.toggle(group, user, o.RemoveMember)
		}
		return p.toggle(group, user, o.AddMember)
	case CreatesGroup:
		name := p.word()
		return func() ([]Event, error) { _, e, err := o.CreateGroup(name, "Made by chance"); return e, err }
	case UpdatesGroup:
		g := p.group("OKTA_GROUP")
		if g == nil {
			return nil
		}
		changes := map[string]any{"name": p.word(), "description": p.word()}
		return func() ([]Event, error) { return o.UpdateGroup(g.key, changes) }
	case DeletesGroup:
		g := p.group("OKTA_GROUP")
		if g == nil {
			return nil
		}
		return func() ([]Event, error) { return o.DeleteGroup(g.key) }

	case AssignsUser:
		a, u := p.app(), p.user()
		if a == nil || u == nil {
			return nil
		}
		profile := directProfile(u.now(), a.now().name == "amazon_aws", p.rng.IntN(5))
		return func() ([]Event, error) { return o.AssignUser(a.key, u.key, profile) }
	case UnassignsUser:
		a, u := p.assigned("USER")
		if a == "" {
			return nil
		}
		return func() ([]Event, error) { return o.UnassignUser(a, u) }
	case UpdatesAppUser:
		a, u := p.assigned("USER")
		if a == "" {
			return nil
		}
		profile := map[string]any{"email": p.word() + "@example.com", "role": p.word()}
		return func() ([]Event, error) { return o.UpdateAppUser(a, u, profile) }
	case RenamesAppUser:
		a, u := p.assigned([]string{"USER", "GROUP"}[p.rng.IntN(2)])
		if a == "" {
			return nil
		}
		name := p.word() + "@example.com"
		return func() ([]Event, error) { return o.RenameAppUser(a, u, name) }
	case AssignsGroup:
		a, g := p.app(), p.group("OKTA_GROUP", "APP_GROUP")
		if a == nil || g == nil || g.now().users > 500 {
			return nil
		}
		profile := p.rowProfile(a)
		return func() ([]Event, error) { return o.AssignGroup(a.key, g.key, profile) }
	case UnassignsGroup:
		a, g, _ := p.row()
		if a == nil {
			return nil
		}
		return func() ([]Event, error) { return o.UnassignGroup(a.key, g) }
	case UpdatesAssignment:
		a, g, rows := p.row()
		if a == nil || rows != 1 {
			return nil
		}
		profile := p.rowProfile(a)
		return func() ([]Event, error) { return o.UpdateGroupAssignment(a.key, g, profile) }
	case UpdatesRows:
		a, g, _ := p.row()
		if a == nil {
			return nil
		}
		profiles := []map[string]any{p.rowProfile(a), p.rowProfile(a), p.rowProfile(a)}[:1+p.rng.IntN(3)]
		return func() ([]Event, error) { return o.UpdateGroupAssignment(a.key, g, profiles...) }

	case CreatesApp:
		k := appKinds[p.rng.IntN(len(appKinds))]
		create := o.CreateApp
		if p.rng.IntN(3) == 0 {
			create = o.CreateAppInConsole
		}
		label := k.label + " of " + p.word()
		return func() ([]Event, error) { _, e, err := create(k.name, label, k.mode, k.settings); return e, err }
	case UpdatesApp:
		a := p.app()
		if a == nil {
			return nil
		}
		label := p.word()
		return func() ([]Event, error) { return o.UpdateApp(a.key, label, nil) }
	case ActivatesApp, DeactivatesApp, DeletesApp:
		status, change := "INACTIVE", o.ActivateApp
		if kind == DeactivatesApp {
			status, change = "ACTIVE", o.DeactivateApp
		} else if kind == DeletesApp {
			change = o.DeleteApp
		}
		a := p.app(status)
		if a == nil {
			return nil
		}
		return func() ([]Event, error) { return change(a.key) }

	case EnrollsFactor:
		u := p.user("ACTIVE", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED", "PROVISIONED")
		if u == nil {
			return nil
		}
		typ := factorKinds[p.rng.IntN(len(factorKinds))].typ
		return func() ([]Event, error) { _, e, err := o.EnrollFactor(u.key, typ); return e, err }
	case UpdatesFactor:
		u, f := p.factor()
		if u == "" {
			return nil
		}
		changes := map[string]any{"phoneNumber": fmt.Sprintf("+33 1 99 00 %04d", p.rng.IntN(10000))}
		return func() ([]Event, error) { return o.UpdateFactor(u, f, changes) }
	case ResetsFactor:
		u, f := p.factor()
		if u == "" {
			return nil
		}
		return func() ([]Event, error) { return o.ResetFactor(u, f) }
	case ResetsFactors:
		return p.userPlan(o.ResetFactors, "ACTIVE", "SUSPENDED")

	case ImportsGroup:
		a := p.app()
		if a == nil {
			return nil
		}
		name, members := p.word(), []string{}
		for range p.rng.IntN(5) {
			if u := p.user(); u != nil {
				members = append(members, u.key)
			}
		}
		return func() ([]Event, error) { _, e, err := o.ImportGroup(a.key, name, members...); return e, err }
	case ImportsSilently:
		return p.importPlan()
	}
	return nil
}

func (p *picker) profileChange() map[string]any {
	switch p.rng.IntN(8) {
	case 0:
		return map[string]any{"department": p.word(), "title": p.word()}
	case 1:
		return map[string]any{"userType": userTypes[p.rng.IntN(len(userTypes))]}
	case 2:
		return map[string]any{"employeeType": []any{"Contractor", "bot", nil}[p.rng.IntN(3)]}
	case 3:
		return map[string]any{"email": "mail" + fmt.Sprint(p.rng.IntN(1000)) + "@example.com"}
	case 4:
		return map[string]any{"hireDate": []any{"1577836800000", "2020-02-02", "soon", nil}[p.rng.IntN(4)]}
	case 5:
		return map[string]any{"cost_center": p.word(), "costCenter": p.word()}
	case 6:
		return map[string]any{"firstName": []any{nil, "Alex", "Robin"}[p.rng.IntN(3)]}
	default:
		return map[string]any{"skills": []any{p.word(), map[string]any{"level": p.rng.IntN(9)}}, "status": p.word()}
	}
}

func (p *picker) toggle(group, user string, change func(string, string) ([]Event, error)) plan {
	p.lastPair = [2]string{group, user}
	return func() ([]Event, error) { return change(group, user) }
}

// importPlan runs an import of an application that changes a profile, or a
// membership of one of its groups, silently, and ends at that instant.
func (p *picker) importPlan() plan {
	o, a, u, g := p.Org, p.app(), p.user("ACTIVE"), p.group("APP_GROUP")
	if a == nil || u == nil {
		return nil
	}
	byProfile := p.rng.IntN(2) == 0
	if !byProfile {
		if g == nil {
			return nil
		}
		if source, found := p.apps.get(g.now().source); found && source.now() != nil {
			a = source
		} else {
			return nil // its application is gone: nothing imports it any more
		}
	}
	changes := p.profileChange()
	return func() ([]Event, error) {
		return o.appDo(a.key, func(t *tx, a *appNode) error {
			u, err := t.user(u.key)
			if err != nil {
				return err
			}
			if byProfile {
				err = t.setProfile(u, changes)
			} else {
				var v *member
				if !t.isMember(g, u.key) {
					v = &member{}
				}
				err = t.importMember(g, u.key, v)
			}
			if err != nil {
				return err
			}
			t.completeImport(a)
			return nil
		})
	}
}
