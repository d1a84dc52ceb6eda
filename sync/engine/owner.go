package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/oktasync/oktasync/state"
)

// look is how often the instances are looked at without being told of a change:
// another process may have registered one, started a run, or died.
const look = time.Second

// processName names this process among those on the same Redis.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", strings.ReplaceAll(host, " ", "-"), os.Getpid())
}

// seldom is how often a loop looks for work without being told of any, and an
// instance is looked at that is at work elsewhere; a test lengthens it.
var seldom = 15 * time.Second

// Run works until ctx ends, then hands its instances over and returns nil once
// nothing is under way.
func (e *Engine) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	defer e.leave(ctx)
	defer e.store.Told(e.note)()
	tick := time.NewTicker(e.every)
	defer tick.Stop()
	failing := false
	for {
		err := e.employ(ctx, &group)
		if err != nil && !failing && ctx.Err() == nil {
			e.cfg.Log.Error("instances cannot be looked after until this is mended", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-e.changed:
		case <-tick.C:
		}
	}
}

// note has employ look at an instance now; "" stands for all.
func (e *Engine) note(instance string) {
	e.mu.Lock()
	e.noted[instance] = true
	e.mu.Unlock()
	signal(e.changed)
}

// tell has every process look at an instance now. One that is not told finds out by itself.
func (e *Engine) tell(ctx context.Context, instance string) {
	e.note(instance)
	_ = e.store.Tell(context.WithoutCancel(ctx), instance)
}

// employ sees to it that every instance has an owner: of each that has none, and
// is this process's part, this process becomes it. An instance whose settings
// changed starts anew.
func (e *Engine) employ(ctx context.Context, group *sync.WaitGroup) error {
	e.mu.Lock()
	noted := e.noted
	e.noted = map[string]bool{}
	before := e.known
	e.mu.Unlock()
	failed, err := e.employNoted(ctx, group, before, noted)
	if err != nil {
		e.mu.Lock()
		maps.Copy(e.noted, noted) // for the next look
		e.mu.Unlock()
	}
	return errors.Join(failed, err)
}

