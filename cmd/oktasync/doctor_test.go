package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink"
)

var updateDoctor = flag.Bool("update-doctor", false, "write the reports of doctor in testdata anew")

// reports is where they are; tests change the directory.
var reports = func() string { dir, _ := filepath.Abs("testdata"); return dir }()

const doctorHookSecret = "hook-secret-of-the-doctor-tests"

// examine runs doctor and returns its report, and the error that it ends with.
func examine(t *testing.T, roots *x509.CertPool, args ...string) (*doctor, error) {
	t.Helper()
	cmds, err := parse(t, append([]string{"doctor", "--sinks=none"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := testWorld()
	d := &doctor{doctorCmd: cmds.Doctor, world: w, tls: trust{roots}}
	err = d.run(t.Context())
	return d, err
}

// orgArgs are the settings of an org.
func orgArgs(org *oktasim.Org, more ...string) []string {
	return append([]string{"--okta-client-orgurl=" + org.URL(), "--okta-client-token=" + org.Token(), "--allow-insecure-orgs"}, more...)
}

// of returns what was found by a check.
func (r *report) of(check string) []finding {
	var all []finding
	for _, f := range r.Findings {
		if f.Check == check {
			all = append(all, f)
		}
	}
	return all
}

// want fails unless the check found this level, with a text in it.
func want(t *testing.T, d *doctor, check string, l level, text string) {
	t.Helper()
	found := d.r.of(check)
	if !slices.ContainsFunc(found, func(f finding) bool {
		return f.Level == l && strings.Contains(f.What+" "+f.Why+" "+f.Todo, text)
	}) {
		t.Errorf("%s: got %+v, want %s with %q", check, found, l, text)
	}
}

// others fails if anything but the named checks is wrong.
func others(t *testing.T, d *doctor, except ...string) {
	t.Helper()
	for _, f := range d.r.Findings {
		if (f.Level == levelError || f.Level == levelWarning) && f.Check != "org.reach" && !slices.Contains(except, f.Check) {
			t.Errorf("found too: %+v", f)
		}
	}
	for _, f := range d.r.Findings {
		if f.Level != levelOK && (f.What == "" || f.Why == "" || f.Todo == "") {
			t.Errorf("without what, why or to do: %+v", f)
		}
	}
}

// golden compares a report as people see it with that of the file, without what
// differs from run to run.
func golden(t *testing.T, name string, r report) {
	t.Helper()
	for i, f := range r.Findings {
		for _, text := range []*string{&f.What, &f.Why, &f.Todo} {
			for _, s := range []struct{ varies, stable string }{
				{`127\.0\.0\.1:\d+`, "HOST"},
				{regexp.QuoteMeta(os.TempDir()) + `/\S+/`, "DIR/"},
				{`\d+ are left`, "N are left"},
				{`\d+ MB`, "N MB"},
				{`version \d+\.\d+\.\d+`, "version N"},
				{`who[0-9A-Za-z]+697`, "HOOK"},
				{`request \w+`, "request ID"},
				{`\d+ ms each`, "N ms each"},
			} {
				*text = regexp.MustCompile(s.varies).ReplaceAllString(*text, s.stable)
			}
		}
		r.Findings[i] = f
	}
	var got bytes.Buffer
	if err := r.text(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(reports, name)
	if *updateDoctor {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), got.String()); diff != "" {
		t.Errorf("-%s +got; -update-doctor writes it anew:\n%s", name, diff)
	}
}

// proxied starts a proxy that ends TLS, and that leads to where it is told.
func proxied(t *testing.T) (base string, roots *x509.CertPool, lead func(address string)) {
	t.Helper()
	var to atomic.Pointer[url.URL]
	srv := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to.Load()) }})
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	roots = x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv.URL, roots, func(address string) { to.Store(&url.URL{Scheme: "http", Host: address}) }
}

// limits are those of an org, or some times as high; no two are equal, so that which
// endpoints share one does not depend on when it was first called.
func limits(times int) map[string]int {
	return map[string]int{"apps": 100 * times, "users": 600 * times, "logs": 120 * times, "rest": 1200 * times, "groups": 500 * times, "group": 550 * times}
}

