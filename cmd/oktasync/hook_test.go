package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/handlers"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

const (
	secretOfHook = "first-secret-of-the-hook"
	adminOfHook  = "admin-token-of-the-hook-tests"
)

// hooked is a service with one instance, acme, the org of it, and the commands
// of an operator, by the environment.
type hooked struct {
	t       *testing.T
	org     *oktasim.Org
	engine  *engine.Engine
	service string // its URL
	refused atomic.Int64
	broken  atomic.Pointer[func(*http.Request) bool] // calls that are answered 500
}

func startHooked(t *testing.T, cfg oktasim.Config) *hooked {
	t.Helper()
	cfg.Seed, cfg.Users, cfg.Groups, cfg.Apps, cfg.PlainHooks = 5, 12, 4, 2, true
	h := &hooked{t: t, org: oktasim.New(t, cfg)}
	log := slog.New(slog.DiscardHandler)
	settings := reading{RateLimitShare: 1, MaxInFlight: 10, ReadMargin: time.Millisecond, ListAllowance: time.Millisecond, AllowInsecureOrgs: true}.engineConfig(log)
	settings.LogInterval = time.Hour // what arrives, arrives by the hook
	eng, stop, err := background(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	h.engine = eng
	edge := handlers.New(eng, handlers.Config{AdminToken: adminOfHook, TriggerToken: "trigger", AllowInsecure: true, Log: log})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken := h.broken.Load(); broken != nil && (*broken)(r) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		seen := &statusOf{ResponseWriter: w}
		edge.ServeHTTP(seen, r)
		if seen.status == http.StatusUnauthorized {
			h.refused.Add(1)
		}
	}))
	h.service = server.URL
	t.Cleanup(func() {
		server.Close()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	if err := eng.Register(t.Context(), engine.Instance{ID: "acme", Name: "Acme", OrgURL: h.org.URL(), Token: h.org.Token(),
		HookSecrets: []string{secretOfHook}, Factors: true}); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"OKTA_CLIENT_ORGURL": h.org.URL(), "OKTA_CLIENT_TOKEN": h.org.Token(), "OKTASYNC_HOOK_SECRET": secretOfHook,
		"OKTASYNC_ALLOW_INSECURE_ORGS": "true", "OKTASYNC_URL": h.service, "OKTASYNC_ADMIN_TOKEN": adminOfHook,
	} {
		t.Setenv(name, value)
	}
	return h
}

// statusOf notes what is answered.
type statusOf struct {
	http.ResponseWriter
	status int
}

func (s *statusOf) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusOf) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// hook runs "oktasync hook …" for acme and returns its exit status and all it says.
func (h *hooked) hook(what string, args ...string) (int, string) {
	h.t.Helper()
	var out, errs bytes.Buffer
	status := run(h.t.Context(), append([]string{"--debug", "hook", what, "--instance=acme"}, args...), world{stdin: strings.NewReader("yes\n"), stdout: &out, stderr: &errs})
	said := out.String() + errs.String()
	for _, secret := range []string{secretOfHook, h.org.Token(), adminOfHook} {
		if strings.Contains(said, secret) {
			h.t.Errorf("hook %s %v tells a secret:\n%s", what, args, said)
		}
	}
	return status, said
}

func (h *hooked) register(args ...string) (int, string) {
	h.t.Helper()
	return h.hook("register", append([]string{"--url=" + h.service}, args...)...)
}

// mustRegister registers, and wants what it says.
func (h *hooked) mustRegister(want string, args ...string) {
	h.t.Helper()
	if status, said := h.register(args...); status != 0 || !strings.Contains(said, want) {
		h.t.Fatalf("register %v: %d, want %q:\n%s", args, status, want, said)
	}
}

// writes are the calls so far that changed hooks, without those since a call of it.
func (h *hooked) writes() (calls []string) {
	for _, c := range h.org.Calls() {
		if c.Method != http.MethodGet {
			calls = append(calls, c.Method+" "+strings.TrimPrefix(c.Path, "/api/v1/eventHooks"))
		}
	}
	h.org.ResetCalls()
	return calls
}

func (h *hooked) only() oktasim.EventHook {
	h.t.Helper()
	all := h.org.EventHooks()
	if len(all) != 1 {
		h.t.Fatalf("%d hooks", len(all))
	}
	return all[0]
}

