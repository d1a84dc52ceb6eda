package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/oktasync/oktasync/handlers"
	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/engine"
	"github.com/oktasync/oktasync/sync/okta/oktasim"
	"github.com/oktasync/oktasync/sync/sink/sqldb"
)

const (
	demoListen = "127.0.0.1:8080"
	demoID     = "demo"

	demoAllowance = time.Second
)

type demoCmd struct {
	For    time.Duration `placeholder:"20s" help:"End by itself after that much change; else at Ctrl-C."`
	Users  int           `default:"300" help:"Users of the simulated org, 1 to 100,000."`
	Listen string        `default:"${demoListen}" help:"Address to listen on; if the default is taken, any free port."`
	Sinks  Secret        `default:"${defaultSink}" env:"OKTASYNC_SINKS" placeholder:"SINK,…" help:"Where the graph goes, as of serve."`
}

// demo is one showing: an org, the service beside it, and a view of both.
type demo struct {
	cmd   *demoCmd
	w     world
	view  *view
	org   *oktasim.Org
	url   string // of the service
	admin string
	hook  string // the hook's secret
}

// Run shows the service at work on a simulated org: real HTTP on both sides.
func (cmd *demoCmd) Run(ctx context.Context, w world) (err error) {
	if cmd.Users < 1 || cmd.Users > 100_000 {
		return usageError{errors.New("--users must be from 1 to 100000")}
	}
	listener, err := net.Listen("tcp", cmd.Listen)
	if errors.Is(err, syscall.EADDRINUSE) && cmd.Listen == demoListen {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("cannot listen: %w", err)
	}
	org, err := oktasim.Start(oktasim.Config{
		Seed: 1, Users: cmd.Users, Groups: 10 + cmd.Users/20, Apps: 5 + cmd.Users/50, Latency: 5 * time.Millisecond,
	})
	if err != nil {
		listener.Close()
		return err
	}
	defer org.Close()
	d := &demo{
		cmd: cmd, w: w, view: newView(w.stdout), org: org,
		url: "http://" + listener.Addr().String(), admin: rand.Text(), hook: rand.Text(),
	}
	// What the engine has to complain of goes through the view, which would
	// else be torn. That the state is in memory the demo says itself.
	w.log = slog.New(slog.NewTextHandler(d.view, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d.w.log = w.log

	sinks, err := delivery{Sinks: cmd.Sinks, QueryTime: sqldb.DefaultQueryTime}.open(ctx, w.log, d.view)
	if err != nil {
		listener.Close()
		return err
	}
	defer func() { err = errors.Join(err, sinks.close()) }()
	cfg := d.engineConfig()
	cfg.Sinks = sinks.all
	instruments := newInstruments()
	cfg.Observe = instruments.Engine()
	eng, err := engine.New(ctx, cfg)
	if err != nil {
		listener.Close()
		return err
	}
	// The service outlives the signal: the demo ends with a check of the graph.
	// A second signal ends it at once.
	if w.unhook != nil {
		defer context.AfterFunc(ctx, w.unhook)()
	}
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	err = serve(serving, w, eng, listener, handlers.Config{
		AdminToken: d.admin, TriggerToken: rand.Text(), AllowInsecure: true, Query: sinks.query(), Database: sinks.database(), Instruments: instruments,
	}, func(serving context.Context, eng *engine.Engine) error {
		defer end()
		return d.play(ctx, serving, eng)
	})
	return errors.Join(err, eng.Close())
}

func (d *demo) engineConfig() engine.Config {
	// The lists and the log of the simulated org do not lag: nobody need wait for them.
	return reading{RateLimitShare: 1, MaxInFlight: 10, ReadMargin: time.Second, ListAllowance: demoAllowance, AllowInsecureOrgs: true}.
		engineConfig(d.w.log)
}

func (d *demo) instance() engine.Instance {
	return engine.Instance{
		ID: demoID, Name: "Demo", OrgURL: d.org.URL(), Token: d.org.Token(), HookSecrets: []string{d.hook}, Factors: true,
	}
}

// play reads the org, changes it until user ends or the time is up, and checks
// the graph. serving is the life of the service.
func (d *demo) play(user, serving context.Context, eng *engine.Engine) error {
	say := func(format string, args ...any) { fmt.Fprintf(d.w.stdout, format+"\n", args...) }
	say("A simulated Okta org of %d users at %s; the state of this service is in memory and is lost at exit.", d.cmd.Users, d.org.URL())
	if err := eng.Register(serving, d.instance()); err != nil {
		return err
	}
	hook := oktasim.Hook{URL: d.url + "/hooks/okta/" + demoID, Secret: d.hook, Types: convert.HookTypes()}
	sender := d.org.NewSender(hook, oktasim.Faults{})
	defer sender.Stop()
	if err := sender.Verify(serving); err != nil {
		return fmt.Errorf("verify the hook: %w", err)
	}
	d.org.AddEventHook("oktasync demo", hook) // the service looks for it
	say("The event hook is verified. Reading the org in full …")
	run, err := d.read(serving, eng)
	if err != nil {
		return err
	}
	say("Read in %s.", run.EndedAt.Sub(run.StartedAt).Round(time.Millisecond))

	position, err := eng.LastPosition(serving, demoID)
	if err != nil {
		return err
	}
	for o, err := range eng.Graph(serving, demoID) {
		if err != nil {
			return err
		}
		d.view.counts[typeOf(o)]++ // nobody else has the view yet
	}
	d.view.title, d.view.at = d.hints(), position
	if !d.view.screen {
		say("%s", d.view.title)
	}

	following, stop := context.WithCancel(serving)
	defer stop()
	var wg sync.WaitGroup
	var followErr error
	wg.Go(func() { followErr = d.follow(following, eng, position) })
	d.view.begin()
	wg.Go(func() { d.draw(following) })
	err = d.change(user, serving, sender)
	if err == nil {
		err = settle(serving, eng, demoID, settleTimeout)
	}
	if err == nil {
		err = d.seeAll(serving, eng)
	}
	stop()
	wg.Wait()
	d.view.end()
	if err := errors.Join(err, followErr); err != nil {
		return err
	}
	for _, line := range d.view.numbers() { // all who shared it have ended
		say("%s", line)
	}
	say("Reading the quiet org anew, to compare …")
	return d.compare(serving, eng, say)
}

// read reads the org in full and returns once the graph is whole.
func (d *demo) read(ctx context.Context, eng *engine.Engine) (engine.Run, error) {
	run, err := fullRead(ctx, eng, demoID, func(engine.Run) {})
	if err != nil {
		return run, err
	}
	return run, settle(ctx, eng, demoID, settleTimeout)
}

func (d *demo) hints() string {
	auth := "-H 'Authorization: Bearer " + d.admin + "'"
	return strings.Join([]string{
		"oktasync demo: the org changes, its event hooks arrive, the graph follows. Ctrl-C ends it. Try:",
		"  curl " + auth + " " + d.url + "/admin/instances/" + demoID,
		"  curl " + auth + " '" + d.url + "/v1/instances/" + demoID + "/graph?type=okta_user'",
		"  curl -N " + auth + " " + d.url + "/v1/instances/" + demoID + "/changes",
		"In another terminal, here, also after the end (go run ./cmd/oktasync in place of oktasync):",
		"  oktasync query '" + demoQueries[0] + "'",
		"  oktasync query '" + demoQueries[1] + "'",
		"  oktasync query '" + demoQueries[2] + "'",
	}, "\n")
}

// demoQueries are to be tried: who is no person; who has access to the most
// applications; through which group someone reaches one.
var demoQueries = []string{
	"Find User that !is Person",
	"Find okta_user as u that ASSIGNED okta_application as a return u.displayName, count(a) as n order by n desc limit 10",
	"Find okta_user as u that HAS UserGroup as g that ASSIGNED Application as a return u.displayName, g.displayName, a.displayName limit 10",
}

// change changes the org at random until user ends or the time is up. Each
// change is delivered before the next: events come in order here.
func (d *demo) change(user, serving context.Context, sender *oktasim.Sender) error {
	if d.cmd.For > 0 {
		var cancel context.CancelFunc
		user, cancel = context.WithTimeout(user, d.cmd.For)
		defer cancel()
	}
	for {
		pause := time.NewTimer(time.Duration(100+mathrand.IntN(300)) * time.Millisecond)
		select {
		case <-user.Done():
			pause.Stop()
			return nil
		case <-serving.Done():
			pause.Stop()
			return serving.Err()
		case <-pause.C:
		}
		events := d.org.Mutate(1)
		for _, e := range events {
			d.view.event(e.UUID, e.Type, e.Published)
		}
		if err := sender.Deliver(serving, events); err != nil {
			return fmt.Errorf("the service did not take a delivery: %w", err)
		}
	}
}

// follow hands the changes after position to the view, until ctx ends.
func (d *demo) follow(ctx context.Context, eng *engine.Engine, position string) error {
	for batch, err := range eng.Follow(ctx, demoID, position, time.Minute) {
		if err != nil {
			return fmt.Errorf("follow the changes: %w", err)
		}
		now := time.Now()
		for _, fc := range batch {
			d.view.change(fc, now)
		}
	}
	return nil
}

// seeAll waits until the view has seen the last change.
func (d *demo) seeAll(ctx context.Context, eng *engine.Engine) error {
	last, err := eng.LastPosition(ctx, demoID)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); d.view.seen() != last && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func (d *demo) draw(ctx context.Context) {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.view.tick()
		}
	}
}

