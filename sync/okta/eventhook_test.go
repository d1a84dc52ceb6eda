package okta

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

const hookSecret = "a-secret-of-the-hook-tests"

func hookAdmin(t *testing.T, cfg oktasim.Config) (*oktasim.Org, *EventHookAdmin) {
	t.Helper()
	org := oktasim.New(t, cfg)
	a, err := NewEventHookAdmin(t.Context(), ClientConfig{OrgURL: org.URL(), Token: org.Token(), AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return org, a
}

// A change adds to the types, sets the channel, and keeps what others set.
func TestChangeOfAHookKeepsWhatOthersSet(t *testing.T) {
	org, a := hookAdmin(t, oktasim.Config{Seed: 1})
	id := org.AddEventHook("theirs", oktasim.Hook{URL: "https://old.example.com/hooks/okta/acme", Secret: "old", Header: "X-Key",
		Types: []string{"user.session.start", "user.lifecycle.create"}})
	const filter = `{"type":"EXPRESSION_LANGUAGE","eventFilterMap":[{"event":"user.lifecycle.create","condition":{"version":null,"expression":"event.target.?[type eq 'User'].size()>0"}}]}`
	if err := org.EditEventHook(id, func(hook map[string]any) {
		hook["description"] = "made by hand"
		hook["events"].(map[string]any)["filter"] = json.RawMessage(filter)
		hook["channel"].(map[string]any)["config"].(map[string]any)["headers"] = []any{map[string]any{"key": "X-Team", "value": "identity"}}
	}); err != nil {
		t.Fatal(err)
	}
	hooks, err := a.List(t.Context())
	if err != nil || len(hooks) != 1 {
		t.Fatalf("%v, %v", hooks, err)
	}
	h := hooks[0]
	if h.ID != id || h.Header != "X-Key" || !cmp.Equal(h.Filtered, []string{"user.lifecycle.create"}) || !h.IsOf("acme") || h.IsOf("cme") {
		t.Errorf("read: %+v", h)
	}
	now, err := a.Change(t.Context(), h, []string{"user.lifecycle.create", "group.lifecycle.create"},
		HookChannel{URI: "https://new.example.com/hooks/okta/acme", Secret: hookSecret})
	if err != nil || now.Delivers() {
		t.Fatalf("changed: %+v, %v", now, err)
	}
	got := org.EventHooks()[0]
	if got.Description != "made by hand" || got.Filter == "" || got.Name != "theirs" || got.URI != "https://new.example.com/hooks/okta/acme" ||
		!cmp.Equal(got.Types, []string{"user.session.start", "user.lifecycle.create", "group.lifecycle.create"}) {
		t.Errorf("after the change: %+v", got)
	}
	var was, is any
	_, _ = json.Unmarshal([]byte(filter), &was), json.Unmarshal([]byte(got.Filter), &is)
	if diff := cmp.Diff(was, is); diff != "" {
		t.Errorf("-filter before +after:\n%s", diff)
	}
	if !strings.Contains(string(got.JSON), `"X-Team"`) || !strings.Contains(string(got.JSON), `"key":"Authorization"`) {
		t.Errorf("headers after the change: %s", got.JSON)
	}
}

// What Okta may add to hooks one day comes back in a PUT as it was.
func TestChangeOfAHookSendsFieldsNobodyKnows(t *testing.T) {
	const hook = `{"id":"who1","name":"n","status":"ACTIVE","verificationStatus":"VERIFIED","created":"c","createdBy":"b","lastUpdated":"l","_links":{},
		"later":{"big":12345678901234567890},"events":{"type":"EVENT_TYPE","items":["a.b.c"],"later":[1]},
		"channel":{"type":"HTTP","version":"1.0.0","later":true,"config":{"uri":"https://x","method":"POST","later":null,"authScheme":{"type":"HEADER","key":"K"}}}}`
	var h EventHook
	if err := json.Unmarshal([]byte(hook), &h); err != nil {
		t.Fatal(err)
	}
	body, err := h.changed([]string{"d.e.f"}, HookChannel{URI: "https://y", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"channel":{"config":{"authScheme":{"key":"Authorization","type":"HEADER","value":"s"},"later":null,"method":"POST","uri":"https://y"},` +
		`"later":true,"type":"HTTP","version":"1.0.0"},"events":{"items":["a.b.c","d.e.f"],"later":[1],"type":"EVENT_TYPE"},"later":{"big":12345678901234567890},"name":"n"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, odd := range []string{`{"id":"who1","events":{"items":"a"}}`, `{"id":5}`, `[]`, `{"id":"who1","channel":"x"}`} {
		if err := json.Unmarshal([]byte(odd), &h); err == nil {
			t.Errorf("%s was understood as %+v", odd, h)
		}
	}
	if err := json.Unmarshal([]byte(`{"id":"who1","events":null}`), &h); err != nil {
		t.Fatal(err)
	}
	if _, err := h.changed(nil, HookChannel{}); err == nil {
		t.Error("a hook without events or channel was changed")
	}
}

func TestOnlyEventHooksAreWrittenTo(t *testing.T) {
	org, a := hookAdmin(t, oktasim.Config{Seed: 1})
	try := func(c *Client, method, path string) error {
		rq := c.sdk.CloneRequestExecutor()
		req, err := rq.NewRequest(method, path, map[string]string{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = rq.Do(t.Context(), req, nil)
		return err
	}
	refused := func(err error) bool { return err != nil && strings.Contains(err.Error(), "only reads") }
	for _, path := range []string{"/api/v1/users", "/api/v1/eventHooksX", "/api/v1/eventHooks/../users", "/api/v1/eventHooks/%2e%2e/users", "/api/v1", "/"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			if err := try(a.client, method, path); !refused(err) {
				t.Errorf("%s %s: %v", method, path, err)
			}
		}
	}
	reader, err := NewClient(t.Context(), ClientConfig{OrgURL: org.URL(), Token: org.Token(), AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := try(reader, "POST", eventHooksPath); !refused(err) {
		t.Errorf("the reading client: %v", err)
	}
	if n := org.CallCount(); n != 0 {
		t.Errorf("%d calls reached the org", n)
	}
}

func TestWritesThatFail(t *testing.T) {
	var e *Error
	t.Run("a refusal tells its causes, and never the secret", func(t *testing.T) {
		withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
			answer(w, 400, map[string]any{"errorCode": codeInvalid, "errorSummary": "Api validation failed: " + hookSecret,
				"errorCauses": []any{map[string]string{"errorSummary": "events.items: x.y.z; value " + hookSecret}}})
		}, func(t *testing.T, c *Client) {
			c.transport.writes = eventHooksPath
			_, err := (&EventHookAdmin{c}).Create(t.Context(), "n", []string{"x.y.z"}, HookChannel{URI: "https://x", Secret: hookSecret})
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "create event hook n") || !strings.Contains(e.Said(), "x.y.z") || strings.Contains(err.Error(), hookSecret) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("a write that may have taken effect is not repeated", func(t *testing.T) {
		calls := 0
		withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) { calls++; fail(w, 503, "E0000010") },
			func(t *testing.T, c *Client) {
				c.transport.writes = eventHooksPath
				err := (&EventHookAdmin{c}).Delete(t.Context(), "who1")
				if calls != 1 || err == nil || !strings.Contains(err.Error(), "not known") {
					t.Errorf("%d calls: %v", calls, err)
				}
			})
	})
	t.Run("one that was too many is repeated, as it was", func(t *testing.T) {
		var bodies []string
		withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(b))
			if len(bodies) == 1 {
				fail(w, 429, "E0000047")
				return
			}
			answer(w, 200, map[string]any{"id": "who1", "status": "ACTIVE", "verificationStatus": "UNVERIFIED"})
		}, func(t *testing.T, c *Client) {
			c.transport.writes = eventHooksPath
			h, err := (&EventHookAdmin{c}).Create(t.Context(), "n", []string{"x.y.z"}, HookChannel{URI: "https://x", Secret: hookSecret})
			if err != nil || h.ID != "who1" || len(bodies) != 2 || bodies[0] != bodies[1] || !strings.Contains(bodies[0], hookSecret) {
				t.Errorf("%+v, %v, bodies %q", h, err, bodies)
			}
		})
	})
}
