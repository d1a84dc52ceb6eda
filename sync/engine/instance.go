package engine

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/record"
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
		return "", fmt.Errorf("the secrets of instance %s do not open with this OKTASYNC_SECRET_KEY: set the key they were sealed with, or send the instance event again", instance)
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
			return true, nil
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
	e.notify()
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

// Instances returns the state of every instance, by id.
func (e *Engine) Instances(ctx context.Context) ([]InstanceStatus, error) {
	ids, err := e.store.Instances(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	slices.Sort(ids)
	all := make([]InstanceStatus, len(ids))
	for i, id := range ids {
		if all[i], err = e.Instance(ctx, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Instance returns the state of an instance.
func (e *Engine) Instance(ctx context.Context, id string) (InstanceStatus, error) {
	st := e.store.Org(id)
	b, err := st.Instance(ctx)
	if errors.Is(err, state.ErrNotFound) {
		return InstanceStatus{}, fmt.Errorf("%w: %s", ErrUnknownInstance, id)
	} else if err != nil {
		return InstanceStatus{}, unavailable(err)
	}
	var s settings
	if err := json.Unmarshal(b, &s); err != nil {
		return InstanceStatus{}, fmt.Errorf("settings of instance %s: %w", id, err)
	}
	status := InstanceStatus{ID: id, Name: s.Name, AccountID: s.AccountID, OrgURL: s.OrgURL, Factors: s.Factors, Records: map[string]int64{}}
	sizes, err := st.Sizes(ctx)
	if err != nil {
		return status, unavailable(err)
	}
	status.Inbox, status.Refreshes, status.DeadLetters, status.Changes = sizes.Inbox, sizes.Refresh, sizes.Dead, sizes.Changes
	if status.Records, err = st.Counts(ctx); err != nil {
		return status, unavailable(err)
	}
	if status.Whole, _, err = whole(ctx, st); err != nil {
		return status, unavailable(err)
	}
	facts, err := st.Facts(ctx)
	if err != nil {
		return status, unavailable(err)
	}
	status.Problem, status.Epoch, status.Paused = facts["problem"], facts["epoch"], facts["paused"] != ""
	if denied := facts["denied"]; denied != "" && status.Problem == "" {
		status.Problem = denied
	}
	if status.RateLimits, err = rateLimits(facts); err != nil {
		return status, err
	}
	if ms, _ := strconv.ParseInt(facts["full"], 10, 64); ms > 0 {
		at := time.UnixMilli(ms).UTC()
		status.FullReadAt = &at
	}
	if ms, any, err := st.OldestInbox(ctx); err != nil {
		return status, unavailable(err)
	} else if any {
		at := time.UnixMilli(ms).UTC()
		status.OldestEvent = &at
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
	token, err := st.Owner(ctx)
	if err != nil {
		return status, unavailable(err)
	}
	status.Owner = owner(token)
	if status.Log, err = logStatus(ctx, st); err != nil {
		return status, err
	}
	if status.Coverage, err = coverage(ctx, st); err != nil {
		return status, err
	}
	holding, err := st.Holding(ctx)
	if err != nil {
		return status, unavailable(err)
	}
	for _, run := range holding {
		sum, err := summarize(ctx, st, run)
		if err != nil {
			return status, err
		}
		if sum != nil {
			status.Held += sum.Total
		}
	}
	if status.Sinks, err = e.sinkStatus(ctx, st); err != nil {
		return status, err
	}
	runs, err := e.runs(ctx, id, 1)
	if err == nil && len(runs) > 0 {
		status.LastRun = &runs[0]
	}
	return status, err
}

func logStatus(ctx context.Context, st *state.Org) (LogStatus, error) {
	text, err := st.Cell(ctx, "cursors", "log")
	if err != nil || text == "" {
		return LogStatus{}, unavailable(err)
	}
	var place logPlace
	if err := json.Unmarshal([]byte(text), &place); err != nil {
		return LogStatus{}, fmt.Errorf("place in the System Log: %w", err)
	}
	upTo := time.UnixMilli(place.ReadUpTo).UTC()
	return LogStatus{ReadUpTo: &upTo, Polls: place.Polls, Events: place.Events, Restarts: place.Restarts, Problem: place.Problem}, nil
}

// coverage sorts the counters of the events by type.
func coverage(ctx context.Context, st *state.Org) (map[string]Coverage, error) {
	counters, err := st.Coverage(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
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
	return all, nil
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
	if err != nil || status.ReadUpTo == nil || status.ReadUpTo.UnixMilli() < ms {
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

// Runs returns the kept runs, newest first.
func (e *Engine) Runs(ctx context.Context, instance string) ([]Run, error) {
	if _, err := e.store.Org(instance).Instance(ctx); err != nil {
		return nil, unknownInstance(instance, err)
	}
	return e.runs(ctx, instance, 50)
}

func (e *Engine) runs(ctx context.Context, instance string, limit int64) ([]Run, error) {
	stored, err := e.store.Org(instance).Runs(ctx, limit)
	if err != nil {
		return nil, unavailable(err)
	}
	holding, err := e.store.Org(instance).Holding(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	if refreshes := instance + "-refreshes"; slices.Contains(holding, refreshes) && limit > 1 {
		b, err := e.store.Org(instance).Run(ctx, refreshes) // in no list: it never ends
		if err != nil {
			return nil, unavailable(err)
		}
		stored = append(stored, b)
	}
	runs := make([]Run, len(stored))
	for i, b := range stored {
		if err := json.Unmarshal(b, &runs[i]); err != nil {
			return nil, fmt.Errorf("a run of instance %s: %w", instance, err)
		}
		if err := e.forecast(ctx, &runs[i]); err != nil {
			return nil, err
		}
		if runs[i].EndedAt != nil && slices.Contains(holding, runs[i].ID) {
			runs[i].State = RunHeld // the run itself tells what it holds
		}
	}
	return runs, nil
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
	return run, e.forecast(ctx, &run)
}

// forecast fills in what a run has cost, and what it will take to its end.
func (e *Engine) forecast(ctx context.Context, run *Run) error {
	for _, p := range run.Progress {
		run.Calls += p.Calls
	}
	if run.State != RunRunning || run.Object != "" {
		return nil
	}
	known, err := e.store.Org(run.Instance).Counts(ctx)
	if err != nil {
		return unavailable(err)
	}
	if share := completed(run.Progress, known); share > 0 {
		left := int64(e.cfg.Clock().Sub(run.StartedAt).Seconds() * (1 - share) / share)
		run.SecondsLeft = &left
	}
	return nil
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
