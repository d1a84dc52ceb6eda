package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/sink"
)

// Errors that callers tell apart.
var (
	ErrUnknownInstance = errors.New("no such instance")
	ErrChanged         = errors.New("the instance has other settings")
	ErrUnknownRun      = errors.New("no such run")
	ErrUnavailable     = errors.New("the store does not answer")
	ErrSealed          = errors.New("sealed with another key")
	ErrStalePosition   = errors.New("the position is older than the kept changes")
	ErrCursor          = errors.New("the cursor is of no answer")
)

// Instance is one Okta org and how to read it.
type Instance struct {
	ID          string
	Name        string
	AccountID   string // JupiterOne's account
	OrgURL      string
	Token       string   // the SSWS API token; encrypted at rest
	HookSecrets []string // at most two, for rotation, the newest last; encrypted at rest
	Factors     bool     // read MFA factors
}

// InstanceStatus is what operators see of an instance: no secrets.
type InstanceStatus struct {
	ID          string           `json:"id"`
	Name        string           `json:"name"`
	AccountID   string           `json:"accountId"`
	OrgURL      string           `json:"oktaOrgUrl"`
	Factors     bool             `json:"factors"`
	Whole       bool             `json:"whole"`       // a full read ended and the graph caught up with its end
	Inbox       int64            `json:"inbox"`       // accepted events not yet applied
	Refreshes   int64            `json:"refreshes"`   // objects to read again
	DeadLetters int64            `json:"deadLetters"` // events that could not be understood
	Changes     int64            `json:"changes"`     // kept in the changes stream
	Records     map[string]int64 `json:"records"`     // that are present, by kind
	LastRun     *Run             `json:"lastRun,omitempty"`
	Problem     string           `json:"problem,omitempty"` // what keeps the instance from working, and the remedy

	Paused         bool                  `json:"paused"`
	Owner          string                `json:"owner,omitempty"` // the process that works for it; empty: none
	Epoch          string                `json:"epoch,omitempty"` // another one means that changes may be lost to followers
	Log            LogStatus             `json:"log"`
	Hook           *HookStatus           `json:"hook,omitempty"`        // absent: no run has looked at it yet, or there is to be none
	Coverage       map[string]Coverage   `json:"coverage,omitempty"`    // by event type
	Held           int64                 `json:"held"`                  // deletes, or changes of a verify, that await approval
	Holding        []string              `json:"holding,omitempty"`     // the runs that hold them
	Drift          *Drift                `json:"drift,omitempty"`       // of the last verify
	DeadLettersAll int64                 `json:"deadLettersEver"`       // counted since the instance was registered
	Sinks          map[string]SinkStatus `json:"sinks,omitempty"`       // by name
	OldestEvent    *time.Time            `json:"oldestEvent,omitempty"` // when the oldest event of the inbox was accepted
	FullReadAt     *time.Time            `json:"fullReadAt,omitempty"`  // end of the last full read without gaps, on Okta's clock
	RateLimits     []okta.Budget         `json:"rateLimits,omitempty"`  // of the org, a few seconds old; absent: unknown

	Unread error `json:"-"` // why the state could not be read, which Problem tells too: the rest is not known
}

// LogStatus is how far the System Log has been read.
type LogStatus struct {
	ReadUpTo *time.Time `json:"readUpTo,omitempty"` // on Okta's clock: all published up to then was taken in
	Polls    int64      `json:"polls"`              // calls to the log that succeeded
	Events   int64      `json:"events"`             // read from the log, those that a hook brought before included
	Restarts int64      `json:"restarts"`           // times the next link was lost or refused
	Problem  string     `json:"problem,omitempty"`  // why it cannot be read, and the remedy
}

// Coverage tells how events of one type reached us.
type Coverage struct {
	Hook         int64 `json:"hook"`         // by hook first
	Log          int64 `json:"log"`          // by the log first, or only
	Late         int64 `json:"late"`         // of Log: a hook brought it afterwards
	HookDelayMax int64 `json:"hookDelayMax"` // ms from published to delivered, both on Okta's clock
	HookDelaySum int64 `json:"hookDelaySum"` // ms, over Hook
	LogDelayMax  int64 `json:"logDelayMax"`  // ms from published to read from the log, on Okta's clock
	LogDelaySum  int64 `json:"logDelaySum"`  // ms, over Log
	HookEligible bool  `json:"hookEligible"` // whether Okta can send the type by hook
}

