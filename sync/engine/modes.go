package engine

import (
	"container/heap"
	"context"
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/record"
)

// follow returns the scopes that a run has to read next. A full one reads all.
// The others read those whose mark of change moved since their last list, those
// never listed, and those last listed before the log was broken.
func (r *reconciling) follow(ctx context.Context, found []follow) ([]state.Cell, error) {
	if len(found) == 0 || r.before.Object != "" {
		return nil, nil
	}
	everything := r.before.Mode == "full" || r.before.Mode == "verify"
	var marks []int64
	if !everything {
		scopes := make([]string, len(found))
		for i, f := range found {
			scopes[i] = string(f.scope)
		}
		var err error
		if marks, err = r.st.Watermarks(ctx, scopes); err != nil {
			return nil, unavailable(err)
		}
	}
	var cells []state.Cell
	for i, f := range found {
		switch {
		case everything || marks[i] == 0 || f.moved >= marks[i] || marks[i] <= r.broken:
			cells = append(cells, pending(f.scope))
		case r.before.Mode == "sweep":
			r.mu.Lock()
			r.rest[isFactors(f.scope)].offer(f.scope, marks[i])
			r.mu.Unlock()
		}
	}
	return cells, nil
}

func isFactors(scope record.Scope) bool { return strings.HasPrefix(string(scope), "factors/") }

// A sweep reads, of the scopes that it need not read, those first that were
// listed longest ago: a seventh, so that a nightly sweep has read all in a
// week. But without the factors a sweep costs no more than a tenth of what a
// full read does, so that it may take longer where nearly all of the cost is in them.
const rotateOver = 7

// rotation keeps the scopes that were listed longest ago, no more than it may read.
type rotation struct {
	most   int   // scopes
	seen   int   // scopes offered
	oldest aging // the one listed last is on top
}

type aged struct {
	scope  record.Scope
	listed int64
}

type aging []aged

func (a aging) Len() int           { return len(a) }
func (a aging) Less(i, j int) bool { return a[i].listed > a[j].listed }
func (a aging) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *aging) Push(x any)        { *a = append(*a, x.(aged)) }
func (a *aging) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func (r *rotation) offer(scope record.Scope, listed int64) {
	r.seen++
	heap.Push(&r.oldest, aged{scope, listed})
	if r.oldest.Len() > r.most {
		heap.Pop(&r.oldest)
	}
}

// planRotation works out how much a sweep may read beyond what moved.
func (r *reconciling) planRotation(ctx context.Context) error {
	r.rest = map[bool]*rotation{true: {}, false: {}}
	place, _, err := loadLogPlace(r.org)
	if err != nil {
		return err
	}
	r.broken = place.Broken
	if r.before.Mode != "sweep" {
		return nil
	}
	counts, err := r.st.Counts(ctx)
	if err != nil {
		return unavailable(err)
	}
	pages := func(kind string) int64 { return counts[kind]/200 + 1 }
	lists := 1 + pages("user") + pages("group") + pages("app")
	full := lists + counts["group"] + 2*counts["app"] + counts["member"]/1000 + counts["appuser"]/500
	// A little less than a tenth: what of it is empty costs nothing in a full read.
	r.rest[false].most = int(max(full*9/100-lists, 0))
	r.rest[true].most = int(counts["user"]/rotateOver + 1)
	return nil
}

// rotate has the scopes read that were listed longest ago.
func (r *reconciling) rotate(ctx context.Context) {
	if r.before.Mode != "sweep" || ctx.Err() != nil {
		return
	}
	var cells []state.Cell
	for factors, rest := range r.rest {
		for rest.oldest.Len() > rest.seen/rotateOver+1 {
			heap.Pop(&rest.oldest)
		}
		left := rest.most
		for rest.oldest.Len() > 0 {
			a := heap.Pop(&rest.oldest).(aged)
			if !factors {
				n, err := r.st.Count(ctx, string(a.scope))
				if err != nil {
					r.log.Warn("rotation of a sweep is left out", "run", r.before.ID, "err", err)
					return
				}
				if left -= 1 + int(n/500); left < 0 {
					continue
				}
			}
			cells = append(cells, pending(a.scope))
		}
	}
	for len(cells) > 0 {
		n := min(len(cells), chunk)
		if _, err := r.merge(ctx, batch{Batch: state.Batch{Set: cells[:n]}}); err != nil {
			r.log.Warn("rotation of a sweep is left out", "run", r.before.ID, "err", err)
			return
		}
		cells = cells[n:]
	}
}

// keepSchedule starts a full reconcile when the schedule says so. Of several
// times that were missed one is made up for.
func (o *org) keepSchedule() error {
	if o.cfg.Schedule == "" {
		return nil
	}
	now := o.cfg.Clock().UTC()
	text, err := o.st.Fact(o.ctx, "scheduled")
	if err != nil {
		return err
	}
	last, err := time.Parse(time.RFC3339, text)
	if err != nil { // the first time: nothing was missed
		return o.setFact("scheduled", now.Format(time.RFC3339))
	}
	next, err := gronx.NextTickAfter(o.cfg.Schedule, last, false)
	if err != nil || now.Before(next) {
		return err
	}
	run, started, err := o.engine.startRun(o.ctx, o.st, o.id, Start{Trigger: "schedule"})
	if err == nil && !started && !covers(run, Start{}) {
		err = o.setFact("wanted", want(Start{Trigger: "schedule"}))
	}
	if err != nil {
		return err
	}
	return o.setFact("scheduled", now.Format(time.RFC3339))
}

func (o *org) setFact(name, value string) error {
	_, err := o.merge(o.ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "facts", Field: name, Value: value}}}})
	return err
}
