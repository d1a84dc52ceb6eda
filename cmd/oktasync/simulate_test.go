package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A simulated org is made use of as Okta is: by its API, token and event hooks.
func TestSimulatedOrgTakesHooksAndTellsOfItsChanges(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	in, lines := io.Pipe()
	out, stdout := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"simulate", "--listen=127.0.0.1:0", "--users=20", "--rate=0"}, world{stdin: in, stdout: stdout, stderr: stdout, log: slog.New(slog.DiscardHandler)})
		stdout.Close()
	}()
	said := bufio.NewScanner(out)
	find := func(pattern string) string {
		t.Helper()
		for said.Scan() {
			if m := regexp.MustCompile(pattern).FindStringSubmatch(said.Text()); m != nil {
				return m[len(m)-1]
			}
		}
		t.Fatalf("it ended without %s", pattern)
		return ""
	}
	url, token := find(`OKTA_CLIENT_ORGURL=(\S+)`), find(`OKTA_CLIENT_TOKEN=(\S+)`)
	find("Ctrl-C")
	go func() { // whatever it says from now on
		for said.Scan() {
		}
	}()
	defer func() {
		lines.Close()
		cancel()
		if status := <-ended; status != 0 {
			t.Errorf("it ended with %d", status)
		}
	}()

	deliveries := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if challenge := r.Header.Get("X-Okta-Verification-Challenge"); challenge != "" {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"verification":%q}`, challenge)
			return
		}
		body, _ := io.ReadAll(r.Body)
		deliveries <- r.Header.Get("Authorization") + " " + string(body)
	}))
	defer hook.Close()
	call := func(method, path, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "SSWS "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %d %s %v", method, path, resp.StatusCode, b, err)
		}
		return string(b)
	}
	made := call("POST", "/api/v1/eventHooks", `{"name":"test","events":{"type":"EVENT_TYPE","items":["group.user_membership.add","group.user_membership.remove",
		"user.account.update_profile","group.profile.update","application.user_membership.add","application.user_membership.remove"]},
		"channel":{"type":"HTTP","version":"1.0.0","config":{"uri":"`+hook.URL+`/hook","authScheme":{"type":"HEADER","key":"Authorization","value":"a-secret-of-tests"}}}}`)
	call("POST", "/api/v1/eventHooks/"+regexp.MustCompile(`"id":\s*"([^"]+)"`).FindStringSubmatch(made)[1]+"/lifecycle/verify", "")
	if _, err := io.WriteString(lines, "nonsense\nchange 50\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-deliveries:
		if !strings.HasPrefix(got, "a-secret-of-tests {") || !strings.Contains(got, `"com.okta.event_hook"`) {
			t.Errorf("delivered: %.200s", got)
		}
	case <-ctx.Done():
		t.Fatal("nothing was delivered")
	}

	users := func() bool { // whether any application shows users
		for _, app := range regexp.MustCompile(`"id":\s*"(0oa[^"]+)"`).FindAllStringSubmatch(call("GET", "/api/v1/apps", ""), -1) {
			if call("GET", "/api/v1/apps/"+app[1]+"/users", "") != "[]" {
				return true
			}
		}
		return false
	}
	if !users() {
		t.Fatal("no application has users")
	}
	for _, step := range []struct {
		line string
		want bool
	}{{"hide", false}, {"show", true}} {
		if _, err := io.WriteString(lines, step.line+"\n"); err != nil {
			t.Fatal(err)
		}
		for users() != step.want {
			if ctx.Err() != nil {
				t.Fatalf("after %s: users listed: %v", step.line, !step.want)
			}
		}
	}
}
