package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// listing is the reading of one scope, page by page, each merged as it comes.
type listing struct {
	scope  record.Scope
	cause  record.Cause
	delay  time.Duration  // by which the scope's lists may lag
	exceed record.Version // what an ask wants exceeded; 0 in a run
	cell   *state.Cell    // where a run keeps its place; nil outside a run
	tally  *tally         // likewise
	run    *reconciling   // likewise

	judgement
}

// place is how far a listing came.
type place struct {
	Link  string `json:"link"`
	AsOf  int64  `json:"asOf"` // of the list, ms
	Items int64  `json:"items"`
}

// page is what one answer of a list says.
type page struct {
	observations []record.Observation
	asks         []record.Ask
	follow       []follow
	items        int
	next         string
	start        time.Time
}

// follow is a scope to read next, in a run; moved is when what tells of changes
// in it changed last, in ms: 0 if nothing tells.
type follow struct {
	scope record.Scope
	moved int64
}

// errEmpty: what cannot be empty came back empty.
var errEmpty = errors.New("the answer of Okta is an empty list, though there must be some: nothing is deleted. " +
	"Check that the token's owner still has an admin role that may read all of them")

// list reads the scope to its end. Only then its watermark moves.
func (o *org) list(ctx context.Context, l *listing) (err error) {
	ctx, span := o.follow(ctx, "list", nil, attribute.String("oktasync.scope", string(l.scope)), attribute.String("oktasync.cause", l.cause.ID))
	defer func() { finish(span, err) }()
	var at place
	if l.cell != nil && l.cell.Value != "" {
		if err := json.Unmarshal([]byte(l.cell.Value), &at); err != nil {
			return fmt.Errorf("place in %s: %w", l.scope, err)
		}
	}
	var guard okta.LinkGuard
	for {
		p, err := o.page(ctx, l.scope, at.Link)
		var refused *okta.Error
		switch {
		case okta.IsNotFound(err) && at.Link == "":
			return o.ownerGone(ctx, l)
		case l.cell != nil && at.Link != "" && at.Link == l.place().Link && errors.As(err, &refused) &&
			(refused.Status == http.StatusBadRequest || refused.Status == http.StatusNotFound):
			at, l.cell.Value = place{}, "" // the kept link is too old: from the start
			continue
		case err != nil:
			return err
		}
		asOf := p.start.Add(-l.delay).UnixMilli()
		if at.Link == "" {
			at.AsOf = asOf
		}
		at.Items += int64(p.items)
		for i := range p.observations {
			p.observations[i].Version = record.AsRead(max(at.AsOf, asOf))
		}
		b := batch{observations: p.observations, asks: p.asks, cause: l.cause, judgement: l.judgement}
		if l.run != nil {
			if b.Set, err = l.run.follow(ctx, p.follow); err != nil {
				return err
			}
		}
		at.Link = p.next
		if p.next != "" {
			if err := guard.Check(p.next); err != nil {
				return err
			}
			if l.cell != nil {
				kept, err := json.Marshal(at)
				if err != nil {
					return err
				}
				b.Set = append(b.Set, state.Cell{Hash: l.cell.Hash, Field: l.cell.Field, Value: string(kept)})
			}
			merged, err := o.mergePage(ctx, l, b)
			if err != nil {
				return err
			}
			l.tally.add(p.items, merged.Transitions)
			continue
		}
		if at.Items == 0 && l.scope == record.Users {
			known, err := o.st.Count(ctx, string(l.scope))
			if err != nil {
				return unavailable(err)
			}
			if known == 0 { // else the brake holds it
				return errEmpty
			}
		}
		if l.cell != nil {
			b.Done = []state.Cell{*l.cell}
		}
		return o.complete(ctx, l, b, at, p.items)
	}
}

// mergeRecords is how many records of a page are merged in one step, and of members,
// assignments and factors of a run at once. Redis works on one script at a time:
// deliveries, and the lists that say what else there is to read, wait behind one
// such step, some milliseconds long, and not behind a page of each worker.
const (
	mergeRecords = 250
	mergeLeast   = 25 // as which a step counts that has fewer
	mergeObjects = 50 // likewise of users, groups and applications, on which edges hang
)