// employNoted returns why the look failed, or why it did of the first instance of which
// it did: those are looked at again the next time, the others are not.
func (e *Engine) employNoted(ctx context.Context, group *sync.WaitGroup, before map[string][]byte, noted map[string]bool) (failed, err error) {
	if err := e.restoreWiped(ctx); err != nil {
		return nil, err
	}
	ids, err := e.store.Instances(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.share(ctx, ids, noted); err != nil {
		return nil, err
	}
	known := map[string][]byte{}
	var looked []string
	for _, id := range ids {
		if noted[""] || noted[id] || before[id] == nil || e.part.due(id) {
			looked = append(looked, id)
		} else {
			known[id] = before[id]
		}
	}
	for _, now := range e.store.Standings(ctx, looked) {
		id, err := now.ID, now.Err
		switch {
		case err != nil:
			known[id] = before[id] // for all we know
		case now.Settings != nil:
			known[id] = now.Settings
			err = e.employOne(ctx, group, now)
		case before[id] != nil:
			var restored bool
			if restored, err = e.restoreLost(ctx, id, before[id]); restored || err != nil {
				known[id] = before[id]
			}
		}
		if known[id] == nil {
			delete(known, id)
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("instance %s: %w", id, err)
		}
	}
	if mark, err := e.store.Mark(ctx); err != nil || mark != e.mark {
		return failed, err // Redis was wiped meanwhile: what was read of it is no sign of a deletion
	}
	e.mu.Lock()
	for id := range e.known {
		if known[id] == nil {
			e.gone[id] = true
		}
	}
	e.known, e.knownAt = known, time.Now()
	var gone []*org
	for id, o := range e.orgs {
		if known[id] == nil {
			gone = append(gone, o)
		}
	}
	for id, c := range e.clients {
		if known[id] == nil {
			c.Close()
			delete(e.clients, id)
		}
	}
	for id := range e.hooks {
		if known[id] == nil {
			delete(e.hooks, id)
		}
	}
	e.mu.Unlock()
	for _, o := range gone {
		e.retire(o)
	}
	for id := range e.gone {
		if known[id] == nil && e.org(id) != nil {
			continue // a sink has not let go of it yet
		}
		delete(e.gone, id)
		if known[id] == nil {
			e.part.forget(id)
			e.cfg.Observe.Deleted(id)
		}
	}
	e.handOn()
	return failed, nil
}

// employOne becomes the owner of an instance that has none, or wakes the one here.
func (e *Engine) employOne(ctx context.Context, group *sync.WaitGroup, now state.Standing) error {
	e.part.later(now.ID, e.every)
	old := e.org(now.ID)
	if old != nil {
		old.paused.Store(now.Paused)
		if !old.over() && string(old.settings) == string(now.Settings) {
			if now.Inbox {
				signal(old.arrived)
			}
			if now.Work {
				old.wake()
			}
			return nil
		}
		if !e.retire(old) {
			return nil // a sink has not let go of it yet
		}
	}
	switch {
	case old != nil && !old.handed: // it only starts anew
	case now.Leased > 0:
		e.part.busy(now.ID, min(now.Leased, seldom))
		e.forgetClient(now.ID)
		return nil
	case !e.part.mayTake(now.ID):
		return nil
	case e.part.long():
		e.note(now.ID)
		return nil
	}
	token := e.name + " " + rand.Text()
	lease, err := e.store.Org(now.ID).TakeLease(ctx, token, e.leaseTime())
	if err != nil || lease.Org == nil {
		return err // or another process works for it
	}
	o := e.newOrg(ctx, now.ID, now.Settings, lease)
	o.paused.Store(now.Paused)
	o.stays = e.part.took(now.ID)
	e.mu.Lock()
	e.orgs[now.ID] = o
	e.mu.Unlock()
	group.Go(o.work)
	return nil
}

// leaseTime is how long a lease lasts without being renewed: it and a look
// together are the time after which a dead owner is replaced.
func (e *Engine) leaseTime() time.Duration { return max(e.cfg.Lease-look, e.cfg.Lease/2) }

func (e *Engine) org(id string) *org {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.orgs[id]
}

// letGo is how long an org that is stopped is waited for.
const letGo = 5 * time.Second

// retire stops an org and waits, since two must not work for one instance here; it
// tells whether the org has ended. One that a sink holds up is waited for once,
// and then looked at again and again: the others must not wait with it.
func (e *Engine) retire(o *org) bool {
	over := o.over()
	o.stop()
	wait := letGo
	if over {
		wait = 0
	}
	select {
	case <-o.stopped:
	case <-time.After(wait):
		select {
		case <-o.stopped:
		default:
			o.log.Warn("instance is not given up yet: a sink holds it up")
			return false
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.orgs[o.id] == o {
		delete(e.orgs, o.id)
	}
	return true
}

// restoreWiped registers again what this process knows, if Redis lost the list of it;
// what else it lost is then read in full.
func (e *Engine) restoreWiped(ctx context.Context) error {
	mark, err := e.store.Mark(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	before, known := e.mark, e.known
	fresh := time.Since(e.knownAt) < e.cfg.Lease
	e.mu.Unlock()
	// Another mark than before is another process's, which restores what it knows, or
	// that of a first registration. A process that slept meanwhile knows instances
	// that may have been deleted since: it restores nothing.
	lost := before != "" && (mark == "" || mark != before && fresh)
	if lost {
		e.cfg.Log.Error("Redis lost its state: what it lost is read in full again; see README, Redis, on persistence", "instances", len(known))
		for id, settings := range known {
			if err := e.restore(ctx, id, settings); err != nil {
				return err
			}
		}
	}
	// Builds until November 2026 left another mark.
	if lost || mark == "" && len(known) > 0 {
		if err := e.store.SetMark(ctx); err != nil { // at the end: until then all is tried again
			return err
		}
		if mark, err = e.store.Mark(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.mark = mark
	e.mu.Unlock()
	return nil
}

// restore registers an instance again. Of one that a Redis Cluster keeps on another
// node than the list of them all, only the list lost it.
func (e *Engine) restore(ctx context.Context, id string, settings []byte) error {
	st := e.store.Org(id)
	_, err := st.Instance(ctx)
	there := err == nil // or an operator was faster
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	full, err := st.Fact(ctx, "full")
	if err != nil {
		return err
	}
	// First the run, then the settings without which nobody works on it: a crash between is repeated.
	if !there || full == "" {
		if _, _, err := e.startRun(ctx, st, id, Start{Trigger: "state-lost"}); err != nil {
			return err
		}
	}
	if there {
		return st.List(ctx)
	}
	return st.RestoreInstance(ctx, settings)
}

// restoreLost registers an instance again, with the settings that this process knows, if a
// node of a Redis Cluster lost it.
func (e *Engine) restoreLost(ctx context.Context, id string, settings []byte) (bool, error) {
	lost, err := e.store.Org(id).Lost(ctx)
	if err != nil || !lost {
		return false, err
	}
	e.cfg.Log.Error("Redis lost the state of an instance: it is read in full again; see README, Redis, on persistence", "instance", id)
	return true, e.restore(ctx, id, settings)
}

// keepLease renews the lease until the org stops. Lost, or in a new epoch, the
// org stops: it starts anew if the lease can be taken again.
func (o *org) keepLease() {
	tick := time.NewTicker(o.cfg.Lease / 4)
	defer tick.Stop()
	defer o.handOver() // at once: what is still under way here is fenced
	for {
		select {
		case <-o.ctx.Done():
			return
		case <-tick.C:
		}
		lease, err := o.st.KeepLease(o.ctx, o.leaseTime)
		switch {
		case o.ctx.Err() != nil:
			return
		case errors.Is(err, state.ErrFenced):
			o.stop() // Redis was started again, or another server is in its place
			return
		case err != nil:
			o.log.Warn("lease could not be renewed", "err", err)
		case lease.Holder != o.token:
			o.log.Warn("lease lost: another process works for the instance now, or it was deleted", "owner", owner(lease.Holder))
			o.stop()
			return
		case lease.Epoch != o.epoch:
			o.log.Warn("a new epoch began: Redis was started again and may have lost its last moments, which is made up for, or the history was forgotten", "epoch", lease.Epoch)
			o.stop()
			return
		}
	}
}

// owner is the name of the process in a token.
func owner(token string) string {
	name, _, _ := strings.Cut(token, " ")
	return name
}

// handOver gives the lease back, so that another process goes on at once.
func (o *org) handOver() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.ctx), 2*time.Second)
	defer cancel()
	// Of the server that has the instance now: ours may be dead.
	if err := o.store.Org(o.id).ReleaseLease(ctx, o.token); err != nil {
		o.log.Warn("lease could not be handed over: it ends by itself", "err", err)
	}
}

// repair makes up for what a restarted Redis may have lost: the log is read
// again from before, and what changed is read.
func (o *org) repair() error {
	epoch, err := o.st.Fact(o.ctx, "repair")
	if err != nil || epoch == "" {
		return err
	}
	o.log.Warn("Redis was started again, or failed over, and may have lost its last moments: they are made up for", "epoch", epoch)
	if err := o.st.RewriteAOF(o.ctx); err != nil {
		o.log.Warn("Redis could not be asked to write its append-only file anew: run BGREWRITEAOF before it is started again, or a script may take effect in part", "err", err)
	}
	if err := o.rewindLog(); err != nil {
		return err
	}
	if err := o.catchUp("state-repair"); err != nil {
		return err
	}
	_, err = o.merge(o.ctx, batch{Batch: state.Batch{Delete: []state.Cell{{Hash: "facts", Field: "repair"}}}})
	return err
}

// catchUp reads what changed; or everything, if nothing ever was.
func (o *org) catchUp(trigger string) error {
	start := Start{Mode: "incremental", Trigger: trigger}
	full, err := o.st.Fact(o.ctx, "full")
	if err != nil {
		return err
	}
	if full == "" {
		start.Mode = "full"
	}
	return o.mustRun(start)
}
