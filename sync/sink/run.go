package sink

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Errors of a Source that Run tells apart.
var (
	// ErrStale: the position is of another epoch, or older than the kept changes.
	ErrStale = errors.New("the changes after the position are not kept")
	// ErrNotWhole: there is no snapshot, since the graph is not known to be whole.
	ErrNotWhole = errors.New("the graph is not known to be whole yet")
)

// Source is one instance's graph and changes, and what a sink leaves there for
// operators.
type Source interface {
	// Next returns the changes after the position, without waiting: at most
	// about most of them. A batch without changes has the position up to which
	// there are none.
	Next(ctx context.Context, position string, most int) (Batch, error)
	Snapshot(ctx context.Context) (Snapshot, error)
	// Status returns what Report kept last, of an earlier process too.
	Status(ctx context.Context, sink string) (Status, error)
	Report(ctx context.Context, sink string, s Status) error
	// Wish returns what an operator wished last of the sink; fulfilled or not.
	Wish(ctx context.Context, sink string) (Wish, error)
}

// Wish is what an operator wishes of a sink: a snapshot. A sink that stopped goes on.
type Wish struct {
	ID    string `json:"id"`              // of each wish another; empty: none
	Force bool   `json:"force,omitempty"` // lifts the sink's guards
}

// State is what a sink does.
type State string

// The states of a sink.
const (
	Waiting   State = "waiting"   // for the graph to be whole: then it gets a snapshot
	Following State = "following" // the changes
	Replacing State = "replacing" // its content by a snapshot
	Retrying  State = "retrying"  // after a failure
	Stopped   State = "stopped"   // after a failure that no retry cures
)

// Status is how a sink does.
type Status struct {
	State       State      `json:"state"`
	Position    string     `json:"position,omitempty"`    // up to which the destination holds the graph
	Error       string     `json:"error,omitempty"`       // what failed last, and the remedy, until something succeeds
	Since       time.Time  `json:"since"`                 // of the state, or of the first of several failures
	RetryAt     *time.Time `json:"retryAt,omitempty"`     // of Retrying
	DeliveredAt *time.Time `json:"deliveredAt,omitempty"` // when the destination last took something, or had all there was
	Changes     int64      `json:"changes"`               // delivered, counted since the instance was registered
	Snapshots   int64      `json:"snapshots"`             // the same
	Failures    int64      `json:"failures"`              // the same
	Fulfilled   string     `json:"fulfilled,omitempty"`   // the id of the last wish that was acted on
}

const (
	look     = 5 * time.Second // how often to look without being told of a change, and for wishes
	most     = 5000            // changes given to Apply at once, about
	minPause = time.Second     // after a failure; twice as long after each more,
	maxPause = 5 * time.Minute // up to this
)

// Runner delivers one instance's graph to one sink.
type Runner struct {
	Sink     Sink
	Source   Source
	Instance Instance
	Changed  <-chan struct{} // something may be new
	Log      *slog.Logger

	status  Status
	loaded  bool // the status is that which was kept
	failing int
	began   string // the id of the wish that was last begun with
}

// Run delivers until ctx ends.
func (r *Runner) Run(ctx context.Context) {
	r.Log = r.Log.With("sink", r.Sink.Name(), "instance", r.Instance.ID)
	for ctx.Err() == nil {
		err := r.load(ctx)
		if err == nil {
			err = r.step(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrNotWhole):
			r.set(ctx, Waiting, nil)
			r.wait(ctx, look)
		case IsPermanent(err):
			r.status.Failures++
			r.status.Fulfilled = cmp.Or(r.began, r.status.Fulfilled) // as well as it can be
			r.set(ctx, Stopped, err)
			r.Log.Error("sink stopped: mend it, then ask for a snapshot or start the service again", "err", err)
			for r.rest(ctx, time.Hour) { // until an operator wishes something of it
			}
		default:
			r.status.Failures++
			pause := r.pause(err)
			at := time.Now().Add(pause).UTC()
			r.status.RetryAt = &at
			if r.failing == 0 {
				r.status.Since = time.Now().UTC()
				r.Log.Warn("delivery failed and is repeated until it succeeds", "err", err)
			}
			r.failing++
			r.set(ctx, Retrying, err)
			r.status.RetryAt = nil
			r.rest(ctx, pause)
		}
	}
}

// load reads the status that was kept: without it a wish could be fulfilled twice.
func (r *Runner) load(ctx context.Context) error {
	if r.loaded {
		return nil
	}
	status, err := r.Source.Status(ctx, r.Sink.Name())
	if err != nil {
		return err
	}
	r.status, r.loaded = status, true
	r.status.RetryAt = nil
	return nil
}

