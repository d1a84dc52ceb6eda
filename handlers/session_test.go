package handlers

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// signInAs sends a sign-in from an address, as a browser on a page of the host does.
func (s *service) signInAs(address, token string, headers ...string) answer {
	s.t.Helper()
	headers = append([]string{"X-Forwarded-For", address, "Sec-Fetch-Site", "same-origin"}, headers...)
	return s.call("POST", "/admin/session", strings.NewReader(fmt.Sprintf("{%q:%q}", "token", token)), headers...)
}

// cookie signs in and returns what the browser then sends.
func (s *service) cookie() string {
	s.t.Helper()
	got := s.signInAs("192.0.2.1", adminToken)
	if got.status != http.StatusNoContent {
		s.t.Fatalf("sign-in: %d %s", got.status, got.body)
	}
	pair, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	return pair
}

func TestSignInGivesACookieThatOnlyThisHostSends(t *testing.T) {
	s := setup(t, "")
	wantProblem(t, s.signInAs("192.0.2.1", triggerToken), http.StatusUnauthorized)
	wantProblem(t, s.signInAs("192.0.2.1", ""), http.StatusBadRequest)
	for scheme, want := range map[string][]string{
		"http":  {"oktasync=", "Path=/", "HttpOnly", "SameSite=Strict"},
		"https": {"__Host-oktasync=", "Path=/", "HttpOnly", "SameSite=Strict", "Secure"},
	} {
		got := s.signInAs("192.0.2.1", adminToken, "X-Forwarded-Proto", scheme)
		header := got.header.Get("Set-Cookie")
		if got.status != http.StatusNoContent || !strings.HasPrefix(header, want[0]) {
			t.Fatalf("%s: %d %s", scheme, got.status, header)
		}
		for _, attribute := range want[1:] {
			if !strings.Contains(header, "; "+attribute) {
				t.Errorf("%s: the cookie lacks %s: %s", scheme, attribute, header)
			}
		}
		if strings.Contains(header, "Domain") || strings.Contains(header, adminToken) {
			t.Errorf("%s: %s", scheme, header)
		}
	}
}