// durable starts a redis-server with good settings.
func durable(t *testing.T) *statetest.Server {
	t.Helper()
	server, err := statetest.StartDurable()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// redisClient returns a client of a redis-server.
func redisClient(t *testing.T, server *statetest.Server) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

// set changes settings of a redis-server.
func set(t *testing.T, server *statetest.Server, settings ...string) {
	t.Helper()
	client := redisClient(t, server)
	for i := 0; i < len(settings); i += 2 {
		if err := client.ConfigSet(t.Context(), settings[i], settings[i+1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// addHook makes the hook of the instance default in an org, with all that it should have.
func addHook(org *oktasim.Org, base string) string {
	return org.AddEventHook("oktasync", oktasim.Hook{URL: base + "/hooks/okta/default", Secret: doctorHookSecret, Types: convert.HookTypes()})
}

// wholeService runs serve for an org until its graph is whole.
func wholeService(t *testing.T, org *oktasim.Org, redisURL string, more ...string) string {
	t.Helper()
	address, said := serveWith(t, append([]string{"--redis-url=" + redisURL, "--admin-token=admin-token", "--trigger-token=trigger-token", "--secret-key=" + key,
		"--okta-client-orgurl=" + org.URL(), "--okta-client-token=" + org.Token(), "--hook-secret=" + doctorHookSecret, "--sinks=none",
		"--allow-insecure-orgs", "--rate-limit-share=1", "--list-allowance=100ms", "--read-margin=10ms", "--log-poll-interval=1s"}, more...)...)
	d := &doctor{}
	c := d.caller("http://" + address)
	defer c.close()
	for deadline := time.Now().Add(time.Minute); ; {
		a, err := c.call(t.Context(), http.MethodGet, "/admin/instances/default", "", "Authorization", "Bearer admin-token")
		var in engine.InstanceStatus
		if err == nil && json.Unmarshal(a.body, &in) == nil && in.Whole && in.LastRun != nil && in.LastRun.EndedAt != nil {
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the graph is not whole within a minute: %s\n%s", a.body, said())
		}
		time.Sleep(20 * time.Millisecond) // until another process is done
	}
}

// What an operator sees of a deployment in which nothing is wrong; only that the
// simulated org is no https is.
func TestDoctorOfAGoodDeployment(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 30, Groups: 5, Apps: 8, RateLimits: limits(10)})
	server := durable(t)
	public, roots, lead := proxied(t)
	addHook(org, public) // the service looks at it when it starts
	lead(wholeService(t, org, server.URL))
	org.ResetCalls()
	d, err := examine(t, roots, orgArgs(org, "--url="+public, "--redis-url="+server.URL, "--admin-token=admin-token", "--hook-secret="+doctorHookSecret,
		"--sinks=sql:graph.db,jsonl:"+filepath.Join(t.TempDir(), "graph.jsonl"))...)
	if err != nil {
		t.Error(err)
	}
	for _, c := range org.Calls() {
		if c.Method != http.MethodGet {
			t.Errorf("%s %s", c.Method, c.Path)
		}
	}
	others(t, d)
	if _, err := os.Stat("graph.db"); err == nil {
		t.Error("a database was made")
	}
	golden(t, "doctor_good.txt", d.r)
	if d.r.Calls == 0 || d.r.Calls > 40 {
		t.Errorf("%d calls", d.r.Calls)
	}
	noneOf(t, d, org)
}

// noneOf fails if the report, in either form, holds a secret or tells of a person.
func noneOf(t *testing.T, d *doctor, org *oktasim.Org) {
	t.Helper()
	var b bytes.Buffer
	if err := d.r.json(&b); err != nil {
		t.Fatal(err)
	}
	secrets := []string{org.Token(), "admin-token", doctorHookSecret}
	for _, u := range org.Snapshot().Users {
		var user okta.User
		if err := json.Unmarshal(u, &user); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"login", "email", "lastName"} {
			if s, _ := user.Profile[name].(string); len(s) > 4 {
				secrets = append(secrets, s)
			}
		}
	}
	for _, s := range secrets {
		if strings.Contains(b.String(), s) {
			t.Errorf("the report holds %q", s)
		}
	}
}

func TestDoctorOfABadDeployment(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 30, Groups: 5, Apps: 8, RateLimits: limits(1)})
	org.Fail(func(r *http.Request) *oktasim.Fault {
		for _, refused := range []string{"/factors", "/api/v1/logs", "/oktaSupport", "/api/v1/eventHooks"} {
			if strings.HasSuffix(r.URL.Path, refused) {
				return &oktasim.Fault{Status: http.StatusForbidden}
			}
		}
		return nil
	})
	server, err := statetest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	set(t, server, "maxmemory", "20mb", "maxmemory-policy", "allkeys-lru")
	redirect := httptest.NewTLSServer(http.RedirectHandler("/login", http.StatusFound))
	defer redirect.Close()
	roots := x509.NewCertPool()
	roots.AddCert(redirect.Certificate())
	d, err := examine(t, roots, orgArgs(org, "--url="+redirect.URL, "--redis-url="+server.URL, "--rate-limit-share=0.9",
		"--sinks=sql:"+filepath.Join(t.TempDir(), "none", "graph.db")+",jupiterone")...)
	if err == nil || !strings.Contains(err.Error(), "errors of the report") {
		t.Errorf("ends with %v", err)
	}
	golden(t, "doctor_bad.txt", d.r)
	noneOf(t, d, org)
}

