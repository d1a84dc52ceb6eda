package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oktasync/oktasync/state"
	"github.com/oktasync/oktasync/sync/okta"
)

// Sizes of pages, as the service asks for them.
const (
	usersPage   = 200
	groupsPage  = 200
	membersPage = 1000
	appsPage    = 200
)

// Bytes that a record takes in Redis, all indexes included, of simulated orgs as
// oktasync bench reconcile measures them: many custom attributes need more.
const (
	memberBytes     = 110
	assignmentBytes = 200
	objectBytes     = 2500
	factorBytes     = 1500 // those of a user
	// changeBytes is what a change takes that is kept for readers, as measured at
	// as many as are kept.
	changeBytes = 600
	// emptyBytes is what Redis takes with nothing in it.
	emptyBytes = 1 << 20
)

// readCost is what a full read of an org will cost, as far as a glance tells.
type readCost struct {
	Users        int  `json:"users"`
	WithFactors  int  `json:"usersWithFactors"` // estimated from the first page of users
	Groups       int  `json:"groups"`
	Memberships  int  `json:"memberships"` // those of Everyone left out: its members are not read
	Applications int  `json:"applications"`
	AppUsers     int  `json:"applicationUsers"`  // estimated from some applications
	AppGroups    int  `json:"applicationGroups"` // likewise
	AtLeast      bool `json:"atLeast"`           // there is more than was looked at

	Calls             int   `json:"calls"`
	Seconds           int64 `json:"seconds"`
	FactorCalls       int   `json:"callsWithFactors"`
	FactorSeconds     int64 `json:"secondsWithFactors"`
	Latency           int64 `json:"millisecondsACall"` // of the calls of this look
	RedisBytes        int64 `json:"redisBytes"`        // with factors, after the first full read
	RedisBytesAtMost  int64 `json:"redisBytesAtMost"`  // with as many changes as are kept for readers
	membersPages      int
	everyone          int // its usersCount
	listedUsers       int // of the first page
	usersListed       bool
	moreGroups        bool
	moreApps          bool
	sampled           int // applications
	appUsers          sampled
	appGroups         sampled
	listedWithFactors int
	atOnce            int // calls
}

// addGroup counts a group, and returns how many members are to be read.
func (f *readCost) addGroup(g okta.Group) int {
	f.Groups++
	if g.Everyone() {
		return 0
	}
	if g.Embedded.Stats == nil || g.Embedded.Stats.UsersCount == nil {
		f.membersPages++ // Okta does not say: at least one call
		f.AtLeast = true
		return 0
	}
	n := *g.Embedded.Stats.UsersCount
	f.Memberships += n
	f.membersPages += pages(n, membersPage)
	return n
}

// pages is how many calls a list of n takes.
func pages(n, size int) int { return (n + size - 1) / size }

// limits tells of each bucket.
func (o *orgCheck) limits() {
	all := o.client.RateLimits()
	o.r.RateLimits = all
	if len(all) == 0 {
		o.r.skip("limits.buckets", "Okta's rate limits are not known.", "no answer told them, which Okta's always do", "check what is between this machine and Okta, and takes headers away")
		return
	}
	for i, l := range all {
		check := fmt.Sprintf("limits.bucket%d", i+1)
		what := fmt.Sprintf("%s: %d calls a minute, of everybody together; %d are left in this minute. Lists of this service take %d of them.",
			strings.Join(l.Endpoints, ", "), l.Limit, l.Remaining, l.Lists)
		if l.Remaining*almostUsedUp < l.Limit {
			o.r.add(finding{check, levelWarning, what, "something else uses up this limit, and reads wait until the next minute",
				"look at the rate limit dashboard of the Admin Console (Reports › Rate limits) for who calls, or lower OKTASYNC_RATE_LIMIT_SHARE to leave them more"})
			continue
		}
		o.r.ok(check, "%s", what)
	}
	if o.RateLimitShare > 0.5 {
		o.r.add(finding{"limits.share", levelWarning, fmt.Sprintf("The share of each limit that this service may use is %v.", o.RateLimitShare),
			"Okta lets a token use half of a limit unless an administrator gave it more: calls beyond that are refused, and cost time",
			"set OKTASYNC_RATE_LIMIT_SHARE to 0.5 or less, or raise the token's share in the Admin Console"})
	}
}

// estimate tells what a full read will cost.
func (o *orgCheck) estimate() {
	f := &o.glance
	if f.listedUsers == 0 || f.Groups == 0 {
		o.r.skip("limits.full-read", "What a full read will cost is not known.", "users and groups cannot be read", "mend the rights above, and run doctor again")
		return
	}
	f.calculate(o.client.RateLimits(), o.pace())
	o.r.FullRead = f

	about := "about "
	if f.AtLeast {
		about = "at least "
	}
	o.r.ok("limits.full-read", "A full read takes %s%s and %s; with factors %s and %s. "+
		"That is for %s, %s with %s, %s with %s and %s.",
		about, count(f.Calls, "call", "calls"), lasting(f.Seconds), count(f.FactorCalls, "call", "calls"), lasting(f.FactorSeconds),
		count(f.Users, "user", "users"), count(f.Groups, "group", "groups"), count(f.Memberships, "membership", "memberships"),
		count(f.Applications, "application", "applications"), count(f.AppUsers, "user", "users"), count(f.AppGroups, "group", "groups"))
	o.r.ok("limits.how", "%s", f.how())
}

