package engine

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
	"github.com/oktasync/oktasync/sync/sink"
)

// sealer keeps secrets from whoever can read the store.
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte, ephemeral bool) (sealer, error) {
	if len(key) == 0 && ephemeral {
		key = make([]byte, 32)
		rand.Read(key)
	}
	if len(key) != 32 {
		return sealer{}, fmt.Errorf("OKTASYNC_SECRET_KEY has %d bytes, not 32: make one with: openssl rand -base64 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

// seal encrypts a secret of the instance; it opens for no other.
func (s sealer) seal(instance, secret string) []byte {
	return s.aead.Seal(nil, nil, []byte(secret), []byte(instance))
}

func (s sealer) open(instance string, sealed []byte) (string, error) {
	b, err := s.aead.Open(nil, nil, sealed, []byte(instance))
	if err != nil {
		return "", fmt.Errorf("%w: the secrets of instance %s do not open with this OKTASYNC_SECRET_KEY: set the key they were sealed with, or send the instance event again", ErrSealed, instance)
	}
	return string(b), nil
}

// settings is an Instance at rest.
type settings struct {
	Name        string
	AccountID   string
	OrgURL      string
	Factors     bool
	Token       []byte   // sealed
	HookSecrets [][]byte // sealed
}

// Register adds or updates an instance. Without HookSecrets those that are
// stored stay. Settings that did not change are not written: a seal differs
// each time, and new settings make the org start anew.
func (e *Engine) Register(ctx context.Context, in Instance) error {
	for {
		if done, err := e.register(ctx, in); done || err != nil {
			return err
		}
	}
}

// register returns false if others changed the settings meanwhile.
func (e *Engine) register(ctx context.Context, in Instance) (done bool, err error) {
	st := e.store.Org(in.ID)
	stored, err := st.Instance(ctx)
	unknown := errors.Is(err, state.ErrNotFound)
	if err != nil && !unknown {
		return false, unavailable(err)
	}
	if !unknown {
		old, err := e.openInstance(in.ID, stored)
		switch {
		case err != nil && in.HookSecrets == nil:
			e.cfg.Log.Warn("the stored hook secrets do not open and are lost: send an instance event with hookSecrets", "instance", in.ID)
		case err == nil && in.HookSecrets == nil:
			in.HookSecrets = old.HookSecrets
		}
		if err == nil && equal(old, in) {
			return true, unavailable(st.List(ctx)) // which a registration that broke off did not reach
		}
		if err == nil && old.OrgURL != in.OrgURL {
			e.cfg.Log.Warn("the instance has another org URL: its graph is whole again after the next full read", "instance", in.ID)
			if err := st.NotWhole(ctx); err != nil {
				return false, unavailable(err)
			}
		}
		return e.replaceInstance(ctx, stored, in)
	}
	sealed, err := e.sealInstance(in)
	if err != nil {
		return false, err
	}
	if err := st.SetInstance(ctx, sealed); err != nil {
		return false, unavailable(err)
	}
	e.tell(ctx, in.ID)
	return true, nil
}

// sealInstance returns the settings as they are stored.
func (e *Engine) sealInstance(in Instance) ([]byte, error) {
	s := settings{Name: in.Name, AccountID: in.AccountID, OrgURL: in.OrgURL, Factors: in.Factors, Token: e.seal.seal(in.ID, in.Token)}
	for _, secret := range in.HookSecrets {
		s.HookSecrets = append(s.HookSecrets, e.seal.seal(in.ID, secret))
	}
	return json.Marshal(s)
}

func equal(a, b Instance) bool {
	return a.Name == b.Name && a.AccountID == b.AccountID && a.OrgURL == b.OrgURL && a.Token == b.Token &&
		a.Factors == b.Factors && slices.Equal(a.HookSecrets, b.HookSecrets)
}

func (e *Engine) instance(ctx context.Context, id string) (Instance, error) {
	b, err := e.store.Org(id).Instance(ctx)
	if errors.Is(err, state.ErrNotFound) {
		return Instance{}, fmt.Errorf("%w: %s", ErrUnknownInstance, id)
	}
	if err != nil {
		return Instance{}, unavailable(err)
	}
	return e.openInstance(id, b)
}

func (e *Engine) openInstance(id string, b []byte) (Instance, error) {
	var s settings
	if err := json.Unmarshal(b, &s); err != nil {
		return Instance{}, fmt.Errorf("settings of instance %s: %w", id, err)
	}
	in := Instance{ID: id, Name: s.Name, AccountID: s.AccountID, OrgURL: s.OrgURL, Factors: s.Factors}
	var err error
	if in.Token, err = e.seal.open(id, s.Token); err != nil {
		return Instance{}, err
	}
	for _, sealed := range s.HookSecrets {
		secret, err := e.seal.open(id, sealed)
		if err != nil {
			return Instance{}, err
		}
		in.HookSecrets = append(in.HookSecrets, secret)
	}
	return in, nil
}

// HookSecrets returns the secrets that deliveries of the instance may carry.
func (e *Engine) HookSecrets(ctx context.Context, instance string) ([]string, error) {
	in, err := e.instance(ctx, instance)
	return in.HookSecrets, err
}

// Hook is what lets deliveries of an instance in.
type Hook struct {
	Instance string
	Secrets  []string // that they may carry

	settings []byte // that hold the secrets
}

// Hook returns the hook of an instance as it is now.
func (e *Engine) Hook(ctx context.Context, instance string) (*Hook, error) {
	settings, err := e.store.Org(instance).Instance(ctx)
	if errors.Is(err, state.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrUnknownInstance, instance)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	in, err := e.openInstance(instance, settings)
	if err != nil {
		return nil, err
	}
	h := &Hook{Instance: instance, Secrets: in.HookSecrets, settings: settings}
	e.mu.Lock()
	e.hooks[instance] = h
	e.mu.Unlock()
	return h, nil
}

// LastHook returns the hook as it was when this process looked last: reading it
// again would double what a delivery costs. AcceptBy finds out whether it still is
// so. It is nil if it is not known.
func (e *Engine) LastHook(instance string) *Hook {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hooks[instance]
}

func (e *Engine) forgetHook(instance string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.hooks, instance)
}

// readers is how many instances are read at once for a list of them all.
const readers = 8

// Instances returns the state of every instance, by id. One that cannot be read
// hides no other: it is there with Unread, and its Problem says why. If the store
// went away, or ctx ended, there is an error beside what was read until then.
func (e *Engine) Instances(ctx context.Context) ([]InstanceStatus, error) {
	ids, err := e.store.Instances(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	slices.Sort(ids)
	all, errs := make([]InstanceStatus, len(ids)), make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(readers)
	for i, id := range ids {
		group.Go(func() error {
			all[i], errs[i] = e.Instance(ctx, id)
			return nil
		})
	}
	_ = group.Wait() // each error is kept with its instance
	list := all[:0]
	for i, status := range all {
		switch err := errs[i]; {
		case errors.Is(err, ErrUnknownInstance): // deleted meanwhile, or in part
			continue
		case err != nil:
			status = InstanceStatus{ID: ids[i], Name: status.Name, AccountID: status.AccountID, OrgURL: status.OrgURL, Records: map[string]int64{},
				Unread: err, Problem: "the state of instance " + ids[i] + " cannot be read: " + err.Error() +
					"; if it stays so, send its instance event again, and if that does not help delete the instance first: the next run reads it in full"}
		}
		list = append(list, status)
	}
	if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, ErrUnavailable) }) {
		return list, e.Ready(ctx) // the store answers: then it is that instance
	}
	return list, nil
}

