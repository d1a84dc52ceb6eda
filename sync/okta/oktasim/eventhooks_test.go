package oktasim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	sdk "github.com/okta/okta-sdk-golang/v2/okta"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// send makes a call with a body and returns the status, with Okta's code of an
// error, and the object that the answer holds.
func send(t *testing.T, o *oktasim.Org, method, path, body string) (string, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, o.URL()+"/api/v1/eventHooks"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "SSWS "+o.Token())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	_ = json.Unmarshal(text, &v) // a list, or nothing
	code, _ := v["errorCode"].(string)
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", code)), v
}

// hookJSON is the body of a hook; more is put between its members.
func hookJSON(name, uri, secret, more string, types ...string) string {
	items, _ := json.Marshal(types)
	return fmt.Sprintf(`{"name":%q,%s"events":{"type":"EVENT_TYPE","items":%s},"channel":{"type":"HTTP","version":"1.0.0",
		"config":{"uri":%q,"authScheme":{"type":"HEADER","key":"Authorization","value":%q}}}}`, name, more, items, uri, secret)
}

// logged returns the types and results of the events about hooks.
func logged(t *testing.T, o *oktasim.Org) (types []string) {
	t.Helper()
	for _, e := range o.Events() {
		if strings.HasPrefix(e.Type, "event_hook.") {
			var b struct{ Outcome struct{ Result string } }
			if err := json.Unmarshal(e.JSON, &b); err != nil || e.HookEligible {
				t.Fatalf("%s: eligible %v, %v", e.Type, e.HookEligible, err)
			}
			types = append(types, e.Type+" "+b.Outcome.Result)
		}
	}
	return types
}

func TestLifeOfAnEventHook(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, PlainHooks: true})
	r := receive(t)
	const users, groups = "user.lifecycle.create", "group.lifecycle.create"
	want := func(what, got, status string) {
		t.Helper()
		if got != status {
			t.Errorf("%s: %s, want %s", what, got, status)
		}
	}

	code, hook := send(t, o, "POST", "", hookJSON("one", r.URL, "a secret", `"description":"for the graph",`, users))
	want("create", code, "200")
	id, _ := hook["id"].(string)
	if hook["status"] != "ACTIVE" || hook["verificationStatus"] != "UNVERIFIED" || !strings.HasPrefix(id, "who") {
		t.Fatalf("created: %v", hook)
	}
	if resp, body := get(t, o, "eventHooks"); resp.Header.Get("Link") == "" || strings.Contains(string(body), "a secret") ||
		!strings.Contains(string(body), id) {
		t.Errorf("the list: %s", body)
	}

	sender := o.NewHookSender(id, oktasim.Faults{})
	if _, _, err := o.CreateUser("ACTIVE", map[string]any{"login": "new@example.com"}); err != nil {
		t.Fatal(err)
	}
	if err := sender.Deliver(t.Context(), o.Events()); err != nil || len(r.all()) != 0 {
		t.Errorf("an unverified hook got %v, %v", r.all(), err)
	}
	code, hook = send(t, o, "POST", "/"+id+"/lifecycle/verify", "")
	want("verify", code, "200")
	if hook["verificationStatus"] != "VERIFIED" {
		t.Errorf("verified: %v", hook)
	}
	if err := sender.Deliver(t.Context(), o.Events()); err != nil {
		t.Error(err)
	}
	if got := r.all(); len(got) != 1 || r.secrets[0] != "a secret" || !strings.HasSuffix(fmt.Sprint(r.envelope[0]["source"]), id) {
		t.Errorf("a hook for users got %v, secrets %q, envelope %v", got, r.secrets, r.envelope)
	}

	// A PUT replaces all; only a channel that differs has to be verified again.
	code, hook = send(t, o, "PUT", "/"+id, hookJSON("one", r.URL, "a secret", "", users, groups))
	want("replace", code, "200")
	if hook["description"] != nil || hook["verificationStatus"] != "VERIFIED" {
		t.Errorf("replaced: %v", hook)
	}
	code, hook = send(t, o, "PUT", "/"+id, strings.Replace(hookJSON("one", r.URL, "", "", users), `,"value":""`, "", 1))
	want("replace without the secret", code, "200")
	if hook["verificationStatus"] != "UNVERIFIED" {
		t.Errorf("without its secret: %v", hook)
	}

	want("delete an active one", first(send(t, o, "DELETE", "/"+id, "")), "400 E0000001")
	want("deactivate", first(send(t, o, "POST", "/"+id+"/lifecycle/deactivate", "")), "200")
	want("delete", first(send(t, o, "DELETE", "/"+id, "")), "204")
	want("read a deleted one", status(t, o, "eventHooks/"+id), "404 E0000007")
	want("verify a deleted one", first(send(t, o, "POST", "/"+id+"/lifecycle/verify", "")), "404 E0000007")

	if got := logged(t, o); !slices.Equal(got, []string{"event_hook.created SUCCESS", "event_hook.verified SUCCESS", "event_hook.updated SUCCESS",
		"event_hook.updated SUCCESS", "event_hook.deactivated SUCCESS", "event_hook.deleted SUCCESS"}) {
		t.Errorf("the log tells %v", got)
	}
}

