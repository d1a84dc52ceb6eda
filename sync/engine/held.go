package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/record"
)

// held is an observation that merge.lua holds: of a record, or, with Millis,
// that a list of a scope was complete as of then.
type held struct {
	Kind    string   `json:"kind"`
	N       int64    `json:"n"` // records that it would make absent
	Version int64    `json:"v"`
	Present bool     `json:"present"`
	Content string   `json:"content"`
	Millis  int64    `json:"ms"`
	Samples []string `json:"samples"`
	Source  string   `json:"source"`
	Cause   string   `json:"cause"`
}

// decodeHeld reads what merge.lua wrote, in whose JSON an empty list is {}.
func decodeHeld(text string) (h held, err error) {
	var raw struct {
		held
		Samples json.RawMessage `json:"samples"`
	}
	if err = json.Unmarshal([]byte(text), &raw); err != nil {
		return h, err
	}
	h = raw.held
	if len(raw.Samples) > 0 && raw.Samples[0] == '[' {
		err = json.Unmarshal(raw.Samples, &h.Samples)
	}
	return h, err
}

// eachHeld calls f with chunks of what a run holds. f may take from it.
func eachHeld(ctx context.Context, st *state.Org, run string, f func(map[string]held) error) error {
	for at := uint64(0); ; {
		texts, next, err := st.Held(ctx, run, at, chunk)
		if err != nil {
			return unavailable(err)
		}
		part := make(map[string]held, len(texts))
		for target, text := range texts {
			if part[target], err = decodeHeld(text); err != nil {
				return fmt.Errorf("held %s of run %s: %w", target, run, err)
			}
		}
		if err := f(part); err != nil {
			return err
		}
		if at = next; at == 0 {
			return nil
		}
	}
}

const (
	heldSamples = 20 // records of a kind that are named
	sampleParts = 4  // chunks of what is held that are looked at for them
)

// summarize tells what a run holds; nil if that is nothing. How much it is was
// counted while it was held; the samples are from a part of it.
func summarize(ctx context.Context, st *state.Org, run string) (*Held, error) {
	counts, err := st.HeldByKind(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	sum := &Held{Kinds: map[string]HeldKind{}}
	for name, n := range counts {
		of := strings.Fields(name) // run, kind, what becomes of the records
		if len(of) != 3 || of[0] != run {
			continue
		}
		k := sum.Kinds[of[1]]
		if of[2] == "deletes" {
			k.Deletes = n
		} else {
			k.Changes = n
		}
		k.Samples = []string{}
		sum.Kinds[of[1]] = k
		sum.Total += n
	}
	if sum.Total == 0 {
		return nil, nil
	}
	return sum, sampleHeld(ctx, st, run, sum.Kinds)
}

// sampleHeld names a few of the records of each kind, as far as a bounded part of
// what is held shows any.
func sampleHeld(ctx context.Context, st *state.Org, run string, kinds map[string]HeldKind) error {
	at := uint64(0)
	for range sampleParts {
		texts, next, err := st.Held(ctx, run, at, chunk)
		if err != nil {
			return unavailable(err)
		}
		for target, text := range texts {
			h, err := decodeHeld(text)
			if err != nil {
				return fmt.Errorf("held %s of run %s: %w", target, run, err)
			}
			k, counted := kinds[h.Kind]
			if !counted { // held a moment after the count
				continue
			}
			samples := h.Samples
			if h.Millis == 0 {
				samples = []string{target}
			} else if len(samples) == 0 {
				samples = []string{"records of " + target}
			}
			k.Samples = append(k.Samples, samples[:min(len(samples), heldSamples-len(k.Samples))]...)
			kinds[h.Kind] = k
		}
		lacking := false
		for _, k := range kinds {
			slices.Sort(k.Samples)
			lacking = lacking || len(k.Samples) == 0
		}
		if at = next; at == 0 || !lacking {
			return nil
		}
	}
	return nil
}

// HeldRecord is one thing that a run holds: of a record, or of all records of a
// scope that a list did not show.
type HeldRecord struct {
	Record  string    `json:"record"`         // record or scope
	Kind    string    `json:"kind"`           // of record
	Name    string    `json:"name,omitempty"` // displayName of its entity in the graph, of an edge those of both ends, of a scope that of its owner
	Deletes int64     `json:"deletes"`        // records that approval makes absent; 0: it comes or changes
	Scope   bool      `json:"scope"`          // it stands for as many records of a scope: HeldOfScope lists them
	AsOf    time.Time `json:"asOf"`           // when it was seen, on Okta's clock
	Source  string    `json:"source"`
	Cause   string    `json:"cause"`
}

// HeldRecords returns a part of what a run holds, in no order, and the cursor of
// the next part; "" is the first one and behind the last one.
func (e *Engine) HeldRecords(ctx context.Context, run, cursor string) ([]HeldRecord, string, error) {
	at := uint64(0)
	if cursor != "" {
		var err error
		if at, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return nil, "", ErrCursor
		}
	}
	st, org, err := e.holder(ctx, run)
	if err != nil {
		return nil, "", err
	}
	texts, next, err := st.Held(ctx, run, at, chunk)
	if err != nil {
		return nil, "", unavailable(err)
	}
	list := make([]HeldRecord, 0, len(texts))
	for target, text := range texts {
		h, err := decodeHeld(text)
		if err != nil {
			return nil, "", fmt.Errorf("held %s of run %s: %w", target, run, err)
		}
		list = append(list, h.shown(target))
	}
	if err := nameThem(ctx, st, org, list); err != nil || next == 0 {
		return list, "", err
	}
	return list, strconv.FormatUint(next, 10), nil
}

