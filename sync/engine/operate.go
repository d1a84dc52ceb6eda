package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/sink"
)

// Errors of what operators ask for.
var (
	ErrUnknownMode   = errors.New("no such mode of a reconcile")
	ErrUnknownObject = errors.New("not the id of a record or scope")
	ErrUnknownLetter = errors.New("no such dead letter")
	ErrNothingHeld   = errors.New("the run holds nothing to approve")
	ErrRunOver       = errors.New("the run is over")
	ErrHolding       = errors.New("runs hold what awaits approval")
	ErrFull          = errors.New("the store is nearly full")
)

// Modes are the ways to reconcile.
var Modes = []string{"full", "sweep", "incremental", "verify"}

// Start is what a run is to do.
type Start struct {
	Mode    string // one of Modes; "" is full
	Trigger string
	Object  string // one record or scope, as user/00u… or members/00g…; "" for all
	Force   bool   // lifts the brake
}

// DeadLetter is an event that could not be understood.
type DeadLetter struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"` // when it became one, on the clock of Redis
	UUID      string    `json:"uuid,omitempty"`
	EventType string    `json:"eventType,omitempty"`
	Reason    string    `json:"reason"`
	// Event is the event as it came: of a single letter only, since it may
	// name people.
	Event []byte `json:"-"`
}

// Replayed is what became of dead letters.
type Replayed struct {
	Replayed int `json:"replayed"` // went back to the inbox
	Failed   int `json:"failed"`   // still cannot be understood, and stay
}

// Health is the state of what the service stands on.
type Health struct {
	Redis    RedisHealth `json:"redis"`
	Warnings []string    `json:"warnings,omitempty"` // what endangers a promise, and the remedy
}

// RedisHealth is what Redis tells of itself.
type RedisHealth struct {
	Embedded  bool    `json:"embedded,omitempty"` // in memory of this process
	Version   string  `json:"version,omitempty"`
	AOF       bool    `json:"aof"`
	Fsync     string  `json:"fsync,omitempty"`    // always, everysec, no; empty if Redis does not tell
	Eviction  string  `json:"eviction,omitempty"` // should be noeviction
	UsedBytes int64   `json:"usedBytes"`
	MaxBytes  int64   `json:"maxBytes,omitempty"` // 0: no limit of its own
	Used      float64 `json:"used"`               // share of the limit, 0 without one
}

// Cancel ends a run that works, or drops what a run that ended holds. It
// returns the run as it stands: its owner acts within a second.
func (e *Engine) Cancel(ctx context.Context, run string) (Run, error) {
	r, err := e.RunByID(ctx, run)
	if err != nil {
		return r, err
	}
	if r.EndedAt != nil && r.Held == nil {
		return r, fmt.Errorf("%w and holds nothing: %s", ErrRunOver, run)
	}
	return r, e.order(ctx, r, orderCancel)
}

// Approve lets what the run holds take effect: it merges as of its own time, so
// what was observed since wins. It returns the run as it stands: its owner
// acts within a second.
func (e *Engine) Approve(ctx context.Context, run string) (Run, error) {
	r, err := e.RunByID(ctx, run)
	if err != nil {
		return r, err
	}
	if r.Held == nil || r.EndedAt == nil {
		return r, fmt.Errorf("%w: %s is %s", ErrNothingHeld, run, r.State)
	}
	return r, e.order(ctx, r, orderApprove)
}

func (e *Engine) order(ctx context.Context, r Run, what string) error {
	if err := e.store.Org(r.Instance).Order(ctx, r.ID, what); err != nil {
		return unavailable(err)
	}
	e.tell(ctx, r.Instance)
	return nil
}

// Pause stops all work on the instance but the acceptance of events, and the
// delivery of what the graph holds.
func (e *Engine) Pause(ctx context.Context, instance string) error {
	return e.setPaused(ctx, instance, true)
}

// Resume ends a pause.
func (e *Engine) Resume(ctx context.Context, instance string) error {
	return e.setPaused(ctx, instance, false)
}

func (e *Engine) setPaused(ctx context.Context, instance string, paused bool) error {
	if _, err := e.store.Org(instance).Instance(ctx); err != nil {
		return unknownInstance(instance, err)
	}
	if err := e.store.Org(instance).SetPaused(ctx, paused); err != nil {
		return unavailable(err)
	}
	e.tell(ctx, instance)
	return nil
}