func first(s string, _ map[string]any) string { return s }

func TestVerificationIsTriedTwice(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, PlainHooks: true})
	tries, good := 0, 2
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries < good {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"verification": r.Header.Get("X-Okta-Verification-Challenge")})
	}))
	defer srv.Close()
	_, hook := send(t, o, "POST", "", hookJSON("one", srv.URL, "s", "", "user.lifecycle.create"))
	path := fmt.Sprintf("/%s/lifecycle/verify", hook["id"])
	if got, _ := send(t, o, "POST", path, ""); got != "200" || tries != 2 {
		t.Errorf("good at the second try: %s after %d", got, tries)
	}
	tries, good = 0, 3
	got, answer := send(t, o, "POST", path, "")
	if got != "400 E0000001" || tries != 2 || !strings.Contains(fmt.Sprint(answer["errorCauses"]), "502") {
		t.Errorf("never good: %s after %d: %v", got, tries, answer)
	}
	if got := logged(t, o); !slices.Equal(got, []string{"event_hook.created SUCCESS", "event_hook.verified SUCCESS", "event_hook.verified FAILURE"}) {
		t.Errorf("the log tells %v", got)
	}
}

func TestRefusedEventHooks(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, NoHookTypes: []string{"user.mfa.factor.suspend"}})
	const uri, typ = "https://example.com/hooks", "user.lifecycle.create"
	if got, answer := send(t, o, "POST", "", hookJSON("taken", uri, "s", "", typ)); got != "200" {
		t.Fatalf("%s: %v", got, answer)
	}
	var many []string
	for range 301 {
		many = append(many, typ)
	}
	for what, body := range map[string]string{
		"an unknown type":           hookJSON("a", uri, "s", "", typ, "user.lifecycle.dance"),
		"a type only the log has":   hookJSON("a", uri, "s", "", typ, "user.realm.update"),
		"a type this org lacks":     hookJSON("a", uri, "s", "", "user.mfa.factor.suspend"),
		"no types":                  hookJSON("a", uri, "s", ""),
		"too many types":            hookJSON("a", uri, "s", "", many...),
		"no name":                   hookJSON("", uri, "s", "", typ),
		"a long name":               hookJSON(strings.Repeat("n", 256), uri, "s", "", typ),
		"another's name":            hookJSON("taken", uri, "s", "", typ),
		"http":                      hookJSON("a", "http://example.com", "s", "", typ),
		"white space":               hookJSON("a", uri+"/a b", "s", "", typ),
		"a long address":            hookJSON("a", uri+strings.Repeat("/x", 600), "s", "", typ),
		"a header that is Okta's":   strings.Replace(hookJSON("a", uri, "s", "", typ), `"uri"`, `"headers":[{"key":"accept","value":"x"}],"uri"`, 1),
		"another kind of authority": strings.Replace(hookJSON("a", uri, "s", "", typ), "HEADER", "OAUTH", 1),
	} {
		if got, _ := send(t, o, "POST", "", body); got != "400 E0000001" {
			t.Errorf("%s: %s", what, got)
		}
	}
	if got, _ := send(t, o, "POST", "", "{"); got != "400 E0000003" {
		t.Errorf("no JSON: %s", got)
	}
	if got, _ := send(t, o, "PATCH", "/who1", "{}"); got != "405 E0000022" {
		t.Errorf("PATCH: %s", got)
	}
	if n := len(o.EventHooks()); n != 1 {
		t.Errorf("%d hooks after refusals", n)
	}
}

