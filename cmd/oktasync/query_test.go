package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

// database returns a SQLite database that a service has open, with graphs of these instances.
func database(t *testing.T, instances ...string) string {
	t.Helper()
	target := "sql:" + filepath.Join(t.TempDir(), "graph.db")
	db, err := sqldb.Open(t.Context(), target, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, id := range instances {
		if err := db.Replace(t.Context(), sink.Instance{ID: id}, sqldbtest.Org(300, 1), false); err != nil {
			t.Fatal(err)
		}
	}
	return target
}

// command runs a command as main does.
func command(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, world{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs})
	return status, out.String(), errs.String()
}

func TestQueryPrintsATable(t *testing.T) {
	target := database(t, "acme")
	status, out, errs := command(t, "", "query", "--database", target,
		"Find okta_user with login = '"+sqldbtest.Login(5)+"' as u return u.login as Login, u.nothing as Nothing, u._class")
	want := "Login              Nothing  u._class\n" + sqldbtest.Login(5) + "           [\"User\"]\n(1 rows)\n"
	if status != 0 || !strings.HasPrefix(strings.ReplaceAll(out, " ", ""), strings.ReplaceAll(want, " ", "")) || !strings.Contains(out, "The graph last changed at ") || errs != "" {
		t.Errorf("status %d, out\n%s\nerrors %s", status, out, errs)
	}
}

func TestQueryTakesParametersAndStandardInput(t *testing.T) {
	target := database(t, "acme")
	status, out, errs := command(t, "Find okta_user with login = ${who}\n as u return u.login, u.active", "query", "--database", target, "-o", "csv",
		"--param", `who=["`+sqldbtest.Login(5)+`","`+sqldbtest.Login(6)+`"]`, "-")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if status != 0 || err != nil || len(rows) != 3 || rows[0][0] != "u.login" || rows[1][0] != sqldbtest.Login(5) || errs != "" {
		t.Errorf("status %d, %v, rows %q, errors %s", status, err, rows, errs)
	}
}

// All pages together are the answer; each tells of the next.
func TestQueryPagesThroughAnAnswer(t *testing.T) {
	target := database(t, "acme")
	_, whole, _ := command(t, "", "query", "--database", target, "--limit", "10000", "-o", "csv", "Find okta_user as u return u.login")
	status, out, errs := command(t, "", "query", "--database", target, "--limit", "40", "--all", "-o", "csv", "Find okta_user as u return u.login")
	if status != 0 || out != whole || strings.Count(out, "\n") != 301 || errs != "" {
		t.Errorf("status %d, %d lines of %d, errors %s", status, strings.Count(out, "\n"), strings.Count(whole, "\n"), errs)
	}
	status, out, errs = command(t, "", "query", "--database", target, "--limit", "299", "-o", "json", "Find okta_user")
	var answer struct {
		Type   string
		Data   []struct{ ID string }
		Cursor string
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || status != 0 || answer.Type != "list" || len(answer.Data) != 299 || !strings.Contains(errs, "--cursor "+answer.Cursor) {
		t.Fatalf("status %d, %v, %d rows, errors %s", status, err, len(answer.Data), errs)
	}
	status, out, errs = command(t, "", "query", "--database", target, "--cursor", answer.Cursor, "Find okta_user")
	if status != 0 || !strings.Contains(out, "(1 rows)") || errs != "" {
		t.Errorf("status %d, out %s, errors %s", status, out, errs)
	}
	if status, _, errs = command(t, "", "query", "--database", target, "--cursor", answer.Cursor, "Find User"); status != 1 || !strings.Contains(errs, "not one of this query") {
		t.Errorf("a foreign cursor: status %d, errors %s", status, errs)
	}
}

func TestQuerySaysWhatIsWrong(t *testing.T) {
	target, two := database(t, "acme"), database(t, "acme", "other")
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--database", target, "Find User\n\twith active"}, 2, "\twith active\n  \t           ^"},
		{[]string{"--database", target, "Find Usr"}, 0, "Warning: no entity has the class Usr; did you mean User?"},
		{[]string{"--database", two, "Find User"}, 2, "name one with --instance: acme, other"},
		{[]string{"--database", target, "--instance", "none", "Find User"}, 1, "not been delivered"},
		{[]string{"--database", "sql:" + filepath.Join(t.TempDir(), "none.db"), "Find User"}, 1, "there is no database"},
		{[]string{"--sinks", "jsonl:-", "Find User"}, 2, "name a database with --database"},
		{[]string{"--database", target, "--limit", "0", "Find User"}, 2, "--limit must be from 1 to 10000"},
		{[]string{"--database", target, "Find User with login = ${x}"}, 2, "the parameter x is not given"},
	} {
		status, _, errs := command(t, "", append([]string{"query"}, c.args...)...)
		if status != c.status || !strings.Contains(errs, c.says) {
			t.Errorf("%q: status %d, errors %q; want %d, %q", c.args, status, errs, c.status, c.says)
		}
	}
}