// Delete forgets an instance and all that is stored of it here, local sinks
// included. What a remote destination holds stays there. Of an unknown instance
// the sinks may still hold something: they forget it, too.
func (e *Engine) Delete(ctx context.Context, instance string) error {
	_, unknown := e.store.Org(instance).Instance(ctx)
	if unknown != nil && !errors.Is(unknown, state.ErrNotFound) {
		return unavailable(unknown)
	}
	if unknown == nil {
		owner, err := e.store.Org(instance).Owner(ctx)
		if err != nil {
			return unavailable(err)
		}
		if err := e.store.Org(instance).Purge(ctx); err != nil {
			return unavailable(err)
		}
		// A delivery under way is to end first: that of another process ends when it
		// looks at its lease.
		if o := e.org(instance); o != nil {
			e.retire(o)
		} else if owner != "" {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(e.cfg.Lease/4 + look):
			}
		}
	}
	if unknown != nil { // what a deletion that broke off may have left
		if err := e.store.Org(instance).Purge(ctx); err != nil {
			return unavailable(err)
		}
	}
	e.tell(ctx, instance)
	if err := e.forget(ctx, instance); err != nil {
		return err
	}
	if unknown != nil {
		return unknownInstance(instance, unknown)
	}
	return nil
}

// ForgetHistory drops what is kept of the past: the changes, with the objects as
// they were, and the dead letters. The graph stays as it is; sinks get a snapshot
// of it, and readers of the changes start anew. What a run holds is of the past,
// too: it has to be decided on before.
func (e *Engine) ForgetHistory(ctx context.Context, instance string) error {
	if _, err := e.store.Org(instance).Instance(ctx); err != nil {
		return unknownInstance(instance, err)
	}
	holding, err := e.store.Org(instance).Holding(ctx)
	if err != nil {
		return unavailable(err)
	}
	if len(holding) > 0 {
		slices.Sort(holding)
		return fmt.Errorf("%w: %s", ErrHolding, strings.Join(holding, ", "))
	}
	return unavailable(e.store.Org(instance).ForgetHistory(ctx))
}

func unknownInstance(id string, err error) error {
	if errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("%w: %s", ErrUnknownInstance, id)
	}
	return unavailable(err)
}

// LetterForm is the form of a dead letter's id.
var LetterForm = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)

// DeadLetters returns up to limit dead letters, oldest first, after the one
// with the id after ("": from the first).
func (e *Engine) DeadLetters(ctx context.Context, instance, after string, limit int) ([]DeadLetter, error) {
	st := e.store.Org(instance)
	if _, err := st.Instance(ctx); err != nil {
		return nil, unknownInstance(instance, err)
	}
	if after != "" && !LetterForm.MatchString(after) {
		return nil, fmt.Errorf("%w: %.64q", ErrUnknownLetter, after)
	}
	dead, err := st.DeadLetters(ctx, after, int64(limit))
	if err != nil {
		return nil, unavailable(err)
	}
	letters := make([]DeadLetter, len(dead))
	for i, d := range dead {
		letters[i] = letter(d)
		letters[i].Event = nil
	}
	return letters, nil
}

func letter(d state.Dead) DeadLetter {
	l := DeadLetter{ID: d.ID, Reason: d.Reason, Event: d.Event}
	if ms, _, ok := parseEntry(d.ID); ok {
		l.At = time.UnixMilli(int64(ms)).UTC()
	}
	var names struct {
		UUID string `json:"uuid"`
		Type string `json:"eventType"`
	}
	if json.Unmarshal(d.Event, &names) == nil && len(names.UUID) <= 128 && len(names.Type) <= 256 {
		l.UUID, l.EventType = names.UUID, names.Type
	}
	return l
}

// DeadLetter returns one, with its event.
func (e *Engine) DeadLetter(ctx context.Context, instance, id string) (DeadLetter, error) {
	st := e.store.Org(instance)
	if _, err := st.Instance(ctx); err != nil {
		return DeadLetter{}, unknownInstance(instance, err)
	}
	if !LetterForm.MatchString(id) {
		return DeadLetter{}, fmt.Errorf("%w: %.64q", ErrUnknownLetter, id)
	}
	d, err := st.DeadLetter(ctx, id)
	if errors.Is(err, state.ErrNotFound) {
		return DeadLetter{}, fmt.Errorf("%w: %s", ErrUnknownLetter, id)
	}
	if err != nil {
		return DeadLetter{}, unavailable(err)
	}
	return letter(d), nil
}

