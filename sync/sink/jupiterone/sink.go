package jupiterone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// Sink delivers to one JupiterOne account, each instance into a scope of its own.
type Sink struct {
	cfg   Config
	api   *client
	slots chan struct{} // of JobsAtOnce
}

var _ sink.Sink = (*Sink)(nil)

// New returns a sink. It makes no request.
func New(cfg Config) (*Sink, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	api := &client{cfg: cfg, http: httpClient(cfg.Uploads * cfg.JobsAtOnce)}
	return &Sink{cfg: cfg, api: api, slots: make(chan struct{}, cfg.JobsAtOnce)}, nil
}

// Format implements fmt.Formatter: what a Sink is made of is not shown, since fmt
// would show the key in it.
func (s *Sink) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.Name()) }

// Name implements sink.Sink.
func (s *Sink) Name() string { return "jupiterone" }

// Position implements sink.Sink. It is "", as before the first delivery, once what
// deltas left undone is due, or deltas are switched off: then a full job comes, even
// if nothing changes.
func (s *Sink) Position(ctx context.Context, in sink.Instance) (string, error) {
	st, err := s.load(ctx, in)
	if err != nil {
		return "", fmt.Errorf("jupiterone: %w", err)
	}
	if s.cfg.Partial && s.fullDue(st) || !s.cfg.Partial && st.Owed != (owed{}) {
		return "", nil
	}
	return st.note.Position, nil
}

// Window implements sink.Sink.
func (s *Sink) Window(ctx context.Context, in sink.Instance) (time.Duration, error) {
	st, err := s.load(ctx, in)
	if err != nil {
		return 0, fmt.Errorf("jupiterone: %w", err)
	}
	if s.cfg.Partial || st.Entities+st.Relationships <= s.cfg.LargeObjects {
		return s.cfg.Window, nil
	}
	return max(s.cfg.Window, st.EndedAt.Add(s.cfg.LargeEvery).Sub(s.cfg.Now())), nil
}

// Replace implements sink.Sink: it makes the scope hold what the snapshot leads to,
// by one job.
func (s *Sink) Replace(ctx context.Context, in sink.Instance, snapshot sink.Snapshot, force bool) error {
	if err := s.replace(ctx, in, snapshot, force); err != nil {
		return fmt.Errorf("jupiterone: deliver the graph: %w", classify(err))
	}
	return nil
}

func (s *Sink) replace(ctx context.Context, in sink.Instance, snapshot sink.Snapshot, force bool) error {
	st, err := s.load(ctx, in)
	if err != nil {
		return err
	}
	if err := s.settle(ctx, st); err != nil {
		return err
	}
	free, err := s.slot(ctx)
	if err != nil {
		return err
	}
	defer free()
	up, err := spool(ctx, snapshot, s.cfg.BatchBytes)
	if err != nil {
		return err
	}
	defer up.close()
	if err := s.guard(st, up, force); err != nil {
		return err
	}
	st.Types = beside(append(st.Types, up.typeNames()...))
	j, err := s.deliver(ctx, st, up, nil, free)
	if err != nil {
		if up.entities.count()+up.relationships.count() > s.cfg.LargeObjects && !sink.IsPermanent(classify(err)) {
			err = sink.After(s.cfg.LargeEvery, err) // that the job failed makes it no smaller
		}
		return err
	}
	st.delivered(*st.Job, s.cfg.Now())
	st.Owed = owed{}
	return s.end(ctx, st, j, snapshot.Position(), map[string]int64{"people_missing": int64(up.strays)})
}

// slot waits until a job may begin. The function that it returns lets another.
func (s *Sink) slot(ctx context.Context) (free func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-s.slots }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// end keeps the position after a job, and its counters.
func (s *Sink) end(ctx context.Context, st *state, j job, position string, more map[string]int64) error {
	counters := j.Counters
	if counters == nil {
		counters = map[string]int64{}
	}
	maps.Copy(counters, more)
	counters["deletes_pending"], counters["people_pending"] = int64(st.Owed.Deletes), int64(st.Owed.People)
	st.note.Position, st.note.Counters = position, counters
	if err := st.save(ctx); err != nil {
		return err
	}
	var bad []any
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if counters[name] != 0 && (strings.HasSuffix(name, "_errors") || name == "people_missing") {
			bad = append(bad, name, counters[name])
		}
	}
	log := s.cfg.Log.With("instance", st.in.ID, "job", j.ID)
	if bad != nil {
		log.Warn("JupiterOne took the job, but not all in it", bad...)
	}
	log.Info("delivered to JupiterOne", "entities", counters["entities_uploaded"], "relationships", counters["relationships_uploaded"])
	return nil
}

// dropFreely is how many objects a job may always drop.
const dropFreely = 10

// guard refuses a job that would empty the scope, or drop much of it without force.
func (s *Sink) guard(st *state, up *upload, force bool) error {
	if up.entities.count() == 0 {
		err := errors.New("the snapshot has no entities, and JupiterOne would delete all it has of the org: even an empty org has its account; look why it is missing, and ask for a snapshot")
		if force {
			return err
		}
		return sink.Permanent(err)
	}
	if force {
		return nil
	}
	for _, kind := range []struct {
		name        string
		before, now int
	}{
		{"entities", st.Entities, up.entities.count()},
		{"relationships", st.Relationships, up.relationships.count()},
	} {
		if kind.before-kind.now > dropFreely && float64(kind.now) < (1-s.cfg.MaxDropRatio)*float64(kind.before) {
			return sink.Permanent(fmt.Errorf("the graph has %d %s, and the last that was delivered %d: more than %v of them would go from JupiterOne; if that is right, ask for a snapshot with force",
				kind.now, kind.name, kind.before, s.cfg.MaxDropRatio))
		}
	}
	return nil
}

