package oktasim

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what an org is made of. The zero value is a small org that behaves
// well, in real time.
type Config struct {
	Seed int64 // the same seed gives the same org, ids included

	Listen string // address, default a free port of loopback

	// How much the org holds at first. 0: a few (20, 8, 8); negative: none. The
	// two built-in groups are there always, beside Groups.
	Users, Groups, Apps int
	// GroupSize and AppUsers, if not 0, are the members of each group and the
	// direct users of each application, in place of heavy-tailed numbers.
	GroupSize, AppUsers int

	Clock Clock         // nil: real time
	Step  time.Duration // moves a ManualClock before each mutation; SetStep changes it

	// ListLag is how far, at most, a list may lie behind: each page shows the
	// org as it was at a moment drawn from the seed. At most an hour. Reads by
	// id and a user's factors never lag.
	ListLag time.Duration
	// Lag, if set, decides in place of the seed.
	Lag func(*http.Request) time.Duration

	// LogLag is how much later, at most, events reach the System Log than they
	// happen: they appear there out of order.
	LogLag time.Duration

	// Latency holds back every answer, in real time, after it was computed.
	Latency time.Duration

	// RateLimits are calls a minute by bucket: users, user, groups, group, apps,
	// app, logs, rest. Those not named get 600,000.
	RateLimits map[string]int
	// Concurrency is how many calls may be under way at once. Default 75.
	Concurrency int

	// DeleteDelay is how long a deleted user can still be read after
	// user.lifecycle.delete.initiated.
	DeleteDelay time.Duration
	// NullTargets makes every third user.account.update_profile come without a
	// target: only debugData.requestUri names the user.
	NullTargets bool
	// UnknownStatus gives one user a status that Okta does not have today.
	UnknownStatus bool

	HookID string // of the event hook in debugData and envelopes; has a default

	// HookRights are what the token may do with event hooks.
	HookRights HookRights
	// PlainHooks lets event hooks have http addresses: Okta demands https, and
	// servers of tests have none.
	PlainHooks bool
	// NoHookTypes are event types that this org does not offer to hooks, as a
	// Classic org lacks some.
	NoHookTypes []string
}

// Org is a simulated Okta org. Its methods may be called from any goroutine.
type Org struct {
	cfg   Config
	clock Clock
	url   string
	token string
	srv   *http.Server
	done  chan struct{}  // closed by Close
	wg    sync.WaitGroup // the server, and senders at work
	conns sync.WaitGroup // connections: only the server adds to it
	once  sync.Once

	mu        sync.RWMutex
	rng       *rand.Rand // of mutations and events
	ids       uint64     // counts the ids given
	seqs      int64
	lastAt    int64
	step      func() time.Duration
	kinds     map[Kind]int
	users     table[*userNode]
	groups    table[*groupNode]
	apps      table[*appNode]
	logins    map[string]*userNode // present users by login, lower case
	everyone  *groupNode
	admin     string    // id of the user who does things; "" if there is none
	profiles  int       // profile updates so far
	lastPair  [2]string // group and user of the last random membership change
	retired   []retired
	due       []due
	hooks     []*eventHook
	hooksMade int
	log       []*logged // by time of persistence
	feed      []Event   // as they happened
	feedAt    int       // number of the first of feed
	news      chan struct{}
	noticed   uint64     // what Okta noticed by itself so far
	noticing  *rand.Rand // of such events
	logMoves  int64      // times that the log moved

	rates    rates
	inFlight atomic.Int64

	lagMu   sync.Mutex
	lagRng  *rand.Rand
	listLag time.Duration

	callMu    sync.Mutex
	calls     []Call
	callCount int
	onRequest func(*http.Request)
	faults    func(*http.Request) *Fault
	planned   []*planned
	requests  atomic.Uint64
	bodies    atomic.Uint64
}

// retired is a past that need not be kept for longer than keepHistory.
type retired struct {
	at    int64
	prune func(cut int64)
}

// due is a change that Okta does later by itself.
type due struct {
	at int64
	do func(at int64)
}

// TB is what New needs of a test.
type TB interface {
	Helper()
	Cleanup(func())
	Fatal(args ...any)
}

