package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// Families are read side by side. The lists of the org say which members,
// assignments and factors there are to read.
const lists = "lists"

var followers = []string{"members", "assignments", "factors"}

// pending is where a run keeps that the scope is yet to be read.
func pending(scope record.Scope) state.Cell {
	family := lists
	switch kind, _, _ := strings.Cut(string(scope), "/"); kind {
	case "members", "factors":
		family = kind
	case "appusers", "appgroups":
		family = "assignments"
	}
	return state.Cell{Hash: "pending:" + family, Field: string(scope)}
}

// StartRun starts a reconcile, or returns the one that is running.
func (e *Engine) StartRun(ctx context.Context, instance string, start Start) (Run, error) {
	if _, err := e.instance(ctx, instance); err != nil {
		return Run{}, err
	}
	run, started, err := e.startRun(ctx, e.store.Org(instance), instance, start)
	if err == nil && !started && start.Object == "" && start.Trigger != "resync" && !covers(run, start) {
		err = unavailable(e.store.Org(instance).Want(ctx, want(start))) // behind the one that is running
	}
	e.tell(ctx, instance)
	return run, err
}

// covers tells whether a run that is running does what another was to do.
func covers(run Run, start Start) bool {
	return run.Object == "" && run.State == RunRunning && run.Mode == cmp.Or(start.Mode, Modes[0])
}

// want is a run that is to follow the one that is running, as it is stored.
func want(start Start) string { return cmp.Or(start.Mode, Modes[0]) + " " + start.Trigger }

// startWanted starts the run that had to wait for another to end.
func (o *org) startWanted() (string, error) {
	wanted, err := o.st.Fact(o.ctx, "wanted")
	if err != nil || wanted == "" {
		return "", err
	}
	mode, trigger, _ := strings.Cut(wanted, " ")
	run, _, err := o.engine.startRun(o.ctx, o.st, o.id, Start{Mode: mode, Trigger: trigger})
	if err != nil {
		return "", err
	}
	_, err = o.merge(o.ctx, batch{Batch: state.Batch{Delete: []state.Cell{{Hash: "facts", Field: "wanted"}}}})
	return run.ID, err
}

// newRunID returns an id that begins with the instance's.
func (e *Engine) newRunID(instance string) string {
	return fmt.Sprintf("%s-%s%s", instance, strconv.FormatInt(e.cfg.Clock().UnixMilli(), 36), strconv.FormatInt(36*36+rand.Int64N(35*36*36), 36))
}

// startRun starts a run, unless one is running; started tells which it returns.
// With the state of an owner it is refused once another process took over.
func (e *Engine) startRun(ctx context.Context, st *state.Org, instance string, start Start) (run Run, started bool, err error) {
	start.Mode = cmp.Or(start.Mode, Modes[0])
	if !slices.Contains(Modes, start.Mode) {
		return Run{}, false, fmt.Errorf("%w: %.32q; there are %s", ErrUnknownMode, start.Mode, strings.Join(Modes, ", "))
	}
	scopes, err := scopesOf(start)
	if err != nil {
		return Run{}, false, err
	}
	run = Run{
		ID: e.newRunID(instance), Instance: instance, Mode: start.Mode, Object: start.Object, Force: start.Force,
		Trigger: start.Trigger, State: RunRunning, StartedAt: e.cfg.Clock().UTC(), Progress: map[string]Progress{},
	}
	description, err := json.Marshal(run)
	if err != nil {
		return Run{}, false, err
	}
	id, err := st.StartRun(ctx, run.ID, description, scopes)
	if err != nil {
		return Run{}, false, unavailable(err)
	}
	started = id == run.ID
	run, err = loadRun(ctx, st, id)
	return run, started, err
}

