package engine

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
	"github.com/oktasync/oktasync/sync/sink"
)

// org is one instance at work.
type org struct {
	id       string
	settings []byte // as stored: others mean another org
	cfg      Config
	log      *slog.Logger
	store    *state.Store
	st       *state.Org
	engine   *Engine

	token     string // of the lease
	leaseTime time.Duration
	epoch     string
	paused    atomic.Bool
	logFilter string
	logging   sync.Mutex // the beginning of the log

	ctx     context.Context
	stop    context.CancelFunc
	stopped chan struct{}
	handed  bool      // to another process; only employ's
	stays   time.Time // until when it is not; only employ's

	noted   bool // that the graph is whole; of the refresh loop
	factors bool
	hooked  bool // it has secrets: an event hook is to deliver to it
	convert convert.Org
	of      sink.Instance // what sinks are told
	client  *okta.Client

	arrived chan struct{}   // events
	asked   chan struct{}   // something may be due to be read again
	started chan struct{}   // a run may have been started
	behind  chan struct{}   // the log may have what no hook brought
	grown   []chan struct{} // the graph changed; of each sink one

	mu      sync.Mutex
	trying  map[string]bool // targets being read again
	tries   int             // reads under way
	failed  map[string]int  // tries of a target that did not answer it
	problem string          // as stored in the facts
	rest    time.Time       // until when nothing is read again: the token was refused
	reading sync.WaitGroup

	limits string                                // as stored last
	traces *lru.Cache[string, trace.SpanContext] // of an event or run, the span it was at last in
}

func (e *Engine) newOrg(ctx context.Context, id string, settings []byte, lease state.Lease) *org {
	o := &org{
		id: id, settings: settings, cfg: e.cfg, log: e.cfg.Log.With("instance", id),
		store: e.store, st: lease.Org, engine: e,
		token: lease.Holder, epoch: lease.Epoch, leaseTime: e.leaseTime(), logFilter: logFilter(convert.EventTypes()),
		stopped: make(chan struct{}),
		asked:   make(chan struct{}, 1), started: make(chan struct{}, 1), behind: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
		trying: map[string]bool{}, failed: map[string]int{}, traces: newTraces(),
	}
	o.ctx, o.stop = context.WithCancel(ctx)
	for range e.cfg.Sinks {
		o.grown = append(o.grown, make(chan struct{}, 1))
	}
	return o
}

// wake makes the loops look for work that another part, or process, has left.
func (o *org) wake() { signal(o.asked, o.started) }

// signal sends to those channels that hold nothing yet.
func signal(channels ...chan struct{}) {
	for _, c := range channels {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// over tells whether the org was stopped.
func (o *org) over() bool { return o.ctx.Err() != nil }

// fallBehind has the log polled early.
func (o *org) fallBehind() { signal(o.behind) }

// work runs the loops until the org is stopped, and hands the lease over.
func (o *org) work() {
	defer close(o.stopped)
	defer o.st.Release()
	defer o.engine.note(o.id) // it may be taken again at once
	var keeper sync.WaitGroup
	keeper.Go(o.keepLease)
	defer keeper.Wait()
	defer o.stop()
	for reported := false; ; reported = true {
		err := o.prepare()
		if err == nil {
			break
		}
		if errors.Is(err, state.ErrFenced) {
			return
		}
		if !reported && o.ctx.Err() == nil {
			o.log.Error("instance cannot work until this is mended", "err", err)
			o.setProblem(err.Error())
		}
		if pause(o.ctx); o.ctx.Err() != nil {
			return
		}
	}
	o.setProblem("")
	o.log.Info("instance is looked after here", "owner", owner(o.token))
	defer o.st.Notify(o.arrived, state.InboxStream)()
	var loops sync.WaitGroup
	loops.Go(func() { o.loop("inbox", o.inboxRound) })
	loops.Go(func() { o.loop("refresh", o.refreshRound) })
	loops.Go(func() { o.loop("reconcile", o.reconcileRound) })
	loops.Go(func() { o.loop("log", o.logRound) })
	loops.Go(func() { o.loop("limits", o.limitsRound) })
	o.deliver(&loops)
	loops.Wait()
	o.reading.Wait()
}

// loop repeats a round. A failure, of the store in the first place, is logged
// when it begins, and the round tried again each second.
func (o *org) loop(name string, round func() error) {
	failing, told := false, false
	for o.ctx.Err() == nil {
		if o.paused.Load() {
			pause(o.ctx)
			continue
		}
		err := round()
		if err == nil {
			if told {
				o.setProblem("")
			}
			failing, told = false, false
			continue
		}
		if o.ctx.Err() != nil {
			return
		}
		if errors.Is(err, state.ErrFenced) {
			o.stop() // another process works for it
			return
		}
		if !failing {
			o.log.Error("work stands still until this is mended", "loop", name, "err", err)
			if told = !errors.Is(err, ErrUnavailable); told { // the store could not keep what is the matter with it
				o.setProblem(err.Error())
			}
		}
		failing = true
		pause(o.ctx)
	}
}

// standstill is how long work that failed rests; tests shorten it.
var standstill = time.Second

// pause waits that long, or until ctx ends.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(standstill):
	}
}