// Instance returns the state of an instance.
func (e *Engine) Instance(ctx context.Context, id string) (InstanceStatus, error) {
	st := e.store.Org(id)
	v, err := st.Overview(ctx)
	if errors.Is(err, state.ErrNotFound) {
		return InstanceStatus{}, fmt.Errorf("%w: %s", ErrUnknownInstance, id)
	} else if err != nil {
		return InstanceStatus{}, unavailable(err)
	}
	var s settings
	if err := json.Unmarshal(v.Settings, &s); err != nil {
		return InstanceStatus{}, fmt.Errorf("settings of instance %s: %w", id, err)
	}
	facts := v.Facts
	status := InstanceStatus{ID: id, Name: s.Name, AccountID: s.AccountID, OrgURL: s.OrgURL, Factors: s.Factors,
		Inbox: v.Sizes.Inbox, Refreshes: v.Sizes.Refresh, DeadLetters: v.Sizes.Dead, Changes: v.Sizes.Changes, Records: v.Counts,
		Problem: cmp.Or(facts["problem"], facts["denied"]), Epoch: facts["epoch"], Paused: facts["paused"] != "",
		Owner: owner(v.Owner), Coverage: coverage(v.Coverage), Holding: v.Holding}
	slices.Sort(status.Holding)
	for _, n := range v.Held {
		status.Held += n
	}
	if status.Log, err = parseLogStatus(v.Log); err != nil {
		return status, err
	}
	if ms, _ := strconv.ParseInt(facts["full"], 10, 64); ms > 0 {
		at := time.UnixMilli(ms).UTC()
		status.FullReadAt = &at
		status.Whole = facts["whole"] != "" || status.Log.readPast(ms) && v.Sizes.Inbox == 0 && (v.Unanswered == 0 || v.Unanswered > ms)
	}
	if v.OldestInbox > 0 {
		at := time.UnixMilli(v.OldestInbox).UTC()
		status.OldestEvent = &at
	}
	if status.RateLimits, err = rateLimits(facts); err != nil {
		return status, err
	}
	if len(s.HookSecrets) > 0 { // else there is to be no hook
		if status.Hook, err = readHookStatus(facts["hook"]); err != nil {
			return status, err
		}
	}
	status.DeadLettersAll, _ = strconv.ParseInt(facts["dead"], 10, 64)
	if text := facts["drift"]; text != "" {
		status.Drift = &Drift{}
		if err := json.Unmarshal([]byte(text), status.Drift); err != nil {
			return status, fmt.Errorf("drift of instance %s: %w", id, err)
		}
	}
	if status.Sinks, err = e.parseSinkStatus(ctx, st, v.Sinks); err != nil {
		return status, err
	}
	if v.LastRun != nil {
		status.LastRun = &Run{}
		if err := json.Unmarshal(v.LastRun, status.LastRun); err != nil {
			return status, fmt.Errorf("the last run of instance %s: %w", id, err)
		}
		e.show(status.LastRun, v.Counts, v.Holding)
	}
	return status, nil
}