func TestRightsOverEventHooks(t *testing.T) {
	for rights, want := range map[oktasim.HookRights][2]string{
		oktasim.HooksManaged: {"200", "200"},
		oktasim.HooksRead:    {"200", "403 E0000006"},
		oktasim.HooksDenied:  {"403 E0000006", "403 E0000006"},
	} {
		o := oktasim.New(t, oktasim.Config{Seed: 1, HookRights: rights})
		id := o.AddEventHook("the console's", oktasim.Hook{URL: "https://example.com/", Secret: "s"})
		write, _ := send(t, o, "POST", "", hookJSON("mine", "https://example.com/", "s", "", "user.lifecycle.create"))
		if got := [2]string{status(t, o, "eventHooks"), write}; got != want {
			t.Errorf("rights %d: list and create answer %v", rights, got)
		}
		if got := status(t, o, "eventHooks/"+id); got != want[0] {
			t.Errorf("rights %d: read answers %s", rights, got)
		}
	}
}

func TestTwentyFiveLiveHooks(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, PlainHooks: true})
	r := receive(t)
	for i := range 25 {
		o.AddEventHook(fmt.Sprint(i), oktasim.Hook{URL: r.URL, Secret: "s"})
	}
	_, hook := send(t, o, "POST", "", hookJSON("one more", r.URL, "s", "", "user.lifecycle.create"))
	path := fmt.Sprintf("/%s/lifecycle/verify", hook["id"])
	if got, _ := send(t, o, "POST", path, ""); got != "400 E0000001" {
		t.Errorf("the 26th: %s", got)
	}
	if err := o.DeactivateEventHook(o.EventHooks()[0].ID); err != nil {
		t.Fatal(err)
	}
	if got, _ := send(t, o, "POST", path, ""); got != "200" {
		t.Errorf("the 25th: %s", got)
	}
	if got, _ := send(t, o, "POST", "/"+o.EventHooks()[0].ID+"/lifecycle/activate", ""); got != "400 E0000001" {
		t.Errorf("activate the 26th: %s", got)
	}
}

// The SDK's own calls work, and lose what its type lacks: that is why we do not
// update through it.
func TestSDKErasesFilterAndDescription(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1})
	id := o.AddEventHook("one", oktasim.Hook{URL: "https://example.com/", Secret: "s"})
	if err := o.EditEventHook(id, func(hook map[string]any) {
		hook["description"] = "for the graph"
		hook["events"].(map[string]any)["filter"] = map[string]any{"type": "EXPRESSION_LANGUAGE", "eventFilterMap": []any{}}
	}); err != nil {
		t.Fatal(err)
	}
	if h := o.EventHooks()[0]; h.Description == "" || h.Filter == "" || h.VerificationStatus != "VERIFIED" {
		t.Fatalf("edited in the console: %+v", h)
	}
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	ctx, c, err := sdk.NewClient(t.Context(), sdk.WithOrgUrl(o.URL()), sdk.WithToken(o.Token()), sdk.WithCache(false),
		sdk.WithTestingDisableHttpsCheck(true), sdk.WithHttpClientPtr(hc))
	if err != nil {
		t.Fatal(err)
	}
	hook, _, err := c.EventHook.GetEventHook(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.EventHook.UpdateEventHook(ctx, id, *hook); err != nil {
		t.Fatal(err)
	}
	if h := o.EventHooks()[0]; h.Description != "" || h.Filter != "" || h.VerificationStatus != "UNVERIFIED" {
		t.Errorf("updated by the SDK: %+v", h)
	}
}
