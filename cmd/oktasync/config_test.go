package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/oktasync/oktasync/sync/engine"
)

func parse(t *testing.T, args ...string) (*commands, error) {
	t.Helper()
	var cmds commands
	parser, err := kong.New(&cmds, vars, kong.Resolvers(kong.ResolverFunc(secretFile)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return &cmds, err
}

func testWorld() (world, *bytes.Buffer) {
	var out bytes.Buffer
	return world{stdout: &out, stderr: &out, log: slog.New(slog.NewTextHandler(&out, nil))}, &out
}

const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func TestSecretsAreNeverPrinted(t *testing.T) {
	s := serveCmd{AdminToken: "open sesame"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "cmd", s, "token", s.AdminToken)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s.AdminToken, s.AdminToken, s.AdminToken), log.String(), string(text),
	} {
		if strings.Contains(shown, "sesame") || strings.Contains(shown, fmt.Sprintf("%x", "sesame")) || !strings.Contains(shown, hidden) {
			t.Errorf("shown: %s", shown)
		}
	}
	if s.AdminToken.Reveal() != "open sesame" {
		t.Error("Reveal does not give the text")
	}
}

func TestFlagBeatsVariableBeatsDefault(t *testing.T) {
	cmds, err := parse(t, "serve")
	if err != nil || cmds.Serve.Listen != ":8080" || cmds.Serve.MaxInFlight != 10 || cmds.Serve.RateLimitShare != 0.5 {
		t.Errorf("defaults: %+v %v", cmds.Serve, err)
	}
	t.Setenv("OKTASYNC_LISTEN", ":1")
	t.Setenv("OKTASYNC_MAX_IN_FLIGHT", "3")
	if cmds, err = parse(t, "serve", "--listen=:2"); err != nil || cmds.Serve.Listen != ":2" || cmds.Serve.MaxInFlight != 3 {
		t.Errorf("flag and variable: %+v %v", cmds.Serve, err)
	}
}

func TestSecretFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("from the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OKTASYNC_ADMIN_TOKEN_FILE", path)
	if cmds, err := parse(t, "serve"); err != nil || cmds.Serve.AdminToken != "from the file" {
		t.Errorf("got %q %v", cmds.Serve.AdminToken.Reveal(), err)
	}
	if cmds, err := parse(t, "serve", "--admin-token=flag"); err != nil || cmds.Serve.AdminToken != "flag" {
		t.Errorf("a flag does not override the file: %q %v", cmds.Serve.AdminToken.Reveal(), err)
	}
	t.Setenv("OKTASYNC_ADMIN_TOKEN", "both")
	if _, err := parse(t, "serve"); err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("both set: %v", err)
	}
	t.Setenv("OKTASYNC_ADMIN_TOKEN", "")
	t.Setenv("OKTASYNC_ADMIN_TOKEN_FILE", path+".missing")
	if _, err := parse(t, "serve"); err == nil || !strings.Contains(err.Error(), "OKTASYNC_ADMIN_TOKEN_FILE") {
		t.Errorf("missing file: %v", err)
	}
}

