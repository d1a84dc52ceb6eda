package main

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

const (
	tested   = "tested" // the instance that lives through the kills
	fresh    = "fresh"  // the instance that reads the quiet org at the end
	orgUsers = 150

	allowance     = time.Second
	lease         = 3 * time.Second // the shortest that the service takes
	startTimeout  = 30 * time.Second
	ackTimeout    = time.Minute // from the last kill to the last acknowledgement
	settleTimeout = 3 * time.Minute
	quiet         = time.Second // that nothing is left to do for so long means done
	askEvery      = 50 * time.Millisecond
	progressEvery = 5 * time.Second
)

// The kinds of kills.
const (
	ofRedis = "redis"
	ofOwner = "owner"
	ofOther = "other"
)

// trial is one run of the test.
type trial struct {
	options
	out   io.Writer
	dir   string
	org   *oktasim.Org
	redis *process
	count *count

	replicas             []*process
	admin, trigger, hook string
	client               *http.Client

	closed atomic.Bool // the org's lists of what changed are refused

	mu        sync.Mutex
	last      status // as the service told it last
	ownerDead int    // pid of the owner that was killed, until there is another
	deadAt    time.Time
}

// try runs the test. Nothing it started is left when it returns. It returns an
// error if something was lost or doubled, or if that could not be found out.
func try(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "oktasync-killtest")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else if ctx.Err() == nil {
			fmt.Fprintln(out, "What the processes printed, and Redis's files, are in", dir)
		} else {
			_ = os.RemoveAll(dir) // interrupted: nobody will look
		}
	}()
	key := make([]byte, 32)
	cryptorand.Read(key)
	t := &trial{
		options: o, out: out, dir: dir, count: newCount(),
		admin: "admin-of-the-killtest", trigger: "trigger-of-the-killtest", hook: "hook-secret-of-the-killtest",
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders, IdleConnTimeout: time.Minute}},
	}
	defer t.client.CloseIdleConnections()
	if t.org, err = oktasim.Start(oktasim.Config{Seed: o.Seed, Users: orgUsers, Groups: orgUsers / 5, Apps: orgUsers / 10}); err != nil {
		return err
	}
	defer t.org.Close()
	t.org.Fail(t.refuse)
	children, err := t.children(ctx, base64.StdEncoding.EncodeToString(key))
	if err != nil {
		return err
	}
	for _, p := range children {
		output, err := os.OpenFile(filepath.Join(dir, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer output.Close()
		p.output = output
	}
	life, end := context.WithCancel(ctx)
	var alive sync.WaitGroup
	defer alive.Wait()
	defer end()
	for _, p := range children {
		alive.Go(func() { p.keep(life) })
	}
	if err := t.torment(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted: nothing was checked")
		}
		return err
	}
	return nil
}

// refuse keeps from the service what would bring back an event that it lost.
func (t *trial) refuse(r *http.Request) *oktasim.Fault {
	if t.WithLog {
		return nil
	}
	q := r.URL.Query()
	switch {
	case r.URL.Path == "/api/v1/logs":
		return &oktasim.Fault{Status: http.StatusForbidden}
	case !t.closed.Load():
		return nil
	case r.URL.Path == "/api/v1/users" && q.Has("search"),
		r.URL.Path == "/api/v1/groups" && strings.Contains(q.Get("filter"), "lastUpdated"),
		r.URL.Path == "/api/v1/apps" && !q.Has("filter"):
		return &oktasim.Fault{Status: http.StatusBadRequest} // not tried again
	}
	return nil
}