// Of each list that is refused, that one alone is told of, with what it means.
func TestDoctorFindsTheRightThatIsMissing(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 10, Groups: 3, Apps: 3})
	// What cannot be tried without another list comes with it.
	for refused, c := range map[string]struct {
		check  string
		level  level
		text   string
		except []string
	}{
		`/users$`:                  {"rights.users", levelError, "okta.users.read", nil},
		`/groups$`:                 {"rights.groups", levelError, "okta.groups.read", nil},
		`/groups/[^/]+/users$`:     {"rights.members", levelError, "no memberships", nil},
		`/apps$`:                   {"rights.applications", levelError, "okta.apps.read", []string{"rights.user-applications"}},
		`/apps/[^/]+/users$`:       {"rights.application-users", levelError, "assignments of users", nil},
		`/apps/[^/]+/groups$`:      {"rights.application-groups", levelError, "assignments of groups", nil},
		`/users/[^/]+/factors$`:    {"rights.factors", levelError, `"factors":false`, nil},
		`/users/[^/]+/groups$`:     {"rights.user-groups", levelError, "membership", nil},
		`/logs$`:                   {"rights.log", levelError, "never known to be whole", nil},
		`/org/privacy/oktaSupport`: {"rights.support", levelOK, "nothing else suffers", nil},
		`/eventHooks$`:             {"rights.event-hooks", levelSkipped, "okta.eventhooks.read", nil},
	} {
		pattern := regexp.MustCompile("^/api/v1" + refused)
		org.Fail(func(r *http.Request) *oktasim.Fault {
			if pattern.MatchString(r.URL.Path) {
				return &oktasim.Fault{Status: http.StatusForbidden}
			}
			return nil
		})
		d, _ := examine(t, nil, orgArgs(org)...)
		want(t, d, "org.token", levelOK, "takes the token")
		want(t, d, c.check, c.level, c.text)
		others(t, d, append(c.except, c.check, "hook.state")...)
	}
}

// A token whose owner is no admin gets lists without anything in them, and a 200.
func TestDoctorSeesThroughEmptyLists(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 10, Groups: 3, Apps: 3})
	addHook(org, "https://oktasync.example.com")
	empty := func(pattern string) *doctor {
		p := regexp.MustCompile("^/api/v1" + pattern)
		org.Fail(func(r *http.Request) *oktasim.Fault {
			if p.MatchString(r.URL.Path) {
				return &oktasim.Fault{Empty: true}
			}
			return nil
		})
		d, _ := examine(t, nil, orgArgs(org)...)
		return d
	}
	d := empty(`/(users|groups|apps)`)
	want(t, d, "rights.users", levelError, "no admin role")
	want(t, d, "rights.groups", levelError, "Everyone")
	want(t, d, "rights.applications", levelWarning, "shows no application")
	want(t, d, "limits.full-read", levelSkipped, "not known")
	others(t, d, "rights.users", "rights.groups", "rights.applications")
	d = empty(`/groups$`)
	want(t, d, "rights.groups", levelError, "every org has it")
	others(t, d, "rights.groups")
	d = empty(`/users/[^/]+/groups$`)
	want(t, d, "rights.user-groups", levelError, "every user is in Everyone")
	others(t, d, "rights.user-groups")
}

func TestDoctorOfAnOrgThatCannotBeRead(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 2, Apps: 2})
	noOkta := httptest.NewServer(http.NotFoundHandler())
	defer noOkta.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	for _, c := range []struct {
		url, token string
		insecure   bool
		check      string
		text       string
	}{
		{org.URL(), "00wrong", true, "org.token", "create a new token"},
		{org.URL(), "with blank", true, "org.reach", "copy it again"},
		{org.URL(), "00wrong", false, "org.reach", "use https"},
		{noOkta.URL, "00wrong", true, "org.token", "is an Okta org's"},
		{untrusted.URL, "00wrong", true, "org.reach", "decrypts TLS"},
		{"http://127.0.0.1:1", "00wrong", true, "org.reach", "firewall"},
		{"https://no-such-org.invalid", "00wrong", true, "org.reach", "spelling"},
		{"https://me:pass-word@example.okta.com", "00wrong", false, "org.reach", "must not hold a user"},
	} {
		args := []string{"--okta-client-orgurl=" + c.url, "--okta-client-token=" + c.token}
		if c.insecure {
			args = append(args, "--allow-insecure-orgs")
		}
		d, err := examine(t, nil, args...)
		if err == nil {
			t.Errorf("%s: nothing is wrong", c.url)
		}
		want(t, d, c.check, levelError, c.text)
		if n := len(d.r.of("rights.users")); n > 0 {
			t.Errorf("%s: went on after that", c.url)
		}
		var b bytes.Buffer
		if err := d.r.json(&b); err != nil || strings.Contains(b.String(), c.token) || strings.Contains(b.String(), "pass-word") {
			t.Errorf("%v, or a secret is shown: %s", err, &b)
		}
	}
}

