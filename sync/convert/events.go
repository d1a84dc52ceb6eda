package convert

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// Effect is what an event tells, and what it makes us read.
type Effect struct {
	Observations []record.Observation
	Asks         []record.Ask
}

// Event returns the effect of an event, from a hook or from the System Log. Of
// the causes only the id is set. An event of an unknown type has no effect. An
// error says what the event lacks: nothing follows from it.
//
// An event whose outcome is a failure changed nothing, but for those that tell
// of a failure, as user.account.lock does. Of an outcome that is neither success
// nor failure nobody knows: what it tells is read instead of believed.
func Event(e okta.Event) (Effect, error) {
	d, known := decisions[e.Type]
	if !known || d.effect == nil {
		return Effect{}, nil
	}
	success := e.Outcome.Result == "SUCCESS" || e.Outcome.Result == ""
	if e.Outcome.Result == "FAILURE" && !d.onFailure {
		return Effect{}, nil
	}
	if e.Published.IsZero() {
		return Effect{}, fmt.Errorf("event %s of type %s has no published time", e.UUID, e.Type)
	}
	r := &reading{event: e, version: record.AsEvent(e.Published.UnixMilli()), believe: success}
	if err := d.effect(r); err != nil {
		return Effect{}, fmt.Errorf("event %s of type %s: %w", e.UUID, e.Type, err)
	}
	return r.Effect, nil
}

// reading is one event being understood.
type reading struct {
	Effect
	event   okta.Event
	version record.Version
	believe bool // the outcome was a success
}

// ask wants something read, once.
func (r *reading) ask(target string) {
	ask := record.Ask{Target: target, Exceed: r.version, Cause: record.Cause{ID: r.event.UUID}}
	if !slices.Contains(r.Asks, ask) {
		r.Asks = append(r.Asks, ask)
	}
}

func (r *reading) askRecord(id record.ID)   { r.ask(string(id)) }
func (r *reading) askScope(sc record.Scope) { r.ask(string(sc)) }
func (r *reading) present(id record.ID)     { r.observe(id, true) }
func (r *reading) absent(id record.ID)      { r.observe(id, false) }
func (r *reading) observe(id record.ID, present bool) {
	if !r.believe {
		r.askRecord(id)
		return
	}
	r.Observations = append(r.Observations, record.Observation{
		ID: id, Version: r.version, Present: present, Cause: record.Cause{ID: r.event.UUID},
	})
}

// Types of targets.
const (
	targetUser  = "User"
	targetGroup = "UserGroup"
	targetApp   = "AppInstance"
)

