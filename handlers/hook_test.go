package handlers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/engine"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func newRequest(method, path string, body io.Reader) *http.Request {
	return httptest.NewRequest(method, path, body)
}

// delivery returns a delivery with one event of a user of whom nobody knows.
func delivery(uuid string) string {
	return fmt.Sprintf(`{"eventType":"com.okta.event_hook","eventTypeVersion":"1.0","cloudEventsVersion":"0.1",
	"source":"https://example.okta.com/api/v1/eventHooks/who1","eventId":"d-%[1]s","eventTime":"%[2]s","contentType":"application/json",
	"data":{"events":[{"uuid":"%[1]s","published":"%[2]s","eventType":"user.lifecycle.create","version":"0",
	"actor":{"id":"00uadmin","type":"User","alternateId":"ada@example.com","displayName":"Ada Profile"},
	"outcome":{"result":"SUCCESS"},"target":[{"id":"00unew","type":"User","alternateId":"new@example.com","displayName":"New Profile"}]}]}}`,
		uuid, time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
}

func TestVerificationEchoesTheChallenge(t *testing.T) {
	s := setup(t, "")
	const challenge = `a"b\c<d> ~`
	for _, path := range []string{"/hooks/okta/acme", "/hooks/okta/acme/"} {
		got := s.call("GET", path, nil, "X-Okta-Verification-Challenge", challenge)
		if got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") ||
			strings.TrimSpace(got.body) != `{"verification":"a\"b\\c\u003cd\u003e ~"}` {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for name, value := range map[string]string{"over-long": strings.Repeat("x", 1025), "not ASCII": "pä"} {
		got := s.call("GET", "/hooks/okta/acme", nil, "X-Okta-Verification-Challenge", value)
		wantProblem(t, got, http.StatusBadRequest)
		if strings.Contains(got.body, value) {
			t.Errorf("%s: echoed", name)
		}
	}
	wantProblem(t, s.call("GET", "/hooks/okta/acme", nil), http.StatusBadRequest)
	wantProblem(t, s.call("GET", "/hooks/okta/nobody", nil, "X-Okta-Verification-Challenge", "x"), http.StatusNotFound)
}

func TestDeliveryAnswers(t *testing.T) {
	s := setup(t, "")
	const path = "/hooks/okta/acme"
	post := func(path, secret, body string, more ...string) answer {
		t.Helper()
		return s.call("POST", path, strings.NewReader(body), append([]string{"Authorization", secret}, more...)...)
	}
	for name, c := range map[string]struct {
		got  answer
		want int
	}{
		"first secret":            {post(path, hookSecret, delivery("a")), 204},
		"second secret":           {post(path, newSecret, delivery("b")), 204},
		"again":                   {post(path, newSecret, delivery("b")), 204},
		"trailing slash":          {post(path+"/", hookSecret, delivery("c")), 204},
		"charset":                 {post(path, hookSecret, delivery("d"), "Content-Type", "application/json; charset=utf-8"), 204},
		"no content type":         {post(path, hookSecret, delivery("e"), "Content-Type", ""), 204},
		"wrong secret":            {post(path, "wrong-secret-of-the-tests", delivery("f")), 401},
		"a secret's beginning":    {post(path, hookSecret[:10], delivery("f")), 401},
		"missing secret":          {s.call("POST", path, strings.NewReader(delivery("f"))), 401},
		"empty secret":            {post(path, "", delivery("f")), 401},
		"over-long secret":        {post(path, strings.Repeat("x", 4097), delivery("f")), 401},
		"unknown instance":        {post("/hooks/okta/nobody", hookSecret, delivery("f")), 404},
		"impossible instance":     {post("/hooks/okta/a%20b", hookSecret, delivery("f")), 404},
		"a path below":            {post("/hooks/okta/acme/more", hookSecret, delivery("f")), 404},
		"not JSON":                {post(path, hookSecret, "{not json"), 400},
		"no body":                 {post(path, hookSecret, ""), 400},
		"JSON, but not an object": {post(path, hookSecret, "[]"), 400},
		"body over the bound":     {post(path, hookSecret, strings.Repeat(" ", maxDelivery+1)), 413},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == 204 {
				if c.got.status != 204 || c.got.body != "" {
					t.Errorf("got %d %s, want an empty 204", c.got.status, c.got.body)
				}
				return
			}
			wantProblem(t, c.got, c.want)
			if c.got.problem.Detail == "" {
				t.Error("no detail")
			}
		})
	}
}

func TestBodyOverTheBoundWithoutALengthIs413(t *testing.T) {
	s := setup(t, "")
	endless := io.LimitReader(spaces{}, maxDelivery+2) // not a type whose length the client knows
	wantProblem(t, s.call("POST", "/hooks/okta/acme", endless, "Authorization", hookSecret), http.StatusRequestEntityTooLarge)
}

type spaces struct{}

var blank = bytes.Repeat([]byte{' '}, 64<<10) // at once: the body must arrive within the handler's time

func (spaces) Read(p []byte) (int, error) {
	return copy(p, blank), nil
}

// raw sends the head of a delivery, and a part of its body, and reads the status.
func (s *service) raw(secret, part string) int {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /hooks/okta/acme HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 100000\r\n\r\n%s", secret, part)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestWithoutTheSecretNoBodyIsAwaited(t *testing.T) {
	s := setup(t, "")
	start := time.Now()
	if got := s.raw("wrong", ""); got != http.StatusUnauthorized {
		t.Errorf("got %d", got)
	}
	if took := time.Since(start); took > readTimeout/2 {
		t.Errorf("answered only after %s", took)
	}
}

func TestBodyThatDoesNotArriveInTimeIs503(t *testing.T) {
	// Not a 4xx: Okta would throw the delivery away.
	if got := setup(t, "").raw(hookSecret, `{"data":`); got != http.StatusServiceUnavailable {
		t.Errorf("got %d", got)
	}
}

func TestStoppingIs503(t *testing.T) {
	s := setup(t, "")
	close(s.stopping)
	wantProblem(t, s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery("a")), "Authorization", hookSecret),
		http.StatusServiceUnavailable)
}

