package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oktasync/oktasync/handlers"
	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// TestMain finds goroutines that any command leaves behind.
func TestMain(m *testing.M) {
	// The SDK starts a goroutine a client, ended when the client is collected.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}

func TestStopAnswersDeliveriesUnderWay(t *testing.T) {
	const secret = "hook-secret-of-the-tests"
	log := slog.New(slog.DiscardHandler)
	eng, err := engine.New(t.Context(), reading{RateLimitShare: 1, MaxInFlight: 1, AllowInsecureOrgs: true}.engineConfig(log))
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Register(t.Context(), engine.Instance{
		ID: "acme", OrgURL: "https://example.okta.com", Token: "t", HookSecrets: []string{secret},
	}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	unhooked := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, world{log: log, unhook: func() { close(unhooked) }}, eng, listener, handlers.Config{AdminToken: "admin"},
			func(context.Context, *engine.Engine) error { return nil })
	}()

	// A reader of changes, who never leaves by himself.
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+listener.Addr().String()+"/v1/instances/acme/changes", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin")
	reader, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer reader.Body.Close()

	// A delivery whose body the service has begun to wait for: it said so.
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"eventId":"1","data":{"events":[]}}`
	fmt.Fprintf(conn, "POST /hooks/okta/acme HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		secret, len(body))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q %v", line, err)
	}
	in.ReadString('\n')

	stop()
	<-unhooked
	if _, err := io.ReadAll(reader.Body); err != nil {
		t.Errorf("the stream of changes did not end in order: %v", err)
	}
	select {
	case err := <-served:
		t.Fatalf("ended with a delivery under way: %v", err)
	default:
	}
	io.WriteString(conn, body)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("the delivery under way: %s", resp.Status)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := eng.Close(); err != nil {
		t.Error(err)
	}
}

func syncArgs(org *oktasim.Org, out string) []string {
	return []string{"sync", "--org-url=" + org.URL(), "--token=" + org.Token(), "--out=" + out, "--factors",
		"--allow-insecure-orgs", "--rate-limit-share=1", "--list-allowance=100ms"}
}

func TestSyncWritesTheGraph(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 15, Groups: 4, Apps: 2})
	out := filepath.Join(t.TempDir(), "graph.jsonl")
	w, said := testWorld()
	if status := run(t.Context(), syncArgs(org, out), w); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"_type":"okta_user"`); n != len(org.Snapshot().Users) {
		t.Errorf("%d users written, the org has %d", n, len(org.Snapshot().Users))
	}
	w, _ = testWorld()
	var stdout bytes.Buffer
	w.stdout = &stdout
	if status := run(t.Context(), syncArgs(org, "-"), w); status != 0 {
		t.Fatalf("status %d", status)
	}
	if a, b := len(bytes.Split(text, []byte("\n"))), len(bytes.Split(stdout.Bytes(), []byte("\n"))); a != b {
		t.Errorf("%d lines in the file, %d on standard output", a, b)
	}
}

// A token that may not read the log still gives a graph, and a warning.
func TestSyncWithoutTheLogWarns(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 5, Groups: 2, Apps: 2})
	org.Fail(func(r *http.Request) *oktasim.Fault {
		if r.URL.Path == "/api/v1/logs" {
			return &oktasim.Fault{Status: http.StatusForbidden}
		}
		return nil
	})
	out := filepath.Join(t.TempDir(), "graph.jsonl")
	w, said := testWorld()
	if status := run(t.Context(), syncArgs(org, out), w); status != 0 || !strings.Contains(said.String(), "Warning: what changed during the read may be missing") {
		t.Errorf("status %d: %s", status, said)
	}
	if text, err := os.ReadFile(out); err != nil || strings.Count(string(text), `"_type":"okta_user"`) != len(org.Snapshot().Users) {
		t.Errorf("the file holds %d bytes, %v", len(text), err)
	}
}

// What Redis may lose is said in the log at the start, once.
func TestServeWarnsOfRedisWithoutPersistence(t *testing.T) {
	t.Chdir(t.TempDir()) // oktasync.db is written there
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	ctx, stop := context.WithCancel(t.Context())
	w, said := testWorld()
	w.stderr = writerFunc(func(p []byte) (int, error) { // one handler at a time writes
		if strings.Contains(string(p), "msg=listening") {
			stop()
		}
		return said.Write(p)
	})
	status := run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--redis-url=" + server.URL,
		"--admin-token=a", "--trigger-token=b", "--secret-key=" + key}, w)
	if status != 0 || strings.Count(said.String(), "appendonly") != 1 || !strings.Contains(said.String(), "level=WARN") {
		t.Errorf("status %d: %s", status, said)
	}
}

func TestIncompleteSyncKeepsTheOldFileAndSaysWhatFailed(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 5, Groups: 2, Apps: 2})
	org.Fail(func(r *http.Request) *oktasim.Fault {
		if r.URL.Path == "/api/v1/groups" {
			return &oktasim.Fault{Status: http.StatusForbidden}
		}
		return nil
	})
	dir := t.TempDir()
	out := filepath.Join(dir, "graph.jsonl")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, said := testWorld()
	status := run(t.Context(), syncArgs(org, out), w)
	if status != 1 || !strings.Contains(said.String(), "incomplete") || !strings.Contains(said.String(), "groups") ||
		!strings.Contains(said.String(), "403") {
		t.Errorf("status %d: %s", status, said)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != "old" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

func TestDemoEndsInStep(t *testing.T) {
	t.Chdir(t.TempDir()) // oktasync.db is written there
	w, said := testWorld()
	if status := run(t.Context(), []string{"demo", "--for=2s", "--users=20", "--listen=127.0.0.1:0"}, w); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	for _, want := range []string{"curl", "in step: ", "events sent: "} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q is not said: %s", want, said)
		}
	}
	// What it says to try works, also after the end.
	for _, q := range demoQueries {
		status, out, errs := command(t, "", "query", q)
		if !strings.Contains(said.String(), "oktasync query '"+q+"'") || status != 0 || errs != "" || strings.Contains(out, "(0 rows)") {
			t.Errorf("%s: status %d, %s%s", q, status, out, errs)
		}
	}
}

func TestInterruptedDemoStillChecksTheGraph(t *testing.T) {
	t.Chdir(t.TempDir()) // oktasync.db is written there
	ctx, cancel := context.WithCancel(t.Context())
	w, _ := testWorld()
	var said bytes.Buffer
	w.stdout = writerFunc(func(p []byte) (int, error) { // one writer at a time, as the view sees to
		if strings.Contains(string(p), "Try:") {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
		return said.Write(p)
	})
	if status := run(ctx, []string{"demo", "--users=20", "--listen=127.0.0.1:0"}, w); status != 0 || !strings.Contains(said.String(), "in step: ") {
		t.Errorf("status %d: %s", status, said.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
