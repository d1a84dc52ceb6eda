package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

const (
	refreshBatch = 512
	worthwhile   = 20 // single reads that one list may replace
	maxBackoff   = 5 * time.Minute
)

// refreshRound starts what is due and waits until more may be.
func (o *org) refreshRound() error {
	if _, err := o.startDue(o.ctx); err != nil {
		return err
	}
	awaited, err := o.noteWhole()
	if err != nil {
		return err
	}
	wait := seldom
	if awaited {
		wait = look
	}
	next, any, err := o.st.NextDue(o.ctx)
	if err != nil {
		return err
	}
	if any {
		// What is due already is at work, and its end wakes this loop.
		until := time.UnixMilli(next).Sub(o.now())
		if until <= 0 {
			until = look
		}
		wait = min(wait, until)
	}
	await(o.ctx, o.asked, wait)
	return nil
}

// startDue starts to read again what is due, and returns how much that is.
func (o *org) startDue(ctx context.Context) (started int, err error) {
	if _, any, err := o.st.NextDue(ctx); err != nil || !any {
		return 0, err
	}
	o.mu.Lock()
	resting := o.cfg.Clock().Before(o.rest)
	o.mu.Unlock()
	if resting {
		return 0, nil
	}
	if _, known := o.client.Now(); !known {
		if err := o.learnClock(ctx); err != nil { // due times are Okta's
			return 0, err
		}
	}
	asks, err := o.st.Due(ctx, o.now().UnixMilli(), refreshBatch)
	if err != nil {
		return 0, err
	}
	asks, groups, err := o.grouped(ctx, asks)
	if err != nil {
		return 0, err
	}
	for _, g := range groups {
		if !o.claim(g.asks...) {
			continue
		}
		started++
		o.reading.Go(func() {
			o.tryGroup(ctx, g)
			o.unclaim(g.asks...)
		})
	}
	for _, a := range asks {
		if user, ok := strings.CutPrefix(a.Target, "factors/"); ok {
			// The user's status may say that there are none, and spare the call.
			first, err := o.st.IsAsked(ctx, string(record.User(user)))
			if err != nil {
				return started, err
			}
			if first { // behind it, so that many of these do not hide what else is due
				if err := o.postpone(ctx, a.Target, time.Second); err != nil {
					return started, err
				}
				continue
			}
		}
		if !o.claim(a) {
			continue
		}
		started++
		o.reading.Go(func() {
			o.tryAsk(ctx, a)
			o.unclaim(a)
		})
	}
	return started, nil
}

// claim takes asks to be tried, unless one of them is, or there are enough.
func (o *org) claim(asks ...state.Ask) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tries >= 4*o.cfg.MaxInFlight {
		return false
	}
	for _, a := range asks {
		if o.trying[a.Target] {
			return false
		}
	}
	o.tries++
	for _, a := range asks {
		o.trying[a.Target] = true
	}
	return true
}

func (o *org) unclaim(asks ...state.Ask) {
	o.mu.Lock()
	o.tries--
	for _, a := range asks {
		delete(o.trying, a.Target)
	}
	o.mu.Unlock()
	o.wake()
}

// group is asks that one list can answer.
type group struct {
	kind  record.Kind
	asks  []state.Ask
	scope record.Scope // that is listed; "" for a list by ids
}