// mergePage merges what a listing brought; the place in the list moves with the last
// step, so that a crash between two has the page read again.
func (o *org) mergePage(ctx context.Context, l *listing, b batch) (state.Merged, error) {
	most := mergeRecords
	if l.scope.Confirmed() {
		most = mergeObjects
	}
	var transitions int64
	for {
		step := b
		if len(b.observations) > most {
			step = batch{observations: b.observations[:most], cause: b.cause, judgement: b.judgement}
		}
		b.observations = b.observations[len(step.observations):]
		merged, err := o.mergeStep(ctx, l, step)
		transitions += merged.Transitions
		if err != nil || len(b.observations) == 0 {
			merged.Transitions = transitions
			return merged, err
		}
	}
}

func (o *org) mergeStep(ctx context.Context, l *listing, b batch) (state.Merged, error) {
	if l.run != nil && l.cell.Hash != "pending:"+lists {
		records := int64(min(max(len(b.observations), mergeLeast), mergeRecords))
		if err := l.run.bulk.Acquire(ctx, records); err != nil {
			return state.Merged{}, err
		}
		defer l.run.bulk.Release(records)
	}
	return o.merge(ctx, b)
}

func (l *listing) place() (at place) {
	_ = json.Unmarshal([]byte(l.cell.Value), &at)
	return at
}

// complete merges the last page and judges by the list what it did not hold.
func (o *org) complete(ctx context.Context, l *listing, b batch, at place, items int) error {
	if l.scope == record.AccountScope {
		b.Delete, b.Done = b.Done, nil
		merged, err := o.merge(ctx, b)
		l.tally.add(items, merged.Transitions)
		return err
	}
	mark := state.Mark{Scope: string(l.scope), Millis: at.AsOf, Cursor: "0", Source: string(l.cause.Source), Cause: l.cause.ID, Empty: at.Items == 0}
	for {
		b.Mark = &mark
		merged, err := o.mergePage(ctx, l, b)
		if err != nil {
			return err
		}
		l.tally.add(items, merged.Transitions)
		switch merged.Cursor {
		case "0":
			return nil
		case state.CountFirst:
			verify := ""
			if l.verify {
				verify = l.holder
			}
			n, _, samples, err := o.st.Overdue(ctx, mark.Scope, mark.Millis, verify)
			if err != nil {
				return unavailable(err)
			}
			mark.Counted = &n
			if !l.forced && !l.verify && !l.scope.Confirmed() && n > 10 {
				err = o.gone(ctx, l.scope, samples)
			}
			if err != nil {
				return err
			}
		case state.CheckFirst:
			if err := o.gone(ctx, l.scope, merged.Samples); err != nil {
				return err
			}
			mark.Checked = true
		default:
			mark.Cursor = merged.Cursor
		}
		b, items = batch{Batch: state.Batch{Done: b.Done}, judgement: l.judgement}, 0
	}
}

// gone returns nil if Okta does not know any of the records by their ids either:
// a list that suddenly lacks much may be a bad one.
func (o *org) gone(ctx context.Context, scope record.Scope, samples []string) error {
	for _, sample := range samples[:min(len(samples), 3)] {
		id := record.ID(sample)
		owner, member := id.Split()
		var there bool
		var err error
		switch id.Kind() {
		case record.KindMember:
			there, _, err = o.isMember(ctx, owner, member)
		case record.KindAppUser:
			var r okta.Read[okta.AppUser]
			r, err = o.client.AppUser(ctx, owner, member)
			there = r.Found
		case record.KindAppGroup:
			var r okta.Read[okta.AppGroup]
			r, err = o.client.AppGroup(ctx, owner, member)
			there = r.Found
		}
		if err != nil {
			return fmt.Errorf("the list of %s lacks many that were there, and one of them cannot be read to be sure: %w", scope, err)
		}
		if there {
			return fmt.Errorf("the list of %s lacks many that were there, but Okta still has %s: the list is not complete, and nothing of it is taken for deleted", scope, id)
		}
	}
	return nil
}