// HeldOfScope returns a part of the records that go if what a run holds of a
// scope is approved; cursors as HeldRecords.
func (e *Engine) HeldOfScope(ctx context.Context, run, scope, cursor string) ([]HeldRecord, string, error) {
	if cursor == "" {
		cursor = "0"
	} else if _, err := strconv.ParseUint(cursor, 10, 64); err != nil {
		return nil, "", ErrCursor
	}
	st, org, err := e.holder(ctx, run)
	if err != nil {
		return nil, "", err
	}
	text, err := st.Cell(ctx, "held:"+run, scope)
	if err != nil || text == "" { // approved or canceled meanwhile
		return nil, "", unavailable(err)
	}
	h, err := decodeHeld(text)
	if err != nil {
		return nil, "", fmt.Errorf("held %s of run %s: %w", scope, run, err)
	}
	if h.Millis == 0 {
		return nil, "", fmt.Errorf("%w: %s", ErrUnknownObject, scope)
	}
	seen, next, err := st.Graph(ctx, scope, cursor, chunk)
	if err != nil {
		return nil, "", unavailable(err)
	}
	var list []HeldRecord
	for _, s := range seen {
		if record.Version(s.Version) < record.AsRead(h.Millis) {
			list = append(list, HeldRecord{Record: s.ID, Kind: h.Kind, Deletes: 1,
				AsOf: time.UnixMilli(h.Millis).UTC(), Source: h.Source, Cause: h.Cause})
		}
	}
	if err := nameThem(ctx, st, org, list); err != nil || next == "0" {
		return list, "", err
	}
	return list, next, nil
}

// holder returns the state that a run belongs to.
func (e *Engine) holder(ctx context.Context, run string) (*state.Org, convert.Org, error) {
	at := strings.LastIndexByte(run, '-')
	if at < 0 {
		return nil, convert.Org{}, fmt.Errorf("%w: %s", ErrUnknownRun, run)
	}
	in, err := e.instance(ctx, run[:at])
	if errors.Is(err, ErrUnknownInstance) {
		err = fmt.Errorf("%w: %s", ErrUnknownRun, run)
	}
	if err != nil {
		return nil, convert.Org{}, err
	}
	st := e.store.Org(in.ID)
	_, err = loadRun(ctx, st, run)
	return st, convert.NewOrg(in.OrgURL, in.Name), err
}

