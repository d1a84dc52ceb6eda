package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// A backup as the README has it made, and restored: a copy by redis-cli --rdb, while
// the service works; then everything is lost, and Okta has moved on.
func TestABackupIsRestoredAndCaughtUp(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 3, Users: 30, Groups: 6, Apps: 3})
	where := t.TempDir()
	backup := filepath.Join(where, "backup.rdb")
	var epoch string

	if !t.Run("a service that is backed up, and dies", func(t *testing.T) {
		socket := startRedis(t, filepath.Join(where, "old"), "--appendonly", "yes")
		address := serveOrg(t, org, socket)
		status := untilWhole(t, address)
		epoch = status.Epoch
		change(t, org, "before the backup")
		untilEqual(t, org, address)
		must(t, "redis-cli", "-s", socket, "--rdb", backup)
		change(t, org, "after the backup")
		untilEqual(t, org, address)
	}) {
		return
	}
	// Okta's log has what the backup lacks.
	change(t, org, "while nothing runs")

	t.Run("a Redis with an append-only file takes no dump.rdb", func(t *testing.T) {
		dir := restored(t, backup)
		if n := size(t, startRedis(t, dir, "--appendonly", "yes")); n != 0 {
			t.Errorf("%d keys: then the way around it, below and in the README, is not needed", n)
		}
	})

	dir := restored(t, backup)
	t.Run("so it is started without one, and told to write one", func(t *testing.T) {
		socket := startRedis(t, dir, "--appendonly", "no")
		if n := size(t, socket); n == 0 {
			t.Fatal("nothing was restored")
		}
		must(t, "redis-cli", "-s", socket, "config", "set", "appendonly", "yes")
		for !strings.Contains(must(t, "redis-cli", "-s", socket, "info", "persistence"), "aof_rewrite_in_progress:0\r\n") {
			time.Sleep(5 * time.Millisecond) // until another process has written its file
		}
		must(t, "redis-cli", "-s", socket, "shutdown", "nosave")
	})

	t.Run("the service goes on from there", func(t *testing.T) {
		socket := startRedis(t, dir, "--appendonly", "yes")
		if n := size(t, socket); n == 0 {
			t.Fatal("nothing is in the append-only file")
		}
		address := serveOrg(t, org, socket)
		untilEqual(t, org, address)
		status := untilWhole(t, address)
		if status.Epoch == epoch {
			t.Error("the epoch is the old one: readers of the changes would miss what was lost")
		}
		if status.Problem != "" {
			t.Errorf("problem: %s", status.Problem)
		}
		change(t, org, "after the restore")
		untilEqual(t, org, address)
	})
}

// change does what events tell of: a new user in a group, and one who leaves it.
func change(t *testing.T, org *oktasim.Org, when string) {
	t.Helper()
	login := strings.ReplaceAll(when, " ", ".") + "@example.com"
	id, _, err := org.CreateUser("ACTIVE", map[string]any{"login": login, "email": login, "firstName": "New", "lastName": "User"})
	if err != nil {
		t.Fatal(err)
	}
	groups := org.GroupIDs("OKTA_GROUP")
	for _, group := range groups {
		if members := org.Members(group); len(members) > 0 {
			if _, err := org.RemoveMember(group, members[0]); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if _, err := org.AddMember(groups[0], id); err != nil {
		t.Fatal(err)
	}
}

// restored is a new folder of a Redis, with the backup in it.
func restored(t *testing.T, backup string) string {
	t.Helper()
	text, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startRedis runs a redis-server in a folder until the test ends; then it dies. A
// copy by redis-cli begins at once, not after five seconds.
func startRedis(t *testing.T, dir string, args ...string) (socket string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "redis.sock")
	cmd := exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
		"--repl-diskless-sync-delay", "0"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	defer client.Close()
	for deadline := time.Now().Add(10 * time.Second); client.Ping(t.Context()).Err() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond) // until another process listens
	}
	return socket
}

func size(t *testing.T, socket string) int64 {
	t.Helper()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer client.Close()
	n, err := client.DBSize(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

const operator = "token-of-the-operator"

// serveOrg serves org as the instance default, with its state in Redis.
func serveOrg(t *testing.T, org *oktasim.Org, socket string) (address string) {
	address, _ = serveWith(t, "--redis-url=unix://"+socket, "--admin-token="+operator, "--trigger-token=token-of-the-trigger", "--secret-key="+key,
		"--okta-client-orgurl="+org.URL(), "--okta-client-token="+org.Token(), "--hook-secret=secret-of-the-hook",
		"--allow-insecure-orgs", "--rate-limit-share=1", "--list-allowance=100ms", "--read-margin=10ms", "--log-poll-interval=1s")
	return address
}

type wholeStatus struct {
	Whole          bool
	Epoch, Problem string
}

// untilWhole waits for the full read and its end in the log.
func untilWhole(t *testing.T, address string) (status wholeStatus) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		// Until it is registered, it is not found.
		if text, found := operatorGets(t, address, "/admin/instances/default"); found {
			if err := json.Unmarshal(text, &status); err != nil {
				t.Fatal(err)
			}
		}
		if status.Whole {
			return status
		}
		if time.Now().After(deadline) {
			t.Fatalf("the graph does not become whole: %+v", status)
		}
		time.Sleep(20 * time.Millisecond) // until the service has read the org
	}
}

// untilEqual waits until the graph is what a fresh read of the org gives.
func untilEqual(t *testing.T, org *oktasim.Org, address string) {
	t.Helper()
	w, said := testWorld()
	fresh := filepath.Join(t.TempDir(), "graph.jsonl")
	if status := run(context.Background(), syncArgs(org, fresh), w); status != 0 {
		t.Fatalf("sync: %s", said)
	}
	text, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	// The account and its services bear the id of the instance.
	want := lines([]byte(strings.NewReplacer("okta:mfa:sync", "okta:mfa:default", "okta:sso:sync", "okta:sso:default",
		`"displayName":"sync","name":"sync"`, `"displayName":"default","name":"default"`).Replace(string(text))))
	for deadline := time.Now().Add(time.Minute); ; {
		text, _ := operatorGets(t, address, "/v1/instances/default/graph")
		got := lines(text)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the graph is not that of the org: -want +got\n%s", cmp.Diff(want, got))
		}
		time.Sleep(20 * time.Millisecond) // until the log is read
	}
}

func lines(text []byte) []string {
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	slices.Sort(all)
	return all
}

func operatorGets(t *testing.T, address, path string) (text []byte, found bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+operator)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		t.Fatalf("%s: %s %v: %.300s", path, resp.Status, err, text)
	}
	return text, resp.StatusCode == http.StatusOK
}