// prepare opens the settings and makes the account known: everything hangs on it.
func (o *org) prepare() error {
	in, err := o.engine.openInstance(o.id, o.settings)
	if err != nil {
		return err
	}
	if o.problem, err = o.st.Fact(o.ctx, "problem"); err != nil { // of an earlier process
		return err
	}
	o.factors, o.hooked = in.Factors, len(in.HookSecrets) > 0
	o.of = sink.Instance{ID: in.ID, Name: in.Name, AccountID: in.AccountID, OrgHost: strings.TrimPrefix(strings.TrimPrefix(in.OrgURL, "https://"), "http://")}
	o.convert = convert.NewOrg(in.OrgURL, in.Name)
	if o.client, err = o.engine.client(o.id, o.settings, in); err != nil {
		return err
	}
	account := o.convert.Account(nil)
	account.Version = record.AsRead(1) // any reading is newer
	var stale []state.Cell
	if !o.hooked { // what was found of a hook that is not to be any more
		stale = []state.Cell{{Hash: "facts", Field: "hook"}}
	}
	_, err = o.merge(o.ctx, batch{Batch: state.Batch{Delete: stale}, observations: []record.Observation{account}, cause: record.Cause{Source: record.FromReconcile, ID: "instance/" + o.id}})
	if err != nil {
		return err
	}
	return o.repair()
}

// client is the client of an org, with the settings that it was made for.
type client struct {
	settings string
	*okta.Client
}

// client returns the client of an instance. It outlives the org at work: what
// it knows of the limits and of Okta's clock stays good when that starts anew.
func (e *Engine) client(id string, settings []byte, in Instance) (*okta.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.clients[id]
	if old != nil && old.settings == string(settings) {
		return old.Client, nil
	}
	made, err := okta.NewClient(context.Background(), okta.ClientConfig{
		OrgURL: in.OrgURL, Token: in.Token, AllowInsecure: e.cfg.AllowInsecure,
		Share: e.cfg.Share, MaxInFlight: e.cfg.MaxInFlight, Clock: e.cfg.Clock, Log: e.cfg.Log.With("instance", id),
		Called: func(bucket string, status int, took time.Duration) { e.cfg.Observe.Called(id, bucket, status, took) },
		Waited: func(bucket string) { e.cfg.Observe.Waited(id, bucket) },
	})
	if err != nil {
		return nil, err
	}
	if old != nil {
		old.Close()
	}
	e.clients[id] = &client{string(settings), made}
	return made, nil
}

