package bench

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testLab returns a lab whose service is this program, built anew.
func testLab(t *testing.T) *lab {
	t.Helper()
	l, err := newLab(Streams{Out: t.Output(), Err: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	l.exe = filepath.Join(t.TempDir(), "oktasync")
	if out, err := exec.Command("go", "build", "-o", l.exe, "..").CombinedOutput(); err != nil {
		t.Fatalf("build the service: %v\n%s", err, out)
	}
	return l
}

// What a process uses is what a benchmark is for: it must be read, and begin anew.
func TestUsageIsReadFromAProcess(t *testing.T) {
	l := testLab(t)
	ctx := t.Context()
	r, err := l.startRedis(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	s, err := l.startService(ctx, r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	before, err := r.usage()
	if err != nil {
		t.Fatal(err)
	}
	if before.rss < 1<<20 || before.peak < before.rss {
		t.Errorf("redis has %d bytes resident, at most %d", before.rss, before.peak)
	}
	const size = 64 << 20
	if err := r.client.Do(ctx, "SETRANGE", "much", size, "x").Err(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := r.client.Do(ctx, "BITCOUNT", "much").Err(); err != nil {
			t.Fatal(err)
		}
	}
	after, err := r.usage()
	if err != nil {
		t.Fatal(err)
	}
	if after.since(before).cpu <= 0 || after.peak < size {
		t.Errorf("after work on 64 MB: %s of CPU, a peak of %d bytes", after.since(before).cpu, after.peak)
	}
	if err := r.client.Del(ctx, "much").Err(); err != nil {
		t.Fatal(err)
	}
	if err := r.resetPeak(); err != nil {
		t.Fatal(err)
	}
	if now, err := r.usage(); err != nil || now.peak >= size {
		t.Errorf("the peak, begun anew after 64 MB were given back: %d, %v", now.peak, err)
	}
	if told := machine(ctx, r); !strings.Contains(told, "cores") || strings.Contains(told, "Redis unknown") {
		t.Errorf("the machine is told as:\n%s", told)
	}
}

// A process that ends is told of at once, with what it said, not waited for.
func TestAServiceThatEndsIsTold(t *testing.T) {
	l := testLab(t)
	_, err := l.startService(context.Background(), "redis://127.0.0.1:1", "OKTASYNC_LIST_ALLOWANCE=nonsense")
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("started with nonsense: %v", err)
	}
}

// A shell that is set up for a service, of a real org, must not set up those that are measured.
func TestNothingOfTheShellSetsUpTheService(t *testing.T) {
	l := testLab(t)
	ctx := t.Context()
	for _, variable := range []string{"OKTA_CLIENT_ORGURL=https://acme.example.com", "OKTA_CLIENT_TOKEN=00token", "OKTASYNC_RECONCILE_SCHEDULE=nonsense", "JUPITERONE_API_KEY=x"} {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	r, err := l.startRedis(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	s, err := l.startService(ctx, r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	answer, err := s.call(ctx, http.MethodGet, "/admin/instances", s.admin, nil)
	if err != nil || strings.Contains(string(answer), "acme") {
		t.Errorf("%s, %v", answer, err)
	}
}

// What cannot be measured is told before anything is started.
func TestNoInstancesAreRefused(t *testing.T) {
	s := Streams{Out: t.Output(), Err: t.Output()}
	for _, cmd := range []idleCmd{{Instances: 0, Replicas: 1, For: 1}, {Instances: 1, Replicas: 0, For: 1}, {Instances: 1, Replicas: 1}} {
		if err := cmd.Run(t.Context(), s); err == nil || !strings.Contains(err.Error(), "must be above 0") {
			t.Errorf("%+v: %v", cmd, err)
		}
	}
}

// The next load begins when nothing reads any more.
func TestReconcilesEndBeforeTheNextLoad(t *testing.T) {
	l := testLab(t)
	ctx := t.Context()
	st, err := l.startStand(ctx, setting{shape: heavy, users: 100, limits: "none", sinks: "none", latency: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer st.stop()
	over := make(chan struct{})
	close(over)
	if err := st.reconcileUntil(ctx, over, true); err != nil {
		t.Fatal(err)
	}
	answer, err := st.service.call(ctx, http.MethodGet, "/admin/instances/"+instance+"/runs", st.service.admin, nil)
	if err != nil || !strings.Contains(string(answer), `"succeeded"`) || strings.Contains(string(answer), `"running"`) {
		t.Errorf("%s, %v", answer, err)
	}
}