func TestRealRedisNeedsTokensAndKey(t *testing.T) {
	w, _ := testWorld()
	cmds, err := parse(t, "serve", "--redis-url=redis://localhost:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = cmds.Serve.prepare(w)
	for _, name := range []string{"OKTASYNC_ADMIN_TOKEN", "OKTASYNC_TRIGGER_TOKEN", "OKTASYNC_SECRET_KEY"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	cmds, err = parse(t, "serve", "--redis-url=redis://localhost:1", "--admin-token=a", "--trigger-token=b", "--secret-key="+key)
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err := cmds.Serve.prepare(w); err != nil || cfg.RedisURL == "" || len(cfg.SecretKey) != 32 || cfg.SecretKey[31] != 31 {
		t.Errorf("got %+v %v", cfg.RedisURL, err)
	}
}

func TestEmbeddedStateSaysSoAndMakesTokens(t *testing.T) {
	w, out := testWorld()
	cmds, err := parse(t, "serve")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := cmds.Serve.prepare(w)
	if err != nil || len(cfg.SecretKey) != 32 {
		t.Fatalf("key of %d bytes, %v", len(cfg.SecretKey), err)
	}
	for _, want := range []string{"lost at exit", cmds.Serve.AdminToken.Reveal(), cmds.Serve.TriggerToken.Reveal()} {
		if len(want) < 12 || !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said: %s", want, out)
		}
	}
	if cmds.Serve.AdminToken == cmds.Serve.TriggerToken {
		t.Error("one token for both")
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"share":              {"--rate-limit-share=1.5"},
		"in flight":          {"--max-in-flight=0"},
		"margin":             {"--read-margin=-1s"},
		"allowance":          {"--list-allowance=2h"},
		"from 1s to 1h":      {"--log-poll-interval=999ms"},
		"poll interval":      {"--log-poll-interval=61m"},
		"from 0 to 1":        {"--max-delete-ratio=1.01"},
		"delete ratio":       {"--max-delete-ratio=-0.1"},
		"ratio must":         {"--max-delete-ratio=NaN"},
		"from 3s to 5m":      {"--lease=2s"},
		"the lease":          {"--lease=301s"},
		"no cron expression": {"--reconcile-schedule=every night"},
		"two o'clock":        {"--reconcile-schedule=61 2 * * *"},
		"never comes":        {"--reconcile-schedule=0 0 31 2 *"},
		"32 bytes in base64": {"--secret-key=short"},
		"are the same":       {"--admin-token=a", "--trigger-token=a"},
		"TRUSTED_PROXIES":    {"--trusted-proxies=10.0.0.0/8,10.0.0.0/99"},
		"only one is set":    {"--okta-client-orgurl=https://example.okta.com"},
		"not the org":        {"--hook-secret=sixteen-characters"},
		"16 to 4096":         {"--okta-client-orgurl=https://example.okta.com", "--okta-client-token=t", "--hook-secret=short"},
		"OKTA_CLIENT_ORGURL": {"--okta-client-orgurl=ftp://x", "--okta-client-token=t"},
	} {
		w, _ := testWorld()
		cmds, err := parse(t, append([]string{"serve"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cmds.Serve.prepare(w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

func TestWhatKeepsInstancesInStepReachesTheEngine(t *testing.T) {
	prepare := func(args ...string) engine.Config {
		t.Helper()
		w, _ := testWorld()
		cmds, err := parse(t, append([]string{"serve"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := cmds.Serve.prepare(w)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if c := prepare(); c.LogInterval != time.Minute || c.DeleteRatio != 0.2 || c.Lease != 10*time.Second || c.Schedule != "" {
		t.Errorf("defaults: %v %v %v %q", c.LogInterval, c.DeleteRatio, c.Lease, c.Schedule)
	}
	t.Setenv("OKTASYNC_LOG_POLL_INTERVAL", "1s")
	t.Setenv("OKTASYNC_MAX_DELETE_RATIO", "1")
	t.Setenv("OKTASYNC_LEASE", "5m")
	t.Setenv("OKTASYNC_RECONCILE_SCHEDULE", "30 1 * * 1-5")
	if c := prepare(); c.LogInterval != time.Second || c.DeleteRatio != 1 || c.Lease != 5*time.Minute || c.Schedule != "30 1 * * 1-5" {
		t.Errorf("by variables: %v %v %v %q", c.LogInterval, c.DeleteRatio, c.Lease, c.Schedule)
	}
	// 0 holds every delete that the brake may hold: it is not the default.
	if c := prepare("--max-delete-ratio=0"); c.DeleteRatio != 0 {
		t.Errorf("ratio 0: %v", c.DeleteRatio)
	}
}

func TestCommandLine(t *testing.T) {
	t.Chdir(t.TempDir()) // oktasync.db is written there
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"help":            {[]string{"--help"}, 0, "serve"},
		"version":         {[]string{"version"}, 0, "oktasync"},
		"unknown":         {[]string{"nonsense"}, 2, "nonsense"},
		"sync needs out":  {[]string{"sync", "--org-url=https://example.okta.com", "--token=t"}, 2, "--out"},
		"sync, odd URL":   {[]string{"sync", "--org-url=ftp://x", "--token=t", "--out=-"}, 2, "https"},
		"serve, bad key":  {[]string{"serve", "--secret-key=x"}, 2, "base64"},
		"serve, bad port": {[]string{"serve", "--listen=127.0.0.1:99999"}, 1, "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			w, out := testWorld()
			if got := run(t.Context(), c.args, w); got != c.status || !strings.Contains(out.String(), c.want) {
				t.Errorf("status %d, want %d: %s", got, c.status, out)
			}
		})
	}
}
