package engine

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
)

// MaxHookSecrets is how many secrets of its event hook an instance has at most:
// the one that Okta sends, and those of rotations that broke off.
const MaxHookSecrets = 4

// Errors of a rotation.
var (
	ErrManySecrets = fmt.Errorf("the instance has %d hook secrets already", MaxHookSecrets)
	ErrNotNewest   = errors.New("the secret is not the newest of the instance")
)

// AddHookSecret makes a secret valid for the deliveries of an instance, at once,
// beside all that are valid, of which Okta may send any: nobody but Okta knows
// whether a rotation reached it. It returns how many there are now. One that is
// valid already becomes the newest.
func (e *Engine) AddHookSecret(ctx context.Context, instance, secret string) (int, error) {
	return e.changeHookSecrets(ctx, instance, func(secrets []string) ([]string, error) {
		secrets = slices.DeleteFunc(secrets, func(s string) bool { return s == secret })
		if len(secrets) >= MaxHookSecrets {
			return nil, ErrManySecrets
		}
		return append(secrets, secret), nil
	})
}

// DropOldHookSecrets leaves only the newest secret of an instance valid.
func (e *Engine) DropOldHookSecrets(ctx context.Context, instance string) error {
	_, err := e.changeHookSecrets(ctx, instance, func(secrets []string) ([]string, error) {
		return secrets[max(0, len(secrets)-1):], nil
	})
	return err
}

// DropHookSecretsBefore leaves only this secret of an instance valid. It must be
// the newest: else a later rotation may have given Okta another one.
func (e *Engine) DropHookSecretsBefore(ctx context.Context, instance, secret string) error {
	_, err := e.changeHookSecrets(ctx, instance, func(secrets []string) ([]string, error) {
		if n := len(secrets); n == 0 || subtle.ConstantTimeCompare([]byte(secrets[n-1]), []byte(secret)) == 0 {
			return nil, ErrNotNewest
		}
		return []string{secret}, nil
	})
	return err
}

// changeHookSecrets changes the secrets of an instance, the newest last, and
// nothing else of it, whatever others change meanwhile.
func (e *Engine) changeHookSecrets(ctx context.Context, instance string, change func([]string) ([]string, error)) (int, error) {
	for {
		stored, err := e.store.Org(instance).Instance(ctx)
		if err != nil {
			return 0, unknownInstance(instance, err)
		}
		in, err := e.openInstance(instance, stored)
		if err != nil {
			return 0, err
		}
		secrets, err := change(slices.Clone(in.HookSecrets))
		if err != nil {
			return 0, err
		}
		if slices.Equal(secrets, in.HookSecrets) {
			return len(secrets), nil
		}
		in.HookSecrets = secrets
		if replaced, err := e.replaceInstance(ctx, stored, in); err != nil || replaced {
			return len(secrets), err
		}
	}
}

// replaceInstance stores settings in the place of those that were read before,
// and returns false if others are there by now.
func (e *Engine) replaceInstance(ctx context.Context, stored []byte, in Instance) (bool, error) {
	sealed, err := e.sealInstance(in)
	if err != nil {
		return false, err
	}
	replaced, err := e.store.Org(in.ID).ReplaceInstance(ctx, stored, sealed)
	if err != nil {
		return false, unavailable(err)
	}
	if replaced {
		e.tell(ctx, in.ID)
	}
	return replaced, nil
}

// HookStatus is what the last look at the event hooks of an org found: there is
// one at the start of each run that is not limited to an object, and whenever the
// System Log tells that a hook was changed. What Okta did not show is unknown,
// never wrong.
type HookStatus struct {
	CheckedAt          time.Time `json:"checkedAt"`
	ID                 string    `json:"id,omitempty"`
	Name               string    `json:"name,omitempty"`
	URI                string    `json:"uri,omitempty"`
	Status             string    `json:"status,omitempty"`             // ACTIVE, INACTIVE
	VerificationStatus string    `json:"verificationStatus,omitempty"` // VERIFIED, UNVERIFIED
	Missing            []string  `json:"missing,omitempty"`            // types that are used, and not subscribed to; those of Okta's other engine are no problem
	Filtered           bool      `json:"filtered,omitempty"`           // events that a filter keeps from the hook come by the log alone
	Problem            string    `json:"problem,omitempty"`            // and the remedy
	Unknown            string    `json:"unknown,omitempty"`            // why nothing is known of it
}