// Drift is what a verify found that the deltas had missed.
type Drift struct {
	Run    string           `json:"run"`
	At     time.Time        `json:"at"`
	Total  int64            `json:"total"`
	Silent int64            `json:"silent"` // differences of which Okta tells no event, not in Total
	Kinds  map[string]int64 `json:"kinds,omitempty"`
}

// Held is what a run observed and does not apply until it is approved.
type Held struct {
	Total int64               `json:"total"`
	Kinds map[string]HeldKind `json:"kinds,omitempty"` // by kind of record
}

// HeldKind is what is held of one kind of record.
type HeldKind struct {
	Deletes int64    `json:"deletes"`
	Changes int64    `json:"changes,omitempty"` // of a verify: records that came or changed
	Samples []string `json:"samples"`           // ids of records, a few
}

// RunState is where a run stands.
type RunState string

// The states of a run.
const (
	RunRunning    RunState = "running"
	RunSucceeded  RunState = "succeeded"
	RunIncomplete RunState = "incomplete" // ended, but some lists could not be read: Errors says which and why
	RunSettling   RunState = "settling"   // a verify that waits to be caught up with its end
	RunHeld       RunState = "held"       // ended, and awaits approval of what it holds
	RunCanceled   RunState = "canceled"
)

// Run is one reconcile.
type Run struct {
	ID        string              `json:"id"`
	Instance  string              `json:"instance"`
	Mode      string              `json:"mode"`             // one of Modes
	Object    string              `json:"object,omitempty"` // the record or scope that it is limited to
	Force     bool                `json:"force,omitempty"`  // the brake is lifted
	Trigger   string              `json:"trigger"`          // instance-event, resync, schedule, …
	State     RunState            `json:"state"`
	StartedAt time.Time           `json:"startedAt"`
	EndedAt   *time.Time          `json:"endedAt,omitempty"`
	Progress  map[string]Progress `json:"progress"` // by family: account, users, groups, members, apps, assignments, factors
	Changes   int64               `json:"changes"`  // records whose part of the graph the run changed
	Errors    []RunError          `json:"errors,omitempty"`
	Held      *Held               `json:"held,omitempty"`
	ReadUntil time.Time           `json:"readUntil,omitzero"` // of a verify: when its lists were read, on Okta's clock

	// These two are worked out when the run is shown.
	Calls       int64  `json:"calls"`                 // API calls of all families
	SecondsLeft *int64 `json:"secondsLeft,omitempty"` // an estimate, of a run that works and has come far enough for one
}

// Progress is how far one family of lists is.
type Progress struct {
	Done           int64 `json:"done"`            // lists read to their end
	Total          int64 `json:"total,omitempty"` // lists known so far
	Objects        int64 `json:"objects"`         // items read
	Calls          int64 `json:"calls"`           // API calls, retries included
	RateLimitWaits int64 `json:"rateLimitWaits"`  // times the limiter or a 429 made it wait
}

// RunError says which list could not be read, why, and what to do.
type RunError struct {
	Scope string `json:"scope"`
	Error string `json:"error"`
}

// Config is what an Engine is made of.
type Config struct {
	RedisURL      string           // empty: embedded, in memory
	SecretKey     []byte           // 32 bytes: seals tokens and hook secrets at rest
	Share         float64          // of a rate-limit bucket, default 0.5
	MaxInFlight   int              // calls to one org at once, default 10
	ReadMargin    time.Duration    // default 1s
	ListAllowance time.Duration    // default 30s
	LogInterval   time.Duration    // between polls of the System Log, default 60s
	DeleteRatio   float64          // of a kind's records that may vanish unannounced in a day; ten always may
	Schedule      string           // cron, UTC, one that gronx.IsValid: starts full reconciles; empty: none
	Lease         time.Duration    // after which the instances of a dead process are taken over, default 10s
	AllowInsecure bool             // http and private addresses as org URL
	Sinks         []sink.Sink      // where the graphs go; the caller closes them after Run
	Observe       Observe          // for metrics
	Clock         func() time.Time // the local clock; nil: time.Now
	Log           *slog.Logger
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	c.Share = cmp.Or(c.Share, 0.5)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 10)
	c.ReadMargin = cmp.Or(c.ReadMargin, time.Second)
	c.ListAllowance = cmp.Or(c.ListAllowance, 30*time.Second)
	c.LogInterval = cmp.Or(c.LogInterval, time.Minute)
	c.Lease = cmp.Or(c.Lease, 10*time.Second)
	c.Observe = c.Observe.withDefaults()
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Engine works for all instances.
type Engine struct {
	cfg   Config
	store *state.Store
	seal  sealer

	name string // of this process

	every   time.Duration // how often the instances are looked at
	part    *part         // of the instances that is this process's; only employ's
	owned   atomic.Int64  // how many it works for
	others  atomic.Int64  // how many processes share them, this one included
	handed  atomic.Int64  // how many it handed to others
	changed chan struct{} // something was noted
	mu      sync.Mutex
	noted   map[string]bool   // instances to look at now; "" for all
	orgs    map[string]*org   // those that this process owns
	known   map[string][]byte // all instances, and their settings
	knownAt time.Time
	mark    string             // as the store had it
	clients map[string]*client // of the orgs that were at work here last
	hooks   map[string]*Hook   // as they were when a delivery of each came last
	gone    map[string]bool    // instances that were deleted, of which Observe is not told yet; only employ's

	rooms sync.Map // of *room, by node
}