// New starts an org that ends with the test.
func New(tb TB, cfg Config) *Org {
	tb.Helper()
	o, err := Start(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(o.Close)
	return o
}

// Start populates an org and serves it on a loopback address until Close.
func Start(cfg Config) (*Org, error) {
	ln, err := net.Listen("tcp", cmp.Or(cfg.Listen, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("listen for the simulated org: %w", err)
	}
	o := newOrg(cfg, "http://"+ln.Addr().String())
	o.srv = &http.Server{Handler: o, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second, ConnState: o.connState}
	o.wg.Add(1)
	go func() {
		defer o.wg.Done()
		_ = o.srv.Serve(ln) // ends with Close, and has no other way to tell
	}()
	return o, nil
}

func newOrg(cfg Config, url string) *Org {
	if cfg.Clock == nil {
		cfg.Clock = realClock{}
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 75
	}
	if cfg.HookID == "" {
		cfg.HookID = "who5k2mzrTqLw8Yd1697"
	}
	o := &Org{
		cfg: cfg, clock: cfg.Clock, url: url,
		done:   make(chan struct{}),
		news:   make(chan struct{}),
		rng:    rand.New(rand.NewPCG(uint64(cfg.Seed), 1)),
		lagRng: rand.New(rand.NewPCG(uint64(cfg.Seed), 2)),
		// The senders have 3.
		noticing: rand.New(rand.NewPCG(uint64(cfg.Seed), 4)),
		logins:   map[string]*userNode{},
		rates:    rates{limits: cfg.RateLimits},
	}
	o.SetListLag(cfg.ListLag)
	o.step = func() time.Duration { return cfg.Step }
	o.token = "00" + o.hex(40)
	o.populate()
	return o
}

// URL returns the org's base URL, without a trailing slash.
func (o *Org) URL() string { return o.url }

// Token returns the API token that the org accepts.
func (o *Org) Token() string { return o.token }

// Close stops the server. When it returns, no goroutine of the org is left.
func (o *Org) Close() {
	o.once.Do(func() {
		close(o.done)
		if o.srv != nil {
			_ = o.srv.Close() // the listener is ours, and closing it twice is harmless
		}
	})
	o.wg.Wait()
	o.conns.Wait()
}

func (o *Org) connState(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		o.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		o.conns.Done()
	}
}

// SetStep decides how far a ManualClock moves before each mutation: by 0, two
// opposite changes share one instant. It must not call the org.
func (o *Org) SetStep(step func() time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.step = step
}

// SetListLag changes how far lists may lie behind: by 0, they do no longer.
func (o *Org) SetListLag(most time.Duration) {
	o.lagMu.Lock()
	defer o.lagMu.Unlock()
	o.listLag = min(most, time.Duration(keepHistory))
}

// Now returns the time on the org's clock.
func (o *Org) Now() time.Time { return o.clock.Now() }

// tick gives the instant of a change: never before an earlier one. Whatever
// was due by then is done first. The caller holds mu.
func (o *Org) tick() int64 {
	if c, ok := o.clock.(*ManualClock); ok {
		if d := o.step(); d > 0 {
			c.Advance(d)
		}
	}
	at := max(o.clock.Now().UnixNano(), o.lastAt)
	o.doDue(at)
	o.lastAt = at
	o.prune(at - keepHistory)
	return at
}

func (o *Org) doDue(now int64) {
	for len(o.due) > 0 && o.due[0].at <= now {
		d := o.due[0]
		o.due = o.due[1:]
		o.lastAt = max(o.lastAt, d.at)
		d.do(o.lastAt)
	}
}

// settle does what is due by now, and returns now.
func (o *Org) settle() int64 {
	now := o.clock.Now().UnixNano()
	o.mu.RLock()
	ready := len(o.due) > 0 && o.due[0].at <= now
	o.mu.RUnlock()
	if ready {
		o.mu.Lock()
		o.doDue(now)
		o.mu.Unlock()
	}
	return now
}

func (o *Org) prune(cut int64) {
	n := 0
	for n < len(o.retired) && o.retired[n].at <= cut {
		o.retired[n].prune(cut)
		o.retired[n].prune = nil
		n++
	}
	o.retired = o.retired[n:]
}

func (o *Org) retire(at int64, prune func(cut int64)) {
	o.retired = append(o.retired, retired{at, prune})
}

// Ids look like Okta's and follow no order: what is created in the middle of a
// paging may be seen by it or not.
func (o *Org) id(prefix string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b [14]byte
	x := o.draw()
	for i := range b {
		if i == 8 {
			x = o.draw()
		}
		b[i] = digits[x%62]
		x /= 62
	}
	return prefix + string(b[:]) + "697"
}

func (o *Org) hex(n int) string {
	s := ""
	for len(s) < n {
		s += fmt.Sprintf("%016x", o.draw())
	}
	return s[:n]
}

func (o *Org) uuid() string {
	a, b := o.draw(), o.draw()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// draw is a counter run through a mixing function: no two ids are equal, and
// they depend on nothing but the seed and how many came before.
func (o *Org) draw() uint64 {
	o.ids++
	z := uint64(o.cfg.Seed)*0x9e3779b97f4a7c15 + o.ids*0xbf58476d1ce4e5b9
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (o *Org) seq() int64 {
	o.seqs++
	return o.seqs
}