func (h held) shown(target string) HeldRecord {
	ms := h.Millis
	if ms == 0 {
		ms = record.Version(h.Version).Millis()
	}
	return HeldRecord{Record: target, Kind: h.Kind, Deletes: h.N, Scope: h.Millis > 0,
		AsOf: time.UnixMilli(ms).UTC(), Source: h.Source, Cause: h.Cause}
}

// nameThem fills in what the records are called in the graph now, and sorts them.
func nameThem(ctx context.Context, st *state.Org, org convert.Org, list []HeldRecord) error {
	slices.SortFunc(list, func(a, b HeldRecord) int { return strings.Compare(a.Record, b.Record) })
	ids := make([]string, len(list))
	for i, h := range list {
		ids[i] = h.Record
		if h.Scope {
			owner, _ := ownerOf(h.Record)
			ids[i] = string(owner)
		}
	}
	names, err := displayNames(ctx, st, org, ids)
	for i := range list {
		list[i].Name = names[ids[i]]
	}
	return err
}

// displayNames tells what records are called in the graph now: as their entity,
// or as the ends of their edge.
func displayNames(ctx context.Context, st *state.Org, org convert.Org, ids []string) (map[string]string, error) {
	all := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == "" })
	for _, id := range ids {
		for _, end := range record.ID(id).Ends() {
			all = append(all, string(end))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	parts, err := st.Look(ctx, all)
	if err != nil {
		return nil, unavailable(err)
	}
	names := map[string]string{}
	for i, id := range all {
		if objects := project(org, id, parts[i]); len(objects) > 0 && objects[0].Entity != nil {
			names[id], _ = objects[0].Entity.Properties["displayName"].(string)
		}
	}
	for _, id := range ids {
		var ends []string
		for _, end := range record.ID(id).Ends() {
			if name := names[string(end)]; name != "" {
				// Isolated: the direction of one name leaves the other alone.
				ends = append(ends, "\u2068"+name+"\u2069")
			}
		}
		if names[id] == "" {
			names[id] = strings.Join(ends, " – ")
		}
	}
	return names, nil
}

// noteHeld sees to it that the run that holds what was found outside of any
// run can be looked at.
func (o *org) noteHeld(ctx context.Context, run string) error {
	if _, err := o.st.Run(ctx, run); !errors.Is(err, state.ErrNotFound) {
		return unavailable(err)
	}
	now := o.cfg.Clock().UTC()
	text, err := json.Marshal(Run{ID: run, Instance: o.id, Mode: "refresh", Trigger: "events", State: RunSucceeded,
		StartedAt: now, EndedAt: &now, Progress: map[string]Progress{}})
	if err != nil {
		return err
	}
	_, err = o.merge(ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "runs", Field: run, Value: string(text)}}}})
	return err
}

// What an operator can order.
const (
	orderCancel  = "cancel"
	orderApprove = "approve"
)

