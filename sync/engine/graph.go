package engine

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/record"
)

// chunk is how many records are read of the store at once.
const chunk = 500

// project returns the graph objects of a part of the graph.
func project(org convert.Org, id string, p state.Part) []graph.Object {
	if !p.Present {
		return nil
	}
	return convert.Project(org, record.ID(id), &record.Projection{Content: p.Content, MFA: p.MFA, Moved: p.Moved, Everyone: p.Everyone})
}

// Graph yields every object of the graph, entities of a record before its edges.
// Changes made meanwhile may be in it or not: follow the changes from the
// position that LastPosition gave before.
func (e *Engine) Graph(ctx context.Context, instance string) iter.Seq2[graph.Object, error] {
	return func(yield func(graph.Object, error) bool) {
		in, err := e.instance(ctx, instance)
		if err != nil {
			yield(graph.Object{}, err)
			return
		}
		for c, err := range walk(ctx, e.store.Org(instance), convert.NewOrg(in.OrgURL, in.Name)) {
			if !yield(c.Object, err) {
				return
			}
		}
	}
}

// walk yields every object of the graph as its creation, as of what was last
// observed of its record.
func walk(ctx context.Context, st *state.Org, org convert.Org) iter.Seq2[graph.Change, error] {
	return func(yield func(graph.Change, error) bool) {
		w := walker{ctx: ctx, st: st, org: org, yield: yield}
		for _, scope := range []record.Scope{record.AccountScope, record.Users, record.Groups, record.Apps} {
			if !w.scope(scope) {
				return
			}
		}
	}
}

type walker struct {
	ctx   context.Context
	st    *state.Org
	org   convert.Org
	yield func(graph.Change, error) bool
}

// scope yields the objects of a scope, and of those that its records own.
func (w walker) scope(scope record.Scope) bool {
	for cursor := "0"; ; {
		seen, next, err := w.st.Graph(w.ctx, string(scope), cursor, chunk)
		if err != nil {
			w.yield(graph.Change{}, unavailable(fmt.Errorf("read %s: %w", scope, err)))
			return false
		}
		for _, s := range seen {
			asOf := time.UnixMilli(record.Version(s.Version).Millis()).UTC()
			for _, object := range project(w.org, s.ID, s.Part) {
				if !w.yield(graph.Change{Op: graph.Create, Object: object, AsOf: asOf}, nil) {
					return false
				}
			}
			id := record.ID(s.ID)
			if id.Kind() == record.KindUser {
				continue // its factors came with it
			}
			for _, owned := range id.Owns() {
				if !w.scope(owned) {
					return false
				}
			}
		}
		if cursor = next; cursor == "0" {
			return true
		}
	}
}

// FeedChange is a change and its position in the feed.
type FeedChange struct {
	Position string
	Change   graph.Change
}

// Changes returns the next of what follows the position; nothing if nothing does. The
// position "" is before the oldest kept change. A position of another epoch is
// stale: Redis may have lost changes that were given out.
func (e *Engine) Changes(ctx context.Context, instance, position string) ([]FeedChange, error) {
	for {
		changes, reached, err := e.changes(ctx, instance, position)
		// Transitions may show nothing: go on behind them.
		if err != nil || len(changes) > 0 || reached == position {
			return changes, err
		}
		position = reached
	}
}

// Follow yields what follows the position, which is as for Changes: what there is,
// which may be nothing, then what comes, and nothing whenever it was silent for that
// long. It ends with ctx, or with an error.
func (e *Engine) Follow(ctx context.Context, instance, position string, silence time.Duration) iter.Seq2[[]FeedChange, error] {
	return func(yield func([]FeedChange, error) bool) {
		grew := make(chan struct{}, 1)
		defer e.store.Org(instance).Notify(grew, state.ChangesStream)()
		var told time.Time
		for {
			changes, reached, err := e.changes(ctx, instance, position)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(changes) > 0 || time.Since(told) >= silence {
				if !yield(changes, nil) {
					return
				}
				told = time.Now()
			}
			if reached == position {
				await(ctx, grew, min(look, silence-time.Since(told)))
			}
			position = reached
		}
	}
}

