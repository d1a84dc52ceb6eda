package state

import (
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scripts embed.FS

var (
	mergeScript   = script("records.lua", "merge.lua")
	graphScript   = script("records.lua", "graph.lua")
	lookScript    = script("records.lua", "look.lua")
	overdueScript = script("records.lua", "overdue.lua")
	acceptScript  = script("accept.lua")
	replayScript  = script("replay.lua")
	startScript   = script("start.lua")
	leaseScript   = script("lease.lua")
	releaseScript = script("release.lua")
)

// format is how records are kept. A build that keeps them so that older ones would
// misread them has the next: older ones then refuse the instances that it has worked
// for. An instance without a format is of builds until November 2026.
const format = 1

// script returns a script that knows the format.
func script(names ...string) *redis.Script {
	var text strings.Builder
	fmt.Fprintf(&text, "local format = %d\n", format)
	for _, name := range names {
		b, err := scripts.ReadFile("scripts/" + name)
		if err != nil {
			panic(err) // embedded: cannot fail
		}
		text.Write(b)
	}
	return redis.NewScript(text.String())
}

const (
	// KeepChanges is about how many changes are kept for readers.
	KeepChanges = 100_000
	keepDead    = 10_000
	keepRuns    = 50
	// remember is how long a repeated event is dropped at the door. It saves
	// work only: merged twice, an event changes nothing.
	remember = 2 * time.Hour
)

// ErrRefused says that a script could not take its arguments: the same again
// will not help.
var ErrRefused = errors.New("the store refuses the batch")

// ErrFenced says that another process works for the instance by now, or that
// Redis has lost the lease: nothing was written.
var ErrFenced = errors.New("another process works for the instance")

// ErrChanged says that the settings of the instance are not those that were named:
// nothing was written.
var ErrChanged = errors.New("the instance has other settings")

// ErrNewer says that a newer version keeps the instance in a format that this one
// does not know: nothing was written.
var ErrNewer = errors.New("a newer version of oktasync keeps the instance in a format that this one does not know: run that version again, or delete the instance and send its instance event")

// ErrNotFound says that what was asked for is not stored.
var ErrNotFound = errors.New("not found")

// Store is a connection to Redis, or an embedded one in memory.
type Store struct {
	rdb       redis.UniversalClient // what everybody uses, owners excepted
	cluster   *redis.ClusterClient  // rdb, if it is a Redis Cluster
	single    *redis.Client         // rdb, if it is not
	sentinels bool                  // that know where single is
	owners    owners
	mini      *miniredis.Miniredis
	closing   chan struct{} // of the embedded server

	listening sync.Once
	heard     atomic.Pointer[listeners] // nil: nobody listens yet
}

// age lets keys of the embedded server expire: its time stands still by itself.
func (s *Store) age() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mini.FastForward(time.Second)
		case <-s.closing:
			return
		}
	}
}

// poolSize is how many connections there are to a server at most, if the URL does not say:
// enough that what takes long, as a merge, keeps deliveries from none.
const poolSize = 64

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Open connects to the Redis at url: see ParseURL. An empty url starts an
// embedded server in memory: what it holds ends with the process.
func Open(ctx context.Context, url string) (*Store, error) {
	redis.SetLogger(silent{}) // what fails is returned, and logged where it stops
	s := &Store{owners: owners{open: map[*pinned]bool{}}}
	if url == "" {
		s.mini = miniredis.NewMiniRedis()
		if err := s.mini.Start(); err != nil {
			return nil, fmt.Errorf("start the embedded store: %w", err)
		}
		s.single = redis.NewClient(&redis.Options{Addr: s.mini.Addr(), DisableIdentity: true})
		s.rdb = s.single
		s.closing = make(chan struct{})
		go s.age()
		return s, nil
	}
	a, err := ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("OKTASYNC_REDIS_URL is no URL of a Redis, as redis://host:6379/0: %w", err)
	}
	if err := s.connect(ctx, a); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", a.explain(err), err)
	}
	return s, nil
}