// forgetClient drops the client of an instance that is at work elsewhere.
func (e *Engine) forgetClient(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.clients[id]; c != nil {
		c.Close()
		delete(e.clients, id)
	}
}

// setProblem keeps what keeps the instance from working, for its status; "" for nothing.
func (o *org) setProblem(problem string) {
	o.mu.Lock()
	same := o.problem == problem
	o.problem = problem
	o.mu.Unlock()
	if !same {
		if _, err := o.merge(context.WithoutCancel(o.ctx), batch{Batch: state.Batch{Set: []state.Cell{{Hash: "facts", Field: "problem", Value: problem}}}}); err != nil {
			o.log.Warn("problem could not be kept for the instance's state", "err", err)
		}
	}
}

// batch is what a page, a read or some events say.
type batch struct {
	state.Batch
	observations []record.Observation
	asks         []record.Ask
	cause        record.Cause // of what has none of its own
	judgement
}

// judgement is how absences that no event told of are let through.
type judgement struct {
	brake  bool
	forced bool   // the brake was lifted
	verify bool   // nothing is let through that changes the graph
	holder string // the run that holds the rest
}

func (o *org) merge(ctx context.Context, b batch) (state.Merged, error) {
	for _, ob := range b.observations {
		cause := ob.Cause
		if cause.Source == "" {
			cause = b.cause
		}
		empty := make([]string, len(ob.Empty))
		for i, scope := range ob.Empty {
			empty[i] = string(scope)
		}
		b.Observations = append(b.Observations, state.Observation{ID: string(ob.ID), Version: int64(ob.Version), Present: ob.Present,
			Content: ob.Content, Empty: empty, Source: string(cause.Source), Cause: cause.ID})
	}
	for _, a := range b.asks {
		cause := a.Cause
		if cause.Source == "" {
			cause = b.cause
		}
		b.Asks = append(b.Asks, state.Ask{Target: a.Target, Exceed: int64(a.Exceed), Source: string(cause.Source), Cause: cause.ID})
	}
	b.Margin, b.Allowance = o.cfg.ReadMargin, o.cfg.ListAllowance
	if b.brake {
		b.Brake = &state.Brake{Ratio: o.cfg.DeleteRatio, Day: o.now().UnixMilli() / (24 * time.Hour).Milliseconds(), Forced: b.forced}
	}
	b.Verify, b.Holder = b.verify, b.holder
	ctx, span := o.mergeSpan(ctx, b.Batch)
	merged, err := o.st.Merge(ctx, b.Batch)
	if err == nil {
		o.remember(span, b.Batch, merged)
		o.noteAsked(b.Asks)
	}
	finish(span, err)
	if err == nil && merged.Transitions > 0 {
		signal(o.grown...)
	}
	if err == nil && merged.Held > 0 && !b.verify {
		o.log.Warn("absences are held until the run that holds them is approved", "run", b.holder, "records", merged.Held)
		err = o.noteHeld(ctx, b.holder)
	}
	return merged, unavailable(err)
}

// now is Okta's clock, or ours while none of its answers has told it.
func (o *org) now() time.Time {
	now, _ := o.client.Now()
	if now.IsZero() {
		return o.cfg.Clock()
	}
	return now
}

// future is how far ahead of Okta's clock an event may be stamped.
const future = time.Minute

// inboxBatch is how many events are taken in at once.
const inboxBatch = 500

func (o *org) inboxRound() error {
	n, err := o.takeIn(o.ctx)
	if err == nil && n == 0 {
		await(o.ctx, o.arrived, seldom)
	}
	return err
}

// await waits for a signal, but not longer than d.
func await(ctx context.Context, signal <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-signal:
	case <-timer.C:
	}
}

