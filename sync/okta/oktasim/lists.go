package oktasim

import (
	"encoding/base64"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

func (u *user) attr() func(string) (string, bool) {
	var profile map[string]any
	return func(name string) (string, bool) {
		switch name {
		case "id":
			return u.id, true
		case "status":
			return u.status, true
		case "created":
			return timeText(u.created)
		case "activated":
			return timeText(u.activated)
		case "statusChanged":
			return timeText(u.statusChanged)
		case "lastUpdated":
			return timeText(u.lastUpdated)
		case "type.id":
			return "oty1a2b3c4d5e6f7g697", true
		}
		if profile == nil {
			profile = decodeProfile(u.profile)
		}
		return profileText(profile, name)
	}
}

func profileText(p map[string]any, name string) (string, bool) {
	v, ok := p[strings.TrimPrefix(name, "profile.")]
	if !ok || v == nil {
		return "", false
	}
	return fmt.Sprint(v), true
}

func (g *group) attr() func(string) (string, bool) {
	return func(name string) (string, bool) {
		switch name {
		case "id":
			return g.id, true
		case "type":
			return g.typ, true
		case "source.id":
			return g.source, g.source != ""
		case "created":
			return timeText(g.created)
		case "lastUpdated":
			return timeText(g.lastUpdated)
		case "lastMembershipUpdated":
			return timeText(g.lastMembershipUpdated)
		}
		return profileText(decodeProfile(g.profile), name)
	}
}

// userList adds the users behind from that keep lets through.
func (c *req) userList(p *page, from string, keep func(*userNode, *user) bool) answer {
	for _, n := range c.users.nodes[c.users.after(from):] {
		u := n.asOf(c.at)
		if u == nil || !keep(n, u) {
			continue
		}
		if !p.add(u.id, func(b []byte) []byte { return u.append(b, c.url) }) {
			break
		}
	}
	return p.answer()
}

func (c *req) listUsers() (answer, error) {
	p, from, err := c.page(200, 1, 200)
	if err != nil {
		return answer{}, err
	}
	filter, err := c.filter("filter", userFilterAttrs)
	if err != nil {
		return answer{}, err
	}
	search, err := c.filter("search", userSearchAttrs)
	if err != nil {
		return answer{}, err
	}
	return c.userList(p, from, func(_ *userNode, u *user) bool {
		if filter == nil && search == nil {
			return u.status != "DEPROVISIONED"
		}
		get := u.attr()
		return (filter == nil || filter(get)) && (search == nil || search(get))
	}), nil
}

// userAt finds a user by id, login or the part of a login before the @ that
// only one user has.
func (c *req) userAt(key string) (*userNode, *user, error) {
	n, found := c.users.get(key)
	if !found || n.now() == nil {
		n = c.logins[strings.ToLower(key)]
	}
	if n == nil && !strings.Contains(key, "@") && !strings.HasPrefix(key, "00u") {
		for login, other := range c.logins {
			if strings.HasPrefix(login, strings.ToLower(key)+"@") {
				if n != nil {
					n = nil
					break
				}
				n = other
			}
		}
	}
	if n == nil || n.now() == nil {
		return nil, nil, notFound("User", key)
	}
	return n, n.now(), nil
}

func (c *req) oneUser() (answer, error) {
	_, u, err := c.userAt(c.path[1])
	if err != nil {
		return answer{}, err
	}
	return ok(u.append(nil, c.url)), nil
}

func (c *req) userGroups() (answer, error) {
	n, _, err := c.userAt(c.path[1])
	if err != nil {
		return answer{}, err
	}
	p, from, err := c.page(200, 1, 200)
	if err != nil {
		return answer{}, err
	}
	ids := slices.Clone(n.groups)
	if n.asOf(c.at) != nil {
		ids.add(c.everyone.key)
	}
	for _, id := range ids[ids.after(from):] {
		g, found := c.groups.get(id)
		if !found {
			continue
		}
		v := g.asOf(c.at)
		if v == nil {
			continue
		}
		if !g.everyone {
			if m, found := g.members.get(n.key); !found || m.asOf(c.at) == nil {
				continue
			}
		}
		if !p.add(id, func(b []byte) []byte { return v.append(b, c.url, false) }) {
			break
		}
	}
	return p.answer(), nil
}

func (c *req) userFactors() (answer, error) {
	n, u, err := c.userAt(c.path[1])
	if err != nil {
		return answer{}, err
	}
	p := &page{c: c, limit: len(n.factors.nodes), b: []byte{'['}}
	for _, f := range n.factors.nodes {
		if v := f.now(); v != nil {
			p.add(f.key, func(b []byte) []byte { return v.append(b, c.url, u.id) })
		}
	}
	return p.answer(), nil
}

func (c *req) nothingOfUser() (answer, error) {
	_, _, err := c.userAt(c.path[1])
	return answer{status: 200, body: []byte("[]"), list: true}, err
}

func (c *req) listGroups() (answer, error) {
	expand := strings.Split(c.q.Get("expand"), ",")
	stats := slices.Contains(expand, "stats")
	byDefault := 10_000
	if stats {
		byDefault = 200
	}
	p, from, err := c.page(byDefault, 1, 10_000)
	if err != nil {
		return answer{}, err
	}
	filter, err := c.filter("filter", groupFilterAttrs)
	if err != nil {
		return answer{}, err
	}
	search, err := c.filter("search", groupSearchAttrs)
	if err != nil {
		return answer{}, err
	}
	for _, n := range c.groups.nodes[c.groups.after(from):] {
		g := n.asOf(c.at)
		if g == nil || filter != nil && !filter(g.attr()) || search != nil && !search(g.attr()) {
			continue
		}
		if !p.add(g.id, func(b []byte) []byte { return g.append(b, c.url, stats) }) {
			break
		}
	}
	return p.answer(), nil
}

// groupOf finds the group of the path: its own 404 is never late.
func (c *req) groupOf() (*groupNode, error) {
	g, found := c.groups.get(c.path[1])
	if !found || g.now() == nil {
		return nil, notFound("UserGroup", c.path[1])
	}
	return g, nil
}

func (c *req) oneGroup() (answer, error) {
	g, err := c.groupOf()
	if err != nil {
		return answer{}, err
	}
	return ok(g.now().append(nil, c.url, false)), nil
}

func (c *req) nothingOfGroup() (answer, error) {
	_, err := c.groupOf()
	return answer{status: 200, body: []byte("[]"), list: true}, err
}

func (c *req) groupUsers() (answer, error) {
	g, err := c.groupOf()
	if err != nil {
		return answer{}, err
	}
	p, from, err := c.page(1000, 1, 1000)
	if err != nil {
		return answer{}, err
	}
	if g.everyone {
		return c.userList(p, from, func(*userNode, *user) bool { return true }), nil
	}
	for _, m := range g.members.nodes[g.members.after(from):] {
		if m.asOf(c.at) == nil {
			continue
		}
		n, found := c.users.get(m.key)
		if !found {
			continue
		}
		if u := n.asOf(c.at); u != nil && !p.add(u.id, func(b []byte) []byte { return u.append(b, c.url) }) {
			break
		}
	}
	return p.answer(), nil
}

func (c *req) groupApps() (answer, error) {
	g, err := c.groupOf()
	if err != nil {
		return answer{}, err
	}
	p, from, err := c.page(20, 1, 200)
	if err != nil {
		return answer{}, err
	}
	for _, n := range c.apps.nodes[c.apps.after(from):] {
		a := n.asOf(c.at)
		if a == nil {
			continue
		}
		has := false
		for _, row := range n.groups.nodes[n.groups.seek(g.key):] {
			if !strings.HasPrefix(row.key, g.key) {
				break
			}
			has = has || row.asOf(c.at) != nil
		}
		if has && !p.add(a.id, func(b []byte) []byte { return a.append(b, c.url, nil) }) {
			break
		}
	}
	return p.answer(), nil
}

// userIn returns the value of user.id in the filter, which narrows the list of
// applications to those of one user.
func userIn(expr string) string {
	_, rest, found := strings.Cut(expr, `user.id eq "`)
	if !found {
		return ""
	}
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

func (c *req) listApps() (answer, error) {
	p, from, err := c.page(20, 1, 200)
	if err != nil {
		return answer{}, err
	}
	filter, err := c.filter("filter", appFilterAttrs)
	if err != nil {
		return answer{}, err
	}
	expr := c.q.Get("filter")
	userID := userIn(expr)
	var nodes []*appNode
	if userID == "" {
		nodes = c.apps.nodes[c.apps.after(from):]
	} else if n, found := c.users.get(userID); found {
		for _, id := range n.apps[n.apps.after(from):] {
			if a, found := c.apps.get(id); found {
				nodes = append(nodes, a)
			}
		}
	}
	expanded, _ := strings.CutPrefix(c.q.Get("expand"), "user/")
	inactive := c.q.Get("includeNonDeleted") == "true" || strings.Contains(expr, "status")
	for _, n := range nodes {
		a := n.asOf(c.at)
		if a == nil || a.status != "ACTIVE" && !inactive {
			continue
		}
		assigned := func(id string) *appUser {
			if row, found := n.users.get(id); found {
				return row.asOf(c.at)
			}
			return nil
		}
		match := filter == nil || filter(func(attr string) (string, bool) {
			switch attr {
			case "id":
				return a.id, true
			case "name":
				return a.name, true
			case "status":
				return a.status, true
			default: // user.id
				return userID, assigned(userID) != nil
			}
		})
		if !match {
			continue
		}
		var embedded *appUser
		if expanded != "" {
			embedded = assigned(expanded)
		}
		if !p.add(a.id, func(b []byte) []byte { return a.append(b, c.url, embedded) }) {
			break
		}
	}
	return p.answer(), nil
}

func (c *req) appOf() (*appNode, error) {
	a, found := c.apps.get(c.path[1])
	if !found || a.now() == nil {
		return nil, notFound("AppInstance", c.path[1])
	}
	return a, nil
}

func (c *req) oneApp() (answer, error) {
	a, err := c.appOf()
	if err != nil {
		return answer{}, err
	}
	return ok(a.now().append(nil, c.url, nil)), nil
}

func (c *req) appUsers() (answer, error) {
	a, err := c.appOf()
	if err != nil {
		return answer{}, err
	}
	p, from, err := c.page(50, 1, 500)
	if err != nil {
		return answer{}, err
	}
	for _, n := range a.users.nodes[a.users.after(from):] {
		if u := n.asOf(c.at); u != nil && !p.add(n.key, func(b []byte) []byte { return u.append(b, c.url, a.key) }) {
			break
		}
	}
	return p.answer(), nil
}

func (c *req) oneAppUser() (answer, error) {
	a, err := c.appOf()
	if err != nil {
		return answer{}, err
	}
	n, found := a.users.get(c.path[3])
	if !found || n.now() == nil {
		return answer{}, notFound("AppUser", c.path[3])
	}
	return ok(n.now().append(nil, c.url, a.key)), nil
}

func (c *req) appGroups() (answer, error) {
	a, err := c.appOf()
	if err != nil {
		return answer{}, err
	}
	p, from, err := c.page(20, 20, 200)
	if err != nil {
		return answer{}, err
	}
	for _, n := range a.groups.nodes[a.groups.after(from):] {
		if g := n.asOf(c.at); g != nil && !p.add(n.key, func(b []byte) []byte { return g.append(b, c.url, a.key) }) {
			break
		}
	}
	return p.answer(), nil
}

// oneAppGroup answers with the row that counts, should there be several.
func (c *req) oneAppGroup() (answer, error) {
	a, err := c.appOf()
	if err != nil {
		return answer{}, err
	}
	for _, n := range a.groups.nodes[a.groups.seek(c.path[3]):] {
		if g := n.now(); g != nil && g.group == c.path[3] {
			return ok(g.append(nil, c.url, a.key)), nil
		}
	}
	return answer{}, notFound("GroupAppAssignment", c.path[3])
}

func (c *req) org() (answer, error) { return ok(c.orgJSON()), nil }

func (o *Org) orgJSON() []byte {
	return mustJSON(map[string]any{
		"id": "00o1a2b3c4d5e6f7g697", "companyName": "Example Inc.", "website": "https://www.example.com",
		"subdomain": "example", "status": "ACTIVE", "expiresAt": nil,
		"created": "2020-01-01T00:00:00.000Z", "lastUpdated": "2024-01-01T00:00:00.000Z",
	})
}

func (c *req) support() (answer, error) { return ok(supportJSON), nil }

var supportJSON = []byte(`{"support":"DISABLED","expiration":null,"caseNumber":null}`)

// logs answers from the System Log: without until, events by the time at which
// they were stored, and always a next link; with it, those between since and
// until by the time at which they happened.
func (c *req) logs() (answer, error) {
	limit := 100
	if text := c.q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 1000 {
			return answer{}, failure("E0000001", "limit: must be between 0 and 1000")
		}
		limit = n
	}
	if c.q.Has("q") {
		return answer{}, failure("E0000031", "q is not simulated")
	}
	match, err := c.filter("filter", logFilterAttrs)
	if err != nil {
		return answer{}, err
	}
	now := c.settled / 1e6
	oldest := now - keepLog
	moment := func(name string, byDefault int64) (int64, error) {
		text := c.q.Get(name)
		if text == "" {
			return byDefault, nil
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return 0, failure("E0000001", name+": must be a time")
		}
		return t.UnixMilli(), nil
	}
	until, err := moment("until", now+1)
	if err != nil {
		return answer{}, err
	}
	since, err := moment("since", min(until, now)-7*dayMS)
	if err != nil {
		return answer{}, err
	}
	order := c.q.Get("sortOrder")
	bounded, descending := c.q.Has("until") || order == "DESCENDING", order == "DESCENDING"
	after := c.q.Get("after")
	switch {
	case order != "" && order != "ASCENDING" && order != "DESCENDING":
		return answer{}, failure("E0000001", "sortOrder: unknown")
	case since < now-2*keepLog:
		return answer{}, failure("E0000001", "since: more than 180 days ago")
	case after != "" && c.q.Has("since"):
		return answer{}, failure("E0000001", "since and after exclude each other")
	}
	// A cursor is the place of the last event: its time, and its number. It ends
	// with the log that it was made for.
	var cur struct{ moves, kind, since, until, at, seq int64 }
	if after != "" {
		b, err := base64.RawURLEncoding.DecodeString(after)
		if _, scanned := fmt.Sscanf(string(b), "log|%d|%d|%d|%d|%d|%d", &cur.moves, &cur.kind, &cur.since, &cur.until, &cur.at, &cur.seq); err != nil || scanned != nil || cur.moves != c.logMoves {
			return answer{}, failure("E0000001", "after: Invalid cursor")
		}
		if cur.at < oldest {
			return answer{}, failure("E0000001", "after: the cursor is older than the log")
		}
		since, until = cur.since, cur.until
		bounded, descending = cur.kind > 0, cur.kind == 2
	} else {
		cur.since, cur.until, cur.at = since, until, max(since, oldest)
		cur.moves, cur.seq = c.logMoves, -1
		switch {
		case descending:
			cur.kind, cur.at = 2, until
		case bounded:
			cur.kind = 1
		}
	}

	var events []*logged
	var key func(*logged) int64
	if bounded {
		key = func(e *logged) int64 { return e.published }
		for _, e := range c.log {
			if e.persisted <= now && e.persisted >= oldest && e.published >= since && e.published < until {
				events = append(events, e)
			}
		}
		sort.Slice(events, func(i, j int) bool {
			a, b := events[i], events[j]
			if descending {
				a, b = b, a
			}
			return a.published < b.published || a.published == b.published && a.seq < b.seq
		})
	} else {
		key = func(e *logged) int64 { return e.persisted }
		i := sort.Search(len(c.log), func(i int) bool { return c.log[i].persisted >= cur.at })
		n := sort.Search(len(c.log), func(i int) bool { return c.log[i].persisted > now })
		events = c.log[min(i, n):n]
	}
	b, n, more := []byte{'['}, 0, false
	for _, e := range events {
		at := key(e)
		if descending {
			if after != "" && (at > cur.at || at == cur.at && e.seq >= cur.seq) {
				continue
			}
		} else if at < cur.at || at == cur.at && e.seq <= cur.seq {
			continue
		}
		if match != nil && !e.matches(match) {
			continue
		}
		if n == limit {
			more = true
			break
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, e.log...)
		n++
		after, cur.at, cur.seq = "x", at, e.seq
	}
	// The place of who keeps polling never grows too old, however quiet the org.
	if fresh := now - keepLog/2; !bounded && !more && cur.at < fresh {
		cur.at, cur.seq = fresh, -1
	}
	a := answer{status: 200, body: append(b, ']'), list: true}
	if !bounded || more {
		q := c.q
		q.Del("since")
		q.Del("until")
		q.Set("after", base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "log|%d|%d|%d|%d|%d|%d", cur.moves, cur.kind, cur.since, cur.until, cur.at, cur.seq)))
		a.next = c.url + "/api/v1/logs?" + q.Encode()
	}
	return a, nil
}

// ExpireLogLinks makes the log refuse every link that it gave so far, as after
// the org was moved. Its events stay.
func (o *Org) ExpireLogLinks() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logMoves++
}

// matches tells whether the filter holds for the event with one of its targets.
func (e *logged) matches(f filter) bool {
	targets := e.targets
	if len(targets) == 0 {
		targets = []string{""}
	}
	for _, id := range targets {
		if f(func(attr string) (string, bool) {
			switch attr {
			case "eventType":
				return e.Type, true
			case "target.id":
				return id, id != ""
			case "actor.id":
				return e.actor, true
			case "transaction.id":
				return e.transaction, true
			default: // outcome.result
				return e.result, true
			}
		}) {
			return true
		}
	}
	return false
}