func TestDoctorTellsOfLimitsThatAreUsedUp(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 10, Groups: 3, Apps: 3, RateLimits: map[string]int{"apps": 100, "users": 600}})
	other, err := okta.NewClient(t.Context(), okta.ClientConfig{OrgURL: org.URL(), Token: org.Token(), AllowInsecure: true, Share: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 78 {
		if _, err := other.Applications(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	d, err := examine(t, nil, orgArgs(org)...)
	if err != nil { // warnings are no error
		t.Error(err)
	}
	var apps, users *okta.RateLimit
	for i, l := range d.r.RateLimits {
		switch {
		case slices.Contains(l.Endpoints, "apps"):
			apps = &d.r.RateLimits[i]
			want(t, d, fmt.Sprintf("limits.bucket%d", i+1), levelWarning, "something else uses up this limit")
		case slices.Contains(l.Endpoints, "users"):
			users = &d.r.RateLimits[i]
			want(t, d, fmt.Sprintf("limits.bucket%d", i+1), levelOK, "600 calls a minute")
		}
	}
	if apps == nil || users == nil || apps.Limit != 100 || apps.Remaining > 19 || users.Limit != 600 || users.Lists != 285 {
		t.Errorf("limits: %+v %+v", apps, users)
	}
}

// The example of the facts about Okta: 20,000 users, most calls for factors.
func TestCostOfAFullRead(t *testing.T) {
	f := &readCost{everyone: 20_000, listedUsers: 200, listedWithFactors: 180, Applications: 300, sampled: 5,
		appUsers: sampled{objects: 5 * 333, pages: 5}, appGroups: sampled{objects: 5 * 2, pages: 5}}
	f.addGroup(okta.Group{Type: okta.GroupTypeBuiltIn, Profile: map[string]any{"name": "Everyone"}})
	n, none := 134, 0
	for i := range 1999 {
		g := okta.Group{Type: okta.GroupTypeOkta}
		if g.Embedded.Stats = (&okta.GroupStats{UsersCount: &n}); i >= 1500 {
			g.Embedded.Stats.UsersCount = &none
		}
		f.addGroup(g)
	}
	buckets := []okta.RateLimit{
		{Endpoints: []string{"users", "users/*/factors"}, Limit: 600, Lists: 285},
		{Endpoints: []string{"apps", "apps/*/groups", "apps/*/users"}, Limit: 100, Lists: 48},
		{Endpoints: []string{"groups", "groups/*/users"}, Limit: 500, Lists: 238},
	}
	f.calculate(buckets, pace{20 * time.Millisecond, 10})
	// 2 for the account, 100 users, 10 groups, 1500 members, 2 + 300 + 300 applications.
	if f.Calls != 2214 || f.FactorCalls != 2214+18_000 || f.WithFactors != 18_000 || f.AtLeast {
		t.Errorf("calls: %+v", f)
	}
	if f.Seconds != 12*60 || f.FactorSeconds != 63*60 { // 602 calls at 48 a minute; 18,100 at 285
		t.Errorf("%d s, with factors %d s", f.Seconds, f.FactorSeconds)
	}
	records := int64(emptyBytes + memberBytes*1500*134 + assignmentBytes*(300*333+600) + objectBytes*(20_000+2000+300) + factorBytes*18_000)
	if most := records + 60_000_000; f.RedisBytes != most || f.RedisBytesAtMost != most { // more records than changes are kept
		t.Errorf("%d and %d bytes, want %d", f.RedisBytes, f.RedisBytesAtMost, most)
	}
	if how := f.how(); f.Latency != 20 || !strings.Contains(how, "20 ms each, as they did now, and 10 at once") {
		t.Errorf("%d ms: %s", f.Latency, how)
	}

	// Where answers are slow, they decide: 2214 calls, one at a time, a second each.
	f.calculate(buckets, pace{time.Second, 1})
	if f.Seconds != 2214 || f.FactorSeconds != 20_214 {
		t.Errorf("with slow answers: %d s, with factors %d s", f.Seconds, f.FactorSeconds)
	}
}

// A small org has fewer changes than are kept.
func TestMemoryOfASmallOrg(t *testing.T) {
	f := &readCost{listedUsers: 300, usersListed: true, listedWithFactors: 270, Groups: 1}
	f.calculate(nil, pace{})
	if f.RedisBytes > 4<<20 || f.RedisBytesAtMost < 58<<20 || f.RedisBytesAtMost > 62<<20 {
		t.Errorf("%s now, %s at most", megabytes(f.RedisBytes), megabytes(f.RedisBytesAtMost))
	}
}

func TestTimesForPeople(t *testing.T) {
	for seconds, want := range map[int64]string{0: "less than a minute", 59: "less than a minute", 60: "some 1 minute", 61: "some 2 minutes", 3600: "some 60 minutes"} {
		if got := lasting(seconds); got != want {
			t.Errorf("%d: %s, want %s", seconds, got, want)
		}
	}
}

func TestDoctorCountsWhatAFullReadTakes(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 230, Groups: 20, Apps: 5})
	d, _ := examine(t, nil, orgArgs(org)...)
	cost := d.r.FullRead
	org.ResetCalls()
	w, said := testWorld()
	if status := run(t.Context(), syncArgs(org, filepath.Join(t.TempDir(), "graph.jsonl")), w); status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	read := map[string]int{}
	for _, c := range org.Calls() {
		kind := "lists"
		if strings.HasSuffix(c.Path, "/factors") {
			kind = "factors"
		} else if strings.HasSuffix(c.Path, "/logs") {
			kind = "log"
		}
		read[kind]++
	}
	if cost == nil || cost.Calls != read["lists"] {
		t.Errorf("told %+v, a full read took %v", cost, read)
	}
	// Users who may have factors are guessed from the first page.
	if got, is := cost.FactorCalls-cost.Calls, read["factors"]; got < is*8/10 || got > is*12/10 {
		t.Errorf("told %d calls for factors, a full read took %d", got, is)
	}
	var memberships int
	for _, g := range org.Snapshot().Groups {
		var group okta.Group
		if err := json.Unmarshal(g.JSON, &group); err != nil {
			t.Fatal(err)
		}
		if !group.Everyone() {
			memberships += len(g.Members)
		}
	}
	if cost.Users != len(org.Snapshot().Users) || cost.Memberships != memberships || cost.Applications != 5 {
		t.Errorf("told %+v, the org has %d users and %d memberships", cost, len(org.Snapshot().Users), memberships)
	}
}

func TestDoctorTellsOfClocksThatDiffer(t *testing.T) {
	for ahead, text := range map[time.Duration]string{10 * time.Minute: "behind", -10 * time.Minute: "ahead of"} {
		org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 2, Apps: 2, Clock: oktasim.NewManualClock(time.Now().Add(ahead))})
		d, _ := examine(t, nil, orgArgs(org)...)
		want(t, d, "clock.okta", levelWarning, text+" that of Okta")
		others(t, d, "clock.okta", "hook.state")
	}
}