// beside returns the types that the model lacks, each once, sorted.
func beside(types []string) []string {
	types = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return slices.Contains(modelTypes, t) })
	slices.Sort(types)
	return slices.Compact(types)
}

// fullDue tells whether a full job must come before the next delta.
func (s *Sink) fullDue(st *state) bool {
	now := s.cfg.Now()
	owes := st.Owed.Deletes+st.Owed.Relationships > 0
	return now.Sub(st.FullAt) >= s.cfg.FullEvery || owes && now.Sub(st.Owed.Since) >= s.cfg.DeletesWithin
}

// Apply implements sink.Sink. Unless Config.Partial it wants a snapshot.
func (s *Sink) Apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	if !s.cfg.Partial {
		return sink.ErrSnapshot
	}
	err := s.apply(ctx, in, b)
	if err != nil && !errors.Is(err, sink.ErrSnapshot) {
		err = fmt.Errorf("jupiterone: deliver changes: %w", classify(err))
	}
	return err
}

func (s *Sink) apply(ctx context.Context, in sink.Instance, b sink.Batch) error {
	st, err := s.load(ctx, in)
	if err != nil {
		return err
	}
	if st.note.Position == "" || s.fullDue(st) {
		return sink.ErrSnapshot
	}
	d, err := newDelta(b.Changes)
	if err != nil {
		return err
	}
	if err := s.settle(ctx, st); err != nil {
		return err
	}
	free, err := s.slot(ctx)
	if err != nil {
		return err
	}
	defer free()
	up, err := d.upload(s.cfg.BatchBytes)
	if err != nil {
		return err
	}
	defer up.close()
	st.Types = beside(append(st.Types, up.typeNames()...))
	j := job{}
	if up.entities.count()+up.relationships.count() > 0 {
		if j, err = s.deliver(ctx, st, up, allTypes(st.Types), free); err != nil {
			return err
		}
		st.delivered(*st.Job, s.cfg.Now())
	}
	lost := int(j.Counters["relationship_create_errors"])
	if st.Owed.Deletes+st.Owed.Relationships == 0 && d.deletes+lost > 0 {
		st.Owed.Since = s.cfg.Now()
	}
	st.Owed.Deletes += d.deletes
	st.Owed.Relationships += lost
	st.Owed.People += d.left
	return s.end(ctx, st, j, b.Position, nil)
}

// Forget implements sink.Sink: JupiterOne keeps what it has.
func (s *Sink) Forget(context.Context, string) error { return nil }

// Close implements sink.Sink.
func (s *Sink) Close() error {
	s.api.http.CloseIdleConnections()
	return nil
}

// delta is what a batch of changes leads to.
type delta struct {
	entities      []graph.Entity       // without Persons
	relationships []graph.Relationship // people mapped
	deletes       int
	left          int // updates of Persons that wait for the next full job
}

// newDelta returns sink.ErrSnapshot if it needs more than the changes tell.
func newDelta(changes []graph.Change) (delta, error) {
	type identity struct {
		entity bool
		key    string
	}
	last := map[identity]graph.Change{}
	var order []identity
	for _, c := range changes {
		id := identity{c.Entity != nil, c.Key()}
		if _, known := last[id]; !known {
			order = append(order, id)
		}
		last[id] = c
	}
	var d delta
	var persons []graph.Entity
	edges := map[string]bool{} // keys of the Persons that a relationship in the batch leads to
	users := map[string]string{}
	for _, id := range order {
		c := last[id]
		switch {
		case c.Entity != nil && isPerson(c.Entity):
			if c.Op != graph.Delete { // what leads to it is deleted too
				persons = append(persons, *c.Entity)
			}
		case c.Op == graph.Delete:
			d.deletes++
		case c.Entity != nil:
			d.entities = append(d.entities, *c.Entity)
			if login := strings.ToLower(strings.TrimSpace(first(c.Entity.Properties["login"]))); c.Entity.Type == userType && login != "" {
				users[personKey+login] = c.Entity.Key
			}
		case leadsToPerson(c.Relationship):
			person, ok := last[identity{true, c.Relationship.To}]
			if !ok || person.Op == graph.Delete {
				return d, sink.ErrSnapshot
			}
			r, err := mapped(*c.Relationship, *person.Entity)
			if err != nil {
				return d, sink.Permanent(err)
			}
			d.relationships = append(d.relationships, r)
			edges[c.Relationship.To] = true
		default:
			d.relationships = append(d.relationships, *c.Relationship)
		}
	}
	for _, person := range persons {
		if edges[person.Key] {
			continue
		}
		user := users[person.Key]
		key := user + "|is|" + person.Key
		if gone, ok := last[identity{false, key}]; user == "" || ok && gone.Op == graph.Delete {
			d.left++
			continue
		}
		r, err := mapped(graph.Relationship{
			Key: key, Type: personEdge, Class: "IS", From: user, To: person.Key,
			Properties: graph.Properties{"displayName": "IS"},
		}, person)
		if err != nil {
			return d, sink.Permanent(err)
		}
		d.relationships = append(d.relationships, r)
	}
	return d, nil
}

// upload writes the delta as what a job uploads.
func (d delta) upload(batch int) (*upload, error) {
	up := newUpload(batch)
	var err error
	for _, e := range d.entities {
		if err == nil {
			err = up.entity(e)
		}
	}
	for _, r := range d.relationships {
		if err == nil {
			err = up.relationship(r)
		}
	}
	if err == nil {
		err = up.flush()
	}
	if err != nil {
		up.close()
		return nil, err
	}
	return up, nil
}
