package engine

import (
	"context"
	"slices"
	"time"
)

const (
	// settled is for how many looks the replicas must have been the same before
	// instances move between them, so that one that comes and goes moves none.
	settled = 5
	// forbearance is for how many looks an instance without an owner waits for the
	// replica whose part it is, before any takes it. It stays there for a while, which
	// doubles each time that the replica does not take it, up to an hour or so.
	forbearance = 10
	stay        = time.Minute
	longestStay = 6 // doublings
	// living is for how many looks a replica is taken to live that announces itself no
	// more: it must be less than what is left of the leases of one that died.
	living = 5
	// handing is how many instances a process hands to others at once.
	handing = 8
	// A process that starts takes at most firstTaken instances at each of its first
	// looks: others that start beside it are seen by then.
	firstLooks, firstTaken = 2, 25
)

// part is what a process knows of which instances are its own part.
type part struct {
	every     time.Duration // between two looks
	stay      time.Duration // stay; a test shortens it
	instances []string
	replicas  []string
	since     time.Time         // when the replicas became these
	of        map[string]string // the replica whose part an instance is
	self      string
	looks     int       // so far
	began     time.Time // this look
	taken     int       // at this look

	lookAt   map[string]time.Time // when an instance is to be looked at
	free     map[string]time.Time // since when it has been seen without an owner
	declined map[string]int       // how often this process took it, as its replica, among these, did not
}

func newPart(every time.Duration) *part {
	return &part{every: every, stay: stay, lookAt: map[string]time.Time{}, free: map[string]time.Time{}, declined: map[string]int{}}
}

// share announces this process and works out which instances are its part.
func (e *Engine) share(ctx context.Context, instances []string, noted map[string]bool) error {
	replicas, err := e.store.Announce(ctx, e.name, living*e.every)
	if err != nil {
		return err
	}
	e.others.Store(int64(len(replicas)))
	e.part.update(e.name, instances, replicas, noted)
	return nil
}

// leave ends the announcement, so that the others share at once what this process
// hands over.
func (e *Engine) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := e.store.Leave(ctx, e.name); err != nil {
		e.cfg.Log.Warn("the other replicas could not be told of the stop: they find out by themselves", "err", err)
	}
}

func (p *part) update(self string, instances, replicas []string, noted map[string]bool) {
	p.looks++
	p.began, p.taken = time.Now(), 0
	slices.Sort(instances)
	slices.Sort(replicas)
	same := slices.Equal(replicas, p.replicas)
	if same && self == p.self && slices.Equal(instances, p.instances) {
		return
	}
	if !same {
		p.since = time.Now()
		clear(p.declined)
	}
	before := p.of
	p.self, p.instances, p.replicas = self, instances, replicas
	p.of = spread(instances, replicas)
	for id, r := range p.of {
		if r == self && before[id] != self {
			noted[id] = true
		}
	}
}

// due tells whether an instance is to be looked at. A tick may come early.
func (p *part) due(id string) bool { return time.Now().After(p.lookAt[id].Add(-p.every / 2)) }

// later has it looked at again after that time.
func (p *part) later(id string, d time.Duration) { p.lookAt[id] = time.Now().Add(d) }

// busy notes that another process works for it, for at least that long.
func (p *part) busy(id string, d time.Duration) {
	p.later(id, d+p.every/2) // not early
	delete(p.free, id)
}

// long tells whether this look has taken so long that the next should begin: the
// others must hear from this process.
func (p *part) long() bool { return time.Since(p.began) > p.every }

// mayTake tells whether this process may take an instance that has no owner.
func (p *part) mayTake(id string) bool {
	if p.looks <= firstLooks && p.taken >= firstTaken {
		return false
	}
	if p.of[id] == p.self {
		return true
	}
	since, seen := p.free[id]
	if !seen {
		p.free[id] = time.Now()
	}
	return seen && time.Since(since) > forbearance*p.every
}

// took notes that this process has taken an instance, and tells until when it stays.
func (p *part) took(id string) time.Time {
	p.taken++
	delete(p.free, id)
	if p.of[id] == p.self {
		return time.Time{}
	}
	doublings := min(p.declined[id], longestStay)
	p.declined[id]++
	return time.Now().Add(p.stay << doublings)
}

// forget drops what is known of an instance that was deleted.
func (p *part) forget(id string) {
	delete(p.lookAt, id)
	delete(p.free, id)
	delete(p.declined, id)
}

// handOn hands what is more than this process's part to those whose part it is.
// They take it at once, and go on where it was left. Where the owner has no more
// than its part, nothing moves, whoever's part it is.
func (e *Engine) handOn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.part
	owned, moving := 0, 0
	var others []*org // of others' part
	for id, o := range e.orgs {
		switch {
		case o.over():
			moving++
		case p.of[id] != p.self && time.Now().After(o.stays):
			others = append(others, o)
			owned++
		default:
			owned++
		}
	}
	e.owned.Store(int64(owned))
	if len(p.replicas) == 0 || time.Since(p.since) < settled*p.every {
		return
	}
	most := (len(p.instances) + len(p.replicas) - 1) / len(p.replicas)
	n := max(min(owned-most, handing-moving, len(others)), 0)
	for _, o := range others[:n] {
		o.log.Info("instance is handed to a replica that has less", "to", p.of[o.id])
		o.handed = true
		o.stop()
		e.handed.Add(1)
	}
}

// Share is how the instances are shared among the processes.
type Share struct {
	Owned    int64 // instances that this process works for
	Replicas int64 // processes that share them, this one included
	Handed   int64 // instances that this process handed to others since it started
}

// Share returns how it stands, as of the last look.
func (e *Engine) Share() Share {
	return Share{e.owned.Load(), e.others.Load(), e.handed.Load()}
}
