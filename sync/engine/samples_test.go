package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/record"
)

// Objects of the samples.
const (
	lea         = "00u7d9s1xCwLfGh2T697"
	tom         = "00u7da04mRkVzPq8S697"
	joiners     = "00g2c7w8nBtYhJm4D697"
	sales       = "00g2c7x3vQeRkLp9F697"
	portal      = "0oa3h6r9yKmPvXc5B697"
	intranet    = "0oa3h7f2dNsQwZb8G697"
	sampleUser  = "00usampleSAMPLEsa697"
	sampleGroup = "00gsampleSAMPLEsa697"
)

// sample reads a delivery of the samples.
func sample(t testing.TB, name string) okta.Delivery {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("..", "okta", "testdata", "events", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := okta.ParseDelivery(body)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// accept stores a delivery and applies it.
func (r *rig) accept(d okta.Delivery) {
	r.Helper()
	if err := r.e.Accept(context.Background(), r.id, d); err != nil {
		r.Fatal(err)
	}
	r.takeIn()
}

// seed makes records known, as of long before any event.
func (r *rig) seed(ids ...record.ID) {
	r.Helper()
	var b batch
	for _, id := range ids {
		owner, member := id.Split()
		var ob record.Observation
		switch id.Kind() {
		case record.KindUser:
			ob = r.o.convert.User(okta.User{ID: member, Status: "ACTIVE"}, true)
		case record.KindGroup:
			ob = r.o.convert.Group(okta.Group{ID: member})
		case record.KindApp:
			ob = r.o.convert.Application(okta.Application{ID: member, Name: "portal", Status: "ACTIVE"})
		case record.KindMember:
			ob = r.o.convert.Member(owner, member)
		default:
			ob = record.Observation{Present: true}
		}
		ob.ID, ob.Empty, ob.Version = id, nil, record.AsRead(1000)
		b.observations = append(b.observations, ob)
	}
	if _, err := r.o.merge(context.Background(), b); err != nil {
		r.Fatal(err)
	}
}

// asked are the targets to read again.
func (r *rig) asked() []string {
	r.Helper()
	asks, err := r.o.st.Asked(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	targets := []string{}
	for _, a := range asks {
		targets = append(targets, a.Target)
	}
	slices.Sort(targets)
	return targets
}

func (r *rig) deadLetters() int64 {
	r.Helper()
	sizes, err := r.o.st.Sizes(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	return sizes.Dead
}

// Every sample has the effect that its row of event-types.csv says: what changes
// at once, and what is read again.
func TestSamplesHaveTheirEffect(t *testing.T) {
	type effect struct {
		had   []record.ID // edges known before
		new   []string    // objects that come at once
		gone  []string    // objects that go at once
		asked []string    // what is to be read again
	}
	reads := func(targets ...string) effect { return effect{asked: targets} }
	nothing := effect{}
	effects := map[string]effect{
		"application.lifecycle.create":     reads("app/" + portal),
		"application.lifecycle.update":     reads("app/" + portal),
		"application.lifecycle.deactivate": reads("app/" + intranet),
		"application.lifecycle.delete": {had: []record.ID{record.AppUser(intranet, tom), record.AppGroup(intranet, sales)},
			gone: []string{sales + "|assigned|" + intranet, tom + "|assigned|" + intranet, intranet}},
		"application.user_membership.add": {new: []string{lea + "|assigned|" + portal}, asked: []string{"appuser/" + portal + "/" + lea}},
		"application.user_membership.remove": {had: []record.ID{record.AppUser(intranet, tom)},
			gone: []string{tom + "|assigned|" + intranet}},
		"application.user_membership.update": reads("appuser/" + portal + "/" + lea),
		"batch.onboarding-out-of-order": {
			new:   []string{joiners + "|has_user|" + lea, sales + "|has_user|" + lea, lea + "|assigned|" + portal},
			asked: []string{"appuser/" + portal + "/" + lea, "factors/" + lea, "user/" + lea}},
		"batch.repeated-event":             {new: []string{sales + "|has_user|" + lea}},
		"device.user.add":                  nothing,
		"group.application_assignment.add": {new: []string{joiners + "|assigned|" + portal}, asked: []string{"appgroup/" + portal + "/" + joiners}},
		"group.application_assignment.remove": {had: []record.ID{record.AppGroup(portal, joiners)},
			gone: []string{joiners + "|assigned|" + portal}},
		"group.lifecycle.create": reads("group/" + joiners),
		"group.lifecycle.delete": {had: []record.ID{record.Member(sales, tom), record.AppGroup(portal, sales)},
			gone: []string{sales, sales + "|assigned|" + portal, sales + "|has_user|" + tom}},
		"group.privilege.grant":     nothing,
		"group.profile.update":      reads("group/" + joiners),
		"group.user_membership.add": {new: []string{joiners + "|has_user|" + lea}},
		"group.user_membership.remove": {had: []record.ID{record.Member(sales, lea)},
			gone: []string{sales + "|has_user|" + lea}},
		"odd.failed-outcome":                      nothing,
		"odd.nulls-left-out":                      {new: []string{joiners + "|has_user|" + lea}},
		"odd.preview-old-event":                   {new: []string{sampleGroup + "|has_user|" + sampleUser}}, // if there were such
		"odd.unknown-event-type":                  nothing,
		"system.import.complete":                  reads("changed/groups", "changed/users"),
		"system.import.group.create":              reads("group/00g2d1k8sMvPzHc3R697"),
		"user.account.lock":                       reads("user/" + tom), // the actor, of a failure
		"user.account.privilege.grant":            nothing,
		"user.account.privilege.revoke":           nothing,
		"user.account.unlock_by_admin":            reads("user/" + tom),
		"user.account.update_profile":             reads("user/" + lea),
		"user.account.update_profile.null-target": reads("changed/users"),
		"user.lifecycle.activate":                 reads("factors/"+lea, "user/"+lea),
		"user.lifecycle.create":                   reads("factors/"+lea, "user/"+lea),
		"user.lifecycle.deactivate":               reads("factors/"+tom, "user/"+tom),
		"user.lifecycle.delete.initiated": {had: []record.ID{record.Member(sales, tom), record.AppUser(portal, tom)},
			gone: []string{sales + "|has_user|" + tom, tom, tom + "|assigned|" + portal}},
		"user.lifecycle.suspend":     reads("factors/"+tom, "user/"+tom),
		"user.lifecycle.unsuspend":   reads("factors/"+tom, "user/"+tom),
		"user.mfa.factor.activate":   reads("factors/" + lea),
		"user.mfa.factor.deactivate": reads("factors/" + lea),
		"user.mfa.factor.reset_all":  reads("factors/" + tom),
	}
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 1, Apps: 1, Clock: clock})
	clock.Advance(48 * time.Hour) // the samples are of yesterday
	e := newEngine(t, clock, 0)
	files, err := filepath.Glob(filepath.Join("..", "okta", "testdata", "events", "*.json"))
	if err != nil || len(files) != len(effects) {
		t.Fatalf("%d samples, %d known here; %v", len(files), len(effects), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			want, ok := effects[name]
			if !ok {
				t.Fatal("no effect is known of it")
			}
			r := newRig(t, e, sim, clock)
			defer r.close()
			r.seed(record.User(lea), record.User(tom), record.User(sampleUser), record.Group(joiners), record.Group(sales), record.Group(sampleGroup),
				record.App(portal), record.App(intranet))
			r.seed(want.had...)
			before := r.graph()
			sim.ResetCalls()
			d := sample(t, name)
			r.accept(d)
			r.accept(d) // again, as Okta may
			after := r.graph()
			got := effect{had: want.had, new: added(before, after), gone: added(after, before), asked: r.asked()}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(effect{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if n := r.deadLetters(); n != 0 || sim.CallCount() != 0 {
				t.Errorf("%d dead letters, %d calls", n, sim.CallCount())
			}
			if diff := cmp.Diff(after, r.replayed()); diff != "" {
				t.Errorf("-graph +graph by its changes:\n%s", diff)
			}
		})
	}
}

// added are the keys of b that a lacks, but for the account's edges to
// entities, which go without saying.
func added(a, b map[string]string) (keys []string) {
	for key := range b {
		if _, ok := a[key]; !ok && !strings.HasPrefix(key, "okta_account_") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// After a full read, an event from before it is no news: neither an old one
// that the Admin Console sends as a preview, of things that do not exist, nor a
// real one.
func TestEventsFromBeforeAFullReadChangeNothing(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 2, Users: 12, Groups: 3, Apps: 3, Clock: clock, Step: time.Second})
	events := eligible(sim.Mutate(60))
	clock.Advance(time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Fatalf("%+v", run)
	}
	r.settle()
	before := r.graph()
	sim.ResetCalls()
	r.accept(sample(t, "odd.preview-old-event"))
	r.deliver(events...)
	r.takeIn()
	r.settle()
	if diff := cmp.Diff(told(before), told(r.graph())); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	if asked := r.asked(); len(asked) > 0 {
		t.Errorf("asked: %v", asked)
	}
	// Of what is gone nothing is stored that could tell old from new: it may be
	// read once. So may the applications of a reactivated user: no list of a
	// full read is known to stand for them.
	for _, c := range sim.Calls() {
		if c.Status == 200 && !strings.HasSuffix(c.Path, "/oktaSupport") && !strings.Contains(c.RawQuery, "user.id") {
			t.Errorf("read again: %s", path(c))
		}
	}
}

// An event comes once into the inbox, whatever delivery brings it.
func TestRepeatedEventIsStoredOnce(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 1, Apps: 1, Clock: clock})
	clock.Advance(48 * time.Hour)
	r := newRig(t, newEngine(t, clock, 0), sim, clock)
	defer r.close()
	for _, name := range []string{"batch.repeated-event", "batch.repeated-event", "batch.onboarding-out-of-order"} {
		if err := r.e.Accept(t.Context(), r.id, sample(t, name)); err != nil {
			t.Fatal(err)
		}
	}
	status, err := r.e.Instance(t.Context(), r.id)
	if err != nil || status.Inbox != 5 { // the repeated one is among the five of the last
		t.Errorf("inbox: %d events, %v; want 5", status.Inbox, err)
	}
	r.takeIn()
	r.accept(sample(t, "batch.repeated-event"))
	if status, err = r.e.Instance(t.Context(), r.id); err != nil || status.Inbox != 0 {
		t.Errorf("inbox: %d events, %v; want none", status.Inbox, err)
	}
}

// What cannot be understood, and what comes from the future, becomes a dead
// letter; the rest of its delivery goes on.
func TestBadEventsBecomeDeadLetters(t *testing.T) {
	clock := newClock()
	sim := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 1, Apps: 1, Clock: clock})
	e := newEngine(t, clock, -5*time.Minute) // our clock is no judge
	r := newRig(t, e, sim, clock)
	defer r.close()
	r.seed(record.User(lea), record.User(tom), record.Group(sales))
	event := func(uuid, published, targets string) string {
		return fmt.Sprintf(`{"uuid":%q,"published":%q,"eventType":"group.user_membership.add","outcome":{"result":"SUCCESS"},"target":[%s]}`,
			uuid, published, targets)
	}
	in := func(group, user string) string {
		return fmt.Sprintf(`{"id":%q,"type":"User"},{"id":%q,"type":"UserGroup"}`, user, group)
	}
	at := func(d time.Duration) string { return start.Add(d).Format(time.RFC3339Nano) }
	d, err := okta.ParseDelivery([]byte(`{"eventId":"x","data":{"events":[` + strings.Join([]string{
		event("far", at(61*time.Second), in(sales, tom)),
		event("near", at(50*time.Second), in(sales, lea)),
		event("lacks", at(0), `{"id":"00u1","type":"User"}`),
		`{"uuid":"odd","published":17}`,
		`null`,
	}, ",") + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	before := r.graph()
	r.accept(d)
	if got, want := added(before, r.graph()), []string{sales + "|has_user|" + lea}; !slices.Equal(got, want) {
		t.Errorf("new: %v, want %v", got, want)
	}
	status, err := e.Instance(t.Context(), r.id)
	if err != nil || status.DeadLetters != 4 || status.Inbox != 0 {
		t.Errorf("%d dead letters, want 4; %d wait; %v", status.DeadLetters, status.Inbox, err)
	}
}