// Replay sends dead letters back to the inbox: those named, or all.
func (e *Engine) Replay(ctx context.Context, instance string, ids []string) (Replayed, error) {
	var total Replayed
	st := e.store.Org(instance)
	if _, err := st.Instance(ctx); err != nil {
		return total, unknownInstance(instance, err)
	}
	replay := func(dead []state.Dead) error {
		var good []state.Dead
		for _, d := range dead {
			body, err := readable(d.Event)
			if err != nil {
				total.Failed++
				continue
			}
			d.Event = body
			good = append(good, d)
		}
		if len(good) == 0 {
			return nil
		}
		n, err := st.Replay(ctx, good)
		total.Replayed += n
		return unavailable(err)
	}
	if len(ids) > 0 {
		for _, id := range ids {
			if !LetterForm.MatchString(id) {
				return total, fmt.Errorf("%w: %.64q", ErrUnknownLetter, id)
			}
			d, err := st.DeadLetter(ctx, id)
			if errors.Is(err, state.ErrNotFound) {
				return total, fmt.Errorf("%w: %s", ErrUnknownLetter, id)
			}
			if err != nil {
				return total, unavailable(err)
			}
			if err := replay([]state.Dead{d}); err != nil {
				return total, err
			}
		}
		return total, nil
	}
	// Those there now: what fails again comes back behind them.
	newest, err := st.NewestDeadLetter(ctx)
	if err != nil {
		return total, unavailable(err)
	}
	for after := ""; ; {
		dead, err := st.DeadLetters(ctx, after, chunk)
		if err != nil {
			return total, unavailable(err)
		}
		dead = slices.DeleteFunc(dead, func(d state.Dead) bool { return less(newest, d.ID) })
		if len(dead) == 0 {
			return total, nil
		}
		after = dead[len(dead)-1].ID
		if err := replay(dead); err != nil {
			return total, err
		}
	}
}

// readable returns the event of a dead letter as the inbox keeps events.
func readable(raw []byte) ([]byte, error) {
	var ours okta.Event
	if err := json.Unmarshal(raw, &ours); err == nil && ours.UUID != "" && ours.RequestURI != "" {
		return raw, nil // it came from the inbox
	}
	event, err := okta.ParseEvent(raw)
	if err != nil {
		return nil, err
	}
	return json.Marshal(event)
}

// patience is how long a sink may fail before somebody must act.
const patience = 15 * time.Minute

// troubled names the instances that need somebody to act. Why is told to
// operators only.
func (e *Engine) troubled(ctx context.Context) []string {
	all, err := e.Instances(ctx)
	if err != nil {
		e.cfg.Log.Warn("health: the state of the instances could not be read", "err", err)
		return []string{"the state of the instances could not be read in time: see GET /admin/instances"}
	}
	var warnings []string
	for _, in := range all {
		if in.Problem != "" || in.Log.Problem != "" {
			warnings = append(warnings, "instance "+in.ID+" cannot read all of its org: see problem and log of GET /admin/instances/"+in.ID)
		}
		if in.Hook != nil && in.Hook.Problem != "" {
			warnings = append(warnings, HookWarning(in.ID))
		}
		for _, s := range in.Sinks {
			if s.State == sink.Stopped || s.Error != "" && time.Since(s.Since) > patience {
				warnings = append(warnings, "instance "+in.ID+" has a sink that fails: see sinks of GET /admin/instances/"+in.ID)
				break
			}
		}
	}
	return warnings
}

// Health looks at Redis: its persistence, eviction policy and memory; and for
// instances that need somebody to act.
func (e *Engine) Health(ctx context.Context) (Health, error) {
	if e.store.Embedded() {
		return Health{Redis: RedisHealth{Embedded: true}, Warnings: append([]string{
			"the state is in memory and lost at exit, and every instance is then read in full: set OKTASYNC_REDIS_URL"}, e.troubled(ctx)...)}, nil
	}
	r, err := e.store.Health(ctx)
	if err != nil {
		return Health{}, unavailable(err)
	}
	h := Health{Warnings: e.troubled(ctx), Redis: RedisHealth{Version: r.Version, AOF: r.AOF, Fsync: r.Fsync, Eviction: r.Eviction, UsedBytes: r.Used, MaxBytes: r.Most}}
	if r.Most > 0 {
		h.Redis.Used = float64(r.Used) / float64(r.Most)
	}
	for _, c := range RedisConcerns(r) {
		h.Warnings = append(h.Warnings, c.String())
	}
	return h, nil
}
