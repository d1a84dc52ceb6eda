package engine

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

// ErrUnknownSink: no sink of that name is configured.
var ErrUnknownSink = errors.New("no such sink")

// SinkStatus is how a sink does, as operators see it.
type SinkStatus struct {
	sink.Status
	Wish  bool `json:"wish,omitempty"`  // an operator asked for a snapshot, which it has not got yet
	Force bool `json:"force,omitempty"` // with force
	// Lag is the age of the oldest change that is not delivered, in seconds: 0
	// if there is none, absent if the sink waits for its first snapshot.
	Lag  *float64  `json:"lagSeconds,omitempty"`
	Note sink.Note `json:"note,omitzero"` // what the sink itself remembers
}

// deliver starts the delivery to every sink.
func (o *org) deliver(loops *sync.WaitGroup) {
	for i, s := range o.cfg.Sinks {
		of := o.of
		of.Memory = memory{o, s.Name()}
		runner := sink.Runner{Sink: watched{s, o}, Source: source{o}, Instance: of, Changed: o.grown[i], Log: o.log}
		loops.Go(func() { runner.Run(o.ctx) })
	}
}

// source is what a sink follows.
type source struct{ o *org }

func (s source) Next(ctx context.Context, position string, most int) (sink.Batch, error) {
	batch := sink.Batch{Position: position}
	for len(batch.Changes) < most {
		changes, reached, err := s.o.engine.changes(ctx, s.o.id, batch.Position)
		if errors.Is(err, ErrStalePosition) {
			return batch, fmt.Errorf("%w: %w", sink.ErrStale, err)
		}
		if err != nil || reached == batch.Position {
			return batch, err
		}
		for _, c := range changes {
			batch.Changes = append(batch.Changes, c.Change)
			batch.At = append(batch.At, appliedAt(c.Position))
		}
		batch.Position = reached
	}
	return batch, nil
}

// Snapshot walks the graph, which changes meanwhile, and ends with those
// changes: what they lead to is the graph at the last of them.
func (s source) Snapshot(ctx context.Context) (sink.Snapshot, error) {
	is, _, err := whole(ctx, s.o.st)
	if err != nil {
		return sink.Snapshot{}, unavailable(err)
	}
	if !is {
		return sink.Snapshot{}, sink.ErrNotWhole
	}
	position, err := s.o.engine.LastPosition(ctx, s.o.id)
	if err != nil {
		return sink.Snapshot{}, err
	}
	changes := func(yield func(graph.Change, error) bool) {
		for c, err := range walk(ctx, s.o.st, s.o.convert) {
			if !yield(c, err) || err != nil {
				return
			}
		}
		end, err := s.o.engine.LastPosition(ctx, s.o.id)
		for err == nil && before(position, end) {
			var batch sink.Batch
			batch, err = s.Next(ctx, position, 1)
			for _, c := range batch.Changes {
				if !yield(c, nil) {
					return
				}
			}
			if batch.Position == position {
				break // nothing is left
			}
			position = batch.Position
		}
		if err != nil {
			yield(graph.Change{}, err)
		}
	}
	return sink.Snapshot{Changes: changes, Position: func() string { return position }}, nil
}

// before orders positions of one epoch; of two epochs neither is first, but there is more to read.
func before(a, b string) bool {
	epochA, entryA, _ := strings.Cut(a, ":")
	epochB, entryB, _ := strings.Cut(b, ":")
	return epochA != epochB || less(entryA, entryB)
}

func (s source) Status(ctx context.Context, name string) (sink.Status, error) {
	var status sink.Status
	err := s.load(ctx, name+" status", &status)
	return status, err
}

func (s source) Wish(ctx context.Context, name string) (sink.Wish, error) {
	var wish sink.Wish
	err := s.load(ctx, name+" wish", &wish)
	return wish, err
}

func (s source) Report(ctx context.Context, name string, status sink.Status) error {
	return s.save(ctx, name+" status", status)
}

func (s source) load(ctx context.Context, field string, into any) error {
	text, err := s.o.st.Cell(ctx, "sinks", field)
	if err != nil || text == "" {
		return unavailable(err)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("what is kept of a sink, %s: %w", field, err)
	}
	return nil
}