// JudgeHooks tells how the event hook of an instance does, from all hooks of its
// org. With several that lead to the instance, one that delivers is told of, and
// what any of them brings is not missing.
func JudgeHooks(hooks []okta.EventHook, instance string) HookStatus {
	var own []okta.EventHook
	for _, h := range hooks {
		if h.IsOf(instance) {
			own = append(own, h)
		}
	}
	remedy := "oktasync hook register --instance " + instance + " --url https://<where Okta reaches the service>"
	if len(own) == 0 {
		return HookStatus{Problem: "no event hook of the org leads to /hooks/okta/" + instance +
			": changes come by the System Log alone, at its next poll. Make one: " + remedy}
	}
	best := own[0]
	if i := slices.IndexFunc(own, okta.EventHook.Delivers); i >= 0 {
		best = own[i]
	}
	s := HookStatus{ID: best.ID, Name: best.Name, URI: best.URI, Status: best.Status, VerificationStatus: best.VerificationStatus}
	for _, needed := range convert.HookTypes() {
		brings := func(h okta.EventHook) bool {
			return h.Delivers() == best.Delivers() && slices.Contains(h.Types, needed)
		}
		if !slices.ContainsFunc(own, brings) {
			s.Missing = append(s.Missing, needed)
		}
		s.Filtered = s.Filtered || slices.Contains(best.Filtered, needed)
	}
	var wrong []string
	if best.Status != "ACTIVE" {
		wrong = append(wrong, "it is "+strings.ToLower(best.Status)+", and Okta sends nothing to it")
	}
	if best.VerificationStatus != "VERIFIED" {
		wrong = append(wrong, "it is not verified, and Okta sends nothing to it")
	}
	if best.Header != "" && !strings.EqualFold(best.Header, "Authorization") {
		wrong = append(wrong, "it shows its secret in another header than Authorization, and its deliveries are refused")
	}
	offered := slices.DeleteFunc(slices.Clone(s.Missing), convert.OneEngineOnly)
	if n := len(offered); n > 0 {
		wrong = append(wrong, fmt.Sprintf("it is not subscribed to %d types that are used, which come by the System Log alone", n))
	}
	if len(wrong) > 0 {
		s.Problem = "event hook " + best.ID + ": " + strings.Join(wrong, "; ") + ". Mend it: " + remedy
	}
	return s
}

// HookWarning is what the service warns of when the last look at the event hook of
// an instance found a problem.
func HookWarning(instance string) string {
	return "instance " + instance + " has no event hook that brings all it should: see hook of GET /admin/instances/" + instance
}

// hookLookTime bounds the look at the event hooks: a run waits for it at its end.
const hookLookTime = time.Minute

// lookAtHooks finds out how the org's event hook does, by one call, and keeps it
// for the instance's state. An instance without a secret is not to have a hook.
func (o *org) lookAtHooks(ctx context.Context) {
	if !o.hooked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, hookLookTime)
	defer cancel()
	hooks, err := o.client.EventHooks(ctx)
	var found HookStatus
	var refused *okta.Error
	switch {
	case err == nil:
		found = JudgeHooks(hooks, o.id)
	case okta.IsForbidden(err):
		found.Unknown = "the API token may not read event hooks: its owner needs the permission okta.eventhooks.read (a custom role has it), or look in the Admin Console at Workflow › Event Hooks"
	case errors.As(err, &refused) && refused.Status/100 == 4:
		found.Unknown = err.Error()
	default: // what was found before stays
		if ctx.Err() == nil {
			o.log.Warn("the state of the event hook could not be found out", "err", err)
		}
		return
	}
	found.CheckedAt = o.now().UTC()
	before, err := hookStatus(ctx, o.st)
	if err == nil && found.Problem != "" && (before == nil || before.Problem != found.Problem) {
		o.log.Warn("the event hook needs somebody to see to it", "problem", found.Problem)
	}
	b, err := json.Marshal(found)
	if err == nil {
		_, err = o.merge(ctx, batch{Batch: state.Batch{Set: []state.Cell{{Hash: "facts", Field: "hook", Value: string(b)}}}})
	}
	if err != nil && ctx.Err() == nil {
		o.log.Warn("the state of the event hook could not be kept", "err", err)
	}
}

// hookStatus is what the last look found; nil if there was none.
func hookStatus(ctx context.Context, st *state.Org) (*HookStatus, error) {
	text, err := st.Fact(ctx, "hook")
	if err != nil {
		return nil, unavailable(err)
	}
	return readHookStatus(text)
}

func readHookStatus(text string) (*HookStatus, error) {
	if text == "" {
		return nil, nil
	}
	s := &HookStatus{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("state of the event hook: %w", err)
	}
	return s, nil
}