// children builds the service and returns what is to run, not yet started.
func (t *trial) children(ctx context.Context, key string) ([]*process, error) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed: apt-get install redis-server, or the like")
	}
	binary := filepath.Join(t.dir, "oktasync")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/oktasync/oktasync/cmd/oktasync")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the service; the test must run within its repository: %w: %s", err, text)
	}
	data := filepath.Join(t.dir, "redis")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	t.redis = &process{name: "redis", address: address, path: server, args: []string{
		"--bind", "127.0.0.1", "--port", address[strings.LastIndexByte(address, ':')+1:], "--dir", data,
		"--appendonly", "yes", "--appendfsync", "always", "--save", ""}}
	all := []*process{t.redis}
	for i := range t.Replicas {
		replica, err := freeAddress()
		if err != nil {
			return nil, err
		}
		p := &process{name: fmt.Sprintf("replica%d", i+1), address: replica, path: binary, args: []string{"serve"}, env: []string{
			"OKTASYNC_LISTEN=" + replica, "OKTASYNC_REDIS_URL=redis://" + address,
			"OKTASYNC_ADMIN_TOKEN=" + t.admin, "OKTASYNC_TRIGGER_TOKEN=" + t.trigger, "OKTASYNC_SECRET_KEY=" + key,
			"OKTASYNC_SINKS=none", "OKTASYNC_ALLOW_INSECURE_ORGS=true", "OKTASYNC_RATE_LIMIT_SHARE=1", "OKTASYNC_LEASE=" + lease.String(),
			"OKTASYNC_READ_MARGIN=100ms", "OKTASYNC_LIST_ALLOWANCE=" + allowance.String(), "OKTASYNC_LOG_POLL_INTERVAL=1s",
		}}
		t.replicas = append(t.replicas, p)
		all = append(all, p)
	}
	return all, nil
}

// torment reads the org, kills under load, and checks.
func (t *trial) torment(ctx context.Context) error {
	if err := t.read(ctx, tested, startTimeout); err != nil {
		return fmt.Errorf("read the org before the first kill: %w", err)
	}
	t.closed.Store(true)
	fmt.Fprintf(t.out, "The org is read; %d kills at %g events a second begin.\n", t.Kills, t.Rate)

	began := time.Now()
	watching, unwatch := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { t.watch(watching, began) })
	defer watcher.Wait()
	defer unwatch()
	deliveries := make(chan delivery, backlog)
	changing, stop := context.WithCancel(ctx)
	sending, giveUp := context.WithCancel(ctx)
	var changer, sender sync.WaitGroup
	defer sender.Wait()
	defer giveUp()
	defer changer.Wait()
	defer stop()
	changer.Go(func() { t.change(changing, deliveries) })
	for range senders {
		sender.Go(func() { t.send(sending, deliveries) })
	}
	t.kill(ctx)
	took := time.Since(began)
	stop()
	changer.Wait()
	settled := time.Now() // on the clock of the org too
	timer := time.AfterFunc(ackTimeout, giveUp)
	sender.Wait()
	timer.Stop()
	unwatch()
	watcher.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	deaths := map[string]int{}
	for _, p := range slices.Concat(t.replicas, []*process{t.redis}) {
		deaths[p.name] = p.deaths()
	}
	t.count.print(t.out, took, deaths)
	err := t.check(ctx, settled)
	if n := t.count.total(); n < t.Kills && err == nil {
		err = fmt.Errorf("nothing was lost or doubled, but only %d of %d kills were done in --for", n, t.Kills)
	}
	return err
}

// kill kills until all kills are done or the time is up.
func (t *trial) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, t.For)
	defer cancel()
	rng := rand.New(rand.NewPCG(uint64(t.Seed), 12))
	for n := 0; n < t.Kills; {
		wait := time.Duration(min(rng.ExpFloat64(), 10) * float64(t.Every))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		victim, kind := t.redis, ofRedis
		if rng.Float64() >= t.RedisShare {
			victim, kind = t.replicas[rng.IntN(len(t.replicas))], ofOther
			if owner := t.owner(); owner != nil && rng.IntN(2) == 0 {
				victim = owner
			}
		}
		at := time.Now()
		pid, done := victim.kill()
		if !done {
			continue // it is between two lives
		}
		n++
		t.mu.Lock()
		if kind == ofOther && t.last.ownerPID() == pid {
			kind, t.ownerDead, t.deadAt = ofOwner, pid, at
		}
		t.mu.Unlock()
		t.count.killed(kind, at)
	}
}

// owner returns the replica that works for the instance, if that is known.
func (t *trial) owner() *process {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.replicas {
		if pid := p.pid(); pid != 0 && pid == t.last.ownerPID() {
			return p
		}
	}
	return nil
}

