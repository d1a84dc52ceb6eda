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

	"github.com/oktasync/oktasync/state"
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

// Register adds or updates an instance. Settings that did not change are not
// written: a seal differs each time, and new settings make the org start anew.
func (e *Engine) Register(ctx context.Context, in Instance) error {
	if old, err := e.instance(ctx, in.ID); err == nil && equal(old, in) {
		return nil
	} else if errors.Is(err, ErrUnavailable) {
		return err
	}
	s := settings{Name: in.Name, AccountID: in.AccountID, OrgURL: in.OrgURL, Factors: in.Factors, Token: e.seal.seal(in.ID, in.Token)}
	for _, secret := range in.HookSecrets {
		s.HookSecrets = append(s.HookSecrets, e.seal.seal(in.ID, secret))
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := e.store.Org(in.ID).SetInstance(ctx, b); err != nil {
		return unavailable(err)
	}
	e.notify()
	return nil
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
	for _, scope := range []record.Scope{record.Users, record.Groups, record.Apps} {
		if status.Records[string(scope)], err = st.Count(ctx, string(scope)); err != nil {
			return status, unavailable(err)
		}
	}
	if status.Whole, err = whole(ctx, st); err != nil {
		return status, unavailable(err)
	}
	if status.Problem, err = st.Fact(ctx, "problem"); err != nil {
		return status, unavailable(err)
	}
	runs, err := e.runs(ctx, id, 1)
	if err == nil && len(runs) > 0 {
		status.LastRun = &runs[0]
	}
	return status, err
}

// whole: a full read ended, no event accepted waits, and nothing is left that
// was to be read again before that end.
func whole(ctx context.Context, st *state.Org) (bool, error) {
	done, err := st.Fact(ctx, "whole")
	if err != nil || done != "" {
		return done != "", err
	}
	full, err := st.Fact(ctx, "full")
	if err != nil || full == "" {
		return false, err
	}
	end, _ := strconv.ParseInt(full, 10, 64)
	// The inbox first: what it held may have become an ask.
	sizes, err := st.Sizes(ctx)
	if err != nil || sizes.Inbox > 0 {
		return false, err
	}
	asked, err := st.Asked(ctx)
	if err != nil {
		return false, err
	}
	for _, a := range asked {
		if record.Version(a.Exceed).Millis() <= end {
			return false, nil
		}
	}
	return true, st.SetFact(ctx, "whole", full)
}

// Runs returns the kept runs, newest first.
func (e *Engine) Runs(ctx context.Context, instance string) ([]Run, error) {
	if _, err := e.Instance(ctx, instance); err != nil {
		return nil, err
	}
	return e.runs(ctx, instance, 50)
}

func (e *Engine) runs(ctx context.Context, instance string, limit int64) ([]Run, error) {
	stored, err := e.store.Org(instance).Runs(ctx, limit)
	if err != nil {
		return nil, unavailable(err)
	}
	runs := make([]Run, len(stored))
	for i, b := range stored {
		if err := json.Unmarshal(b, &runs[i]); err != nil {
			return nil, fmt.Errorf("a run of instance %s: %w", instance, err)
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
	return loadRun(ctx, e.store.Org(id[:at]), id)
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