// Summary leaves out what makes a list of many instances long: of the coverage it
// keeps the sum over the types that hooks can bring, as type "*", of the rate
// limits the one of which most is used, of the sinks' notes and the last run's
// errors and progress nothing.
func (s InstanceStatus) Summary() InstanceStatus {
	var sum Coverage
	for _, c := range s.Coverage {
		if c.HookEligible {
			sum = Coverage{Hook: sum.Hook + c.Hook, Log: sum.Log + c.Log, Late: sum.Late + c.Late, HookEligible: true,
				HookDelayMax: max(sum.HookDelayMax, c.HookDelayMax), HookDelaySum: sum.HookDelaySum + c.HookDelaySum,
				LogDelayMax: max(sum.LogDelayMax, c.LogDelayMax), LogDelaySum: sum.LogDelaySum + c.LogDelaySum}
		}
	}
	s.Coverage = nil
	if sum.HookEligible {
		s.Coverage = map[string]Coverage{"*": sum}
	}
	var tightest []okta.Budget
	now := time.Now()
	for _, b := range s.RateLimits {
		if b.Limit > 0 && b.Remaining != nil && (tightest == nil || used(b, now) > used(tightest[0], now)) {
			tightest = []okta.Budget{b}
		}
	}
	s.RateLimits = tightest
	s.Sinks = maps.Clone(s.Sinks)
	for name, sk := range s.Sinks {
		sk.Note = sink.Note{}
		s.Sinks[name] = sk
	}
	if s.LastRun != nil {
		run := *s.LastRun
		run.Errors, run.Progress = nil, map[string]Progress{}
		s.LastRun = &run
	}
	return s
}

// used is the share of a limit that is used, by whomever; of a window that is over
// nothing is.
func used(b okta.Budget, now time.Time) float64 {
	if b.ResetAt == nil || !now.Before(*b.ResetAt) {
		return 0
	}
	return 1 - float64(*b.Remaining)/float64(b.Limit)
}

func logStatus(ctx context.Context, st *state.Org) (LogStatus, error) {
	text, err := st.Cell(ctx, "cursors", "log")
	if err != nil {
		return LogStatus{}, unavailable(err)
	}
	return parseLogStatus(text)
}

// parseLogStatus reads the place in the System Log; "" if there is none yet.
func parseLogStatus(text string) (LogStatus, error) {
	if text == "" {
		return LogStatus{}, nil
	}
	var place logPlace
	if err := json.Unmarshal([]byte(text), &place); err != nil {
		return LogStatus{}, fmt.Errorf("place in the System Log: %w", err)
	}
	upTo := time.UnixMilli(place.ReadUpTo).UTC()
	return LogStatus{ReadUpTo: &upTo, Polls: place.Polls, Events: place.Events, Restarts: place.Restarts, Problem: place.Problem}, nil
}

// readPast: all that was published up to ms was taken in.
func (l LogStatus) readPast(ms int64) bool { return l.ReadUpTo != nil && l.ReadUpTo.UnixMilli() >= ms }

// coverage sorts the counters of the events by type.
func coverage(counters map[string]int64) map[string]Coverage {
	all := map[string]Coverage{}
	for name, n := range counters {
		eventType, what, _ := strings.Cut(name, " ")
		c := all[eventType]
		_, c.HookEligible = convert.KnownType(eventType)
		switch what {
		case "hook":
			c.Hook = n
		case "hook sum":
			c.HookDelaySum = n
		case "hook max":
			c.HookDelayMax = n
		case "log":
			c.Log = n
		case "log sum":
			c.LogDelaySum = n
		case "log max":
			c.LogDelayMax = n
		case "late":
			c.Late = n
		}
		all[eventType] = c
	}
	return all
}