// The work must not depend on what the secrets are. Time is no measure in a
// test; that every secret is looked at, whatever the ones before gave, is.
func TestEverySecretIsCompared(t *testing.T) {
	for _, shown := range []string{"one", "two", "three", "", strings.Repeat("x", maxSecret+1)} {
		seen := 0
		got := matches(shown, func(yield func(string) bool) {
			for _, s := range []string{"one", "two", ""} {
				seen++
				if !yield(s) {
					t.Errorf("%q: stopped after %d secrets", shown, seen)
					return
				}
			}
		})
		if want := shown == "one" || shown == "two"; got != want {
			t.Errorf("matches(%q) = %v", shown, got)
		}
		if seen != 3 {
			t.Errorf("%q: %d secrets compared", shown, seen)
		}
	}
	// What is cut off for hashing must not count as right.
	long := strings.Repeat("x", maxSecret)
	if matches(long+"y", func(yield func(string) bool) { yield(long) }) {
		t.Error("an over-long header matches a secret that it begins with")
	}
}

func TestNoSecretAndNoProfileInTheLog(t *testing.T) {
	s := setup(t, "")
	s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery("a")), "Authorization", hookSecret)
	s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery("b")), "Authorization", "wrong-secret-in-header")
	s.call("POST", "/hooks/okta/acme?token=secret-in-query", strings.NewReader(delivery("c")[:400]), "Authorization", newSecret)
	s.call("POST", "/v1/instance-events", strings.NewReader(event(map[string]any{"oktaOrgUrl": "http://user:secret-in-url@127.0.0.1:1"})),
		"Authorization", "Bearer "+triggerToken)
	s.call("POST", "/v1/instance-events", strings.NewReader(event(map[string]any{"oktaOrgUrl": s.org.URL(), "oktaApiKey": s.org.Token()})),
		"Authorization", "Bearer "+triggerToken)
	s.get("/v1/instances/acme/graph?type=secret-in-query")
	s.read()

	log := s.log.String()
	if !strings.Contains(log, "route=/hooks/okta/:instance") {
		t.Fatalf("requests are not in the log:\n%s", log)
	}
	for _, secret := range []string{
		hookSecret, newSecret, "wrong-secret-in-header", "secret-in-query", "secret-in-url", adminToken, triggerToken,
		s.org.Token(), "api-key-of-the-tests", "hook-secret-of-the-event", "Ada Profile", "ada@example.com", "New Profile", "new@example.com",
	} {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("the log shows %q: %s", secret, log[max(0, i-200):min(len(log), i+100)])
		}
	}
}

func FuzzDelivery(f *testing.F) {
	f.Add([]byte(delivery("a")), hookSecret)
	f.Add([]byte(`{"data":{"events":null}}`), hookSecret)
	f.Add([]byte(`{"data":{"events":[null,1,{"uuid":1}]}}`), newSecret)
	f.Add([]byte("{"), "wrong")
	f.Add([]byte{}, "")

	eng, err := engine.New(f.Context(), engine.Config{SecretKey: bytes.Repeat([]byte{7}, 32), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { eng.Close() })
	if err := eng.Register(f.Context(), engine.Instance{ID: "acme", OrgURL: "https://example.okta.com", Token: "x",
		HookSecrets: []string{hookSecret, newSecret}}); err != nil {
		f.Fatal(err)
	}
	api := New(eng, Config{Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, body []byte, secret string) {
		req := newRequest("POST", "/hooks/okta/acme", bytes.NewReader(body))
		req.Header.Set("Authorization", secret)
		rec := newRecorder()
		api.ServeHTTP(rec, req)
		right := secret == hookSecret || secret == newSecret
		switch rec.Code {
		case http.StatusNoContent, http.StatusBadRequest:
			if !right {
				t.Errorf("%d without the secret", rec.Code)
			}
		case http.StatusUnauthorized:
			if right {
				t.Error("401 with the secret")
			}
		default:
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
		if rec.Code == http.StatusNoContent && rec.Body.Len() > 0 {
			t.Error("a 204 with a body")
		}
	})
}
