package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// hookFound is what the state of the instance says of its event hook, and
// whether the health warns of it.
func (r *rig) hookFound(t *testing.T) (*HookStatus, bool) {
	t.Helper()
	status, err := r.e.Instance(t.Context(), r.id)
	if err != nil {
		t.Fatal(err)
	}
	health, err := r.e.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	warned := slices.ContainsFunc(health.Warnings, func(w string) bool {
		return strings.Contains(w, r.id) && strings.Contains(w, "event hook")
	})
	return status.Hook, warned
}

func hookRig(t *testing.T, cfg oktasim.Config) *rig {
	t.Helper()
	clock := newClock()
	cfg.Seed, cfg.Users, cfg.Groups, cfg.Apps, cfg.Clock = 11, 3, 1, 1, clock
	r := newRig(t, newEngine(t, clock, 0), oktasim.New(t, cfg), clock)
	t.Cleanup(r.close)
	return r
}

// Someone may deactivate the hook, or change it, in the Admin Console, and no
// event says so: the next run finds it.
func TestRunFindsWhatIsWrongWithTheHook(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	look := func(what string, ok func(h HookStatus) bool, wantWarning bool) {
		t.Helper()
		r.run(Start{Mode: "incremental"})
		h, warned := r.hookFound(t)
		if h == nil || h.CheckedAt.IsZero() || !ok(*h) || warned != wantWarning {
			t.Errorf("%s: %+v, warned of: %v", what, h, warned)
		}
		if h != nil && h.Problem != "" && !strings.Contains(h.Problem, "oktasync hook register --instance "+r.id) {
			t.Errorf("%s: no remedy in %q", what, h.Problem)
		}
	}
	if h, warned := r.hookFound(t); h != nil || warned {
		t.Errorf("before any run: %+v, warned of: %v", h, warned)
	}
	look("no hook", func(h HookStatus) bool { return h.ID == "" && strings.Contains(h.Problem, "no event hook") }, true)

	uri := "https://oktasync.example.com/hooks/okta/" + r.id
	r.org.AddEventHook("another instance's", oktasim.Hook{URL: uri + "x", Types: convert.HookTypes()})
	look("only another's", func(h HookStatus) bool { return h.ID == "" && h.Problem != "" }, true)
	id := r.org.AddEventHook("ours", oktasim.Hook{URL: uri, Types: convert.HookTypes()})
	look("a good one", func(h HookStatus) bool {
		return h.ID == id && h.Name == "ours" && h.URI == uri && h.Status == "ACTIVE" && h.VerificationStatus == "VERIFIED" &&
			h.Problem == "" && h.Unknown == "" && len(h.Missing) == 0 && !h.Filtered
	}, false)

	edit := func(f func(events, config map[string]any)) {
		t.Helper()
		if err := r.org.EditEventHook(id, func(hook map[string]any) {
			f(hook["events"].(map[string]any), hook["channel"].(map[string]any)["config"].(map[string]any))
		}); err != nil {
			t.Fatal(err)
		}
	}
	edit(func(events, _ map[string]any) {
		events["filter"] = map[string]any{"type": "EXPRESSION_LANGUAGE", "eventFilterMap": []any{map[string]any{"event": "user.lifecycle.create"}}}
	})
	look("a filter", func(h HookStatus) bool { return h.Filtered && h.Problem == "" }, false)
	edit(func(events, _ map[string]any) {
		events["items"] = slices.DeleteFunc(convert.HookTypes(), convert.OneEngineOnly)
	})
	look("types that only orgs of another engine have", func(h HookStatus) bool { return len(h.Missing) == 3 && h.Problem == "" }, false)
	edit(func(events, _ map[string]any) { events["items"] = convert.HookTypes()[3:] })
	look("types taken away", func(h HookStatus) bool {
		return cmp.Equal(h.Missing, convert.HookTypes()[:3]) && strings.Contains(h.Problem, "3 types")
	}, true)
	second := r.org.AddEventHook("ours too", oktasim.Hook{URL: uri, Types: convert.HookTypes()[:3]})
	look("another hook has them", func(h HookStatus) bool { return h.ID == id && h.Problem == "" }, false)
	if err := r.org.DeactivateEventHook(second); err != nil {
		t.Fatal(err)
	}
	look("that one is off", func(h HookStatus) bool { return len(h.Missing) == 3 && h.Problem != "" }, true)
	edit(func(events, config map[string]any) {
		events["items"] = convert.HookTypes()
		config["authScheme"].(map[string]any)["key"] = "X-Key"
	})
	look("another header, and so unverified", func(h HookStatus) bool {
		return h.VerificationStatus == "UNVERIFIED" && strings.Contains(h.Problem, "not verified") && strings.Contains(h.Problem, "Authorization")
	}, true)
	if err := r.org.DeactivateEventHook(id); err != nil {
		t.Fatal(err)
	}
	look("deactivated", func(h HookStatus) bool { return h.Status == "INACTIVE" && strings.Contains(h.Problem, "inactive") }, true)
}