var objectID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// scopesOf returns what a run has to read first.
func scopesOf(start Start) ([]state.Cell, error) {
	var targets []string
	add := func(scopes ...record.Scope) {
		for _, s := range scopes {
			targets = append(targets, string(s))
		}
	}
	switch {
	case start.Object == "" && start.Mode == "incremental":
		add(record.ChangedUsers, record.ChangedGroups, record.Apps)
	case start.Object == "":
		add(record.AccountScope, record.Users, record.Groups, record.Apps)
	default:
		parts := strings.Split(start.Object, "/")
		kind := parts[0]
		wanted := map[string]int{"account": 0, "users": 0, "groups": 0, "apps": 0, "user": 1, "group": 1, "app": 1,
			"members": 1, "appusers": 1, "appgroups": 1, "factors": 1, "member": 2, "appuser": 2, "appgroup": 2, "factor": 2}
		n, known := wanted[kind]
		ids := parts[1:]
		if !known || len(ids) != n || slices.ContainsFunc(ids, func(id string) bool { return !objectID.MatchString(id) }) {
			return nil, fmt.Errorf("%w: %.100q; as user/00u…, member/00g…/00u…, members/00g…, users", ErrUnknownObject, start.Object)
		}
		targets = append(targets, start.Object)
		switch kind {
		case "user":
			add(record.Factors(ids[0]), record.UserApps(ids[0]))
		case "group":
			add(record.Members(ids[0]))
		case "app":
			add(record.AppUsers(ids[0]), record.AppGroups(ids[0]))
		case "factor": // its list is all that can be read
			targets = []string{string(record.Factors(ids[0]))}
		}
	}
	cells := make([]state.Cell, len(targets))
	for i, target := range targets {
		cells[i] = pending(record.Scope(target))
		if start.Object != "" {
			cells[i].Hash = "pending:" + lists
		}
	}
	return cells, nil
}

// mustRun starts a run of the org itself: at once, or behind the one that is
// running, of which nobody knows what it read before.
func (o *org) mustRun(start Start) error {
	_, started, err := o.engine.startRun(o.ctx, o.st, o.id, start)
	if err != nil || started {
		return err
	}
	if wanted, err := o.st.Fact(o.ctx, "wanted"); err != nil || strings.HasPrefix(wanted, "full ") {
		return err
	}
	return o.setFact("wanted", want(start))
}

// reconcileRound works on the running run, or waits for one.
func (o *org) reconcileRound() error {
	if err := o.obey(""); err != nil {
		return err
	}
	if err := o.keepSchedule(); err != nil {
		return err
	}
	id, err := o.st.Fact(o.ctx, "run")
	if err != nil {
		return err
	}
	if id == "" {
		if id, err = o.startWanted(); err != nil {
			return err
		}
	}
	if id != "" {
		// Every list must begin behind the place from which the log is followed.
		if _, err := o.logPlace(); err != nil {
			return err
		}
		settling, err := o.reconcile(o.ctx, id)
		if err == nil && settling {
			await(o.ctx, o.started, look)
		}
		return err
	}
	await(o.ctx, o.started, seldom)
	return nil
}

// tally counts what one family did.
type tally struct {
	counter                 okta.Counter
	done, items, transition atomic.Int64
}

func (t *tally) add(items int, transitions int64) {
	if t != nil {
		t.items.Add(int64(items))
		t.transition.Add(transitions)
	}
}

// reconciling is a run at work.
type reconciling struct {
	*org
	before  Run // as it was when this process took it up
	tallies map[string]*tally
	saving  sync.Mutex
	mu      sync.Mutex
	errors  []RunError
	failed  map[string]int      // passes over a list that failed for now
	refused map[string]int      // lists in a row that Okta denied, by family
	denied  map[string]error    // why families could not be read
	dropped map[string]bool     // those that are not read any more
	broken  int64               // ms: up to here the log does not tell all
	rest    map[bool]*rotation  // of the factors; of all else
	bulk    *semaphore.Weighted // the records being merged at once, of all but the lists
}

// maxRunErrors bounds what one run tells of lists that could not be read.
const maxRunErrors = 100