// changes returns the changes of the next transitions, and the position behind
// them, which is the same one if there are none.
func (e *Engine) changes(ctx context.Context, instance, position string) ([]FeedChange, string, error) {
	after, skip := "0-0", 0
	before, entry, _ := strings.Cut(position, ":")
	if position != "" {
		var err error
		if after, skip, err = parsePosition(entry); err != nil {
			return nil, position, err
		}
	}
	feed, err := e.store.Org(instance).Feed(ctx, after, chunk)
	if err != nil {
		return nil, position, unknownInstance(instance, err)
	}
	in, err := e.openInstance(instance, feed.Settings)
	if err != nil {
		return nil, position, err
	}
	org, epoch := convert.NewOrg(in.OrgURL, in.Name), feed.Epoch
	if position != "" {
		if before != epoch {
			return nil, position, fmt.Errorf("%w: %.64q is of another epoch", ErrStalePosition, position)
		}
		// Trimming begins at a known length: below it, nothing was lost.
		if less(feed.Last, after) && skip == 0 || less(after, feed.First) && feed.Kept >= state.KeepChanges {
			return nil, position, fmt.Errorf("%w: %s", ErrStalePosition, position)
		}
	}
	transitions := feed.Transitions
	var changes []FeedChange
	for _, t := range transitions {
		position = epoch + ":" + t.Position
		diff := graph.Diff(project(org, t.ID, t.Before), project(org, t.ID, t.After))
		for i, c := range diff {
			if i < skip {
				continue
			}
			c.AsOf, c.Source, c.Cause = time.UnixMilli(t.AsOf).UTC(), t.Source, t.Cause
			at := t.Position
			if i < len(diff)-1 {
				at = fmt.Sprintf("%s.%d", at, i+1)
			}
			changes = append(changes, FeedChange{epoch + ":" + at, c})
		}
		skip = 0
	}
	return changes, position, nil
}

// LastPosition returns the position of the newest change.
func (e *Engine) LastPosition(ctx context.Context, instance string) (string, error) {
	if _, err := e.instance(ctx, instance); err != nil {
		return "", err
	}
	st := e.store.Org(instance)
	epoch, err := st.Fact(ctx, "epoch")
	if err != nil {
		return "", unavailable(err)
	}
	_, last, err := st.ChangesSpan(ctx)
	return epoch + ":" + last, unavailable(err)
}

// parsePosition reads what follows the epoch: the id of an entry of the changes, of which all was given; or
// with .n behind it, n changes.
func parsePosition(position string) (after string, skip int, err error) {
	id, n, partial := strings.Cut(position, ".")
	ms, seq, ok := parseEntry(id)
	if !ok {
		return "", 0, fmt.Errorf("%w: %.64q is no position of this feed", ErrStalePosition, position)
	}
	if !partial {
		return id, 0, nil
	}
	if skip, err = strconv.Atoi(n); err != nil || skip < 0 {
		return "", 0, fmt.Errorf("%w: %.64q is no position of this feed", ErrStalePosition, position)
	}
	switch { // the entry itself is to be read again
	case seq > 0:
		seq--
	case ms > 0:
		ms, seq = ms-1, math.MaxUint64
	}
	return fmt.Sprintf("%d-%d", ms, seq), skip, nil
}

func parseEntry(id string) (ms, seq uint64, ok bool) {
	a, b, found := strings.Cut(id, "-")
	ms, err1 := strconv.ParseUint(a, 10, 64)
	seq, err2 := strconv.ParseUint(b, 10, 64)
	return ms, seq, found && err1 == nil && err2 == nil
}

// less orders the ids of entries.
func less(a, b string) bool {
	ms1, seq1, _ := parseEntry(a)
	ms2, seq2, _ := parseEntry(b)
	return ms1 < ms2 || ms1 == ms2 && seq1 < seq2
}