// pace is how fast calls are answered, limits aside.
type pace struct {
	each   time.Duration // until an answer is there
	atOnce int
}

// pace is that of the calls of this look, which were made one after the other.
func (o *orgCheck) pace() pace {
	return pace{time.Since(o.begun) / time.Duration(max(o.client.Stats().Calls-o.before, 1)), o.MaxInFlight}
}

// calculate finds out the calls, the time and the memory.
func (f *readCost) calculate(buckets []okta.RateLimit, p pace) {
	f.fill()
	calls := map[string]int{
		"users":          pages(f.Users, usersPage),
		"groups":         pages(f.Groups, groupsPage),
		"groups/*/users": f.membersPages,
		"apps":           pages(max(f.Applications, 1), appsPage),
		"apps/*/users":   f.scaled(f.appUsers.pages),
		"apps/*/groups":  f.scaled(f.appGroups.pages),
	}
	f.Calls = 2 // the account: once to learn Okta's time
	for _, n := range calls {
		f.Calls += n
	}
	f.Latency, f.atOnce = p.each.Milliseconds(), p.atOnce
	f.Seconds = max(seconds(buckets, calls), p.seconds(f.Calls))
	calls["users/*/factors"] = f.WithFactors
	f.FactorCalls = f.Calls + f.WithFactors
	f.FactorSeconds = max(seconds(buckets, calls), p.seconds(f.FactorCalls))
	members, assignments := int64(f.Memberships), int64(f.AppUsers+f.AppGroups)
	objects, factors := int64(f.Users+f.Groups+f.Applications), int64(f.WithFactors)
	records := emptyBytes + memberBytes*members + assignmentBytes*assignments + objectBytes*objects + factorBytes*factors
	// The first full read makes a change of each.
	f.RedisBytes = records + changeBytes*min(members+assignments+objects+factors, state.KeepChanges)
	f.RedisBytesAtMost = records + changeBytes*state.KeepChanges
}

// seconds is how long calls take that wait for answers alone.
func (p pace) seconds(calls int) int64 {
	return int64(time.Duration(calls) * p.each / time.Duration(max(p.atOnce, 1)) / time.Second)
}

// fill makes numbers of the whole org from what was looked at.
func (f *readCost) fill() {
	f.Users = f.listedUsers
	if !f.usersListed {
		f.Users = max(f.Users, f.everyone)
	}
	f.WithFactors = (f.Users*f.listedWithFactors + f.listedUsers - 1) / f.listedUsers
	f.AppUsers, f.AppGroups = f.scaled(f.appUsers.objects), f.scaled(f.appGroups.objects)
	f.AtLeast = f.AtLeast || f.moreGroups || f.moreApps || f.appUsers.more || f.appGroups.more || !f.usersListed && f.everyone == 0
}

// scaled is of all applications what was seen of some.
func (f *readCost) scaled(n int) int {
	if f.sampled == 0 {
		return 0
	}
	return (n*f.Applications + f.sampled - 1) / f.sampled
}

// how tells what is counted, and what is estimated.
func (f *readCost) how() string {
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if f.usersListed {
		say("users are counted")
	} else {
		say("users are the members of Everyone, as Okta counts them")
		say("users who may have factors are taken from the first %d", f.listedUsers)
	}
	if f.moreGroups {
		say("of groups only the first %d are counted", f.Groups)
	} else {
		say("groups and memberships are counted")
	}
	if f.moreApps {
		say("of applications only the first %d are counted", f.Applications)
	} else {
		say("applications are counted")
	}
	if f.sampled < f.Applications {
		say("assignments are those of %s, taken for all", count(f.sampled, "application", "applications"))
	} else if f.sampled > 0 {
		say("assignments are counted")
	}
	if f.appUsers.more || f.appGroups.more {
		say("of large applications only the first pages are counted")
	}
	return "How that was found: " + strings.Join(parts, "; ") + ". The time is what rate limits allow, or what so many calls take at " +
		fmt.Sprintf("%d ms each, as they did now, and %d at once, whichever is longer", f.Latency, f.atOnce) +
		"; endpoints that may share a limit are taken to share it. It is longer while others call much."
}

// seconds is how long calls take by what rate limits allow: as many as fit go at once
// in each minute, and different buckets side by side.
func seconds(buckets []okta.RateLimit, calls map[string]int) int64 {
	var most time.Duration
	for _, b := range buckets {
		n := 0
		for endpoint, calls := range calls {
			if slices.Contains(b.Endpoints, endpoint) {
				n += calls
			}
		}
		if n > 0 && b.Lists > 0 {
			most = max(most, time.Duration((n-1)/b.Lists)*time.Minute)
		}
	}
	return int64(most / time.Second)
}

// lasting tells about how long that is.
func lasting(seconds int64) string {
	if seconds < 60 {
		return "less than a minute"
	}
	return "some " + count(int((seconds+59)/60), "minute", "minutes")
}