// reconcile works on a run. It returns true if the run cannot end yet.
func (o *org) reconcile(ctx context.Context, id string) (settling bool, err error) {
	run, err := loadRun(ctx, o.st, id)
	if errors.Is(err, ErrUnknownRun) { // its description is lost: let the next one start
		o.log.Error("run has no description and is given up", "run", id)
		_, err = o.merge(ctx, batch{Batch: state.Batch{Drop: o.pendings(), Delete: []state.Cell{{Hash: "facts", Field: "run"}}}})
		return false, err
	}
	if err != nil {
		return false, err
	}
	if run.State == RunSettling {
		return o.settle(ctx, run)
	}
	r := &reconciling{org: o, before: run, tallies: map[string]*tally{}, errors: run.Errors,
		failed: map[string]int{}, refused: map[string]int{}, denied: map[string]error{}, dropped: map[string]bool{}, bulk: semaphore.NewWeighted(mergeRecords)}
	for _, name := range []string{"account", "users", "groups", "members", "apps", "assignments", "factors"} {
		r.tallies[name] = &tally{}
	}
	if err := r.planRotation(ctx); err != nil {
		return false, err
	}
	o.log.Info("run works", "run", id, "mode", run.Mode, "trigger", run.Trigger, "object", run.Object)

	reading, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(o.ctx, stop)()
	listsRead := make(chan struct{})
	var families sync.WaitGroup
	families.Go(func() {
		defer close(listsRead)
		r.family(reading, lists, nil)
		r.rotate(reading)
	})
	for _, name := range followers {
		families.Go(func() { r.family(reading, name, listsRead) })
	}
	if run.Object == "" {
		families.Go(func() { o.lookAtHooks(reading) })
	}
	over := make(chan struct{})
	go func() { families.Wait(); close(over) }()
	save := time.NewTicker(300 * time.Millisecond)
	defer save.Stop()
	canceled := false
	for working := true; working; {
		select {
		case <-over:
			working = false
		case <-save.C:
			switch err := r.save(ctx); {
			case errors.Is(err, state.ErrFenced):
				o.stop()
			case err != nil && ctx.Err() == nil:
				o.log.Warn("progress of the run could not be kept", "run", id, "err", err)
			}
			if order, err := o.st.Cell(ctx, "orders", id); err == nil && order == orderCancel {
				canceled = true
				stop()
			}
			if err := o.obey(id); err != nil && ctx.Err() == nil {
				o.log.Warn("an order to another run could not be followed yet", "err", err)
			}
		}
	}
	if ctx.Err() != nil || o.over() { // the run goes on where it stands, in the next process
		return false, cmp.Or(ctx.Err(), o.ctx.Err())
	}
	if canceled {
		return false, o.cancel(ctx, id)
	}
	return false, r.end(ctx)
}

// pendings are the hashes of what a run has yet to read.
func (o *org) pendings() []string {
	var hashes []string
	for _, name := range append([]string{lists}, followers...) {
		hashes = append(hashes, "pending:"+name)
	}
	return hashes
}