func TestCommasWithinASinkArePartOfIt(t *testing.T) {
	for text, want := range map[string][]string{
		"sql:oktasync.db":                        {"sql:oktasync.db"},
		" sql:a.db , jsonl:-,,jupiterone ":       {"sql:a.db", "jsonl:-", "jupiterone"},
		"postgres://u:pw@a:1,b:2/db,sql:x.db":    {"postgres://u:pw@a:1,b:2/db", "sql:x.db"},
		"sql:oktasync.db,jupiterOne":             {"sql:oktasync.db", "jupiterOne"},
		"sql:oktasync.db,postgre://u:p@h/d":      {"sql:oktasync.db", "postgre://u:p@h/d"},
		"postgres://h/d,JupiterOne":              {"postgres://h/d", "JupiterOne"},
		"none":                                   {"none"},
		"kafka:x,postgresql://h/d?x=1,jsonl:/v/": {"kafka:x", "postgresql://h/d?x=1", "jsonl:/v/"},
	} {
		if got := targets(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// What is wrong with a sink is said without what may be a password.
func TestWrongSinksAreRefused(t *testing.T) {
	for sinks, says := range map[string]string{
		"kafka:topic":                      "sink 1: expected sql:PATH",
		"none,jsonl:":                      "sink 2: jsonl: needs a path",
		"jupiterone":                       "JUPITERONE_ACCOUNT and JUPITERONE_API_KEY",
		"sql:/does/not/exist/x.db":         "make it, or name another file",
		"postgres://u:hunter2@[/db":        "cannot be read",
		"sql:a.db,sql:./a.db":              "named twice",
		"sql:a.db,jupiterOne":              "sink 2: expected sql:PATH",
		"sql:a.db,postgre://u:hunter2@h/d": "sink 2: expected sql:PATH",
	} {
		t.Chdir(t.TempDir())
		status, _, errs := command(t, "", "serve", "--sinks", sinks, "--listen", "127.0.0.1:0")
		if status == 0 || !strings.Contains(errs, says) || strings.Contains(errs, "hunter2") {
			t.Errorf("%s: status %d, errors %q; want %q", sinks, status, errs, says)
		}
	}
}

// serve without any setting but the org writes oktasync.db; queries are answered
// from it while it runs, and after.
func TestServeWritesTheDatabaseThatQueryAsks(t *testing.T) {
	t.Chdir(t.TempDir())
	org := oktasim.New(t, oktasim.Config{Seed: 3, Users: 20, Groups: 3, Apps: 2})
	ctx, stop := context.WithCancel(t.Context())
	var out bytes.Buffer
	served := make(chan int, 1)
	go func() {
		served <- run(ctx, []string{"serve", "--listen=127.0.0.1:0", "--okta-client-orgurl=" + org.URL(), "--okta-client-token=" + org.Token(),
			"--allow-insecure-orgs", "--rate-limit-share=1", "--read-margin=10ms", "--list-allowance=50ms", "--log-poll-interval=1s"},
			world{stdout: io.Discard, stderr: &out})
	}()
	ask := func() string {
		_, answer, _ := command(t, "", "query", "-o", "csv", "Find okta_user as u return count(u)")
		return answer
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	want := fmt.Sprintf("count(u)\n%d\n", len(org.Snapshot().Users))
	for deadline := time.Now().Add(60 * time.Second); ask() != want; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("while it runs: %q, want %q", ask(), want)
		}
	}
	stop()
	if status := <-served; status != 0 {
		t.Fatalf("status %d: %s", status, out.String())
	}
	if got := ask(); got != want {
		t.Errorf("after it ended: %q", got)
	}
}

// The probe tells that deltas may be switched on, and leaves nothing behind.
func TestProbeTellsWhatToSwitchOn(t *testing.T) {
	j1, err := j1sim.Start(j1sim.Config{Account: "account", Key: "the-key-of-jupiterone"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j1.Close(); err != nil {
			t.Error(err)
		}
	})
	status, out, errs := command(t, "", "probe", "--jupiterone-account=account", "--jupiterone-api-key=the-key-of-jupiterone",
		"--jupiterone-api-base-url="+j1.URL(), "--jupiterone-graphql-url="+j1.URL()+"/graphql")
	if status != 0 || !strings.Contains(out, "Switch it on by OKTASYNC_JUPITERONE_PARTIAL=true") || strings.Contains(out+errs, "the-key") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if len(j1.Jobs()) == 0 {
		t.Error("no job")
	}
	for _, job := range j1.Jobs() {
		if g := j1.Graph(job.Scope); len(g.Entities)+len(g.Relationships) > 0 {
			t.Errorf("left in %s: %v", job.Scope, g)
		}
	}
	if status, _, errs := command(t, "", "probe"); status != 2 || !strings.Contains(errs, "JUPITERONE_ACCOUNT") {
		t.Errorf("without an account: status %d, %s", status, errs)
	}
}