// obey does what operators ordered, but to the run that works: it sees to that itself.
func (o *org) obey(working string) error {
	orders, err := o.st.Orders(o.ctx)
	if err != nil || len(orders) == 0 {
		return err
	}
	for run, what := range orders {
		if run == working {
			continue
		}
		switch what {
		case orderApprove:
			err = o.approve(o.ctx, run)
		case orderCancel:
			err = o.cancel(o.ctx, run)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// approve merges what a run holds, each as of its own time: what was observed
// since wins.
func (o *org) approve(ctx context.Context, run string) error {
	o.log.Info("what the run holds is approved", "run", run)
	free := judgement{brake: true, forced: true, holder: run}
	err := eachHeld(ctx, o.st, run, func(part map[string]held) error {
		b := batch{judgement: free}
		for target, h := range part {
			cell := state.Cell{Hash: "held:" + run, Field: target}
			cause := record.Cause{Source: record.Source(h.Source), ID: h.Cause}
			if h.Millis > 0 {
				l := &listing{scope: record.Scope(target), cause: cause, judgement: free}
				if err := o.complete(ctx, l, batch{Batch: state.Batch{Done: []state.Cell{cell}}, judgement: free}, place{AsOf: h.Millis, Items: 1}, 0); err != nil {
					return err
				}
				continue
			}
			b.observations = append(b.observations, h.observation(record.ID(target)))
			b.Delete = append(b.Delete, cell)
		}
		_, err := o.merge(ctx, b)
		return err
	})
	if err != nil {
		return err
	}
	_, err = o.merge(ctx, batch{Batch: state.Batch{Delete: []state.Cell{{Hash: "orders", Field: run}}}, judgement: judgement{holder: run}})
	o.wake()
	return err
}

func (h held) observation(id record.ID) record.Observation {
	ob := record.Observation{ID: id, Version: record.Version(h.Version), Present: h.Present,
		Cause: record.Cause{Source: record.Source(h.Source), ID: h.Cause}}
	if h.Content != "" {
		ob.Content = []byte(h.Content)
	}
	return ob
}

// cancel ends a run that works or settles, and drops what a run holds.
func (o *org) cancel(ctx context.Context, id string) error {
	b := batch{Batch: state.Batch{
		Drop:   []string{"held:" + id},
		Delete: []state.Cell{{Hash: "orders", Field: id}},
	}, judgement: judgement{holder: id}}
	running, err := o.st.Fact(ctx, "run")
	if err != nil {
		return err
	}
	run, err := loadRun(ctx, o.st, id)
	if err != nil && !errors.Is(err, ErrUnknownRun) {
		return err
	}
	if running == id {
		b.Drop = append(b.Drop, o.pendings()...)
		b.Delete = append(b.Delete, state.Cell{Hash: "facts", Field: "run"})
	}
	if err == nil && (running == id || run.EndedAt == nil) {
		now := o.cfg.Clock().UTC()
		run.State, run.EndedAt = RunCanceled, &now
		text, err := json.Marshal(run)
		if err != nil {
			return err
		}
		b.Set = []state.Cell{{Hash: "runs", Field: id, Value: string(text)}}
	}
	o.log.Info("run is canceled, and what it held dropped", "run", id)
	if _, err := o.merge(ctx, b); err != nil {
		return err
	}
	if b.Set != nil {
		o.noteEnded(run)
	}
	return nil
}

// settleFor bounds how long a verify waits to be caught up with its lists.
const settleFor = 30 * time.Minute

// settle waits until the graph is caught up with a verify, and judges what it
// holds then: what the merge would still change is the drift. It returns true
// while it waits.
func (o *org) settle(ctx context.Context, run Run) (bool, error) {
	switch order, err := o.st.Cell(ctx, "orders", run.ID); {
	case err != nil:
		return false, unavailable(err)
	case order == orderCancel:
		return false, o.cancel(ctx, run.ID)
	}
	caught, err := caughtUp(ctx, o.st, run.ReadUntil.UnixMilli())
	if err != nil {
		return false, err
	}
	if !caught && o.now().Before(run.ReadUntil.Add(settleFor)) {
		return true, nil
	}
	if !caught {
		run.Errors = append(run.Errors, RunError{Scope: "log", Error: "the graph did not catch up with the end of the run in " +
			settleFor.String() + ": the drift may hold what is only late; see log.problem of the instance"})
	}
	drift := Drift{Run: run.ID, At: o.cfg.Clock().UTC(), Kinds: map[string]int64{}}
	again := judgement{verify: true, holder: run.ID}
	err = eachHeld(ctx, o.st, run.ID, func(part map[string]held) error {
		// Held again, or dropped where nothing would change any more.
		b := batch{judgement: again}
		var ids []string
		for target, h := range part {
			if h.Millis > 0 {
				l := &listing{scope: record.Scope(target), cause: record.Cause{Source: record.Source(h.Source), ID: h.Cause}, judgement: again}
				if err := o.complete(ctx, l, batch{judgement: again}, place{AsOf: h.Millis, Items: 1}, 0); err != nil {
					return err
				}
				continue
			}
			ids = append(ids, target)
			b.observations = append(b.observations, h.observation(record.ID(target)))
		}
		if len(ids) == 0 {
			return nil
		}
		if _, err := o.merge(ctx, b); err != nil {
			return err
		}
		parts, err := o.st.Look(ctx, ids)
		if err != nil {
			return unavailable(err)
		}
		still, err := o.st.Cells(ctx, "held:"+run.ID, ids)
		if err != nil {
			return unavailable(err)
		}
		var dropped []state.Cell // what is no drift nobody need decide on
		for i, id := range ids {
			if still[i] == "" {
				continue
			}
			h := part[id]
			waits := !parts[i].Present && h.Present && o.hidden(ctx, id) // for its ends
			silent := !waits && o.onlySilent(id, parts[i], h)
			if waits || silent {
				dropped = append(dropped, state.Cell{Hash: "held:" + run.ID, Field: id})
			} else {
				drift.Kinds[h.Kind]++
				drift.Total++
			}
			if silent {
				drift.Silent++
			}
		}
		if len(dropped) == 0 {
			return nil
		}
		_, err = o.merge(ctx, batch{Batch: state.Batch{Delete: dropped}, judgement: again})
		return err
	})
	if err != nil {
		return false, err
	}
	err = eachHeld(ctx, o.st, run.ID, func(part map[string]held) error {
		for _, h := range part {
			if h.Millis > 0 {
				drift.Kinds[h.Kind] += h.N
				drift.Total += h.N
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	text, err := json.Marshal(drift)
	if err != nil {
		return false, err
	}
	run.State = RunSucceeded
	if len(run.Errors) > 0 {
		run.State = RunIncomplete
	}
	return false, o.endRun(ctx, run, state.Cell{Hash: "facts", Field: "drift", Value: string(text)})
}

// hidden tells whether an end of an edge is not in the graph.
func (o *org) hidden(ctx context.Context, id string) bool {
	for _, end := range record.ID(id).Ends() {
		parts, err := o.st.Look(ctx, []string{string(end)})
		if err == nil && !parts[0].Present {
			return true
		}
	}
	return false
}

// untold are properties that change without an event: a sign-in has none that
// is followed, and that a deleted user was a member moves its groups' mark.
var untold = map[string]bool{"lastLogin": true, "lastLoginOn": true, "lastMembershipUpdated": true, "lastMembershipUpdatedOn": true}

// onlySilent tells whether a held observation changes only such properties.
func (o *org) onlySilent(id string, now state.Part, h held) bool {
	if !now.Present || !h.Present {
		return false
	}
	then := now
	then.Content = []byte(h.Content)
	strip := func(p state.Part) []graph.Object {
		objects := project(o.convert, id, p)
		for _, object := range objects {
			if object.Entity != nil {
				for name := range untold {
					delete(object.Entity.Properties, name)
				}
			}
		}
		return objects
	}
	return reflect.DeepEqual(strip(now), strip(then))
}

// noteWhole keeps that the graph has become whole. It tells whether that is awaited:
// everything was read, and what the log told meanwhile is yet to be.
func (o *org) noteWhole() (awaited bool, err error) {
	if o.noted {
		return false, nil
	}
	is, full, err := whole(o.ctx, o.st)
	if err != nil || !is {
		return full != 0, err
	}
	noted, err := o.st.Fact(o.ctx, "whole")
	if err != nil || noted != "" {
		o.noted = err == nil
		return false, err
	}
	o.log.Info("the graph is whole", "with", full)
	err = o.setFact("whole", strconv.FormatInt(full, 10))
	o.noted = err == nil
	return false, err
}