// ownerOf returns the record whose list it is; the lists of the org have none.
func ownerOf(list string) (record.ID, bool) {
	kind, owner, _ := strings.Cut(list, "/")
	switch kind {
	case "members":
		return record.Group(owner), true
	case "appusers", "appgroups":
		return record.App(owner), true
	case "factors", "userapps":
		return record.User(owner), true
	}
	return "", false
}

// ownerGone: Okta does not know whose list was asked for. The owner's own read
// decides, and what it says holds for its lists. A run waits for that: a list
// whose owner is there after all was not read, and the run says so.
func (o *org) ownerGone(ctx context.Context, l *listing) error {
	id, ok := ownerOf(string(l.scope))
	if !ok {
		return fmt.Errorf("no list of %s, Okta answers: check that the URL is that of the org", l.scope)
	}
	_, owner := id.Split()
	exceed := max(l.exceed, record.AsEvent(o.now().Add(-o.cfg.ListAllowance).UnixMilli()))
	b := batch{asks: []record.Ask{{Target: string(id), Exceed: exceed}}, cause: l.cause, judgement: l.judgement}
	if l.cell != nil {
		if _, err := o.readTarget(ctx, state.Ask{Target: string(id), Exceed: int64(exceed)}, l.cause, l.judgement); err != nil {
			return err
		}
		there, err := o.st.Content(ctx, string(id.Scope()), owner)
		if err != nil {
			return unavailable(err)
		}
		held, err := o.st.Cell(ctx, "held:"+l.holder, string(id))
		if err != nil {
			return unavailable(err)
		}
		going, err := o.st.IsAsked(ctx, "walk/"+string(id)) // what it owns goes first
		if err != nil {
			return unavailable(err)
		}
		if there != nil && held == "" && !going {
			return fmt.Errorf("no list of %s, Okta answers, though %s itself can be read: nothing of it is taken for deleted; start the reconcile again", l.scope, id)
		}
		b.Delete = []state.Cell{*l.cell}
	}
	if strings.HasPrefix(string(l.scope), "userapps/") { // of a user that is gone nothing more is asked
		b.Mark = &state.Mark{Scope: string(l.scope), Millis: exceed.Millis() + 1, Cursor: "0", Source: string(l.cause.Source), Cause: l.cause.ID}
	}
	_, err := o.merge(ctx, b)
	return err
}

// page reads one page of a scope and converts it.
func (o *org) page(ctx context.Context, scope record.Scope, link string) (page, error) {
	kind, owner, _ := strings.Cut(string(scope), "/")
	switch kind {
	case "account":
		r, err := o.client.Support(ctx)
		if okta.IsForbidden(err) { // it wants a super admin: not an error
			now, _ := o.client.Now()
			return page{observations: []record.Observation{o.convert.Account(nil)}, items: 1, start: now}, nil
		}
		return page{observations: []record.Observation{o.convert.Account(&r.Value)}, items: 1, start: r.Start}, err
	case "users":
		return convertPage(o.client.Users(ctx, link))(func(p *page, u okta.User) {
			p.observations = append(p.observations, o.convert.User(u, o.factors))
			if o.factors && u.MayHaveFactors() {
				p.follow = append(p.follow, follow{scope: record.Factors(u.ID)})
			}
		})
	case "groups":
		return convertPage(o.client.Groups(ctx, link))(func(p *page, g okta.Group) {
			ob := o.convert.Group(g)
			p.observations = append(p.observations, ob)
			if !g.Everyone() && len(ob.Empty) == 0 {
				p.follow = append(p.follow, follow{record.Members(g.ID), millis(g.LastMembershipUpdated)})
			}
		})
	case "apps":
		return convertPage(o.client.Applications(ctx, link))(func(p *page, a okta.Application) {
			ob := o.convert.Application(a)
			p.observations = append(p.observations, ob)
			if ob.Present {
				moved := millis(a.LastUpdated)
				p.follow = append(p.follow, follow{record.AppUsers(a.ID), moved}, follow{record.AppGroups(a.ID), moved})
			}
		})
	case "members":
		return convertPage(o.client.GroupMembers(ctx, owner, link))(func(p *page, u okta.Ref) {
			p.observations = append(p.observations, o.convert.Member(owner, u.ID))
		})
	case "appusers":
		return convertPage(o.client.AppUsers(ctx, owner, link))(func(p *page, u okta.AppUser) {
			p.observations = append(p.observations, o.convert.AppUser(owner, u))
		})
	case "appgroups":
		return o.appGroupsPage(ctx, owner)
	case "factors":
		return convertPage(o.client.Factors(ctx, owner))(func(p *page, f okta.Factor) {
			p.observations = append(p.observations, o.convert.Factor(owner, f))
		})
	case "userapps":
		return convertPage(o.client.UserApps(ctx, owner, link))(func(p *page, a okta.UserApp) {
			p.observations = append(p.observations, o.convert.AppUser(a.App.ID, a.User))
		})
	case "changed":
		return o.changedPage(ctx, scope, link)
	}
	return page{}, fmt.Errorf("no list of %s is known", scope)
}