func TestDoctorJudgesTheHook(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 3, Groups: 2, Apps: 2})
	d, _ := examine(t, nil, orgArgs(org)...)
	want(t, d, "hook.state", levelWarning, "oktasync hook register --instance default --url https://<where") // doctor comes before the hook
	d, _ = examine(t, nil, orgArgs(org, "--url=http://127.0.0.1:1")...)
	want(t, d, "hook.state", levelError, "oktasync hook register --instance default --url https://<where")
	id := addHook(org, "https://oktasync.example.com")
	d, _ = examine(t, nil, orgArgs(org)...)
	want(t, d, "hook.state", levelOK, "has all types")
	others(t, d)
	d, _ = examine(t, nil, orgArgs(org, "--instance=other")...)
	want(t, d, "hook.state", levelWarning, "/hooks/okta/other")

	if err := org.EditEventHook(id, func(hook map[string]any) {
		hook["events"].(map[string]any)["items"] = []string{"user.lifecycle.create"}
	}); err != nil {
		t.Fatal(err)
	}
	d, _ = examine(t, nil, orgArgs(org)...)
	want(t, d, "hook.state", levelWarning, "more.")
	if err := org.EditEventHook(id, func(hook map[string]any) {
		hook["channel"].(map[string]any)["config"].(map[string]any)["authScheme"].(map[string]any)["key"] = "X-Secret"
	}); err != nil {
		t.Fatal(err)
	}
	d, _ = examine(t, nil, orgArgs(org)...)
	want(t, d, "hook.state", levelError, "another header")
	if err := org.DeactivateEventHook(id); err != nil {
		t.Fatal(err)
	}
	d, _ = examine(t, nil, orgArgs(org)...)
	want(t, d, "hook.state", levelError, "inactive")
}

