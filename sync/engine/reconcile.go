package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	now := e.cfg.Clock().UTC()
	run := Run{
		ID:       fmt.Sprintf("%s-%s%s", instance, strconv.FormatInt(now.UnixMilli(), 36), strconv.FormatInt(36*36+rand.Int64N(35*36*36), 36)),
		Instance: instance, Mode: cmp.Or(start.Mode, Modes[0]), Object: start.Object, Force: start.Force, Trigger: start.Trigger,
		State: RunRunning, StartedAt: now, Progress: map[string]Progress{},
	}
	description, err := json.Marshal(run)
	if err != nil {
		return Run{}, err
	}
	st := e.store.Org(instance)
	id, err := st.StartRun(ctx, run.ID, description, []state.Cell{
		pending(record.AccountScope), pending(record.Users), pending(record.Groups), pending(record.Apps)})
	if err != nil {
		return Run{}, unavailable(err)
	}
	e.notify()
	return loadRun(ctx, st, id)
}

// reconcileRound works on the running run, or waits for one.
func (o *org) reconcileRound() error {
	id, err := o.st.Fact(o.ctx, "run")
	if err != nil {
		return err
	}
	if id == "" {
		select {
		case <-o.ctx.Done():
		case <-o.started:
		case <-time.After(look):
		}
		return nil
	}
	return o.reconcile(o.ctx, id)
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
}

// maxRunErrors bounds what one run tells of lists that could not be read.
const maxRunErrors = 100

func (o *org) reconcile(ctx context.Context, id string) error {
	run, err := loadRun(ctx, o.st, id)
	if err != nil {
		return err
	}
	r := &reconciling{org: o, before: run, tallies: map[string]*tally{}, errors: run.Errors}
	for _, name := range []string{"account", "users", "groups", "members", "apps", "assignments", "factors"} {
		r.tallies[name] = &tally{}
	}
	o.log.Info("run works", "run", id, "mode", run.Mode, "trigger", run.Trigger)

	listsRead := make(chan struct{})
	var families sync.WaitGroup
	families.Go(func() {
		defer close(listsRead)
		r.family(ctx, lists, nil)
	})
	for _, name := range followers {
		families.Go(func() { r.family(ctx, name, listsRead) })
	}
	over := make(chan struct{})
	go func() { families.Wait(); close(over) }()
	save := time.NewTicker(300 * time.Millisecond)
	defer save.Stop()
	for working := true; working; {
		select {
		case <-over:
			working = false
		case <-save.C:
			if err := r.save(ctx); err != nil && ctx.Err() == nil {
				o.log.Warn("progress of the run could not be kept", "run", id, "err", err)
			}
		}
	}
	if ctx.Err() != nil { // the run goes on where it stands, in the next process
		return ctx.Err()
	}
	return r.end(ctx)
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
		found := 0
		for at := uint64(0); ; {
			// What was read to its end before this call is not in its answer.
			mu.Lock()
			maps.DeleteFunc(claimed, func(_ string, reading bool) bool { return !reading })
			mu.Unlock()
			cells, next, err := r.st.Pending(ctx, name, at, chunk)
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

// read reads one scope; one that cannot be read is named in the run.
func (r *reconciling) read(ctx context.Context, cell state.Cell) {
	scope := record.Scope(cell.Field)
	name := strings.TrimPrefix(cell.Hash, "pending:")
	if name == lists {
		name = string(scope)
	}
	t := r.tallies[name]
	err := r.list(okta.WithCounter(ctx, &t.counter), &listing{
		scope: scope, cause: record.Cause{Source: record.FromReconcile, ID: r.before.ID},
		delay: r.cfg.ListAllowance, cell: &cell, tally: t})
	if err == nil {
		t.done.Add(1)
		r.setProblem("")
		return
	}
	if ctx.Err() != nil {
		return
	}
	if errors.Is(err, ErrUnavailable) { // Okta is not to blame: the list stays pending
		r.log.Error("run waits for the store", "run", r.before.ID, "scope", scope, "err", err)
		pause(ctx)
		return
	}
	r.report(err)
	r.log.Error("list could not be read: nothing of it is taken for deleted", "run", r.before.ID, "scope", scope, "err", err)
	r.note(RunError{Scope: string(scope), Error: err.Error()})
	// Named first, given up then: a crash between must not make the run look whole.
	if err = r.save(ctx); err == nil {
		err = r.st.ClearPending(ctx, cell)
	}
	if err != nil && ctx.Err() == nil {
		r.log.Error("run could not give up a list, it will be tried again", "run", r.before.ID, "scope", scope, "err", err)
		pause(ctx)
	}
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
	return r.st.SetRun(ctx, run.ID, b)
}

func (r *reconciling) end(ctx context.Context) error {
	run, err := r.describe(ctx)
	if err != nil {
		return err
	}
	run.State = RunSucceeded
	ended := r.cfg.Clock().UTC()
	run.EndedAt = &ended
	var facts []string
	if len(run.Errors) > 0 {
		run.State = RunIncomplete
	} else {
		facts = []string{"full", strconv.FormatInt(r.now().UnixMilli(), 10)}
	}
	b, err := json.Marshal(run)
	if err != nil {
		return err
	}
	r.log.Info("run ended", "run", run.ID, "state", run.State, "changes", run.Changes, "errors", len(run.Errors))
	return r.st.EndRun(ctx, run.ID, b, facts...)
}
