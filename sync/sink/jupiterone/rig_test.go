package jupiterone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerVar) != "" {
		worker()
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	account = "acme-account"
	key     = "key-of-7f3a+/=that-nobody-may-see"
	scope   = "okta:acme.okta.com"
)

// tb is a test, or an iteration of a property.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// clock is a clock on which sleeping takes no time.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.pass(d)
	return nil
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
}

// memory is what the store keeps of a sink.
type memory struct {
	mu    sync.Mutex
	note  sink.Note
	saves int
	lost  int // the save from which on another process owns the instance; 0: never
}

var errLost = errors.New("another process owns the instance")

func (m *memory) Load(context.Context) (sink.Note, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.note, nil
}

func (m *memory) Save(ctx context.Context, n sink.Note) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.saves++; m.lost > 0 && m.saves >= m.lost {
		return errLost
	}
	m.note = n
	return nil
}

// rig is a sink of a simulated JupiterOne.
type rig struct {
	tb
	srv   *j1sim.Server
	clock *clock
	log   bytes.Buffer
	mem   sink.Memory
	in    sink.Instance
	cfg   jupiterone.Config
	sink  *jupiterone.Sink
	n     int // snapshots and batches so far
}

// awsRole is in another integration's scope.
var awsRole = map[string]any{"_key": "arn:aws:iam::1:role/admin", "_type": "aws_iam_role", "_class": "AccessRole", "roleName": "admin"}

func newRig(t tb, sim j1sim.Config, change func(*jupiterone.Config)) *rig {
	t.Helper()
	sim.Account, sim.Key = account, key
	srv, err := j1sim.Start(sim)
	if err != nil {
		t.Fatal(err)
	}
	srv.Put("aws", awsRole)
	r := &rig{tb: t, srv: srv, clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, mem: &memory{}}
	r.in = sink.Instance{ID: "acme", Name: "Acme", AccountID: account, OrgHost: "acme.okta.com"}
	r.cfg = jupiterone.Config{
		Account: account, APIKey: key, BaseURL: srv.URL(),
		BatchBytes: 4000, Now: r.clock.Now, Sleep: r.clock.Sleep,
		Log: slog.New(slog.NewJSONHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&r.cfg)
	}
	r.restart()
	return r
}

func setup(t *testing.T, sim j1sim.Config, change func(*jupiterone.Config)) *rig {
	t.Helper()
	r := newRig(t, sim, change)
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	r.sink.Close()
	r.srv.Close()
}

// restart is what a new process begins with: the memory, and nothing else.
func (r *rig) restart() {
	r.Helper()
	if r.sink != nil {
		r.sink.Close()
	}
	s, err := jupiterone.New(r.cfg)
	if err != nil {
		r.Fatal(err)
	}
	r.sink = s
	r.in.Memory = r.mem
}

// snapshot is a snapshot of the org: creates, and then changes.
func (r *rig) snapshot(o *org, later ...graph.Change) sink.Snapshot {
	r.n++
	position := fmt.Sprint("position ", r.n)
	objects := o.objects()
	return sink.Snapshot{
		Changes: func(yield func(graph.Change, error) bool) {
			for _, object := range objects {
				if !yield(graph.Change{Op: graph.Create, Object: object}, nil) {
					return
				}
			}
			for _, c := range later {
				if !yield(c, nil) {
					return
				}
			}
		},
		Position: func() string { return position },
	}
}

func (r *rig) replace(ctx context.Context, o *org) error {
	return r.sink.Replace(ctx, r.in, r.snapshot(o), false)
}

// deliver replaces until it succeeds, as the runner does.
func (r *rig) deliver(o *org) {
	r.Helper()
	var err error
	for range 10 {
		if err = r.replace(context.Background(), o); err == nil {
			return
		}
		if permanent(err) {
			break
		}
		r.clock.pass(time.Minute)
	}
	r.Fatalf("not delivered: %v\n%s", err, r.log.String())
}

// permanent tells whether the runner would stop. It is told by a Runner only, so
// the type is compared.
func permanent(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if fmt.Sprintf("%T", err) == fmt.Sprintf("%T", sink.Permanent(errors.New(""))) {
			return true
		}
	}
	return false
}