// whole: a full read ended, and the graph is caught up with that end, in ms.
// Once whole, a graph stays it: later it is only more or less late.
func whole(ctx context.Context, st *state.Org) (bool, int64, error) {
	facts, err := st.Facts(ctx)
	if err != nil || facts["full"] == "" {
		return false, 0, err
	}
	end, _ := strconv.ParseInt(facts["full"], 10, 64)
	if facts["whole"] != "" {
		return true, end, nil
	}
	is, err := caughtUp(ctx, st, end)
	return is, end, err
}

// caughtUp: the log has been read past ms, no event waits, and nothing is left
// that was to be read again since before.
func caughtUp(ctx context.Context, st *state.Org, ms int64) (bool, error) {
	status, err := logStatus(ctx, st)
	if err != nil || !status.readPast(ms) {
		return false, err
	}
	// The inbox first: what it held may have become an ask.
	sizes, err := st.Sizes(ctx)
	if err != nil || sizes.Inbox > 0 {
		return false, err
	}
	oldest, any, err := st.Unanswered(ctx)
	return err == nil && (!any || oldest > ms), err
}

// Runs returns the newest runs, newest first, and of the older ones those that hold
// something.
func (e *Engine) Runs(ctx context.Context, instance string) ([]Run, error) {
	st := e.store.Org(instance)
	if _, err := st.Instance(ctx); err != nil {
		return nil, unknownInstance(instance, err)
	}
	stored, err := st.Runs(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	holding, err := st.Holding(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	known, err := st.Counts(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	runs := make([]Run, len(stored))
	for i, b := range stored {
		if err := json.Unmarshal(b, &runs[i]); err != nil {
			return nil, fmt.Errorf("a run of instance %s: %w", instance, err)
		}
		e.show(&runs[i], known, holding)
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return b.StartedAt.Compare(a.StartedAt) })
	return runs, nil
}

// show fills in what is worked out when a run is shown; known is how many records
// of a kind there are, holding the runs that hold something.
func (e *Engine) show(run *Run, known map[string]int64, holding []string) {
	e.forecast(run, known)
	if run.EndedAt != nil && slices.Contains(holding, run.ID) {
		run.State = RunHeld // the run itself tells what it holds
	}
}

// RunByID returns a run.
func (e *Engine) RunByID(ctx context.Context, id string) (Run, error) {
	// An id begins with the instance's.
	at := strings.LastIndexByte(id, '-')
	if at < 0 {
		return Run{}, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	st := e.store.Org(id[:at])
	run, err := loadRun(ctx, st, id)
	if err != nil {
		return run, err
	}
	if run.Held, err = summarize(ctx, st, id); err != nil {
		return run, err
	}
	if run.Held != nil && run.EndedAt != nil {
		run.State = RunHeld
	}
	known, err := st.Counts(ctx)
	if err != nil {
		return run, unavailable(err)
	}
	e.forecast(&run, known)
	return run, nil
}

// forecast fills in what a run has cost, and what it will take to its end.
func (e *Engine) forecast(run *Run, known map[string]int64) {
	for _, p := range run.Progress {
		run.Calls += p.Calls
	}
	if run.State != RunRunning || run.Object != "" {
		return
	}
	if share := completed(run.Progress, known); share > 0 {
		left := int64(e.cfg.Clock().Sub(run.StartedAt).Seconds() * (1 - share) / share)
		run.SecondsLeft = &left
	}
}

// completed tells which share of the slowest family of a run is read, from 0,
// unknown, to 1: the families run side by side, and the slowest ends last. How
// long a list of the org will be is known only from the time before; of the
// others, how many there are.
func completed(progress map[string]Progress, known map[string]int64) float64 {
	share := 1.0
	for family, p := range progress {
		expected := known[string(map[string]record.Kind{"users": record.KindUser, "groups": record.KindGroup, "apps": record.KindApp}[family])]
		switch {
		case p.Done == p.Total:
		case expected > 0:
			share = min(share, float64(p.Objects)/float64(expected))
		default:
			share = min(share, float64(p.Done)/float64(p.Total))
		}
	}
	return share
}

func loadRun(ctx context.Context, st *state.Org, id string) (Run, error) {
	b, err := st.Run(ctx, id)
	if errors.Is(err, state.ErrNotFound) {
		return Run{}, fmt.Errorf("%w: %s", ErrUnknownRun, id)
	}
	if err != nil {
		return Run{}, unavailable(err)
	}
	var run Run
	if err := json.Unmarshal(b, &run); err != nil {
		return run, fmt.Errorf("run %s: %w", id, err)
	}
	return run, nil
}