// family reads the pending scopes of a family until none is left and none can come.
func (r *reconciling) family(ctx context.Context, name string, feeders <-chan struct{}) {
	work := make(chan state.Cell)
	var workers sync.WaitGroup
	var mu sync.Mutex
	claimed := map[string]bool{} // true while being read
	for range r.cfg.MaxInFlight {
		workers.Go(func() {
			for cell := range work {
				r.read(ctx, cell)
				mu.Lock()
				claimed[cell.Field] = false
				mu.Unlock()
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	for ctx.Err() == nil {
		last := feeders == nil
		select {
		case <-feeders:
			last = true
		default:
		}
		if r.paused.Load() {
			pause(ctx)
			continue
		}
		found := 0
		for at := uint64(0); ; {
			// What was read to its end before this call is not in its answer.
			mu.Lock()
			maps.DeleteFunc(claimed, func(_ string, reading bool) bool { return !reading })
			mu.Unlock()
			cells, next, err := r.st.Pending(ctx, name, at, chunk)
			if errors.Is(err, state.ErrFenced) {
				r.stop() // another process works on it
				return
			}
			if err != nil {
				if ctx.Err() == nil {
					r.log.Error("run waits for the store", "run", r.before.ID, "family", name, "err", err)
				}
				pause(ctx)
				break
			}
			for _, cell := range cells {
				found++
				mu.Lock()
				_, taken := claimed[cell.Field]
				if !taken {
					claimed[cell.Field] = true
				}
				mu.Unlock()
				if taken {
					continue
				}
				select {
				case work <- cell:
				case <-ctx.Done():
					return
				}
			}
			if at = next; at == 0 {
				if found == 0 && last {
					return
				}
				break
			}
		}
		select { // until more is pending, or what is claimed is read
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// passes is how often a list is tried that Okta fails on for now.
const passes = 3

// read reads one scope; one that cannot be read is named in the run.
func (r *reconciling) read(ctx context.Context, cell state.Cell) {
	target := cell.Field
	family := strings.TrimPrefix(cell.Hash, "pending:")
	r.mu.Lock()
	stopped := r.dropped[family]
	r.mu.Unlock()
	if stopped { // what the lists of the org, or pages under way, still bring of it
		if _, err := r.merge(ctx, batch{Batch: state.Batch{Delete: []state.Cell{cell}}}); err != nil {
			pause(ctx)
		}
		return
	}
	t := r.tallies[family]
	if family == lists {
		t = r.tallies[r.familyOf(target)]
	}
	cause := record.Cause{Source: record.FromReconcile, ID: r.before.ID}
	judged := r.judgement()
	ctx = okta.WithCounter(ctx, &t.counter)
	var err error
	if record.IsScope(target) || target == string(record.AccountScope) {
		err = r.list(ctx, &listing{scope: record.Scope(target), cause: cause, delay: r.cfg.ListAllowance, cell: &cell, tally: t, run: r, judgement: judged})
	} else {
		exceed := record.AsEvent(r.now().Add(-r.cfg.ListAllowance).UnixMilli())
		if _, err = r.readTarget(ctx, state.Ask{Target: target, Exceed: int64(exceed)}, cause, judged); err == nil {
			_, err = r.merge(ctx, batch{Batch: state.Batch{Delete: []state.Cell{cell}}})
		}
	}
	r.mu.Lock()
	if err == nil {
		r.refused[family] = 0
	}
	r.mu.Unlock()
	if err == nil {
		t.done.Add(1)
		return
	}
	if ctx.Err() != nil {
		return
	}
	switch {
	case errors.Is(err, state.ErrFenced):
		r.stop() // another process works on it
		return
	case errors.Is(err, ErrUnavailable): // Okta is not to blame: the list stays pending
		r.log.Error("run waits for the store", "run", r.before.ID, "scope", target, "err", err)
		pause(ctx)
		return
	case okta.IsTemporary(err) && r.again(target):
		r.log.Warn("list could not be read for now, will be tried again", "run", r.before.ID, "scope", target, "err", err)
		pause(ctx)
		return
	}
	r.log.Error("list could not be read: nothing of it is taken for deleted", "run", r.before.ID, "scope", target, "err", err)
	r.note(RunError{Scope: target, Error: err.Error()})
	giveUp := batch{Batch: state.Batch{Delete: []state.Cell{cell}}}
	if stop := r.deny(family, err); stop != nil {
		r.log.Error("the rest of the family is not read: the token has no right to it", "run", r.before.ID, "family", family, "err", err)
		r.note(RunError{Scope: family, Error: stop.Error()})
		giveUp.Drop = []string{cell.Hash}
	}
	// Named first, given up then: a crash between must not make the run look whole.
	if err = r.save(ctx); err == nil {
		_, err = r.merge(ctx, giveUp)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Error("run could not give up a list, it will be tried again", "run", r.before.ID, "scope", target, "err", err)
		pause(ctx)
	}
}

// judgement says what the run lets through.
func (r *reconciling) judgement() judgement {
	return judgement{brake: true, forced: r.before.Force, verify: r.before.Mode == "verify", holder: r.before.ID}
}

// familyOf tells where the reading of a first target is counted.
func (r *reconciling) familyOf(target string) string {
	switch kind, _, _ := strings.Cut(strings.TrimPrefix(target, "changed/"), "/"); kind {
	case "account":
		return "account"
	case "groups", "group":
		return "groups"
	case "apps", "app":
		return "apps"
	case "members", "member":
		return "members"
	case "appusers", "appuser", "appgroups", "appgroup", "userapps":
		return "assignments"
	case "factors", "factor":
		return "factors"
	}
	return "users"
}

// again tells whether a list that failed for now is tried once more.
func (r *reconciling) again(target string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed[target]++
	return r.failed[target] < passes
}

// lostRight is after how many denied lists in a row, of groups or applications,
// the right is taken to be lost: a single one may be out of the token's reach.
const lostRight = 5

// deny returns an error if the family is not to be read any more.
func (r *reconciling) deny(family string, err error) error {
	if !okta.IsUnauthorized(err) && !okta.IsForbidden(err) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[family]++
	if !okta.IsUnauthorized(err) && (family == lists || r.refused[family] < lostRight) {
		if family == lists {
			r.denied[family] = err
		}
		return nil
	}
	r.denied[family], r.dropped[family] = err, true
	return fmt.Errorf("the rest of %s was not read: %w", family, err)
}

// note keeps an error for the run, one of each scope.
func (r *reconciling) note(e RunError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.errors {
		if r.errors[i].Scope == e.Scope {
			r.errors[i] = e
			return
		}
	}
	if len(r.errors) < maxRunErrors {
		r.errors = append(r.errors, e)
	}
}

// describe returns the run as it stands.
func (r *reconciling) describe(ctx context.Context) (Run, error) {
	run := r.before
	run.Progress = map[string]Progress{}
	for name, t := range r.tallies {
		p := r.before.Progress[name] // of an earlier process
		p.Done += t.done.Load()
		p.Objects += t.items.Load()
		p.Calls += t.counter.Calls.Load()
		p.RateLimitWaits += t.counter.RateLimitWaits.Load()
		run.Changes += t.transition.Load()
		p.Total = 1
		for _, follower := range followers {
			if name == follower {
				left, err := r.st.PendingCount(ctx, name)
				if err != nil {
					return run, err
				}
				p.Total = p.Done + left
			}
		}
		run.Progress[name] = p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	run.Errors = append([]RunError(nil), r.errors...)
	return run, nil
}

// save keeps the run as it stands; an older description never replaces a newer one.
func (r *reconciling) save(ctx context.Context) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	run, err := r.describe(ctx)
	if err != nil {
		return err
	}
	b, err := json.Marshal(run)
	if err != nil {
		return err
	}
	_, err = r.merge(ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "runs", Field: run.ID, Value: string(b)}}}})
	return err
}

func (r *reconciling) end(ctx context.Context) error {
	run, err := r.describe(ctx)
	if err != nil {
		return err
	}
	var reasons []string
	for _, err := range r.denied {
		reasons = append(reasons, err.Error())
	}
	slices.Sort(reasons)
	var facts []state.Cell
	if len(reasons) > 0 || run.Object == "" && run.Mode != "incremental" { // else it did not read what was denied
		facts = []state.Cell{{Hash: "facts", Field: "denied", Value: strings.Join(slices.Compact(reasons), "; ")}}
	}
	held, err := r.st.HeldCount(ctx, run.ID)
	if err != nil {
		return unavailable(err)
	}
	switch {
	case run.Mode == "verify" && len(run.Errors) == 0:
		run.State = RunSettling
		run.ReadUntil = r.now().UTC()
		facts = append(facts, state.Cell{Hash: "facts", Field: "settling", Value: strconv.FormatInt(run.ReadUntil.UnixMilli(), 10)})
	case len(run.Errors) > 0:
		run.State = RunIncomplete
	default:
		run.State = RunSucceeded
		if run.Mode == "full" && run.Object == "" && held == 0 {
			facts = append(facts, state.Cell{Hash: "facts", Field: "full", Value: strconv.FormatInt(r.now().UnixMilli(), 10)})
		}
	}
	return r.endRun(ctx, run, facts...)
}

// endRun keeps the last description of a run and lets the next one start; a
// run that settles keeps its place.
func (o *org) endRun(ctx context.Context, run Run, facts ...state.Cell) error {
	b := batch{Batch: state.Batch{Set: facts}}
	if run.State != RunSettling {
		ended := o.cfg.Clock().UTC()
		run.EndedAt = &ended
		b.Delete = []state.Cell{{Hash: "facts", Field: "run"}}
	}
	text, err := json.Marshal(run)
	if err != nil {
		return err
	}
	b.Set = append(b.Set, state.Cell{Hash: "runs", Field: run.ID, Value: string(text)})
	o.log.Info("run ended", "run", run.ID, "state", run.State, "changes", run.Changes, "errors", len(run.Errors))
	_, err = o.merge(ctx, b)
	if err == nil && run.EndedAt != nil {
		o.noteEnded(run)
	}
	o.fallBehind() // the log is read past its end
	o.wake()       // the graph may be whole
	return err
}