// New opens the store. Close it after Run has returned.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	seal, err := newSealer(cfg.SecretKey, cfg.RedisURL == "")
	if err != nil {
		return nil, err
	}
	store, err := state.Open(ctx, cfg.RedisURL)
	if err != nil {
		return nil, err
	}
	if cfg.Observe.Redis != nil {
		store.Observe(cfg.Observe.Redis)
	}
	every := min(look, cfg.Lease/4)
	return &Engine{cfg: cfg, store: store, seal: seal, name: processName(), every: every, part: newPart(every), noted: map[string]bool{},
		changed: make(chan struct{}, 1), orgs: map[string]*org{}, clients: map[string]*client{}, hooks: map[string]*Hook{}, gone: map[string]bool{}}, nil
}

// Close closes the store.
func (e *Engine) Close() error {
	for _, c := range e.clients {
		c.Close()
	}
	return e.store.Close()
}

// Embedded tells whether the state is in memory only.
func (e *Engine) Embedded() bool { return e.store.Embedded() }

// Ready returns nil when the store answers.
func (e *Engine) Ready(ctx context.Context) error { return unavailable(e.store.Ping(ctx)) }

// unavailable marks an error of the store.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, state.ErrFenced) || errors.Is(err, state.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// AcceptBy stores a delivery in one atomic step, for a sender who showed a secret of
// the hook. Once it returns nil the events survive a crash of the process. Before
// Redis is full it refuses with ErrFull, so that what was accepted can still be
// worked on. ErrChanged says that the instance has other settings by now, perhaps
// without that secret.
func (e *Engine) AcceptBy(ctx context.Context, h *Hook, d okta.Delivery) error {
	events, dead, err := stored(d.Events, d.Bad, d.Time, traceparent(ctx))
	if err != nil || len(events)+len(dead) == 0 && h.settings == nil {
		return err
	}
	st := e.store.Org(h.Instance)
	if err := e.hasRoom(ctx, st); err != nil {
		return err
	}
	_, err = st.AcceptBy(ctx, h.settings, events, dead)
	switch {
	case errors.Is(err, state.ErrNotFound):
		e.forgetHook(h.Instance)
		return fmt.Errorf("%w: %s", ErrUnknownInstance, h.Instance)
	case errors.Is(err, state.ErrChanged):
		e.forgetHook(h.Instance)
		return fmt.Errorf("%w: %s", ErrChanged, h.Instance)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// maxMemory is the share of Redis's memory above which no event is accepted.
const maxMemory = 0.9

// room is what is known of the memory of a server of Redis.
type room struct {
	looking sync.Mutex
	looked  time.Time
	full    atomic.Bool
}

// hasRoom refuses while the server that has the instance is nearly full. Each is asked at
// most once a second.
func (e *Engine) hasRoom(ctx context.Context, st *state.Org) error {
	node, err := st.Node(ctx)
	if err != nil {
		return unavailable(err)
	}
	known, ok := e.rooms.Load(node)
	if !ok {
		known, _ = e.rooms.LoadOrStore(node, &room{})
	}
	r, _ := known.(*room)
	if !r.looking.TryLock() { // another is looking
		return r.refuseFull()
	}
	defer r.looking.Unlock()
	if now := time.Now(); now.Sub(r.looked) >= look {
		used, most, err := st.Memory(ctx)
		if err != nil {
			return unavailable(err)
		}
		r.looked = now
		r.full.Store(most > 0 && float64(used) > maxMemory*float64(most))
	}
	return r.refuseFull()
}

func (r *room) refuseFull() error {
	if r.full.Load() {
		return fmt.Errorf("%w: raise its maxmemory, or see what keeps the inbox from being worked on", ErrFull)
	}
	return nil
}