// until waits for a state that others bring about.
func (h *hooked) until(what string, done func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (h *hooked) status() engine.InstanceStatus {
	h.t.Helper()
	s, err := h.engine.Instance(h.t.Context(), "acme")
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// read reads the org in full.
func (h *hooked) read() {
	h.t.Helper()
	run, err := h.engine.StartRun(h.t.Context(), "acme", engine.Start{Trigger: "test"})
	if err != nil {
		h.t.Fatal(err)
	}
	h.until("the run to end", func() bool {
		run, err = h.engine.RunByID(h.t.Context(), run.ID)
		return err == nil && run.State == engine.RunSucceeded
	})
}

func (h *hooked) inGraph(key string) bool {
	h.t.Helper()
	for object, err := range h.engine.Graph(h.t.Context(), "acme") {
		if err != nil {
			h.t.Fatal(err)
		}
		if object.Key() == key {
			return true
		}
	}
	return false
}

// The way of an operator: register, events arrive, the console breaks it, the
// next run tells, register mends it, remove.
func TestRegisteredHookDeliversIntoTheGraph(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	if status, said := h.hook("status"); status != 1 || !strings.Contains(said, "no event hook") {
		t.Errorf("status before: %d\n%s", status, said)
	}
	h.mustRegister("Okta verified it")
	hook := h.only()
	if hook.Name != "oktasync acme" || hook.URI != h.service+"/hooks/okta/acme" || hook.VerificationStatus != "VERIFIED" ||
		!cmp.Equal(hook.Types, convert.HookTypes()) {
		t.Errorf("registered: %+v", hook)
	}
	h.read()
	if found := h.status().Hook; found == nil || found.ID != hook.ID || found.Problem != "" {
		t.Errorf("the service sees %+v", found)
	}
	group, events, err := h.org.CreateGroup("By hook alone", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.org.NewHookSender(hook.ID, oktasim.Faults{}).Deliver(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	h.until("the group to be in the graph", func() bool { return h.inGraph(group) })
	if status, said := h.hook("status"); status != 0 || !strings.Contains(said, "brings all") {
		t.Errorf("status of a good one: %d\n%s", status, said)
	}

	// A second time there is nothing to do, and nothing is done.
	h.writes()
	h.mustRegister("nothing to change")
	if calls := h.writes(); len(calls) != 0 {
		t.Errorf("the second time wrote %v", calls)
	}

	if err := h.org.DeactivateEventHook(hook.ID); err != nil {
		t.Fatal(err)
	}
	h.read()
	health, err := h.engine.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found := h.status().Hook; found == nil || !strings.Contains(found.Problem, "inactive") ||
		!slices.ContainsFunc(health.Warnings, func(w string) bool { return strings.Contains(w, "acme") && strings.Contains(w, "event hook") }) {
		t.Errorf("deactivated in the console: %+v, health %q", found, health.Warnings)
	}
	if status, said := h.hook("status", "--json"); status != 1 || !strings.Contains(said, `"status": "INACTIVE"`) {
		t.Errorf("status of an inactive one: %d\n%s", status, said)
	}
	h.mustRegister("Activated it")
	if got := h.only(); got.Status != "ACTIVE" {
		t.Errorf("registered again: %+v", got)
	}

	if status, said := h.hook("remove"); status != 2 || !strings.Contains(said, "--yes") || len(h.org.EventHooks()) != 1 {
		t.Errorf("remove without a terminal: %d\n%s", status, said)
	}
	if status, said := h.hook("remove", "--yes"); status != 0 || len(h.org.EventHooks()) != 0 {
		t.Errorf("remove: %d\n%s", status, said)
	}
	if status, said := h.hook("remove", "--yes"); status != 0 || !strings.Contains(said, "no event hook") {
		t.Errorf("remove again: %d\n%s", status, said)
	}
}

// A hook that others made keeps what they set.
func TestRegisterKeepsWhatOthersSet(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	id := h.org.AddEventHook("Identity team", oktasim.Hook{URL: h.service + "/hooks/okta/acme", Secret: secretOfHook,
		Types: []string{"user.session.start", "user.lifecycle.create"}})
	if err := h.org.EditEventHook(id, func(hook map[string]any) {
		hook["description"] = "do not touch"
		hook["events"].(map[string]any)["filter"] = json.RawMessage(`{"type":"EXPRESSION_LANGUAGE","eventFilterMap":[{"event":"user.lifecycle.create","condition":{"expression":"true","version":null}}]}`)
	}); err != nil {
		t.Fatal(err)
	}
	before := h.only()
	h.mustRegister("Added")
	after := h.only()
	if after.ID != id || after.Name != "Identity team" || after.Description != "do not touch" || after.VerificationStatus != "VERIFIED" {
		t.Errorf("after register: %+v", after)
	}
	var was, is any
	if err := errors.Join(json.Unmarshal([]byte(before.Filter), &was), json.Unmarshal([]byte(after.Filter), &is)); err != nil || !cmp.Equal(was, is) {
		t.Errorf("filter before %s, after %s, %v", before.Filter, after.Filter, err)
	}
	if want := append([]string{"user.session.start"}, convert.HookTypes()...); len(after.Types) != len(want) || after.Types[0] != "user.session.start" {
		t.Errorf("types: %v", after.Types)
	}
	status, said := h.hook("status")
	if status != 0 || !strings.Contains(said, "user.session.start") || !strings.Contains(said, "filter") {
		t.Errorf("status: %d\n%s", status, said)
	}
}

// The hook is found by its name when the service has moved.
func TestRegisterMovesTheHook(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	id := h.org.AddEventHook("oktasync acme", oktasim.Hook{URL: "https://old.example.com/hooks/okta/acme", Secret: "x", Header: "X-Key", Types: convert.HookTypes()})
	if status, said := h.hook("status", "--url="+h.service); status != 1 || !strings.Contains(said, "old.example.com") {
		t.Errorf("status with another address: %d\n%s", status, said)
	}
	h.mustRegister("leads to " + h.service + "/hooks/okta/acme now")
	got := h.only()
	if got.ID != id || got.URI != h.service+"/hooks/okta/acme" || got.VerificationStatus != "VERIFIED" || !strings.Contains(string(got.JSON), `"key":"Authorization"`) {
		t.Errorf("moved: %+v %s", got, got.JSON)
	}
	h.org.AddEventHook("another", oktasim.Hook{URL: "https://third.example.com/hooks/okta/acme", Types: convert.HookTypes()})
	h.mustRegister("third.example.com") // it brings everything twice
	if status, said := h.hook("remove", "--yes", "--name=nobody's"); status != 2 || !strings.Contains(said, "several") || len(h.org.EventHooks()) != 2 {
		t.Errorf("remove one of two: %d\n%s", status, said)
	}
}

func TestTypesThatTheOrgDoesNotOfferAreLeftOut(t *testing.T) {
	lacks := []string{"user.mfa.factor.suspend", "app.user_management", "system.import.complete"}
	h := startHooked(t, oktasim.Config{NoHookTypes: lacks})
	h.mustRegister("does not offer")
	want := slices.DeleteFunc(convert.HookTypes(), func(s string) bool { return slices.Contains(lacks, s) })
	if got := h.only().Types; !cmp.Equal(got, want) {
		t.Errorf("-want +got:\n%s", cmp.Diff(want, got))
	}
	h.mustRegister("nothing to change")
	if status, said := h.hook("status"); status != 1 || !strings.Contains(said, "app.user_management") {
		t.Errorf("status: %d\n%s", status, said)
	}
}

func TestRefusedTypesInOktasWords(t *testing.T) {
	types := []string{"a.b", "a.b.c", "x.y_z.w", "q.r"}
	for text, want := range map[string][]string{
		"Api validation failed":          nil,
		"events.items: a.b.c is unknown": {"a.b.c"},
		"'a.b', \"x.y_z.w\".":            {"a.b", "x.y_z.w"},
		"not these: a.b.cc, xa.b":        nil,
		"too long a list: q.r, a.b…":     {"q.r"},
	} {
		err := fmt.Errorf("wrapped: %w", &okta.Error{Status: 400, Summary: "Api validation failed", Causes: []string{text}})
		if got := refusedTypes(err, types); !cmp.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// Whatever the token may not do, the operator is told what to click.
func TestRegisterWithoutTheRight(t *testing.T) {
	for _, rights := range []oktasim.HookRights{oktasim.HooksRead, oktasim.HooksDenied} {
		t.Run(fmt.Sprint(rights), func(t *testing.T) {
			h := startHooked(t, oktasim.Config{HookRights: rights})
			status, said := h.register()
			for _, text := range append(convert.HookTypes(), "okta.eventhooks.manage", "Workflow › Event Hooks › Create Event Hook", "oktasync acme",
				h.service+"/hooks/okta/acme", "OKTASYNC_HOOK_SECRET", "Verify") {
				if !strings.Contains(said, text) {
					t.Errorf("it does not tell %q:\n%s", text, said)
				}
			}
			if status != 1 {
				t.Errorf("status %d", status)
			}
			h.org.AddEventHook("Identity team", oktasim.Hook{URL: h.service + "/hooks/okta/acme", Types: convert.HookTypes()[1:]})
			status, said = h.register()
			if rights == oktasim.HooksRead && (!strings.Contains(said, "Edit of Identity team") || strings.Contains(said, convert.HookTypes()[1]) || !strings.Contains(said, convert.HookTypes()[0])) || status != 1 {
				t.Errorf("of a hook that lacks a type: %d\n%s", status, said)
			}
			if status, said = h.hook("remove", "--yes"); status != 1 || !strings.Contains(said, "Workflow › Event Hooks") {
				t.Errorf("remove: %d\n%s", status, said)
			}
			want := map[oktasim.HookRights]string{oktasim.HooksRead: "missing", oktasim.HooksDenied: "nothing is known"}[rights]
			if status, said = h.hook("status"); status != 1 || !strings.Contains(said, want) {
				t.Errorf("status: %d\n%s", status, said)
			}
		})
	}
}

// Okta is not told of a secret that the service does not take, nor of an
// address at which nobody receives.
func TestRegisterTriesTheSecretFirst(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	t.Setenv("OKTASYNC_HOOK_SECRET", "another-secret-than-the-service-has")
	if status, said := h.register(); status != 1 || !strings.Contains(said, "does not take this secret") || len(h.org.EventHooks()) != 0 {
		t.Errorf("a wrong secret: %d\n%s", status, said)
	}
	t.Setenv("OKTASYNC_HOOK_SECRET", secretOfHook)
	if status, said := h.hook("register", "--url="+h.service, "--instance=nobody"); status != 1 || !strings.Contains(said, "instance event") || len(h.org.EventHooks()) != 0 {
		t.Errorf("an unknown instance: %d\n%s", status, said)
	}
	if calls := h.writes(); len(calls) != 0 {
		t.Errorf("it wrote %v", calls)
	}
}

func TestFailedVerificationIsExplainedAndCanBeRepeated(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	unseen := func(r *http.Request) bool { return r.Method == http.MethodGet }
	h.broken.Store(&unseen)
	status, said := h.register()
	if status != 1 || !strings.Contains(said, "could not be verified") || !strings.Contains(said, "500") || !strings.Contains(said, "instance acme") {
		t.Errorf("%d\n%s", status, said)
	}
	if got := h.only(); got.VerificationStatus != "UNVERIFIED" {
		t.Errorf("%+v", got)
	}
	h.broken.Store(nil)
	h.writes()
	h.mustRegister("Okta verified it")
	if calls := h.writes(); !cmp.Equal(calls, []string{"POST /" + h.only().ID + "/lifecycle/verify"}) {
		t.Errorf("mended by %v", calls)
	}
}

func TestMistakesInHookCommands(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	for want, args := range map[string][]string{
		"--url is missing":                {},
		"must begin with https://":        {"--url=ftp://x.example.com"},
		"must be an address":              {"--url=https://x.example.com/?a=b"},
		"not of the instance acme":        {"--url=https://x.example.com/hooks/okta/other"},
		"at most 1024":                    {"--url=https://x.example.com/" + strings.Repeat("x", 1100)},
		"--name must have":                {"--url=https://x.example.com", "--name=" + strings.Repeat("x", 256)},
		"needs --secret-file":             {"--url=https://x.example.com", "--rotate"},
		"goes with --rotate":              {"--url=https://x.example.com", "--secret-file=x"},
		"--finish needs":                  {"--finish"},
		"by a call of its own":            {"--url=https://x.example.com", "--rotate", "--finish"},
		"URL of the service must be":      {"--finish", "--secret-file=x", "--service=nowhere"},
		"--instance must be":              {"--instance=a/b"},
		"16 to 4096 printable ASCII":      {"--url=https://x.example.com", "--hook-secret=short"},
		"OKTA_CLIENT_TOKEN must be set":   {"--url=https://x.example.com", "--okta-client-token="},
		"OKTASYNC_ADMIN_TOKEN is not set": {"--finish", "--secret-file=x", "--admin-token="},
	} {
		if status, said := h.hook("register", args...); status != 2 || !strings.Contains(said, want) {
			t.Errorf("%v: %d, want %q:\n%s", args, status, want, said)
		}
	}
	t.Setenv("OKTASYNC_ALLOW_INSECURE_ORGS", "false")
	if status, said := h.register(); status != 2 || !strings.Contains(said, "https://") {
		t.Errorf("http: %d\n%s", status, said)
	}
	for _, c := range h.org.Calls() { // but those of the service
		if strings.Contains(c.Path, "eventHooks") {
			t.Errorf("called %s %s", c.Method, c.Path)
		}
	}
}

// flow delivers one change after the other through the hook until it is stopped,
// and returns what was not taken. While the hook waits for its verification Okta
// delivers nothing.
func (h *hooked) flow() (stop func() []error, delivered func() int) {
	ctx, cancel := context.WithCancel(h.t.Context())
	sender := h.org.NewHookSender(h.only().ID, oktasim.Faults{})
	var failed []error
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := sender.Deliver(context.WithoutCancel(ctx), h.org.Mutate(1)); err != nil {
				failed = append(failed, err)
			}
		}
	})
	return func() []error {
		cancel()
		wg.Wait()
		sender.Stop()
		return failed
	}, sender.Sent
}

// While events flow the secret is rotated: not one delivery is refused.
func TestSecretIsRotatedWithoutAGap(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	h.mustRegister("Created")
	stop, delivered := h.flow()
	flows := func(when string) {
		t.Helper()
		from := delivered()
		h.until("deliveries "+when, func() bool { return delivered() > from+20 })
	}
	flows("before")
	for i := range 3 { // month after month
		file := filepath.Join(t.TempDir(), "secret")
		h.mustRegister("Okta sends the new secret", "--rotate", "--secret-file="+file)
		flows("after the rotation")
		if status, said := h.hook("register", "--finish", "--secret-file="+file); status != 0 || !strings.Contains(said, "alone") {
			t.Errorf("finish: %d\n%s", status, said)
		}
		flows("after its end")
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the secret's file: %v, %v", info, err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		secret := strings.TrimSpace(string(text))
		if secrets, err := h.engine.HookSecrets(t.Context(), "acme"); err != nil || !cmp.Equal(secrets, []string{secret}) || len(secret) < 32 {
			t.Errorf("rotation %d: the service has %d secrets, %v", i, len(secrets), err)
		}
	}
	if failed := stop(); len(failed) > 0 || h.refused.Load() > 0 {
		t.Errorf("%d deliveries failed, %d were refused: %v", len(failed), h.refused.Load(), failed)
	}
}

// finish ends a rotation by a file, and tells whether that was refused. Whatever
// it does, Okta's secret, which the org's hook sends, must stay valid.
func (h *hooked) finish(file string) (status int, said string) {
	h.t.Helper()
	status, said = h.hook("register", "--finish", "--secret-file="+file)
	sender := h.org.NewHookSender(h.only().ID, oktasim.Faults{})
	defer sender.Stop()
	if err := sender.Deliver(h.t.Context(), h.org.Mutate(1)); err != nil {
		h.t.Errorf("after finish --secret-file=%s: a delivery: %v\n%s", file, err, said)
	}
	return status, said
}

// refusedFinish wants finish to be refused, with a reason, and nothing to be dropped.
func (h *hooked) refusedFinish(file, why string) {
	h.t.Helper()
	before, err := h.engine.HookSecrets(h.t.Context(), "acme")
	if err != nil {
		h.t.Fatal(err)
	}
	if status, said := h.finish(file); status != 1 || !strings.Contains(said, why) {
		h.t.Errorf("finish with %s: %d, want %q\n%s", filepath.Base(file), status, why, said)
	}
	if after, err := h.engine.HookSecrets(h.t.Context(), "acme"); err != nil || !cmp.Equal(after, before) {
		h.t.Errorf("finish with %s: %d secrets, before %d, %v", filepath.Base(file), len(after), len(before), err)
	}
}

// Rotations break off, files are mixed up: the secret that Okta sends stays valid.
func TestFinishDropsNoSecretThatOktaMaySend(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	h.mustRegister("Created")
	dir := t.TempDir()
	first, second, third := filepath.Join(dir, "1"), filepath.Join(dir, "2"), filepath.Join(dir, "3")
	for _, text := range []string{"an-image-of-the-machine-42\n", "short\n", secretOfHook + "\n" + strings.Repeat("x", 5000)} {
		other := filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h.refusedFinish(other, "other")
	}
	h.mustRegister("Okta sends the new secret", "--rotate", "--secret-file="+first)

	// The address is wrong: Okta never learns of the second secret.
	if status, said := h.hook("register", "--url=http://127.0.0.1:1", "--rotate", "--secret-file="+second); status != 1 {
		t.Errorf("rotation to another address: %d\n%s", status, said)
	}
	h.mustRegister("leads to "+h.service, "--name=oktasync acme", "--hook-secret="+h.secretIn(first)) // which the failed rotation moved
	h.refusedFinish(second, "end the rotation first")
	if status, said := h.finish(first); status != 0 { // register made it the newest again
		t.Errorf("finish: %d\n%s", status, said)
	}

	// Okta refuses a rotation, and the next one has another file.
	h.fail(true, http.MethodPut, oktasim.Fault{Status: 500})
	if status, said := h.register("--rotate", "--secret-file="+second); status != 1 {
		t.Errorf("refused by Okta: %d\n%s", status, said)
	}
	h.refusedFinish(first, "newest")
	if status, said := h.register("--rotate", "--secret-file="+third); status != 1 {
		t.Errorf("refused by Okta again: %d\n%s", status, said)
	}
	h.fail(false, "", oktasim.Fault{})
	for _, file := range []string{first, second, third} {
		h.refusedFinish(file, "")
	}
	h.mustRegister("Okta sends the new secret", "--rotate", "--secret-file="+third)
	if err := os.WriteFile(third+".unfinished", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.refusedFinish(third, "is there")
	if err := os.Remove(third + ".unfinished"); err != nil {
		t.Fatal(err)
	}
	h.refusedFinish(first, "newest")
	if status, said := h.finish(third); status != 0 {
		t.Errorf("finish: %d\n%s", status, said)
	}
	if secrets, err := h.engine.HookSecrets(t.Context(), "acme"); err != nil || !cmp.Equal(secrets, []string{h.secretIn(third)}) {
		t.Errorf("in the end %d secrets, %v", len(secrets), err)
	}
}

func (h *hooked) secretIn(file string) string {
	h.t.Helper()
	secret, err := fileSecret(file)
	if err != nil {
		h.t.Fatal(err)
	}
	return secret
}

// A change of the hook gives Okta the secret of the environment, which may be that
// of before the rotation. The end of the rotation must not drop it then.
func TestRegisterInARotationThatHasNotEnded(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	h.mustRegister("Created")
	file := filepath.Join(t.TempDir(), "secret")
	h.mustRegister("Okta sends the new secret", "--rotate", "--secret-file="+file)
	if err := h.org.EditEventHook(h.only().ID, func(hook map[string]any) {
		hook["events"].(map[string]any)["items"] = convert.HookTypes()[1:]
	}); err != nil {
		t.Fatal(err)
	}
	h.mustRegister("Added 1 event type")
	h.refusedFinish(file, "newest")
}

func TestFinishTriesTheSecretAtTheHook(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	h.mustRegister("Created")
	file := filepath.Join(t.TempDir(), "secret")
	h.mustRegister("Okta sends the new secret", "--rotate", "--secret-file="+file)
	drops := func(r *http.Request) bool { return r.Method == http.MethodPost }
	h.broken.Store(&drops)
	status, said := h.hook("register", "--finish", "--secret-file="+file)
	if secrets, err := h.engine.HookSecrets(t.Context(), "acme"); status != 1 || !strings.Contains(said, "500") || err != nil || len(secrets) != 2 {
		t.Errorf("%d, %d secrets, %v\n%s", status, len(secrets), err, said)
	}
	h.broken.Store(nil)
	if status, said := h.hook("register", "--finish", "--secret-file="+file, "--url=https://elsewhere.example.com"); status != 1 || !strings.Contains(said, "another address") {
		t.Errorf("at another address: %d\n%s", status, said)
	}
}

// The variables of another org, with the same secret: its events would get into the
// graph of this one.
func TestRegisterRefusesTheOrgOfAnotherInstance(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	other := oktasim.New(t, oktasim.Config{Seed: 6, Users: 3, Groups: 2, Apps: 2, PlainHooks: true})
	t.Setenv("OKTA_CLIENT_ORGURL", other.URL())
	t.Setenv("OKTA_CLIENT_TOKEN", other.Token())
	for _, args := range [][]string{nil, {"--rotate", "--secret-file=" + filepath.Join(t.TempDir(), "secret")}, {"--finish", "--secret-file=x"}} {
		status, said := h.register(args...)
		if status != 1 || !strings.Contains(said, "wrong graph") || !strings.Contains(said, h.org.URL()) || len(other.EventHooks()) != 0 {
			t.Errorf("%v: %d\n%s", args, status, said)
		}
	}
	t.Setenv("OKTASYNC_ADMIN_TOKEN", "")
	status, said := h.register() // it cannot know, and says what it does
	first, _, _ := strings.Cut(said, "\n")
	if status != 0 || !strings.Contains(first, other.URL()) || !strings.Contains(first, "instance acme") || len(other.EventHooks()) != 1 {
		t.Errorf("%d\n%s", status, said)
	}
}

// Some orgs may keep what a change wants to be different: Okta's own words on that
// differ. What counts is its answer.
func TestRegisterBelievesOktasAnswer(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	t.Setenv("OKTASYNC_ADMIN_TOKEN", "")
	old := h.service + "/old/hooks/okta/acme"
	id := h.org.AddEventHook("oktasync acme", oktasim.Hook{URL: old, Secret: secretOfHook, Types: convert.HookTypes()[1:]})
	target, err := url.Parse(h.org.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if r.Out.Method != http.MethodPut {
			return
		}
		body, err := io.ReadAll(r.Out.Body)
		if err != nil {
			t.Error(err)
		}
		var hook map[string]any
		if err := json.Unmarshal(body, &hook); err != nil {
			t.Error(err)
			return
		}
		hook["channel"].(map[string]any)["config"].(map[string]any)["uri"] = old
		hook["events"].(map[string]any)["items"] = convert.HookTypes()[1:]
		if body, err = json.Marshal(hook); err != nil {
			t.Error(err)
		}
		r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}}
	keeps := httptest.NewServer(proxy)
	t.Cleanup(keeps.Close)
	t.Setenv("OKTA_CLIENT_ORGURL", keeps.URL)
	status, said := h.register()
	if status != 1 || strings.Contains(said, "now.") || !strings.Contains(said, "was left by Okta at the address "+old) || !strings.Contains(said, "oktasync hook remove --instance acme --url "+old) ||
		!strings.Contains(said, "left out "+convert.HookTypes()[0]) {
		t.Errorf("%d\n%s", status, said)
	}
	if status, said := h.hook("remove", "--yes", "--url="+old); status != 0 || len(h.org.EventHooks()) != 0 {
		t.Errorf("what it said to do, of %s: %d\n%s", id, status, said)
	}
	h.mustRegister("Created")
}

// A rotation that breaks off at any step loses nothing, and the same call again
// ends it.
func TestBrokenRotationIsRepairedByTheSameCall(t *testing.T) {
	for name, breakIt := range map[string]func(h *hooked, broken bool){
		"the service does not answer": func(h *hooked, broken bool) {
			fails := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/admin/") }
			h.broken.Store(map[bool]*func(*http.Request) bool{true: &fails}[broken])
		},
		"Okta fails before the change": func(h *hooked, broken bool) { h.fail(broken, http.MethodPut, oktasim.Fault{Status: 500}) },
		"Okta fails before the verification": func(h *hooked, broken bool) {
			h.fail(broken, http.MethodPost, oktasim.Fault{Status: 500})
		},
		"Okta's answer to the change is lost": func(h *hooked, broken bool) { h.fail(broken, http.MethodPut, oktasim.Fault{Truncate: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			h := startHooked(t, oktasim.Config{})
			h.mustRegister("Created")
			stop, delivered := h.flow()
			file := filepath.Join(t.TempDir(), "secret")
			breakIt(h, true)
			if status, said := h.register("--rotate", "--secret-file="+file); status != 1 {
				t.Errorf("broken: %d\n%s", status, said)
			}
			if status, said := h.hook("register", "--finish", "--secret-file="+file); status != 1 {
				t.Errorf("it drops the old secret although Okta may not have the new one: %d\n%s", status, said)
			}
			breakIt(h, false)
			h.mustRegister("Okta sends the new secret", "--rotate", "--secret-file="+file)
			from := delivered()
			h.until("deliveries after the rotation", func() bool { return delivered() > from+5 })
			if status, said := h.hook("register", "--finish", "--secret-file="+file); status != 0 {
				t.Errorf("finish: %d\n%s", status, said)
			}
			h.until("deliveries after its end", func() bool { return delivered() > from+10 })
			if failed := stop(); len(failed) > 0 || h.refused.Load() > 0 {
				t.Errorf("%d deliveries failed, %d were refused: %v", len(failed), h.refused.Load(), failed)
			}
		})
	}
}

// fail lets calls of a method on event hooks fail, or ends that.
func (h *hooked) fail(broken bool, method string, f oktasim.Fault) {
	if !broken {
		h.org.ClearFaults()
		return
	}
	h.org.Fail(func(r *http.Request) *oktasim.Fault {
		if r.Method == method && strings.Contains(r.URL.Path, "/eventHooks/") {
			return &f
		}
		return nil
	})
}

func TestRotationIsRefusedWhereItWouldBreak(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	file := filepath.Join(t.TempDir(), "secret")
	if status, said := h.register("--rotate", "--secret-file="+file); status != 1 || !strings.Contains(said, "make it first") {
		t.Errorf("without a hook: %d\n%s", status, said)
	}
	h.mustRegister("Created")
	other := startService(t)
	if status, said := h.register("--rotate", "--secret-file="+file, "--service="+other); status != 1 || !strings.Contains(said, "the same service") {
		t.Errorf("another service: %d\n%s", status, said)
	}
	t.Setenv("OKTASYNC_ADMIN_TOKEN", "not-the-admin-token")
	if status, said := h.register("--rotate", "--secret-file="+file); status != 1 || !strings.Contains(said, "admin token") {
		t.Errorf("wrong admin token: %d\n%s", status, said)
	}
	for path, want := range map[string]string{file + ".unfinished": "16 to 4096", file: "is there"} {
		if err := os.WriteFile(path, []byte("short\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if status, said := h.register("--rotate", "--secret-file="+file); status == 0 || !strings.Contains(said, want) {
			t.Errorf("a bad file: %d, want %q\n%s", status, want, said)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.only(); got.VerificationStatus != "VERIFIED" {
		t.Errorf("the hook was touched: %+v", got)
	}
}

// A restart in the middle of a rotation, with the old secret still in the
// environment, must not make the service refuse what Okta sends by then.
func TestRestartKeepsTheSecretsOfARotation(t *testing.T) {
	h := startHooked(t, oktasim.Config{})
	w, said := testWorld()
	restart := func(secret Secret) []string {
		t.Helper()
		cmd := serveCmd{OrgURL: h.org.URL(), OrgToken: Secret(h.org.Token()), HookSecret: secret}
		if err := cmd.registerDefault(t.Context(), w, h.engine); err != nil {
			t.Fatal(err)
		}
		secrets, err := h.engine.HookSecrets(t.Context(), defaultInstance)
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	if got := restart(secretOfHook); !cmp.Equal(got, []string{secretOfHook}) {
		t.Fatalf("at first: %d secrets", len(got))
	}
	const rotated = "second-secret-of-the-hook"
	if _, err := h.engine.AddHookSecret(t.Context(), defaultInstance, rotated); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []Secret{secretOfHook, rotated, ""} {
		if got := restart(secret); !cmp.Equal(got, []string{secretOfHook, rotated}) {
			t.Errorf("after a restart: %d secrets", len(got))
		}
	}
	if said.Len() > 0 {
		t.Errorf("said: %s", said)
	}
	// Another one may be new, or old: Okta may send either.
	const third = "third-secret-of-the-hook"
	if got := restart(third); !cmp.Equal(got, []string{secretOfHook, rotated, third}) {
		t.Errorf("after a restart with another secret: %d secrets", len(got))
	}
	for range 2 { // the service starts, whatever rotations are left open
		if got := restart(Secret(fmt.Sprintf("secret-number-%d-of-the-hook", len(said.String())))); len(got) != engine.MaxHookSecrets || got[0] != secretOfHook {
			t.Errorf("after restarts with more secrets: %d secrets", len(got))
		}
	}
	if !strings.Contains(said.String(), "not taken") {
		t.Errorf("said: %s", said)
	}
	if !strings.Contains(said.String(), "hook-secrets/old") || strings.Contains(said.String(), "third") {
		t.Errorf("said: %s", said)
	}
}

// startService answers every order, as a service of somebody else's would.
func startService(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(s.Close)
	return s.URL
}