func (r *rig) note() sink.Note {
	n, err := r.mem.Load(context.Background())
	if err != nil {
		r.Fatal(err)
	}
	return n
}

func (r *rig) position() string {
	r.Helper()
	p, err := r.sink.Position(context.Background(), r.in)
	if err != nil {
		r.Fatal(err)
	}
	return p
}

// check compares JupiterOne with the org.
func (r *rig) check(o *org) {
	r.Helper()
	r.checkViolations()
	if diff := cmp.Diff(want(o), r.srv.Graph(scope)); diff != "" {
		r.Fatalf("-org +JupiterOne:\n%s", diff)
	}
	var people []string
	for _, object := range o.objects() {
		if e := object.Entity; e != nil && e.Type == "employee" {
			people = append(people, text(target(*e)))
		}
	}
	slices.Sort(people)
	if diff := cmp.Diff(people, r.srv.Mapped()); diff != "" {
		r.Fatalf("people, -org +JupiterOne:\n%s", diff)
	}
}

func (r *rig) checkViolations() {
	r.Helper()
	if v := r.srv.Violations(); len(v) > 0 {
		r.Fatalf("violations: %s", strings.Join(v, "; "))
	}
	if strings.Contains(r.log.String(), key) {
		r.Fatalf("the log has the key")
	}
}

// want is what JupiterOne should hold of the org.
func want(o *org) j1sim.Graph {
	g := j1sim.Graph{Entities: map[string]string{}, Relationships: map[string]string{}}
	people := map[string]graph.Entity{}
	for _, object := range o.objects() {
		if e := object.Entity; e != nil && e.Type == "employee" {
			people[e.Key] = *e
		}
	}
	for _, object := range o.objects() {
		switch rel := object.Relationship; {
		case object.Entity != nil && object.Entity.Type == "employee":
		case object.Entity != nil:
			g.Entities[object.Key()] = text(object)
		case rel.Type == "okta_user_is_employee":
			g.Relationships[rel.Key] = text(map[string]any{
				"_class": "IS", "_type": "okta_user_is_employee", "_key": rel.Key, "displayName": "IS",
				"_mapping": map[string]any{
					"sourceEntityKey":       rel.From,
					"relationshipDirection": "FORWARD",
					"targetFilterKeys":      [][]string{{"_class", "email"}},
					"skipTargetCreation":    false,
					"targetEntity":          target(people[rel.To]),
				},
			})
		default:
			g.Relationships[rel.Key] = text(object)
		}
	}
	return g
}

// target is a Person as a mapping tells it.
func target(e graph.Entity) map[string]any {
	m := map[string]any{"_class": "Person", "_type": "employee", "_key": e.Key, "email": strings.TrimPrefix(e.Key, "employee:")}
	for name, v := range e.Properties {
		if name != "email" {
			m[name] = v
		}
	}
	return m
}