// save fails once another process works for the instance.
func (s source) save(ctx context.Context, field string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = s.o.merge(ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "sinks", Field: field, Value: string(text)}}}})
	return err
}

// memory is what a sink remembers of an instance.
type memory struct {
	o    *org
	name string
}

func (m memory) Load(ctx context.Context) (sink.Note, error) {
	var note sink.Note
	err := source{m.o}.load(ctx, m.name+" note", &note)
	return note, err
}

func (m memory) Save(ctx context.Context, note sink.Note) error {
	return source{m.o}.save(ctx, m.name+" note", note)
}

// Resnapshot asks for a snapshot to a sink, or to all if name is "". A sink that
// stopped goes on with it. force lifts what guards a destination against
// losing much at once.
func (e *Engine) Resnapshot(ctx context.Context, instance, name string, force bool) error {
	st := e.store.Org(instance)
	if _, err := st.Instance(ctx); err != nil {
		return unknownInstance(instance, err)
	}
	status, err := e.sinkStatus(ctx, st)
	if err != nil {
		return err
	}
	found := false
	for _, s := range e.cfg.Sinks {
		if name != "" && s.Name() != name {
			continue
		}
		found = true
		// A wish that waits keeps its force.
		pending := status[s.Name()]
		wish, err := json.Marshal(sink.Wish{ID: rand.Text(), Force: force || pending.Wish && pending.Force})
		if err != nil {
			return err
		}
		if err := st.Wish(ctx, s.Name(), string(wish)); err != nil {
			return unavailable(err)
		}
	}
	if !found {
		return fmt.Errorf("%w: %.100q; there are: %s", ErrUnknownSink, name, strings.Join(e.sinkNames(), ", "))
	}
	return nil
}

// sinkNames names the configured sinks.
func (e *Engine) sinkNames() []string {
	var names []string
	for _, s := range e.cfg.Sinks {
		names = append(names, s.Name())
	}
	return names
}

// sinkStatus returns how the sinks do.
func (e *Engine) sinkStatus(ctx context.Context, st *state.Org) (map[string]SinkStatus, error) {
	kept, err := st.Sinks(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	return e.parseSinkStatus(ctx, st, kept)
}

// parseSinkStatus makes it of what is kept of the sinks.
func (e *Engine) parseSinkStatus(ctx context.Context, st *state.Org, kept map[string]string) (_ map[string]SinkStatus, err error) {
	if len(e.cfg.Sinks) == 0 {
		return nil, nil
	}
	all := map[string]SinkStatus{}
	for _, name := range e.sinkNames() {
		s := SinkStatus{}
		var wish sink.Wish
		for field, into := range map[string]any{" status": &s.Status, " wish": &wish, " note": &s.Note} {
			if text := kept[name+field]; text != "" {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					return nil, fmt.Errorf("what is kept of sink %s: %w", name, err)
				}
			}
		}
		if s.State == "" {
			s.State = sink.Waiting
		}
		s.Wish = wish.ID != s.Fulfilled
		s.Force = s.Wish && wish.Force
		if s.Lag, err = lag(ctx, st, s.Position); err != nil {
			return nil, err
		}
		all[name] = s
	}
	return all, nil
}

// lag is the age in seconds of the oldest change after the position.
func lag(ctx context.Context, st *state.Org, position string) (*float64, error) {
	if position == "" {
		return nil, nil
	}
	_, entry, _ := strings.Cut(position, ":")
	after, _, err := parsePosition(entry)
	if err != nil {
		return nil, nil // not one of ours: a snapshot is due
	}
	next, err := st.Changes(ctx, after, 1)
	if err != nil {
		return nil, unavailable(err)
	}
	seconds := 0.0
	if len(next) > 0 {
		ms, _, _ := parseEntry(next[0].Position)
		seconds = max(time.Since(time.UnixMilli(int64(ms))).Seconds(), 0)
	}
	return &seconds, nil
}

// forget has the sinks remove what they hold of a deleted instance.
func (e *Engine) forget(ctx context.Context, instance string) error {
	var errs []error
	for _, s := range slices.Backward(e.cfg.Sinks) {
		if err := s.Forget(ctx, instance); err != nil {
			errs = append(errs, fmt.Errorf("sink %s still holds the instance: %w", s.Name(), err))
		}
	}
	return errors.Join(errs...)
}