// The System Log tells that somebody changed a hook: nobody has to wait for the
// night to see that it is mended, or that it is broken.
func TestLogTellsOfAHookThatWasChanged(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	r.run(Start{Mode: "incremental"})
	poll := func() *HookStatus {
		t.Helper()
		r.clock.Advance(time.Second)
		if _, err := r.o.pollLog(); err != nil {
			t.Fatal(err)
		}
		h, _ := r.hookFound(t)
		return h
	}
	if h := poll(); h == nil || h.Problem == "" {
		t.Fatalf("no hook: %+v", h)
	}
	id := r.org.AddEventHook("ours", oktasim.Hook{URL: "https://oktasync.example.com/hooks/okta/" + r.id, Types: convert.HookTypes()})
	if h := poll(); h.ID != id || h.Problem != "" {
		t.Errorf("made: %+v", h)
	}
	seen := poll().CheckedAt
	must(t)(r.org.UpdateProfile(r.org.UserIDs()[0], map[string]any{"title": "Somebody New"}))
	if h := poll(); !h.CheckedAt.Equal(seen) {
		t.Error("an event of a user has the hooks looked at")
	}
	if err := r.org.DeactivateEventHook(id); err != nil {
		t.Fatal(err)
	}
	if h := poll(); h.Problem == "" || h.Status != "INACTIVE" {
		t.Errorf("deactivated: %+v", h)
	}
}

// Nobody is warned of a hook that is not to be any more.
func TestInstanceWithoutSecretsHasNoHookToSeeTo(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	r.run(Start{Mode: "incremental"})
	if h, warned := r.hookFound(t); h == nil || !warned {
		t.Fatalf("no hook: %+v, warned of: %v", h, warned)
	}
	if err := r.e.Register(t.Context(), Instance{ID: r.id, Name: "Acme", OrgURL: r.org.URL(), Token: r.org.Token(), HookSecrets: []string{}}); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if h, warned := r.hookFound(t); h != nil || warned {
		t.Errorf("after its secrets were removed: %+v, warned of: %v", h, warned)
	}
}

func TestHooksThatCannotBeReadAreUnknown(t *testing.T) {
	r := hookRig(t, oktasim.Config{HookRights: oktasim.HooksDenied})
	if run := r.reconcile(); run.State != RunSucceeded {
		t.Errorf("a token that may not read hooks: %+v", run)
	}
	h, warned := r.hookFound(t)
	if h == nil || warned || h.Problem != "" || !strings.Contains(h.Unknown, "okta.eventhooks.read") {
		t.Errorf("%+v, warned of: %v", h, warned)
	}
}

// Okta that fails for now, or sends what nobody knows, tells nothing of the hook.
func TestFailedLookLeavesWhatWasFound(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	r.org.AddEventHook("ours", oktasim.Hook{URL: "https://x.example.com/hooks/okta/" + r.id, Types: convert.HookTypes()})
	r.reconcile()
	before, _ := r.hookFound(t)
	for _, f := range []oktasim.Fault{{Status: 500}, {HTML: true, Status: 200}, {BadJSON: true}} {
		r.org.FailNext(100, "/eventHooks", f)
		if run := r.reconcile(); run.State != RunSucceeded {
			t.Errorf("%+v: %+v", f, run)
		}
		if h, warned := r.hookFound(t); !cmp.Equal(h, before) || warned {
			t.Errorf("%+v: %+v, warned of: %v", f, h, warned)
		}
		r.org.ClearFaults()
	}
}