func TestSessionDoesWhatTheTokenDoes(t *testing.T) {
	s := setup(t, "")
	cookie := s.cookie()
	for _, path := range []string{"/admin/instances", "/admin/instances/acme", "/admin/session"} {
		if got := s.call("GET", path, nil, "Cookie", cookie); got.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := s.call("POST", "/admin/instances/acme/pause", nil, "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); got.status != http.StatusNoContent {
		t.Errorf("pause: %d %s", got.status, got.body)
	}
	wantProblem(t, s.call("POST", "/v1/instance-events", strings.NewReader(event(nil)), "Cookie", cookie, "Sec-Fetch-Site", "same-origin"), http.StatusUnauthorized)
	// A wrong token is not made good by a cookie.
	wantProblem(t, s.call("GET", "/admin/instances", nil, "Cookie", cookie, "Authorization", "Bearer x"), http.StatusUnauthorized)
}

func TestAnotherSiteCannotUseTheSession(t *testing.T) {
	s := setup(t, "")
	cookie := s.cookie()
	for name, headers := range map[string][]string{
		"another site":      {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"a sibling":         {"Sec-Fetch-Site", "same-site", "Origin", "https://other.example"},
		"an older browser":  {"Origin", "https://evil.example"},
		"a page of a frame": {"Origin", "null"},
		"no browser":        nil,
	} {
		for _, call := range [][2]string{{"POST", "/admin/instances/acme/pause"}, {"DELETE", "/admin/instances/acme"}, {"DELETE", "/admin/session"},
			{"POST", "/v1/instances/acme/query"}, {"POST", "/admin/instances/acme/resync"}} {
			got := s.call(call[0], call[1], strings.NewReader("{}"), append([]string{"Cookie", cookie, "Content-Type", "text/plain"}, headers...)...)
			if got.status != http.StatusForbidden {
				t.Errorf("%s, %s: %d %s", name, call, got.status, got.body)
			}
		}
	}
	if s.status().Paused || s.call("GET", "/admin/session", nil, "Cookie", cookie).status != http.StatusOK {
		t.Error("a refused call had an effect")
	}
	// Nor sign a browser in.
	wantProblem(t, s.call("POST", "/admin/session", strings.NewReader(`{"token":"`+adminToken+`"}`), "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	wantProblem(t, s.call("POST", "/admin/session", strings.NewReader(`{"token":"`+adminToken+`"}`), "Origin", "https://evil.example"), http.StatusForbidden)
	// A browser that tells only the origin is believed if that is this host.
	if got := s.call("POST", "/admin/instances/acme/resume", nil, "Cookie", cookie, "Origin", s.url); got.status != http.StatusNoContent {
		t.Errorf("from this host: %d %s", got.status, got.body)
	}
}

func TestSignedOutCookieIsGoodForNothing(t *testing.T) {
	s := setup(t, "")
	cookie, other := s.cookie(), s.cookie()
	got := s.call("DELETE", "/admin/session", nil, "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
	if got.status != http.StatusNoContent || !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Fatalf("%d %s", got.status, got.header.Get("Set-Cookie"))
	}
	wantProblem(t, s.call("GET", "/admin/instances", nil, "Cookie", cookie), http.StatusUnauthorized)
	if got := s.call("GET", "/admin/instances", nil, "Cookie", other); got.status != http.StatusOK {
		t.Errorf("another session: %d %s", got.status, got.body)
	}
}

// A feed that is open when its reader signs out does not go on.
func TestSignedOutStreamEnds(t *testing.T) {
	s := setup(t, "")
	cookie := s.cookie()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v1/instances/acme/changes", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("stream: %v %v", resp, err)
	}
	defer resp.Body.Close()
	if got := s.call("DELETE", "/admin/session", nil, "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); got.status != http.StatusNoContent {
		t.Fatalf("sign-out: %d %s", got.status, got.body)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // ends, or the test does
		t.Fatal(err)
	}
}

// A proxy before the console may ask for credentials of its own, and pass them on.
func TestCredentialsOfAProxyDoNotHideTheSession(t *testing.T) {
	s := setup(t, "")
	if got := s.call("GET", "/admin/instances", nil, "Cookie", s.cookie(), "Authorization", "Basic b3A6cHc="); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
	wantProblem(t, s.call("GET", "/admin/instances", nil, "Authorization", "Basic b3A6cHc="), http.StatusUnauthorized)
}

// A proxy may leave unsaid that it ended TLS; the browser tells.
func TestCookieIsSecureIfThePageIs(t *testing.T) {
	s := setup(t, "")
	got := s.signInAs("192.0.2.1", adminToken, "Origin", "https://oktasync.example.com")
	header := got.header.Get("Set-Cookie")
	if !strings.HasPrefix(header, "__Host-oktasync=") || !strings.Contains(header, "; Secure") {
		t.Fatalf("%d %s", got.status, header)
	}
	pair, _, _ := strings.Cut(header, ";")
	if got := s.call("GET", "/admin/session", nil, "Cookie", pair); got.status != http.StatusOK {
		t.Errorf("with it: %d %s", got.status, got.body)
	}
}

func TestForgedAndOldCookiesAreRefused(t *testing.T) {
	now := time.Now()
	ours := newSessions(adminToken, func() time.Time { return now })
	value, end := ours.start()
	number, got, ok := ours.open(value)
	if !ok || number == "" || !got.Equal(end) || end.Sub(now) > sessionTime || end.Sub(now) < sessionTime-time.Second {
		t.Fatalf("a new cookie: %q %v %v", number, got, ok)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(value)
	for i := range raw {
		forged := append([]byte(nil), raw...)
		forged[i] ^= 1
		if _, _, ok := ours.open(base64.RawURLEncoding.EncodeToString(forged)); ok {
			t.Errorf("byte %d changed: still good", i)
		}
	}
	for _, bad := range []string{"", "x", "=", value + "A", value[:len(value)-2], strings.Repeat("A", 100_000), base64.RawURLEncoding.EncodeToString(make([]byte, len(raw)))} {
		if _, _, ok := ours.open(bad); ok {
			t.Errorf("%.20q is good", bad)
		}
	}
	if _, _, ok := newSessions(adminToken+"2", func() time.Time { return now }).open(value); ok {
		t.Error("good under a new admin token")
	}
	now = end
	if _, _, ok := ours.open(value); ok {
		t.Error("good after its end")
	}
}

func TestGuessingEndsInRefusal(t *testing.T) {
	s := setup(t, "")
	guess := func(address, token string) answer {
		return s.call("GET", "/admin/instances", nil, "X-Forwarded-For", address, "Authorization", "Bearer "+token)
	}
	for i := range attemptsAtOnce {
		wantProblem(t, guess("203.0.113.9", "guess"+strconv.Itoa(i)), http.StatusUnauthorized)
	}
	got := guess("203.0.113.9", "guess")
	wantProblem(t, got, http.StatusTooManyRequests)
	if after, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || after < 1 || after > 7 {
		t.Errorf("Retry-After: %q", got.header.Get("Retry-After"))
	}
	// What is no proxy cannot name another address to start anew.
	wantProblem(t, guess("198.51.100.77, 203.0.113.9", "guess"), http.StatusTooManyRequests)
	// Nor does a sign-in tell whether a guess is right, for now.
	wantProblem(t, s.signInAs("203.0.113.9", adminToken), http.StatusTooManyRequests)
	// A program with the right token, which nobody can guess, is not locked out by
	// another one at its address; the scheduler's tokens are counted apart.
	if got := guess("203.0.113.9", adminToken); got.status != http.StatusOK {
		t.Errorf("the right token: %d %s", got.status, got.body)
	}
	wantProblem(t, s.call("POST", "/v1/instance-events", strings.NewReader(event(nil)), "X-Forwarded-For", "203.0.113.9", "Authorization", "Bearer wrong"),
		http.StatusUnauthorized)
	// Nobody else is kept out, and never Okta.
	if got := guess("203.0.113.10", adminToken); got.status != http.StatusOK {
		t.Errorf("another address: %d", got.status)
	}
	if got := s.call("POST", "/hooks/okta/acme", strings.NewReader(delivery("a")), "X-Forwarded-For", "203.0.113.9", "Authorization", hookSecret); got.status != http.StatusNoContent {
		t.Errorf("a delivery: %d %s", got.status, got.body)
	}
	if log := s.log.String(); !strings.Contains(log, "too many wrong tokens") || strings.Contains(log, "guess0") {
		t.Error("the log does not tell of it, or tells the tokens")
	}
}

// A token that could be guessed is not even compared for a caller who guesses.
func TestShortTokenDoesNotOpenForAGuesser(t *testing.T) {
	e := New(nil, Config{AdminToken: "short", Log: slog.New(slog.DiscardHandler)})
	try := func(token string) int {
		rec := newRecorder()
		req := newRequest("GET", "/admin/instances", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		e.ServeHTTP(rec, req)
		return rec.Code
	}
	for i := range attemptsAtOnce {
		if got := try("guess" + strconv.Itoa(i)); got != http.StatusUnauthorized {
			t.Fatalf("guess %d: %d", i, got)
		}
	}
	if got := try("short"); got != http.StatusTooManyRequests {
		t.Errorf("the right one: %d", got)
	}
}

func TestRefusedAddressIsLetInLater(t *testing.T) {
	now := time.Now()
	at := newAttempts(func() time.Time { return now })
	caller := func(address string) caller { return caller{"admin", network(address)} }
	address := caller("2001:db8::1")
	for i := range attemptsAtOnce {
		if last := at.failed(address); last != (i == attemptsAtOnce-1) {
			t.Errorf("wrong token %d: last = %v", i+1, last)
		}
	}
	if wait := at.wait(address); wait <= 0 || wait > attemptsEvery {
		t.Errorf("waits %s", wait)
	}
	if at.wait(caller("2001:db8:0:0:ffff::1")) == 0 {
		t.Error("an address of the same /64 is let in")
	}
	if at.wait(caller("2001:db8:0:1::1")) > 0 {
		t.Error("another /64 is refused")
	}
	now = now.Add(attemptsEvery)
	if wait := at.wait(address); wait > 0 {
		t.Errorf("after a while it waits %s", wait)
	}
	if !at.failed(address) || at.wait(address) == 0 {
		t.Error("after a while more than one wrong token is let in")
	}
}

func TestAttemptsOfManyAddressesAreBounded(t *testing.T) {
	at := newAttempts(time.Now)
	for i := range 3 * maxAddresses {
		at.failed(caller{"admin", network(net.IPv4(10, byte(i>>16), byte(i>>8), byte(i)).String())})
	}
	if n := at.byCaller.Len(); n != maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
}

func TestOnlyTrustedProxiesNameAddresses(t *testing.T) {
	req := newRequest("GET", "/", nil)
	req.RemoteAddr = "198.51.100.5:1234"
	req.Header.Set("X-Forwarded-For", "203.0.113.1, 10.1.2.3")
	if got := addresses(nil)(req); got != "198.51.100.5" {
		t.Errorf("without proxies: %s", got)
	}
	_, ours, _ := net.ParseCIDR("198.51.100.0/24")
	_, inner, _ := net.ParseCIDR("10.0.0.0/8")
	if got := addresses([]*net.IPNet{ours})(req); got != "10.1.2.3" {
		t.Errorf("behind one: %s", got)
	}
	if got := addresses([]*net.IPNet{ours, inner})(req); got != "203.0.113.1" {
		t.Errorf("behind two: %s", got)
	}
	req.RemoteAddr = "127.0.0.1:1"
	if got := addresses([]*net.IPNet{ours})(req); got != "127.0.0.1" {
		t.Errorf("from elsewhere: %s", got)
	}
}