// goodID is a form that every id of Okta has. Others could not be told from the
// slashes of a record's id.
var goodID = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// ids returns the ids of the targets of a type, each once. The position of a
// target means nothing.
func (r *reading) ids(typ string) []string {
	var ids []string
	for _, t := range r.event.Targets {
		if t.Type == typ && goodID.MatchString(t.ID) && !slices.Contains(ids, t.ID) {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// lacks says that an event names no object of a type.
func lacks(typ string) error {
	return fmt.Errorf("no target of type %s with a usable id; a reconcile will show what it changed", typ)
}

var usersURI = regexp.MustCompile(`^/api/v1/users/([^/?#]+)`)

// userID is the form of a user's id. Where a path takes an id or a login only
// the form tells them apart; a login mistaken for an id would be a record of
// its own.
var userID = regexp.MustCompile(`^00u[A-Za-z0-9]{17}$`)

// users returns the users whom an event concerns: its targets, else the one in
// the path of the request. Failing both it is the acting user, who may be
// another than the event is about: then certain is false.
func (r *reading) users() (ids []string, certain bool) {
	if ids := r.ids(targetUser); len(ids) > 0 {
		return ids, true
	}
	if m := usersURI.FindStringSubmatch(r.event.RequestURI); m != nil && userID.MatchString(m[1]) {
		return []string{m[1]}, true
	}
	return r.actor(), false
}

// actor returns the acting user, if it is a user who acts.
func (r *reading) actor() []string {
	if a := r.event.Actor; a.Type == targetUser && goodID.MatchString(a.ID) {
		return []string{a.ID}
	}
	return nil
}

// What follows from events that concern users.

// user reads the user again; if it is not certain who it is, also those who
// changed lately.
func user(r *reading) error {
	ids, certain := r.users()
	for _, id := range ids {
		r.askRecord(record.User(id))
	}
	if !certain {
		r.askScope(record.ChangedUsers)
	}
	return nil
}

// actor is user for what happens to users by their own acts: without a target
// the acting user is meant.
func actor(r *reading) error {
	ids := r.actor()
	if len(r.ids(targetUser)) > 0 || len(ids) == 0 {
		return user(r)
	}
	r.askRecord(record.User(ids[0]))
	return nil
}

// lifecycle reads the user and its factors: the status decides whether it has
// any.
func lifecycle(r *reading) error {
	ids, _ := r.users()
	for _, id := range ids {
		r.askScope(record.Factors(id))
	}
	return user(r)
}

// reactivated is lifecycle; assignments come back without an event of a hook.
func reactivated(r *reading) error {
	ids, _ := r.users()
	for _, id := range ids {
		r.askScope(record.UserApps(id))
	}
	return lifecycle(r)
}

// factors reads the factors of the user.
func factors(r *reading) error {
	ids, _ := r.users()
	if len(ids) == 0 {
		return lacks(targetUser)
	}
	for _, id := range ids {
		r.askScope(record.Factors(id))
	}
	return nil
}

// userGone believes a target only: the actor of a deletion is another one.
func userGone(r *reading) error {
	switch ids := r.ids(targetUser); {
	case len(ids) == 1:
		r.absent(record.User(ids[0]))
	case len(ids) > 1:
		for _, id := range ids {
			r.askRecord(record.User(id))
		}
	default:
		m := usersURI.FindStringSubmatch(r.event.RequestURI)
		if m == nil || !userID.MatchString(m[1]) {
			return lacks(targetUser)
		}
		r.askRecord(record.User(m[1]))
	}
	return nil
}

// importedUser and importedLifecycle read the user, if the import names one.
func importedUser(r *reading) error {
	ids := r.ids(targetUser)
	for _, id := range ids {
		r.askRecord(record.User(id))
	}
	if len(ids) == 0 {
		r.askScope(record.ChangedUsers)
	}
	return nil
}

func importedLifecycle(r *reading) error {
	for _, id := range r.ids(targetUser) {
		r.askScope(record.Factors(id))
	}
	return importedUser(r)
}

func changedUsers(r *reading) error {
	r.askScope(record.ChangedUsers)
	return nil
}

// What follows from events that concern groups.

func group(r *reading) error {
	ids := r.ids(targetGroup)
	for _, id := range ids {
		r.askRecord(record.Group(id))
	}
	if len(ids) == 0 {
		r.askScope(record.ChangedGroups)
	}
	return nil
}

func groupGone(r *reading) error {
	ids := r.ids(targetGroup)
	if len(ids) == 1 {
		r.absent(record.Group(ids[0]))
		return nil
	}
	return confirmGroup(r)
}

// confirmGroup reads the group: an import's word for its end is not enough.
func confirmGroup(r *reading) error {
	ids := r.ids(targetGroup)
	if len(ids) == 0 {
		return lacks(targetGroup) // changed groups do not show deleted ones
	}
	for _, id := range ids {
		r.askRecord(record.Group(id))
	}
	return nil
}

func members(r *reading) error {
	ids := r.ids(targetGroup)
	for _, id := range ids {
		r.askScope(record.Members(id))
	}
	if len(ids) == 0 {
		r.askScope(record.ChangedGroups)
	}
	return nil
}

func changedGroups(r *reading) error {
	r.askScope(record.ChangedGroups)
	return nil
}

func imported(r *reading) error {
	r.askScope(record.ChangedUsers)
	r.askScope(record.ChangedGroups)
	return nil
}

func joined(r *reading) error { return membership(r, r.present) }
func left(r *reading) error   { return membership(r, r.absent) }

// membership tells of one user and one group. If it is not one of each, the
// members of the groups are listed.
func membership(r *reading, tell func(record.ID)) error {
	users, groups := r.ids(targetUser), r.ids(targetGroup)
	switch {
	case len(groups) == 0:
		return lacks(targetGroup)
	case len(groups) == 1 && len(users) == 1:
		tell(record.Member(groups[0], users[0]))
	default:
		return members(r)
	}
	return nil
}

// What follows from events that concern applications.

func app(r *reading) error {
	ids := r.ids(targetApp)
	if len(ids) == 0 {
		return lacks(targetApp)
	}
	for _, id := range ids {
		r.askRecord(record.App(id))
	}
	return nil
}

func appGone(r *reading) error {
	if ids := r.ids(targetApp); len(ids) == 1 {
		r.absent(record.App(ids[0]))
		return nil
	}
	return app(r)
}

// client is app for OAuth clients, whose id is that of their application.
func client(r *reading) error {
	if len(r.ids(targetApp)) > 0 {
		return app(r)
	}
	for _, typ := range []string{"PublicClientApp", "OAuth2Platform"} {
		for _, id := range r.ids(typ) {
			r.askRecord(record.App(id))
		}
	}
	if len(r.Asks) == 0 {
		return lacks(targetApp)
	}
	return nil
}

func appUsers(r *reading) error {
	ids := r.ids(targetApp)
	if len(ids) == 0 {
		return lacks(targetApp)
	}
	for _, id := range ids {
		r.askScope(record.AppUsers(id))
	}
	return nil
}

func appGroups(r *reading) error {
	ids := r.ids(targetApp)
	if len(ids) == 0 {
		return lacks(targetApp)
	}
	for _, id := range ids {
		r.askScope(record.AppGroups(id))
	}
	return nil
}

// Assignments appear at once and are read for their content, which no event
// carries; they vanish at once. If it is not one of each that an event names,
// the assignments of the application are listed.

func userAssigned(r *reading) error {
	return userAssignment(r, func(id record.ID) { r.present(id); r.askRecord(id) })
}
func userUnassigned(r *reading) error    { return userAssignment(r, r.absent) }
func userAssignmentSet(r *reading) error { return userAssignment(r, r.askRecord) }

func userAssignment(r *reading, tell func(record.ID)) error {
	apps, users := r.ids(targetApp), r.ids(targetUser)
	if len(apps) == 1 && len(users) == 1 {
		tell(record.AppUser(apps[0], users[0]))
		return nil
	}
	return appUsers(r)
}

func groupAssigned(r *reading) error {
	return groupAssignment(r, func(id record.ID) { r.present(id); r.askRecord(id) })
}
func groupUnassigned(r *reading) error    { return groupAssignment(r, r.absent) }
func groupAssignmentSet(r *reading) error { return groupAssignment(r, r.askRecord) }

func groupAssignment(r *reading, tell func(record.ID)) error {
	apps, groups := r.ids(targetApp), r.ids(targetGroup)
	if len(apps) == 1 && len(groups) == 1 {
		tell(record.AppGroup(apps[0], groups[0]))
		return nil
	}
	return appGroups(r)
}