func TestDoctorOfRedis(t *testing.T) {
	server := durable(t)
	d, err := examine(t, nil, "--redis-url="+server.URL)
	if err != nil {
		t.Error(err)
	}
	others(t, d)
	for _, check := range []string{"redis.answer", "redis.version", "redis.disk", "redis.eviction", "redis.memory", "clock.redis"} {
		want(t, d, check, levelOK, "")
	}
	want(t, d, "redis.room", levelSkipped, "OKTA_CLIENT_ORGURL")
	want(t, d, "org.reach", levelSkipped, "not set")

	set(t, server, "appendfsync", "no", "maxmemory", "100", "maxmemory-policy", "allkeys-lru")
	d, _ = examine(t, nil, "--redis-url="+server.URL)
	want(t, d, "redis.disk", levelWarning, "appendfsync everysec")
	want(t, d, "redis.eviction", levelError, "noeviction")
	want(t, d, "redis.memory", levelError, "raise maxmemory")
	others(t, d, "redis.disk", "redis.eviction", "redis.memory")

	set(t, server, "maxmemory", "0", "appendonly", "no", "maxmemory-policy", "noeviction")
	client := redisClient(t, server)
	if err := client.Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	d, _ = examine(t, nil, "--redis-url="+server.URL)
	want(t, d, "redis.disk", levelWarning, "appendonly yes")
	want(t, d, "redis.role", levelError, "replica")
	others(t, d, "redis.disk", "redis.role")

	server.Kill()
	for _, url := range []string{server.URL, "redis://me:pass-word@127.0.0.1:1/0", "nonsense://me:pass-word@x"} {
		d, err = examine(t, nil, "--redis-url="+url)
		if err == nil {
			t.Errorf("%s: nothing is wrong", url)
		}
		want(t, d, "redis.answer", levelError, "that Redis runs")
		if strings.Contains(fmt.Sprint(d.r.Findings), "pass-word") {
			t.Errorf("a password is shown: %+v", d.r.Findings)
		}
	}
}

func TestDoctorComparesTheOrgWithTheRoomInRedis(t *testing.T) {
	server := durable(t)
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 30, Groups: 3, Apps: 3})
	// What is there already decides between a warning and none: let it be much.
	client := redisClient(t, server)
	if err := client.Set(t.Context(), "ballast", strings.Repeat("x", 8<<20), 0).Err(); err != nil {
		t.Fatal(err)
	}
	for most, l := range map[string]level{"60mb": levelError, "71mb": levelWarning, "2000mb": levelOK} {
		set(t, server, "maxmemory", most)
		d, _ := examine(t, nil, orgArgs(org, "--redis-url="+server.URL)...)
		want(t, d, "redis.room", l, "This org needs about 2 MB after its first full read, and up to 59 MB")
	}
}

// A name that nobody looks up, and addresses of servers that are not on this machine.
func TestDoctorWarnsOfRedisInTheClear(t *testing.T) {
	for url, warned := range map[string]bool{"redis://redis.example.com:6379/0": true, "rediss://redis.example.com:6379/0": false,
		"redis://127.0.0.1:6379": false, "redis://localhost": false, "unix:///run/redis.sock": false} {
		d := &doctor{doctorCmd: doctorCmd{RedisURL: Secret(url)}}
		d.redisTLS()
		if got := len(d.r.of("redis.tls")) > 0; got != warned {
			t.Errorf("%s: warned %v", url, got)
		}
	}
}