// text is JSON of an object with sorted names.
func text(v any) string {
	if o, ok := v.(graph.Object); ok {
		v = o.Relationship
		if o.Entity != nil {
			v = o.Entity
		}
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var sorted any
	if err := d.Decode(&sorted); err != nil {
		panic(err)
	}
	if b, err = json.Marshal(sorted); err != nil {
		panic(err)
	}
	return string(b)
}

// org is a small Okta org.
type org struct {
	users   map[int]user
	groups  map[int]string // descriptions
	members map[[2]int]bool
	roles   map[int]bool // users with the role of AWS
}

type user struct {
	login, title string
	service      bool // no person is behind it
}

func newOrg(users int) *org {
	o := &org{users: map[int]user{}, groups: map[int]string{0: "Everyone", 1: "Admins"}, members: map[[2]int]bool{}, roles: map[int]bool{}}
	for i := range users {
		o.users[i] = user{login: fmt.Sprintf("User%d@Acme.com", i), title: "Engineer"}
		o.members[[2]int{0, i}] = true
	}
	o.roles[0] = true
	return o
}

func (o *org) clone() *org {
	return &org{maps.Clone(o.users), maps.Clone(o.groups), maps.Clone(o.members), maps.Clone(o.roles)}
}

// mutate changes a few things at random.
func (o *org) mutate(rnd *rand.Rand, times int) {
	for range times {
		i, g := rnd.IntN(12), rnd.IntN(3)
		u, known := o.users[i]
		switch rnd.IntN(8) {
		case 0:
			o.users[i] = user{login: fmt.Sprintf("User%d@Acme.com", i), title: "New"}
		case 1:
			delete(o.users, i)
		case 2:
			if known {
				u.title = fmt.Sprint("Title ", rnd.IntN(5))
				o.users[i] = u
			}
		case 3:
			if known {
				u.login = fmt.Sprintf("Renamed%d.%d@acme.com", i, rnd.IntN(3))
				o.users[i] = u
			}
		case 4:
			if known {
				u.service = !u.service
				o.users[i] = u
			}
		case 5:
			o.groups[g] = fmt.Sprint("Description ", rnd.IntN(9))
		case 6:
			o.members[[2]int{g, i}] = !o.members[[2]int{g, i}]
		case 7:
			o.roles[i] = !o.roles[i]
		}
	}
}

// objects are those of the graph, in an order of their own.
func (o *org) objects() []graph.Object {
	var all []graph.Object
	entity := func(e graph.Entity) { all = append(all, graph.Object{Entity: &e}) }
	edge := func(r graph.Relationship) { all = append(all, graph.Object{Relationship: &r}) }
	entity(graph.Entity{Key: "okta_account_acme", Type: "okta_account", Class: []string{"Account"}, Properties: graph.Properties{"name": "acme", "supportEnabled": false}})
	for g, description := range o.groups {
		entity(graph.Entity{Key: group(g), Type: "okta_user_group", Class: []string{"UserGroup"}, Properties: graph.Properties{"description": description, "objectClass": []string{"okta:user_group"}}})
	}
	for i, u := range o.users {
		id := fmt.Sprint("00u", i)
		entity(graph.Entity{Key: id, Type: "okta_user", Class: []string{"User"}, Properties: graph.Properties{
			"login": u.login, "title": u.title, "active": true, "created": json.Number("1700000000000"),
		}})
		edge(graph.Relationship{Key: "okta_account_acme|has|" + id, Type: "okta_account_has_user", Class: "HAS", From: "okta_account_acme", To: id, Properties: graph.Properties{"displayName": "HAS"}})
		if !u.service {
			login := strings.ToLower(u.login)
			entity(graph.Entity{Key: "employee:" + login, Type: "employee", Class: []string{"Person"}, Properties: graph.Properties{"email": []string{login}, "title": u.title, "name": "A <B> & \u2028"}})
			edge(graph.Relationship{Key: id + "|is|employee:" + login, Type: "okta_user_is_employee", Class: "IS", From: id, To: "employee:" + login, Properties: graph.Properties{"displayName": "IS"}})
		}
		if o.roles[i] {
			edge(graph.Relationship{Key: id + "|assigned|arn:aws:iam::1:role/admin", Type: "okta_user_assigned_aws_iam_role", Class: "ASSIGNED", Properties: graph.Properties{"displayName": "ASSIGNED"},
				Mapping: &graph.Mapping{
					SourceEntityKey: id, RelationshipDirection: "FORWARD", TargetFilterKeys: [][]string{{"_type", "_key"}}, SkipTargetCreation: true,
					TargetEntity: graph.Properties{"_class": "AccessRole", "_type": "aws_iam_role", "_key": "arn:aws:iam::1:role/admin"},
				}})
		}
	}
	for m, is := range o.members {
		_, known := o.users[m[1]]
		if _, ok := o.groups[m[0]]; ok && known && is {
			id := fmt.Sprint("00u", m[1])
			edge(graph.Relationship{Key: group(m[0]) + "|has_user|" + id, Type: "okta_group_has_user", Class: "HAS", From: group(m[0]), To: id, Properties: graph.Properties{"groupId": group(m[0]), "userId": id}})
		}
	}
	return all
}

func group(g int) string { return fmt.Sprint("00g", g) }