// AddHook sees every command: tests put faults there.
func (s *Store) AddHook(h redis.Hook) {
	s.rdb.AddHook(h)
	s.owners.Lock()
	defer s.owners.Unlock()
	s.owners.hooks = append(s.owners.hooks, h)
	for p := range s.owners.open {
		p.client.AddHook(h)
	}
}

// Embedded tells whether the state is in memory only.
func (s *Store) Embedded() bool { return s.mini != nil }

// Ping returns nil when Redis answers.
func (s *Store) Ping(ctx context.Context) error { return s.rdb.Ping(ctx).Err() }

// maxLoad is how long a start waits for a Redis that reads its files.
const maxLoad = time.Minute

// loaded is Ping, but waits while Redis reads its files.
func (s *Store) loaded(ctx context.Context) error {
	for deadline := time.Now().Add(maxLoad); ; {
		err := s.Ping(ctx)
		if err == nil || !strings.HasPrefix(err.Error(), "LOADING") || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Close ends the connections.
func (s *Store) Close() error {
	var err error
	if l := s.heard.Load(); l != nil {
		err = l.close()
	}
	if s.rdb != nil {
		err = errors.Join(err, s.rdb.Close())
	}
	s.owners.Lock()
	for p := range s.owners.open {
		err = errors.Join(err, p.client.Close())
	}
	s.owners.Unlock()
	if s.mini != nil {
		close(s.closing)
		s.mini.Close()
	}
	return err
}

const (
	instancesKey = "oktasync:instances"
	// markKey is in the slot of the list: a node of a Redis Cluster loses both or none.
	markKey = "oktasync:mark:{" + instancesKey + "}"
)

// Mark returns what the first registration left in this Redis: "" means that
// it holds nothing, another one than before that it was wiped meanwhile.
func (s *Store) Mark(ctx context.Context) (string, error) {
	mark, err := s.rdb.Get(ctx, markKey).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return mark, err
}

// Instances returns the ids of all instances.
func (s *Store) Instances(ctx context.Context) ([]string, error) {
	return s.rdb.SMembers(ctx, instancesKey).Result()
}

// Org is the state of one instance.
type Org struct {
	s      *Store
	rdb    redis.UniversalClient
	id     string
	prefix string
	token  string  // of the lease, for its owner
	pinned *pinned // of its owner
}

// Org returns the state of the instance; nothing is read or written yet.
func (s *Store) Org(instance string) *Org {
	return &Org{s: s, rdb: s.rdb, id: instance, prefix: "oktasync:{" + instance + "}:"}
}

func (o *Org) key(name string) string { return o.prefix + name }

// Lost tells whether an instance has no settings though nobody deleted it: a node of a
// Redis Cluster came back without what it held.
func (o *Org) Lost(ctx context.Context) (bool, error) {
	facts, err := o.rdb.HMGet(ctx, o.key("facts"), "fence").Result()
	if err != nil {
		return false, err
	}
	if fence, _ := facts[0].(string); strings.HasPrefix(fence, deleted) {
		return false, nil
	}
	return o.rdb.SIsMember(ctx, instancesKey, o.id).Result() // a deletion takes it off the list first
}

// Instance returns the settings as they were set, or ErrNotFound.
func (o *Org) Instance(ctx context.Context) ([]byte, error) {
	b, err := o.rdb.Get(ctx, o.key("instance")).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, ErrNotFound
	}
	return b, err
}

// SetInstance keeps the settings. The list of instances is written last: what
// it names is there.
func (o *Org) SetInstance(ctx context.Context, settings []byte) error {
	if err := o.s.SetMark(ctx); err != nil {
		return err
	}
	return o.RestoreInstance(ctx, settings)
}

// SetMark leaves the mark, unless it is there.
func (s *Store) SetMark(ctx context.Context) error {
	return s.rdb.SetNX(ctx, markKey, rand.Text(), 0).Err()
}

// RestoreInstance is SetInstance, but for the mark.
func (o *Org) RestoreInstance(ctx context.Context, settings []byte) error {
	// Readers that come before the first owner follow the same epoch.
	if err := o.rdb.HSetNX(ctx, o.key("facts"), "epoch", rand.Text()).Err(); err != nil {
		return err
	}
	if err := o.rdb.Set(ctx, o.key("instance"), settings, 0).Err(); err != nil {
		return err
	}
	return o.List(ctx)
}

// List puts the instance into the list of them all.
func (o *Org) List(ctx context.Context) error {
	if err := o.rdb.SAdd(ctx, instancesKey, o.id).Err(); err != nil {
		return err
	}
	o.kept(ctx, o.key("kept"), keptKey)
	return nil
}

// Event is an entry of the inbox.
type Event struct {
	ID     string // of the entry
	UUID   string // these three for Accept
	Type   string
	Delay  int64 // ms from published to us
	Source string
	Trace  string // a W3C traceparent; "" if nobody traces
	Body   []byte
}

// Dead is an event that could not be understood.
type Dead struct {
	ID     string // of the entry: ms on the clock of Redis, and a number
	Source string
	Event  []byte
	Reason string
}

// Sources of events, as they are stored.
const (
	Hook = "hook"
	Log  = "log"
)

// Accept stores what a hook brought, in one step, and returns how many events were new.
func (o *Org) Accept(ctx context.Context, events []Event, dead []Dead) (int, error) {
	return o.accept(ctx, Hook, "", nil, events, dead)
}

// AcceptBy is Accept for a sender who was let in by the settings that Instance
// returned some time ago; ErrChanged if they are others by now.
func (o *Org) AcceptBy(ctx context.Context, settings []byte, events []Event, dead []Dead) (int, error) {
	return o.accept(ctx, Hook, "", settings, events, dead)
}

// AcceptLog stores a page of the System Log and the place after it, in one
// step, and returns how many events were new. The caller has the lease, or gets ErrFenced.
func (o *Org) AcceptLog(ctx context.Context, place string, events []Event, dead []Dead) (int, error) {
	return o.accept(ctx, Log, place, nil, events, dead)
}

func (o *Org) accept(ctx context.Context, source, place string, settings []byte, events []Event, dead []Dead) (int, error) {
	args := make([]any, 0, 7+5*len(events)+2*len(dead))
	args = append(args, source, int(remember.Seconds()), keepDead, o.token, place, settings, len(events))
	for _, e := range events {
		args = append(args, e.UUID, e.Type, e.Delay, e.Trace, e.Body)
	}
	for _, d := range dead {
		args = append(args, d.Event, d.Reason)
	}
	n, err := acceptScript.Run(ctx, o.rdb, []string{o.prefix}, args...).Int()
	return n, refusal(err)
}

// refusal tells the errors of our scripts from those of Redis and the way to it.
func refusal(err error) error {
	var answer redis.Error
	switch {
	case errors.Is(err, ErrFenced):
		return ErrFenced
	case err == nil || !errors.As(err, &answer):
		return err
	case strings.HasPrefix(err.Error(), "FENCED"):
		return ErrFenced
	case strings.HasPrefix(err.Error(), "GONE"):
		return ErrNotFound
	case strings.HasPrefix(err.Error(), "CHANGED"):
		return ErrChanged
	case strings.HasPrefix(err.Error(), "NEWER"):
		return ErrNewer
	case strings.HasPrefix(err.Error(), "ERR "):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// Inbox returns up to count events not yet taken in: those that were are not in
// the stream any more, see merge.lua.
func (o *Org) Inbox(ctx context.Context, count int64) ([]Event, error) {
	messages, err := o.rdb.XRangeN(ctx, o.key(InboxStream), "-", "+", count).Result()
	events := make([]Event, len(messages))
	for i, m := range messages {
		source, _ := m.Values["source"].(string)
		body, _ := m.Values["event"].(string)
		trace, _ := m.Values["trace"].(string)
		events[i] = Event{ID: m.ID, Source: source, Trace: trace, Body: []byte(body)}
	}
	return events, err
}

// Observation is what merge.lua takes; sync/record tells what it means.
type Observation struct {
	ID      string
	Version int64
	Present bool
	Content []byte
	Empty   []string
	Source  string
	Cause   string
}

// Ask is an object or scope to read again.
type Ask struct {
	Target string
	Exceed int64
	Source string
	Cause  string
}

// Mark is the end of a complete list.
type Mark struct {
	Scope  string `json:"scope"`
	Millis int64  `json:"ms"`
	Cursor string `json:"cursor"` // of the sweep: "0" to begin
	Source string `json:"source"`
	Cause  string `json:"cause"`

	Empty   bool   `json:"empty,omitempty"`   // the list held nothing
	Counted *int64 `json:"counted,omitempty"` // records that it did not show, if known
	Checked bool   `json:"checked,omitempty"` // some of them are known to be gone
}

// Cell is a field of a hash and, to set it, its value.
type Cell struct{ Hash, Field, Value string }

// Batch is one atomic step.
type Batch struct {
	Observations []Observation
	Asks         []Ask
	Mark         *Mark
	Walk         *Walk
	Set          []Cell
	Delete       []Cell
	Done         []Cell   // deleted once the mark is swept to its end
	Drop         []string // hashes to delete
	Dead         []Dead
	Postpone     []Later
	Inbox        string // the last entry taken in

	Brake  *Brake // nil: off
	Holder string // the run that holds what is not let through
	Verify bool   // hold whatever would change the graph

	Margin, Allowance time.Duration

	Chunk int // about how many records of a scope are looked at in the step; 0: 500
}

// mergeChunk keeps the longest step at some 10 ms.
const mergeChunk = 500

// Walk is one chunk of an ask that is no read: the edges of Everyone, or what is
// known to be empty.
type Walk struct {
	Target string `json:"target"` // of the ask
	Cursor string `json:"cursor"` // "0" to begin
}

// IsWalk tells whether the target of an ask is a walk.
func IsWalk(target string) bool { return target == "everyone" || strings.HasPrefix(target, "walk/") }

// Later moves the next try of an ask that is still there; never to an earlier time.
type Later struct {
	Target string
	Until  int64 // ms
}

// Merged is what a batch did.
type Merged struct {
	Transitions int64
	Cursor      string   // of the sweep or the walk: "0" at its end, or one of these two
	Held        int64    // absences that the brake or a verify held
	Samples     []string // with CheckFirst
}

// Cursors of a sweep that has not begun.
const (
	CountFirst = "count" // set Mark.Counted
	CheckFirst = "check" // set Mark.Checked, if the samples are gone indeed
)

// Brake is how much of a kind of records may vanish unannounced.
type Brake struct {
	Ratio  float64 // of those present when the day began; ten may always
	Day    int64   // any number that differs from day to day
	Forced bool    // lifted
}

// Merge takes a batch in.
func (o *Org) Merge(ctx context.Context, b Batch) (Merged, error) {
	control := map[string]any{
		"asks":   len(b.Asks),
		"margin": b.Margin.Milliseconds(), "allowance": b.Allowance.Milliseconds(),
		"keep": KeepChanges, "keepDead": keepDead, "chunk": cmp.Or(b.Chunk, mergeChunk),
	}
	if b.Mark != nil {
		control["mark"] = b.Mark
	}
	if b.Walk != nil {
		control["walk"] = b.Walk
	}
	cells := func(name string, cells []Cell) {
		if len(cells) == 0 {
			return
		}
		rows := make([][]string, len(cells))
		for i, c := range cells {
			rows[i] = []string{c.Hash, c.Field, c.Value}
		}
		control[name] = rows
	}
	cells("set", b.Set)
	cells("del", b.Delete)
	cells("done", b.Done)
	if len(b.Dead) > 0 {
		rows := make([][]string, len(b.Dead))
		for i, d := range b.Dead {
			rows[i] = []string{d.Source, string(d.Event), d.Reason}
		}
		control["dead"] = rows
	}
	if len(b.Drop) > 0 {
		control["drop"] = b.Drop
	}
	if len(b.Postpone) > 0 {
		rows := make([][]any, len(b.Postpone))
		for i, p := range b.Postpone {
			rows[i] = []any{p.Target, p.Until}
		}
		control["postpone"] = rows
	}
	if b.Inbox != "" {
		control["inbox"] = b.Inbox
	}
	if b.Brake != nil {
		control["ratio"], control["day"] = b.Brake.Ratio, b.Brake.Day
		if b.Brake.Forced {
			control["forced"] = true
		}
	}
	if b.Holder != "" {
		control["holder"] = b.Holder
	}
	if b.Verify {
		control["verify"] = true
	}
	if o.token != "" {
		control["token"] = o.token
	}
	observations, runs := packed(b.Observations)
	control["runs"] = runs
	head, err := json.Marshal(control)
	if err != nil {
		return Merged{}, fmt.Errorf("encode batch: %w", err)
	}
	args := make([]any, 0, 1+len(observations)+4*len(b.Asks))
	args = append(append(args, head), observations...)
	for _, a := range b.Asks {
		args = append(args, a.Target, a.Exceed, a.Source, a.Cause)
	}
	reply, err := mergeScript.Run(ctx, o.rdb, []string{o.prefix}, args...).Slice()
	if err != nil {
		return Merged{}, refusal(err)
	}
	var m Merged
	m.Transitions, _ = reply[0].(int64)
	m.Cursor, _ = reply[1].(string)
	m.Held, _ = reply[2].(int64)
	for _, sample := range reply[3:] {
		id, _ := sample.(string)
		m.Samples = append(m.Samples, id)
	}
	return m, nil
}

// packed are observations as merge.lua takes them: in runs, each of which tells
// once what all of it has in common. A page of a list is one run.
func packed(observations []Observation) (args []any, runs int) {
	args = make([]any, 0, 7+3*len(observations))
	for len(observations) > 0 {
		first := observations[0]
		before, bare := upToMember(first.ID), true
		n := slices.IndexFunc(observations, func(o Observation) bool {
			return o.Version != first.Version || o.Present != first.Present || o.Source != first.Source || o.Cause != first.Cause ||
				upToMember(o.ID) != before
		})
		if n < 0 {
			n = len(observations)
		}
		for _, o := range observations[:n] {
			bare = bare && len(o.Content) == 0 && len(o.Empty) == 0
		}
		present, width := "0", 3
		if first.Present {
			present = "1"
		}
		if bare {
			width = 1
		}
		args = append(args, before, first.Version, present, first.Source, first.Cause, n, width)
		for _, o := range observations[:n] {
			args = append(args, o.ID[len(before):])
			if !bare {
				args = append(args, o.Content, strings.Join(o.Empty, " "))
			}
		}
		observations, runs = observations[n:], runs+1
	}
	return args, runs
}

// upToMember is an id without the member that is its last part; "account" has none.
func upToMember(id string) string {
	if at := strings.LastIndexByte(id, '/'); at >= 0 {
		return id[:at+1]
	}
	return id
}

// Part is a record's part of the graph; Present false where it has none.
type Part struct {
	Present  bool
	MFA      *bool
	Moved    int64 // of a group: the newest event of its members, ms
	Everyone string
	Content  []byte
}

func parsePart(text string) Part {
	if text == "" {
		return Part{}
	}
	taken, rest, _ := strings.Cut(text, ";")
	everyone, content, _ := strings.Cut(rest, ";")
	p := Part{Present: true, Everyone: everyone}
	switch taken {
	case "":
	case "t", "f":
		enabled := taken == "t"
		p.MFA = &enabled
	default:
		p.Moved, _ = strconv.ParseInt(taken, 10, 64)
	}
	if content != "" {
		p.Content = []byte(content)
	}
	return p
}

// Transition is an entry of the changes.
type Transition struct {
	Position      string
	ID            string
	Before, After Part
	AsOf          int64
	Source, Cause string
}

// Changes returns up to count transitions after the position.
func (o *Org) Changes(ctx context.Context, after string, count int64) ([]Transition, error) {
	messages, err := o.rdb.XRangeN(ctx, o.key(ChangesStream), "("+after, "+", count).Result()
	return transitions(messages), err
}

func transitions(messages []redis.XMessage) []Transition {
	transitions := make([]Transition, len(messages))
	for i, m := range messages {
		text := func(field string) string { s, _ := m.Values[field].(string); return s }
		asOf, _ := strconv.ParseInt(text("t"), 10, 64)
		transitions[i] = Transition{Position: m.ID, ID: text("id"), Before: parsePart(text("b")), After: parsePart(text("a")),
			AsOf: asOf, Source: text("s"), Cause: text("c")}
	}
	return transitions
}

// Feed is what follows a position of the changes, and what tells whether it
// leads on from there.
type Feed struct {
	Transitions []Transition
	First, Last string // as ChangesSpan, read after them
	Kept        int64  // how many changes there are
	Epoch       string
	Settings    []byte
}

// Feed reads it in one step. It returns ErrNotFound if the instance has no settings.
func (o *Org) Feed(ctx context.Context, after string, count int64) (Feed, error) {
	pipe := o.rdb.Pipeline()
	stream := o.key(ChangesStream)
	next := pipe.XRangeN(ctx, stream, "("+after, "+", count)
	oldest, newest := pipe.XRangeN(ctx, stream, "-", "+", 1), pipe.XRevRangeN(ctx, stream, "+", "-", 1)
	kept, epoch, settings := pipe.XLen(ctx, stream), pipe.HGet(ctx, o.key("facts"), "epoch"), pipe.Get(ctx, o.key("instance"))
	if err := run(ctx, pipe); err != nil {
		return Feed{}, err
	}
	if settings.Err() != nil {
		return Feed{}, ErrNotFound
	}
	first, last := span(oldest.Val(), newest.Val())
	return Feed{Transitions: transitions(next.Val()), First: first, Last: last, Kept: kept.Val(), Epoch: epoch.Val(), Settings: []byte(settings.Val())}, nil
}

// run sends what a pipeline holds. What finds nothing is no failure: see its own error.
func run(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if errors.Is(err, redis.Nil) { // of the first that found nothing: the others may have failed
		err = nil
	}
	for _, cmd := range cmds {
		if e := cmd.Err(); err == nil && !errors.Is(e, redis.Nil) {
			err = e
		}
	}
	return err
}

// ChangesSpan returns the positions of the oldest and the newest kept change;
// "0-0" for none.
func (o *Org) ChangesSpan(ctx context.Context) (first, last string, err error) {
	oldest, err := o.rdb.XRangeN(ctx, o.key("changes"), "-", "+", 1).Result()
	if err != nil {
		return "", "", err
	}
	newest, err := o.rdb.XRevRangeN(ctx, o.key("changes"), "+", "-", 1).Result()
	if err != nil {
		return "", "", err
	}
	first, last = span(oldest, newest)
	return first, last, nil
}

func span(oldest, newest []redis.XMessage) (first, last string) {
	if len(oldest) == 0 || len(newest) == 0 {
		return "0-0", "0-0"
	}
	return oldest[0].ID, newest[0].ID
}

// Seen is a record in the graph.
type Seen struct {
	ID      string
	Part    Part
	Version int64
}

// Graph returns a chunk of the scope's part of the graph, and the next cursor:
// "0" to begin, "0" at the end.
func (o *Org) Graph(ctx context.Context, scope, cursor string, count int) ([]Seen, string, error) {
	reply, err := graphScript.Run(ctx, o.rdb, []string{o.prefix}, scope, cursor, count).StringSlice()
	if err != nil {
		return nil, "", refusal(err)
	}
	seen := make([]Seen, 0, len(reply)/3)
	for i := 1; i+2 < len(reply); i += 3 {
		version, _ := strconv.ParseInt(reply[i+2], 10, 64)
		seen = append(seen, Seen{ID: reply[i], Part: parsePart(reply[i+1]), Version: version})
	}
	return seen, reply[0], nil
}

// Content returns the content of a present user, group, application or account;
// nil if there is none.
func (o *Org) Content(ctx context.Context, scope, member string) ([]byte, error) {
	b, err := o.rdb.HGet(ctx, o.key("content:"+scope), member).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return b, err
}

// Count returns how many records the scope stores, tombstones included.
func (o *Org) Count(ctx context.Context, scope string) (int64, error) {
	return o.rdb.HLen(ctx, o.key("rec:"+scope)).Result()
}

// Watermark returns the watermark of a scope in ms; 0 without a complete list.
func (o *Org) Watermark(ctx context.Context, scope string) (int64, error) {
	ms, err := o.rdb.HGet(ctx, o.key("marks"), scope).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return ms, err
}

// Watermarks returns those of several scopes.
func (o *Org) Watermarks(ctx context.Context, scopes []string) ([]int64, error) {
	values, err := o.rdb.HMGet(ctx, o.key("marks"), scopes...).Result()
	if err != nil {
		return nil, err
	}
	marks := make([]int64, len(scopes))
	for i, v := range values {
		if text, ok := v.(string); ok {
			if marks[i], err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, fmt.Errorf("watermark of %s: %w", scopes[i], err)
			}
		}
	}
	return marks, nil
}

// Due returns up to count asks whose time has come, and when the next of the
// others comes (0: there is none).
func (o *Org) Due(ctx context.Context, now int64, count int64) (asks []Ask, err error) {
	targets, err := o.rdb.ZRangeByScore(ctx, o.key("due"), &redis.ZRangeBy{
		Min: "-inf", Max: strconv.FormatInt(now, 10), Count: count}).Result()
	if err != nil || len(targets) == 0 {
		return nil, err
	}
	values, err := o.rdb.HMGet(ctx, o.key("refresh"), targets...).Result()
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if text, ok := v.(string); ok {
			asks = append(asks, parseAsk(targets[i], text))
		}
	}
	return asks, nil
}

func parseAsk(target, text string) Ask {
	exceed, rest, _ := strings.Cut(text, " ")
	source, cause, _ := strings.Cut(rest, " ")
	n, _ := strconv.ParseInt(exceed, 10, 64)
	return Ask{Target: target, Exceed: n, Source: source, Cause: cause}
}

// NextDue returns when the first ask is due, in ms; false without asks.
func (o *Org) NextDue(ctx context.Context) (int64, bool, error) {
	return o.lowest(ctx, "due")
}

// lowest returns the lowest score of a sorted set; false if it is empty.
func (o *Org) lowest(ctx context.Context, set string) (int64, bool, error) {
	first, err := o.rdb.ZRangeWithScores(ctx, o.key(set), 0, 0).Result()
	if err != nil || len(first) == 0 {
		return 0, false, err
	}
	return int64(first[0].Score), true, nil
}

// Asked returns everything to be read again.
func (o *Org) Asked(ctx context.Context) ([]Ask, error) {
	values, err := o.rdb.HGetAll(ctx, o.key("refresh")).Result()
	if err != nil {
		return nil, err
	}
	asks := make([]Ask, 0, len(values))
	for target, text := range values {
		asks = append(asks, parseAsk(target, text))
	}
	return asks, nil
}

// Unanswered returns the time in ms of the oldest event after which something is
// still to be read again; false if nothing is.
func (o *Org) Unanswered(ctx context.Context) (int64, bool, error) {
	return o.lowest(ctx, "unanswered")
}

// IsAsked tells whether the target is to be read again.
func (o *Org) IsAsked(ctx context.Context, target string) (bool, error) {
	return o.rdb.HExists(ctx, o.key("refresh"), target).Result()
}

// Fact reads a fact; "" if it is not known.
func (o *Org) Fact(ctx context.Context, name string) (string, error) {
	v, err := o.rdb.HGet(ctx, o.key("facts"), name).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return v, err
}

// Facts reads all facts.
func (o *Org) Facts(ctx context.Context) (map[string]string, error) {
	return o.rdb.HGetAll(ctx, o.key("facts")).Result()
}

// Sizes are the lengths of what waits and is kept.
type Sizes struct{ Inbox, Refresh, Dead, Changes int64 }

// Sizes returns them.
func (o *Org) Sizes(ctx context.Context) (Sizes, error) {
	pipe := o.rdb.Pipeline()
	inbox, refresh := pipe.XLen(ctx, o.key("inbox")), pipe.HLen(ctx, o.key("refresh"))
	dead, changes := pipe.XLen(ctx, o.key("dead")), pipe.XLen(ctx, o.key("changes"))
	_, err := pipe.Exec(ctx)
	return Sizes{inbox.Val(), refresh.Val(), dead.Val(), changes.Val()}, err
}

// StartRun starts a run with the scopes to read, by family, unless one is
// running. It returns the id of the run that is running now.
func (o *Org) StartRun(ctx context.Context, id string, description []byte, scopes []Cell) (string, error) {
	args := []any{id, description, keepRuns, o.token}
	for _, c := range scopes {
		args = append(args, strings.TrimPrefix(c.Hash, "pending:"), c.Field)
	}
	running, err := startScript.Run(ctx, o.rdb, []string{o.prefix}, args...).Text()
	if o.token == "" { // an owner starts it again by itself
		err = o.keep(ctx, err)
	}
	return running, refusal(err)
}

// Run returns the description of a run, or ErrNotFound.
func (o *Org) Run(ctx context.Context, id string) ([]byte, error) {
	b, err := o.rdb.HGet(ctx, o.key("runs"), id).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, ErrNotFound
	}
	return b, err
}