func TestDoctorOfTheService(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 5, Groups: 2, Apps: 2})
	addHook(org, "https://oktasync.example.com")
	server := durable(t)
	address := wholeService(t, org, server.URL)
	base := "http://" + address
	common := []string{"--url=" + base, "--allow-insecure-orgs", "--admin-token=admin-token", "--hook-secret=" + doctorHookSecret}

	d, err := examine(t, nil, common...)
	if err != nil {
		t.Error(err)
	}
	others(t, d, "hook.https")
	for _, check := range []string{"hook.verify", "hook.time", "hook.secret", "service.ready", "service.health", "service.instance"} {
		want(t, d, check, levelOK, "")
	}
	d, _ = examine(t, nil, append(common, "--instance=unknown")...)
	want(t, d, "hook.verify", levelError, "knows no instance unknown")
	want(t, d, "service.instance", levelError, "knows no instance unknown")
	d, _ = examine(t, nil, append(common, "--admin-token=wrong", "--hook-secret=the-secret-of-somebody-else")...)
	want(t, d, "service.instance", levelError, "refuses the admin token")
	want(t, d, "hook.secret", levelError, "refuses the hook's secret")
	d, _ = examine(t, nil, "--url="+base)
	want(t, d, "hook.https", levelError, "Okta calls only https")
	want(t, d, "hook.secret", levelSkipped, "OKTASYNC_HOOK_SECRET")
	want(t, d, "service.instance", levelSkipped, "OKTASYNC_ADMIN_TOKEN")
	want(t, d, "hook.address", levelWarning, "private address")

	c := (&doctor{}).caller(base)
	defer c.close()
	operate := func(path string) {
		t.Helper()
		if a, err := c.call(t.Context(), http.MethodPost, path, "", "Authorization", "Bearer admin-token"); err != nil || a.status/100 != 2 {
			t.Fatalf("%s: %d %s %v", path, a.status, a.body, err)
		}
	}
	operate("/admin/instances/default/pause")
	d, _ = examine(t, nil, common...)
	want(t, d, "service.instance", levelWarning, "paused")
	operate("/admin/instances/default/resume")

	server.Kill() // the service lives on, and tells
	d, _ = examine(t, nil, common...)
	want(t, d, "hook.verify", levelError, "503")
	want(t, d, "service.ready", levelError, "does not take deliveries")
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
}

// The service looks at the hook at its runs: what it warned of before is not told
// again after doctor has looked itself.
func TestDoctorsFreshLookAtTheHookWins(t *testing.T) {
	org := oktasim.New(t, oktasim.Config{Seed: 1, Users: 5, Groups: 2, Apps: 2})
	server := durable(t)
	base := "http://" + wholeService(t, org, server.URL, "--log-poll-interval=1h")
	service := []string{"--url=" + base, "--allow-insecure-orgs"}
	d, _ := examine(t, nil, service...) // without the org, what the service warns of is all there is
	want(t, d, "service.health1", levelWarning, "nstance default has no event hook")
	addHook(org, base)
	d, err := examine(t, nil, orgArgs(org, service...)...)
	if err != nil {
		t.Error(err)
	}
	want(t, d, "hook.state", levelOK, "active and verified")
	want(t, d, "service.health", levelOK, "seen just now")
	others(t, d, "hook.https")
}

func TestDoctorJudgesAnInstance(t *testing.T) {
	long := time.Now().Add(-time.Hour)
	for text, c := range map[string]struct {
		level level
		in    engine.InstanceStatus
	}{
		"keeps the instance from working: the token": {levelError, engine.InstanceStatus{Problem: "the token is refused"}},
		"No process works":                           {levelWarning, engine.InstanceStatus{Owner: "none"}},
		"not whole":                                  {levelWarning, engine.InstanceStatus{Paused: true}},
		"read up to 1h":                              {levelWarning, engine.InstanceStatus{Log: engine.LogStatus{ReadUpTo: &long}}},
		"System Log cannot be read: refused":         {levelError, engine.InstanceStatus{Log: engine.LogStatus{Problem: "refused"}}},
		"2 events could not be understood":           {levelWarning, engine.InstanceStatus{DeadLetters: 2}},
		"3 changes await approval":                   {levelWarning, engine.InstanceStatus{Held: 3}},
		"x-1, is incomplete":                         {levelWarning, engine.InstanceStatus{LastRun: &engine.Run{ID: "x-1", State: engine.RunIncomplete}}},
		"The sink sql:x fails: full":                 {levelWarning, engine.InstanceStatus{Sinks: map[string]engine.SinkStatus{"sql:x": {Status: sink.Status{Error: "full"}}}}},
	} {
		c.in.ID, c.in.Whole = "default", text != "not whole"
		if c.in.Owner == "" {
			c.in.Owner = "a process"
		} else {
			c.in.Owner = ""
		}
		d := &doctor{}
		d.judgeInstance(c.in)
		want(t, d, "service.instance", c.level, text)
		others(t, d, "service.instance")
	}
}