// takeIn merges the oldest events of the inbox and returns how many.
func (o *org) takeIn(ctx context.Context) (int, error) {
	events, err := o.st.Inbox(ctx, inboxBatch)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	err = o.mergeEvents(ctx, events)
	if errors.Is(err, state.ErrRefused) && len(events) > 1 {
		for _, e := range events { // the store refuses the batch: find the event that it cannot take
			if err = o.mergeEvents(ctx, []state.Event{e}); err != nil && !errors.Is(err, state.ErrRefused) {
				return 0, err
			}
			if err != nil {
				if err = o.bury(ctx, e, err); err != nil {
					return 0, err
				}
			}
		}
	} else if errors.Is(err, state.ErrRefused) {
		err = o.bury(ctx, events[0], err)
	}
	if err != nil {
		return 0, err
	}
	o.wake()
	return len(events), nil
}

// bury makes a dead letter of an event that the store cannot take.
func (o *org) bury(ctx context.Context, e state.Event, why error) error {
	o.log.Error("event became a dead letter", "err", why)
	_, err := o.merge(ctx, batch{Batch: state.Batch{Inbox: e.ID, Dead: []state.Dead{{Source: e.Source, Event: e.Body, Reason: why.Error()}}}})
	return err
}

func (o *org) mergeEvents(ctx context.Context, events []state.Event) (err error) {
	b := batch{Batch: state.Batch{Inbox: events[len(events)-1].ID}}
	ctx, span := o.follow(ctx, "apply", deliveries(events), attribute.Int("oktasync.events", len(events)))
	defer func() { finish(span, err) }()
	published := make([]time.Time, len(events)) // of those that are understood
	timed := false                              // Okta was asked for its time
	for i, stored := range events {
		var e okta.Event
		err := json.Unmarshal(stored.Body, &e)
		var effect convert.Effect
		if err == nil {
			effect, err = convert.Event(e)
		}
		if err == nil && o.ahead(ctx, e.Published, &timed) {
			err = errors.New("it is stamped more than a minute in the future of Okta's clock")
		}
		if err != nil {
			o.log.Warn("event became a dead letter", "uuid", e.UUID, "type", e.Type, "err", err)
			b.Dead = append(b.Dead, state.Dead{Source: stored.Source, Event: stored.Body, Reason: err.Error()})
			continue
		}
		if strings.HasPrefix(e.Type, "system.org.rate_limit.") {
			o.fallBehind()
		}
		for i := range effect.Observations {
			effect.Observations[i].Cause = record.Cause{Source: record.Source(stored.Source), ID: e.UUID}
		}
		if !o.factors {
			effect.Asks = slices.DeleteFunc(effect.Asks, func(a record.Ask) bool { return strings.HasPrefix(a.Target, "factors/") })
		}
		for i := range effect.Asks {
			effect.Asks[i].Cause = record.Cause{Source: record.FromRead, ID: e.UUID}
		}
		b.observations = append(b.observations, effect.Observations...)
		b.asks = append(b.asks, effect.Asks...)
		published[i] = e.Published
	}
	if _, err = o.merge(ctx, b); err != nil {
		return err
	}
	for i, stored := range events {
		o.noteApplied(stored, published[i])
	}
	return nil
}

// ahead tells whether a time is too far in Okta's future. Our own clock is no
// judge of that, and what we know of Okta's may be behind after this machine
// slept: Okta is asked for its time first, once a batch.
func (o *org) ahead(ctx context.Context, published time.Time, timed *bool) bool {
	if !published.After(o.now().Add(future)) {
		return false
	}
	if !*timed {
		*timed = true
		if err := o.learnClock(ctx); err != nil {
			o.log.Warn("Okta does not tell its time: no event is taken for one of the future", "err", err)
		}
	}
	if _, known := o.client.Now(); !known {
		return false
	}
	return published.After(o.now().Add(future))
}

// learnClock makes a small call for the time in its answer.
func (o *org) learnClock(ctx context.Context) error {
	_, err := o.client.Support(okta.WithPriority(ctx))
	if _, known := o.client.Now(); known {
		return nil // refused perhaps, but answered
	}
	return err
}