// Runs returns the descriptions of the newest runs, newest first, and of those
// that hold something, however old.
func (o *Org) Runs(ctx context.Context) ([][]byte, error) {
	ids, err := o.rdb.LRange(ctx, o.key("runlist"), 0, keepRuns-1).Result()
	if err != nil {
		return nil, err
	}
	holding, err := o.Holding(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(holding)
	for _, id := range holding {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	values, err := o.rdb.HMGet(ctx, o.key("runs"), ids...).Result()
	if err != nil {
		return nil, err
	}
	var runs [][]byte
	for _, v := range values {
		if text, ok := v.(string); ok {
			runs = append(runs, []byte(text))
		}
	}
	return runs, nil
}

// Pending returns a chunk of the scopes of a family that are yet to be read,
// with their cursors, and where to go on (0: at the end).
func (o *Org) Pending(ctx context.Context, family string, at uint64, count int64) ([]Cell, uint64, error) {
	fields, next, err := o.rdb.HScan(ctx, o.key("pending:"+family), at, "", count).Result()
	if err != nil {
		return nil, 0, err
	}
	cells := make([]Cell, 0, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		cells = append(cells, Cell{"pending:" + family, fields[i], fields[i+1]})
	}
	return cells, next, nil
}

// PendingCount returns how many scopes of a family are yet to be read.
func (o *Org) PendingCount(ctx context.Context, family string) (int64, error) {
	return o.rdb.HLen(ctx, o.key("pending:"+family)).Result()
}