// grouped takes out of the asks what lists can answer with fewer calls: those
// of users and groups by their ids, those of many assignments by their
// application's list. Lists may lag: only what is older than the allowance is
// asked of them.
func (o *org) grouped(ctx context.Context, asks []state.Ask) (single []state.Ask, groups []group, err error) {
	listable := o.now().Add(-o.cfg.ListAllowance).UnixMilli()
	byKind := map[string][]state.Ask{}
	o.mu.Lock()
	for _, a := range asks {
		id := record.ID(a.Target)
		key := string(id.Kind())
		if id.Kind() == record.KindAppUser {
			key = string(id.Scope())
		}
		switch {
		case o.trying[a.Target]:
		case record.Version(a.Exceed).Millis() >= listable || a.Source == askedByList || o.failed[a.Target] > 0,
			id.Kind() != record.KindUser && id.Kind() != record.KindGroup && id.Kind() != record.KindAppUser:
			single = append(single, a)
		default:
			byKind[key] = append(byKind[key], a)
		}
	}
	o.mu.Unlock()
	for key, of := range byKind {
		if len(of) < worthwhile {
			single = append(single, of...)
			continue
		}
		id := record.ID(of[0].Target)
		if id.Kind() != record.KindAppUser {
			for part := range slices.Chunk(of, okta.MaxIDs) {
				groups = append(groups, group{kind: id.Kind(), asks: part})
			}
			continue
		}
		n, err := o.st.Count(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		if int64(len(of)) > n/500+1 {
			groups = append(groups, group{kind: id.Kind(), asks: of, scope: id.Scope()})
		} else {
			single = append(single, of...)
		}
	}
	return single, groups, nil
}

// tryGroup reads a list for many asks. What it does not answer, as that an
// object is gone, is read by id.
func (o *org) tryGroup(ctx context.Context, g group) {
	ctx, span := o.follow(ctx, "refresh", o.led(func(yield func(string) bool) {
		for _, a := range g.asks {
			if !yield(a.Cause) {
				return
			}
		}
	}), attribute.String("oktasync.kind", string(g.kind)), attribute.Int("oktasync.objects", len(g.asks)))
	defer span.End()
	if err := o.readGroup(okta.WithPriority(ctx), g); err != nil {
		if ctx.Err() != nil {
			return
		}
		o.log.Warn("a list for many objects failed, they are read one by one", "kind", g.kind, "objects", len(g.asks), "err", err)
	}
	for _, a := range g.asks {
		left, err := o.st.IsAsked(ctx, a.Target)
		if err != nil || ctx.Err() != nil {
			return // the asks are left, and tried again
		}
		if left {
			o.tryAsk(ctx, a)
		} else {
			o.cfg.Observe.Refreshed(o.id, "done")
		}
	}
}

func (o *org) readGroup(ctx context.Context, g group) error {
	cause := record.Cause{Source: record.FromRead, ID: g.asks[0].Cause}
	if g.scope != "" {
		judged := judgement{brake: true, holder: o.refreshes()}
		return o.list(ctx, &listing{scope: g.scope, cause: cause, delay: o.cfg.ListAllowance, judgement: judged})
	}
	why := map[record.ID]record.Cause{}
	ids := make([]string, len(g.asks))
	for i, a := range g.asks {
		id := record.ID(a.Target)
		_, ids[i] = id.Split()
		why[id] = record.Cause{Source: record.FromRead, ID: a.Cause}
	}
	var p page
	var err error
	if g.kind == record.KindUser {
		p, err = convertPage(o.client.UsersByID(ctx, ids))(func(p *page, u okta.User) {
			p.observations = append(p.observations, o.convert.User(u, o.factors))
		})
	} else {
		p, err = convertPage(o.client.GroupsByID(ctx, ids))(func(p *page, g okta.Group) {
			p.observations = append(p.observations, o.convert.Group(g))
		})
	}
	if err != nil {
		return err
	}
	for i := range p.observations {
		ob := &p.observations[i]
		ob.Version = record.AsRead(p.start.Add(-o.cfg.ListAllowance).UnixMilli())
		ob.Cause = why[ob.ID]
	}
	_, err = o.merge(ctx, batch{observations: p.observations, cause: cause})
	return err
}

// tryAsk reads a target again. Only the merge strikes the ask off; one that is
// left is tried later and later.
func (o *org) tryAsk(ctx context.Context, a state.Ask) {
	ctx, span := o.follow(ctx, "refresh", o.led(func(yield func(string) bool) { yield(a.Cause) }),
		attribute.String("oktasync.target", a.Target), attribute.String("oktasync.cause", a.Cause))
	wait, err := o.readAgain(okta.WithPriority(ctx), a)
	finish(span, err)
	if ctx.Err() != nil {
		return
	}
	left, storeErr := o.st.IsAsked(ctx, a.Target)
	if err == nil {
		err = storeErr
	}
	o.mu.Lock()
	if !left {
		delete(o.failed, a.Target)
	}
	if err == nil && !left {
		o.mu.Unlock()
		o.cfg.Observe.Refreshed(o.id, "done")
		if !state.IsWalk(a.Target) { // that is no read of Okta
			o.setProblem("")
		}
		return
	}
	n := o.failed[a.Target]
	if wait == 0 {
		o.failed[a.Target] = n + 1
		wait = min(time.Second<<min(n, 16), maxBackoff)
	}
	o.mu.Unlock()
	result := "left"
	if err != nil {
		result = "failed"
	}
	o.cfg.Observe.Refreshed(o.id, result)
	if err != nil {
		o.log.Warn("reading again failed, will be tried later", "target", a.Target, "in", wait, "err", err)
		o.report(err)
	}
	if err := o.postpone(ctx, a.Target, wait); err != nil {
		o.log.Warn("reading again could not be put off", "target", a.Target, "err", err)
	}
}

// postpone moves the next try of an ask.
func (o *org) postpone(ctx context.Context, target string, wait time.Duration) error {
	_, err := o.merge(ctx, batch{Batch: state.Batch{Postpone: []state.Later{{Target: target, Until: o.now().Add(wait).UnixMilli()}}}})
	return err
}

// report shows in the instance's state what needs somebody to act. While the
// token is refused, reading again rests: each try would only be refused too.
func (o *org) report(err error) {
	if !okta.IsUnauthorized(err) {
		return
	}
	o.mu.Lock()
	o.rest = o.cfg.Clock().Add(time.Minute)
	o.mu.Unlock()
	o.setProblem(err.Error())
}

// readAgain reads the target of an ask. It may find that it is too early, and
// say how long to wait.
func (o *org) readAgain(ctx context.Context, a state.Ask) (wait time.Duration, err error) {
	return o.readTarget(ctx, a, record.Cause{Source: record.FromRead, ID: a.Cause}, o.judgementOf(a))
}

func (o *org) readTarget(ctx context.Context, a state.Ask, cause record.Cause, judged judgement) (wait time.Duration, err error) {
	if state.IsWalk(a.Target) {
		return 0, o.walk(ctx, a.Target)
	}
	if record.IsScope(a.Target) {
		scope := record.Scope(a.Target)
		delay := o.cfg.ListAllowance
		if strings.HasPrefix(a.Target, "factors/") {
			delay = o.cfg.ReadMargin // read at the user's own address, not out of an index
		}
		if delay == o.cfg.ListAllowance { // no event tells of what a list of many lacks
			judged.brake = true
		}
		return 0, o.list(ctx, &listing{scope: scope, cause: cause, delay: delay, exceed: record.Version(a.Exceed), judgement: judged})
	}
	id := record.ID(a.Target)
	owner, member := id.Split()
	delay := o.cfg.ReadMargin
	var ob record.Observation
	var start time.Time
	switch id.Kind() {
	case record.KindUser:
		var r okta.Read[okta.User]
		if r, err = o.client.User(ctx, member); err == nil && r.Found {
			ob = o.convert.User(r.Value, o.factors)
		}
		start = r.Start
	case record.KindGroup:
		var r okta.Read[okta.Group]
		if r, err = o.client.Group(ctx, member); err == nil && r.Found {
			ob = o.convert.Group(r.Value)
		}
		start = r.Start
	case record.KindApp:
		var r okta.Read[okta.Application]
		if r, err = o.client.Application(ctx, member); err == nil && r.Found {
			ob = o.convert.Application(r.Value)
		}
		start = r.Start
	case record.KindAppUser:
		var r okta.Read[okta.AppUser]
		if r, err = o.client.AppUser(ctx, owner, member); err == nil && r.Found {
			ob = o.convert.AppUser(owner, r.Value)
		}
		start = r.Start
	case record.KindAppGroup:
		// A read by id shows one row; the roles of AWS stand in many.
		aws, err := o.awsAccount(ctx, owner)
		if err != nil {
			return 0, err
		}
		if aws {
			delay = o.cfg.ListAllowance
			if wait := o.tooEarly(a, delay); wait > 0 {
				return wait, nil
			}
			var rows []okta.AppGroup
			if rows, start, err = o.appGroupRows(ctx, owner, member); err != nil && !okta.IsNotFound(err) {
				return 0, err
			}
			if len(rows) > 0 {
				ob = o.convert.AppGroup(owner, rows)
			}
			break
		}
		var r okta.Read[okta.AppGroup]
		if r, err = o.client.AppGroup(ctx, owner, member); err != nil {
			return 0, err
		}
		if r.Found {
			ob = o.convert.AppGroup(owner, []okta.AppGroup{r.Value})
		}
		start = r.Start
	case record.KindMember:
		// Two events contradict each other: the user's groups decide, on this one.
		delay = o.cfg.ListAllowance
		var in bool
		if in, start, err = o.isMember(ctx, owner, member); err == nil && in {
			ob = o.convert.Member(owner, member)
		}
	case record.KindFactor:
		return 0, o.list(ctx, &listing{scope: record.Factors(owner), cause: cause, delay: delay, exceed: record.Version(a.Exceed), judgement: judged})
	case record.KindAccount:
		return 0, o.list(ctx, &listing{scope: record.AccountScope, cause: cause, delay: delay, judgement: judged})
	}
	if err != nil {
		return 0, err
	}
	ob.ID = id // without anything read: absent
	ob.Version = record.AsRead(start.Add(-delay).UnixMilli())
	_, err = o.merge(ctx, batch{observations: []record.Observation{ob}, cause: cause, judgement: judged})
	return 0, err
}

// Sources of asks: what an event asked for, it told of; what a list lacked, the
// brake counts; what was approved, it does not.
const (
	askedByList     = "reconcile"
	askedByApproval = "approved"
)

// judgementOf says how absences are let through that reading for the ask finds.
func (o *org) judgementOf(a state.Ask) judgement {
	j := judgement{brake: a.Source == askedByList || a.Source == askedByApproval, forced: a.Source == askedByApproval, holder: o.refreshes()}
	if isRun(o.id, a.Cause) {
		j.holder = a.Cause
	}
	return j
}

// refreshes is the run that holds what was found outside of any run.
func (o *org) refreshes() string { return o.id + "-refreshes" }

// isRun tells the id of a run of the instance from that of an event.
func isRun(instance, id string) bool { return strings.HasPrefix(id, instance+"-") }

// tooEarly is how long a read must wait to show what is asked for.
func (o *org) tooEarly(a state.Ask, delay time.Duration) time.Duration {
	due := time.UnixMilli(record.Version(a.Exceed).Millis()).Add(delay)
	return max(due.Sub(o.now()), 0)
}

// walk does in chunks what is too much for one step.
func (o *org) walk(ctx context.Context, target string) error {
	for cursor := "0"; ; {
		merged, err := o.merge(ctx, batch{Batch: state.Batch{Walk: &state.Walk{Target: target, Cursor: cursor}}})
		if err != nil {
			return err
		}
		if cursor = merged.Cursor; cursor == "0" {
			return nil
		}
	}
}

// awsAccount tells whether the application has an AWS account, as far as is known.
func (o *org) awsAccount(ctx context.Context, app string) (bool, error) {
	content, err := o.st.Content(ctx, string(record.Apps), app)
	return strings.Contains(string(content), `"awsAccount":`), err
}

// appGroupRows returns the rows of one group among all those of an application.
func (o *org) appGroupRows(ctx context.Context, app, group string) (rows []okta.AppGroup, start time.Time, err error) {
	var guard okta.LinkGuard
	for link := ""; ; {
		p, err := o.client.AppGroups(ctx, app, link)
		if start.IsZero() {
			start = p.Start
		}
		if okta.IsNotFound(err) && link != "" {
			err = fmt.Errorf("the list broke off: %v", err) // not an absence
		}
		if err != nil {
			return nil, start, err
		}
		for _, row := range p.Items {
			if row.ID == group {
				rows = append(rows, row)
			}
		}
		if link = p.Next; link == "" {
			return rows, start, nil
		}
		if err := guard.Check(link); err != nil {
			return nil, start, err
		}
	}
}

func (o *org) isMember(ctx context.Context, group, user string) (in bool, start time.Time, err error) {
	var guard okta.LinkGuard
	for link := ""; ; {
		p, err := o.client.UserGroups(ctx, user, link)
		if start.IsZero() {
			start = p.Start
		}
		if okta.IsNotFound(err) && link == "" {
			return false, start, nil // no such user
		}
		if err != nil {
			return false, start, err
		}
		for _, g := range p.Items {
			in = in || g.ID == group
		}
		if link = p.Next; link == "" {
			return in, start, nil
		}
		if err := guard.Check(link); err != nil {
			return false, start, err
		}
	}
}