// What stands before the service can spoil what Okta sends.
func TestDoctorOfAProxyThatIsWrong(t *testing.T) {
	for text, h := range map[string]http.HandlerFunc{
		"redirect (301)":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusMovedPermanently) },
		"not the service's own": http.NotFound,
		"does not come back": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"verification":"of another"}`)
		},
		"Something else":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"answers with 403":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"did not get the header": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		"with 413 before the serv": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"verification": r.Header.Get(challenge)})
		},
	} {
		srv := httptest.NewTLSServer(h)
		roots := x509.NewCertPool()
		roots.AddCert(srv.Certificate())
		d, err := examine(t, roots, "--url="+srv.URL, "--hook-secret="+doctorHookSecret)
		found := append(d.r.of("hook.verify"), d.r.of("hook.secret")...)
		if err == nil || !slices.ContainsFunc(found, func(f finding) bool { return f.Level == levelError && strings.Contains(f.What, text) }) {
			t.Errorf("%s: %+v", text, found)
		}
		srv.Close()
	}
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	d, _ := examine(t, nil, "--url="+srv.URL) // its certificate is nobody's
	want(t, d, "hook.address", levelError, "The certificate is not good")
	d, _ = examine(t, nil, "--url=https://no-such-host.invalid")
	want(t, d, "hook.address", levelError, "cannot be looked up")
	d, _ = examine(t, nil, "--url=https://127.0.0.1:1")
	want(t, d, "hook.address", levelError, "Nobody answers")
}

func TestDoctorOfSinks(t *testing.T) {
	dir := t.TempDir()
	note := filepath.Join(dir, "note.db")
	if err := os.WriteFile(note, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for sinks, c := range map[string]struct {
		level level
		text  string
	}{
		"sql:" + dir + "/graph.db":      {levelOK, "makes its tables"},
		"sql:" + note:                   {levelError, "not a database"},
		"sql:" + dir + "/none/graph.db": {levelError, "does not exist"},
		"jsonl:" + dir + "/graph.jsonl": {levelOK, "can be written"},
		"jsonl:" + dir:                  {levelError, "directory"},
		"postgres://me:pass-word@127.0.0.1:1/g?sslmode=disable": {levelError, "A sink cannot be used"},
		"jupiterone": {levelError, "JUPITERONE_ACCOUNT"},
		"kafka:x":    {levelError, "no known kind"},
	} {
		d, err := examine(t, nil, "--sinks="+sinks)
		if (err != nil) != (c.level == levelError) {
			t.Errorf("%s: %v", sinks, err)
		}
		want(t, d, "sinks.1", c.level, c.text)
		others(t, d, "sinks.1")
		if strings.Contains(fmt.Sprint(d.r.Findings), "pass-word") {
			t.Errorf("a password is shown: %+v", d.r.Findings)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v %v", files, err)
	}
}

func TestDoctorExitStatus(t *testing.T) {
	t.Chdir(t.TempDir())
	warned, err := statetest.Start() // without an append-only file
	if err != nil {
		t.Fatal(err)
	}
	defer warned.Stop()
	good := durable(t)
	for _, c := range []struct {
		args   []string
		status int
		said   string
	}{
		{[]string{"--redis-url=" + good.URL}, 0, "0 errors, 0 warnings"},
		{[]string{"--redis-url=" + warned.URL}, 0, "WARNING"},
		{[]string{"--redis-url=" + warned.URL, "--strict"}, 1, "may go wrong"},
		{[]string{"--redis-url=redis://127.0.0.1:1"}, 1, "1 error,"},
		{nil, 2, "nothing to look at"},
		{[]string{"--url=ftp://x"}, 2, "--url must be"},
		{[]string{"--url=https://x", "--instance=../x"}, 2, "--instance must be"},
		{[]string{"--okta-client-orgurl=https://x.okta.com"}, 2, "OKTA_CLIENT_TOKEN"},
		{[]string{"--okta-client-token=x"}, 2, "OKTA_CLIENT_ORGURL"},
		{[]string{"--redis-url=" + good.URL, "--rate-limit-share=2"}, 2, "share"},
	} {
		w, said := testWorld()
		if status := run(t.Context(), append([]string{"doctor"}, c.args...), w); status != c.status || !strings.Contains(said.String(), c.said) {
			t.Errorf("%v: status %d: %s", c.args, status, said)
		}
	}
	w, _ := testWorld()
	var out bytes.Buffer
	w.stdout = &out
	run(t.Context(), []string{"doctor", "--json", "--redis-url=" + warned.URL}, w)
	var r report
	if dec := json.NewDecoder(&out); dec.Decode(&r) != nil || dec.More() || r.Result != levelWarning || len(r.of("redis.disk")) != 1 {
		t.Errorf("the document: %+v", r)
	}
}

// Whoever hangs costs his own time, not more.
func TestDoctorEndsWithItsContext(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hanging.Close()
	cmds, err := parse(t, "doctor", "--sinks=none", "--url="+hanging.URL, "--okta-client-orgurl="+hanging.URL, "--okta-client-token=t", "--allow-insecure-orgs")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	w, _ := testWorld()
	d := &doctor{doctorCmd: cmds.Doctor, world: w}
	if err := d.run(ctx); err == nil {
		t.Error("nothing is wrong")
	}
	want(t, d, "org.token", levelError, "ended it")
	want(t, d, "hook.address", levelError, "deadline")
}