// millis reads a time of Okta's; 0 if it is none.
func millis(text string) int64 {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0
	}
	return t.UnixMilli()
}

// convertPage turns a page of Okta's into ours, item by item.
func convertPage[T any](p okta.Page[T], err error) func(func(*page, T)) (page, error) {
	return func(convert func(*page, T)) (page, error) {
		if err != nil {
			return page{}, err
		}
		out := page{items: len(p.Items), next: p.Next, start: p.Start}
		for _, item := range p.Items {
			convert(&out, item)
		}
		return out, nil
	}
}

// appGroupsPage reads all pages: one group can have rows on several.
func (o *org) appGroupsPage(ctx context.Context, app string) (page, error) {
	var all page
	rows := map[string][]okta.AppGroup{}
	var guard okta.LinkGuard
	for link := ""; ; {
		p, err := o.client.AppGroups(ctx, app, link)
		if err != nil {
			if link != "" && okta.IsNotFound(err) {
				err = fmt.Errorf("the list broke off: %v", err) // not an absence
			}
			return page{}, err
		}
		if link == "" {
			all.start = p.Start
		}
		all.items += len(p.Items)
		for _, row := range p.Items {
			rows[row.ID] = append(rows[row.ID], row)
		}
		if link = p.Next; link == "" {
			break
		}
		if err := guard.Check(link); err != nil {
			return page{}, err
		}
	}
	for _, of := range rows {
		all.observations = append(all.observations, o.convert.AppGroup(app, of))
	}
	return all, nil
}

// changedPage lists what changed since the last list of the same kind.
func (o *org) changedPage(ctx context.Context, scope record.Scope, link string) (page, error) {
	whole := record.Users
	if scope == record.ChangedGroups {
		whole = record.Groups
	}
	var since int64
	for _, s := range []record.Scope{whole, scope} {
		ms, err := o.st.Watermark(ctx, string(s))
		if err != nil {
			return page{}, err
		}
		since = max(since, ms)
	}
	from := time.UnixMilli(since).UTC()
	if scope == record.ChangedUsers {
		return convertPage(o.client.UsersChangedSince(ctx, from, link))(func(p *page, u okta.User) {
			p.observations = append(p.observations, o.convert.User(u, o.factors))
		})
	}
	var failed error
	p, err := convertPage(o.client.GroupsChangedSince(ctx, from, link))(func(p *page, g okta.Group) {
		ob := o.convert.Group(g)
		p.observations = append(p.observations, ob)
		moved, err := time.Parse(time.RFC3339, g.LastMembershipUpdated)
		if g.Everyone() || len(ob.Empty) > 0 || err != nil {
			return
		}
		mark, err := o.st.Watermark(ctx, string(record.Members(g.ID)))
		if err != nil {
			failed = err
		}
		if moved.UnixMilli() >= mark {
			p.asks = append(p.asks, record.Ask{Target: string(record.Members(g.ID)), Exceed: record.AsEvent(moved.UnixMilli())})
		}
	})
	return p, errors.Join(err, failed)
}