var silentTime = regexp.MustCompile(`"lastMembershipUpdated(On)?":\d+,?`)

// compare reads the org with an engine that knows nothing yet, and tells
// whether it finds the graph that the events led to.
func (d *demo) compare(ctx context.Context, eng *engine.Engine, say func(string, ...any)) (err error) {
	fresh, stop, err := background(ctx, d.engineConfig())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := fresh.Register(ctx, d.instance()); err != nil {
		return err
	}
	if _, err := d.read(ctx, fresh); err != nil {
		return err
	}
	want, err := objects(ctx, fresh)
	if err != nil {
		return err
	}
	got, err := objects(ctx, eng)
	if err != nil {
		return err
	}
	// That a deleted user was a member moves this time of its groups, and no
	// event says so: it is right after the next full read.
	for _, objects := range []map[string][]byte{got, want} {
		for key, object := range objects {
			objects[key] = silentTime.ReplaceAll(object, nil)
		}
	}
	diff := differences(got, want)
	if len(diff) > 0 {
		return fmt.Errorf("out of step: %d of %d objects differ:\n  %s", len(diff), len(want), strings.Join(diff[:min(len(diff), 10)], "\n  "))
	}
	say("in step: %d objects equal", len(want))
	return nil
}

// objects returns the JSON of every object of the demo's graph by its key.
func objects(ctx context.Context, eng *engine.Engine) (map[string][]byte, error) {
	all := map[string][]byte{}
	for o, err := range eng.Graph(ctx, demoID) {
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		all[o.Key()] = text
	}
	return all, nil
}

// differences names what two graphs do not share.
func differences(got, want map[string][]byte) []string {
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		switch g, w := got[key], want[key]; {
		case g == nil:
			diff = append(diff, key+" is missing")
		case w == nil:
			diff = append(diff, key+" should not be there")
		case !bytes.Equal(g, w):
			diff = append(diff, fmt.Sprintf("%s is %s, should be %s", key, g, w))
		}
	}
	return diff
}