// watch asks again and again how things stand, and tells it now and then.
func (t *trial) watch(ctx context.Context, began time.Time) {
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	told := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ask.C:
		}
		if s, err := t.status(ctx, tested); err == nil {
			t.mu.Lock()
			t.last = s
			if pid := s.ownerPID(); t.ownerDead != 0 && pid != 0 && pid != t.ownerDead {
				t.count.tookOver(time.Since(t.deadAt))
				t.ownerDead = 0
			}
			t.mu.Unlock()
		}
		if time.Since(told) >= progressEvery {
			told = time.Now()
			events, acknowledged, dropped := t.count.sent()
			t.mu.Lock()
			fmt.Fprintf(t.out, "%s: %d kills; %d events made, %d not acknowledged yet; inbox %d, refreshes %d, owner %s\n",
				time.Since(began).Round(time.Second), t.count.total(), events, events-acknowledged-dropped,
				t.last.Inbox, t.last.Refreshes, t.last.Owner)
			t.mu.Unlock()
		}
	}
}

// status is what the test needs of an instance's state.
type status struct {
	Inbox       int64  `json:"inbox"`
	Refreshes   int64  `json:"refreshes"`
	Changes     int64  `json:"changes"`
	DeadLetters int64  `json:"deadLettersEver"`
	Held        int64  `json:"held"`
	Owner       string `json:"owner"` // host/pid
	Problem     string `json:"problem"`
	Log         struct {
		ReadUpTo time.Time `json:"readUpTo"`
	} `json:"log"`
	LastRun *struct {
		State string `json:"state"`
	} `json:"lastRun"`
	Coverage map[string]struct {
		Hook int64 `json:"hook"`
	} `json:"coverage"`
}

func (s status) ownerPID() (pid int) {
	_, _ = fmt.Sscan(s.Owner[strings.LastIndexByte(s.Owner, '/')+1:], &pid) // 0 if nobody
	return pid
}

func (t *trial) status(ctx context.Context, instance string) (s status, err error) {
	return s, t.call(ctx, http.MethodGet, "/admin/instances/"+instance, t.admin, nil, &s)
}

// call makes a call to a living replica. into may be nil.
func (t *trial) call(ctx context.Context, method, path, token string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, t.living()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return json.Unmarshal(text, into)
}

// read registers the instance, reads the org in full, and waits until nothing
// is left to do.
func (t *trial) read(ctx context.Context, instance string, most time.Duration) error {
	event, err := json.Marshal(map[string]any{"instance": map[string]any{
		"id": instance, "name": "Killtest", "config": map[string]any{
			"oktaOrgUrl": t.org.URL(), "oktaApiKey": t.org.Token(), "hookSecrets": []string{t.hook},
		},
	}})
	if err != nil {
		return err
	}
	var run struct {
		ID    string `json:"id"`
		State string `json:"state"`
	}
	start := func() (bool, error) {
		err := t.call(ctx, http.MethodPost, "/v1/instance-events", t.trigger, event, &run)
		return err == nil, err
	}
	if err := t.await(ctx, most, start); err != nil {
		return err
	}
	ended := func() (bool, error) {
		err := t.call(ctx, http.MethodGet, "/admin/runs/"+run.ID, t.admin, nil, &run)
		if err == nil && run.State != "succeeded" {
			err = fmt.Errorf("the run is %s", run.State)
		}
		return err == nil, err
	}
	if err := t.await(ctx, most, ended); err != nil {
		return err
	}
	_, err = t.settle(ctx, instance, time.Time{})
	return err
}

// settle waits until nothing is left to do and, if the log is read, until it was
// read past the time.
func (t *trial) settle(ctx context.Context, instance string, past time.Time) (status, error) {
	var s status
	var since time.Time // of the last sign of work, or of a service that is away
	return s, t.await(ctx, settleTimeout, func() (bool, error) {
		var err error
		s, err = t.status(ctx, instance)
		busy := err != nil || s.Inbox > 0 || s.Refreshes > 0 || s.Owner == "" ||
			s.LastRun != nil && s.LastRun.State == "running" || t.WithLog && s.Log.ReadUpTo.Before(past)
		if busy || since.IsZero() {
			since = time.Now()
		}
		if err == nil {
			err = fmt.Errorf("inbox %d, refreshes %d, owner %q, log read up to %s, problem %q",
				s.Inbox, s.Refreshes, s.Owner, s.Log.ReadUpTo.Format(time.RFC3339), s.Problem)
		}
		return time.Since(since) >= quiet, err
	})
}

// await asks until the answer is yes. Its error says why it was no last.
func (t *trial) await(ctx context.Context, most time.Duration, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		done, why := ask()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not done after %s: %w", most, why)
		case <-tick.C:
		}
	}
}