func TestLookIsOneCallAndOnlyWhereAHookIsToBe(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	looks := func(start Start) int {
		t.Helper()
		r.org.ResetCalls()
		r.run(start)
		return hookLooks(r.org)
	}
	for _, mode := range Modes {
		if n := looks(Start{Mode: mode}); n != 1 {
			t.Errorf("%s: %d looks", mode, n)
		}
		r.poll()
		r.settle()
		if run, err := r.o.st.Fact(t.Context(), "run"); err == nil && run != "" { // a verify that settles
			r.clock.Advance(2 * r.o.cfg.ListAllowance)
			r.poll()
			if _, err := r.o.reconcile(r.o.ctx, run); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := looks(Start{Object: "user/" + r.org.UserIDs("ACTIVE")[0]}); n != 0 {
		t.Errorf("a run of one object: %d looks", n)
	}
	r.o.hooked = false // as without secrets
	if n := looks(Start{}); n != 0 {
		t.Errorf("without a hook to be: %d looks", n)
	}
}

func TestHookSecretsOfAnInstance(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	ctx := t.Context()
	want := func(what string, secrets ...string) {
		t.Helper()
		if got, err := r.e.HookSecrets(ctx, r.id); err != nil || !slices.Equal(got, secrets) {
			t.Errorf("%s: %q, %v; want %q", what, got, err, secrets)
		}
	}
	add := func(secret string, count int) {
		t.Helper()
		if n, err := r.e.AddHookSecret(ctx, r.id, secret); err != nil || n != count {
			t.Errorf("add %s: %d, %v", secret, n, err)
		}
	}
	in, err := r.e.instance(ctx, r.id)
	if err != nil {
		t.Fatal(err)
	}
	const first = "a secret of the hook"
	add("the second one", 2)
	want("added", first, "the second one")
	add("the second one", 2)
	want("added again", first, "the second one")
	// Which of them Okta sends is not known: a rotation may not have reached it.
	add("the third one", 3)
	want("a third", first, "the second one", "the third one")
	add("the second one", 3)
	want("the earlier one again", first, "the third one", "the second one")
	add("the fourth one", 4)
	if n, err := r.e.AddHookSecret(ctx, r.id, "the fifth one"); n != 0 || !errors.Is(err, ErrManySecrets) {
		t.Errorf("a fifth: %d, %v", n, err)
	}
	add("the second one", 4)
	want("full", first, "the third one", "the fourth one", "the second one")
	for _, other := range []string{"the fourth one", first, "unknown", ""} {
		if err := r.e.DropHookSecretsBefore(ctx, r.id, other); !errors.Is(err, ErrNotNewest) {
			t.Errorf("drop those before %s: %v", other, err)
		}
	}
	want("refused", first, "the third one", "the fourth one", "the second one")
	for range 2 {
		if err := r.e.DropHookSecretsBefore(ctx, r.id, "the second one"); err != nil {
			t.Fatal(err)
		}
		want("those before it dropped", "the second one")
	}
	add("the third one", 2)
	add("the second one", 2)
	if err := r.e.DropOldHookSecrets(ctx, r.id); err != nil {
		t.Fatal(err)
	}
	want("the old one dropped", "the second one")
	if err := r.e.DropOldHookSecrets(ctx, r.id); err != nil {
		t.Fatal(err)
	}
	want("dropped again", "the second one")

	in.HookSecrets, in.Name = nil, "Another Name"
	if err := r.e.Register(ctx, in); err != nil {
		t.Fatal(err)
	}
	want("registered without secrets", "the second one")
	if status, err := r.e.Instance(ctx, r.id); err != nil || status.Name != "Another Name" {
		t.Errorf("%+v, %v", status, err)
	}
	in.HookSecrets = []string{}
	if err := r.e.Register(ctx, in); err != nil {
		t.Fatal(err)
	}
	want("registered with no secrets")
	if n, err := r.e.AddHookSecret(ctx, "nobody", "a secret of nobody"); n != 0 || err == nil || !strings.Contains(err.Error(), "no such instance") {
		t.Errorf("unknown instance: %d, %v", n, err)
	}
}

// A rotation and an instance event at once: neither undoes the other.
func TestSecretsAndSettingsChangeSideBySide(t *testing.T) {
	r := hookRig(t, oktasim.Config{})
	in, err := r.e.instance(t.Context(), r.id)
	if err != nil {
		t.Fatal(err)
	}
	in.HookSecrets = nil
	const rounds = 100
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range rounds {
			in.Name = fmt.Sprint("name ", i)
			if err := r.e.Register(t.Context(), in); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range rounds {
		secret := fmt.Sprint("secret number ", i)
		if _, err := r.e.AddHookSecret(t.Context(), r.id, secret); err != nil {
			t.Fatal(err)
		}
		if got, err := r.e.HookSecrets(t.Context(), r.id); err != nil || got[len(got)-1] != secret {
			t.Fatalf("%s was lost: %q, %v", secret, got, err)
		}
		if err := r.e.DropHookSecretsBefore(t.Context(), r.id, secret); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if status, err := r.e.Instance(t.Context(), r.id); err != nil || status.Name != fmt.Sprint("name ", rounds-1) {
		t.Errorf("name %q, %v", status.Name, err)
	}
}