// step brings the sink one delivery further, or waits for the next.
func (r *Runner) step(ctx context.Context) error {
	wish, err := r.wished(ctx)
	if err != nil {
		return err
	}
	r.began = wish.ID
	position, err := r.Sink.Position(ctx, r.Instance)
	if err != nil {
		return err
	}
	if position == "" {
		return r.replace(ctx, wish)
	}
	r.status.Position = position
	if wish.ID != "" {
		// Until the graph is whole, the wish waits and the changes go on.
		if err := r.replace(ctx, wish); !errors.Is(err, ErrNotWhole) {
			return err
		}
	}
	window, err := r.Sink.Window(ctx, r.Instance)
	if err != nil {
		return err
	}
	limit := most
	if r.failing > 0 {
		window = 0 // it has passed
	}
	if window > 0 {
		limit = 1 // so far, only whether there are any
	}
	batch, err := r.Source.Next(ctx, position, limit)
	if errors.Is(err, ErrStale) {
		r.Log.Info("the kept changes do not lead on from where the sink is: it gets a snapshot")
		return r.replace(ctx, Wish{})
	}
	if err != nil {
		return err
	}
	if len(batch.Changes) == 0 {
		r.status.Position = batch.Position // it holds all up to there
		r.delivered()
		r.set(ctx, Following, nil)
		r.wait(ctx, look)
		return nil
	}
	if window > 0 {
		r.set(ctx, Following, nil)
		if !r.rest(ctx, window) {
			return nil
		}
		batch, err = r.Source.Next(ctx, position, most)
		if errors.Is(err, ErrStale) || err == nil && len(batch.Changes) == 0 || ctx.Err() != nil {
			return nil // seen to at the next step
		}
		if err != nil {
			return err
		}
	}
	err = r.Sink.Apply(ctx, r.Instance, batch)
	if errors.Is(err, ErrSnapshot) {
		return r.replace(ctx, Wish{})
	}
	if err != nil {
		return err
	}
	r.status.Changes += int64(len(batch.Changes))
	r.status.Position = batch.Position
	r.delivered()
	r.set(ctx, Following, nil)
	return nil
}

// replace gives the sink a snapshot.
func (r *Runner) replace(ctx context.Context, wish Wish) error {
	snapshot, err := r.Source.Snapshot(ctx)
	if err != nil {
		return err
	}
	r.set(ctx, Replacing, nil)
	start := time.Now()
	if err := r.Sink.Replace(ctx, r.Instance, snapshot, wish.Force); err != nil {
		return err
	}
	r.Log.Info("sink took a snapshot", "took", time.Since(start).Round(time.Millisecond))
	r.status.Snapshots++
	r.status.Position = snapshot.Position()
	r.delivered()
	r.status.Fulfilled = cmp.Or(wish.ID, r.status.Fulfilled)
	r.set(ctx, Following, nil)
	return nil
}

// wished returns the wish that is not fulfilled yet.
func (r *Runner) wished(ctx context.Context) (Wish, error) {
	wish, err := r.Source.Wish(ctx, r.Sink.Name())
	if err != nil || wish.ID == r.status.Fulfilled {
		return Wish{}, err
	}
	return wish, nil
}

// set keeps the status. That it cannot be kept holds nothing up. While one attempt
// after another fails, since when stays, and so does the error.
func (r *Runner) set(ctx context.Context, state State, why error) {
	if !r.loaded {
		return
	}
	if r.status.State != state && r.failing == 0 {
		r.status.Since = time.Now().UTC()
	}
	r.status.State = state
	if why != nil {
		r.status.Error = why.Error()
	}
	if err := r.Source.Report(ctx, r.Sink.Name(), r.status); err != nil && ctx.Err() == nil {
		r.Log.Warn("the state of a sink could not be kept", "err", err)
	}
}

// delivered notes a success: what failed before is over.
func (r *Runner) delivered() {
	r.failing, r.status.Error = 0, ""
	now := time.Now().UTC()
	r.status.DeliveredAt = &now
}

// pause is how long to rest after an error: what its source said, else
// twice as long as the last time.
func (r *Runner) pause(err error) time.Duration {
	if later := (laterError{}); errors.As(err, &later) {
		return max(later.after, minPause)
	}
	pause := maxPause
	if r.failing < 20 {
		pause = min(minPause<<r.failing, maxPause)
	}
	return pause/2 + rand.N(pause/2+1)
}

// wait waits until something may be new, but not longer than d.
func (r *Runner) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-r.Changed:
	case <-timer.C:
	}
}

// rest waits for d, and tells whether it did: it ends early when an operator
// wishes something.
func (r *Runner) rest(ctx context.Context, d time.Duration) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	look := time.NewTicker(look)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-over.C:
			return true
		case <-look.C:
		}
		if wish, err := r.wished(ctx); err == nil && wish.ID != "" && wish.ID != r.began {
			return false
		}
	}
}
