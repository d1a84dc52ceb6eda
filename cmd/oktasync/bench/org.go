package bench

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// shape is how an org's groups and applications are sized.
type shape string

const (
	// heavy is heavy-tailed: beside Everyone there are few groups that hold a tenth of
	// all users or more and many small ones, a tenth of the groups is empty. A user is in
	// 10 groups and has 5 applications, on average; there is a group for each 10 users,
	// an application for each 200.
	heavy shape = "heavy"
	// even is that of the bound of a full reconcile: groups of 100, a tenth as many as
	// there are users, and applications of 1,000 users, one for each 50.
	even shape = "bound"
)

// org is an org of which everything is worked out from its index when it is asked for:
// a million users take no memory but for the sizes of groups and applications, and
// answering costs little. Object 0 of the groups is Everyone. It does not change, but that
// grow adds users; of those no group but Everyone knows.
type org struct {
	shape     shape
	base      int   // users at the start
	groups    []int // members of group i, from 1 on; at 0 stands nothing
	apps      []int // users of application i
	stride    int   // walks over all users, in an order that is not that of the ids
	unstride  int   // stride · unstride = 1, modulo base
	members   int   // sum of groups
	appUsers  int   // sum of apps
	appGroups int   // rows of all applications
}

func newOrg(s shape, users int) (*org, error) {
	if users < 10 || users > 5_000_000 {
		return nil, fmt.Errorf("an org of %d users: it must have from 10 to 5,000,000", users)
	}
	o := &org{shape: s, base: users}
	switch s {
	case heavy:
		o.groups = tail(max(users/10, 5), 10*users, users/4)
		o.apps = tail(max(users/200, 3), 5*users, users/2)
		for g := range o.groups {
			if g%10 == 9 {
				o.groups[g] = 0
			}
		}
	case even:
		o.groups, o.apps = same(users/10, min(100, users)), same(max(users/50, 1), min(1000, users))
	default:
		return nil, fmt.Errorf("a shape %q: there are %s and %s", s, heavy, even)
	}
	o.groups = append([]int{0}, o.groups...)
	for _, n := range o.groups {
		o.members += n
	}
	for a, n := range o.apps {
		o.appUsers += n
		o.appGroups += o.groupsOfApp(a)
	}
	o.stride, o.unstride = 1, 1
	for n := 1_000_003; users > 1; n += 2 {
		if inverse, ok := invert(n%users, users); ok {
			o.stride, o.unstride = n%users, inverse
			break
		}
	}
	return o, nil
}

// invert returns b with a·b = 1, modulo n.
func invert(a, n int) (int, bool) {
	r0, r1, t0, t1 := n, a, 0, 1
	for r1 != 0 {
		q := r0 / r1
		r0, r1, t0, t1 = r1, r0-q*r1, t1, t0-q*t1
	}
	return (t0 + n) % n, r0 == 1
}

func same(n, size int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = size
	}
	return all
}

// tail returns n sizes of about sum in all, the r-th of them c/(r+3) but at most most,
// in an order that is not that of the sizes.
func tail(n, sum, most int) []int {
	at := func(c float64, r int) int { return max(1, min(most, int(c/float64(r+3)))) }
	total := func(c float64) (t int) {
		for r := range n {
			t += at(c, r)
		}
		return t
	}
	low, high := 0.0, float64(most)*float64(n+3)
	for range 60 {
		if c := (low + high) / 2; total(c) < sum {
			low = c
		} else {
			high = c
		}
	}
	step := n/2 + 1
	for ; ; step++ {
		if _, ok := invert(step%n, n); ok || n == 1 {
			break
		}
	}
	all := make([]int, n)
	for r := range n {
		all[r*step%n] = at(high, r)
	}
	return all
}

// mix is a hash of a number, and of what it is for.
func mix(i int, purpose uint64) uint64 {
	x := uint64(i)*0x9e3779b97f4a7c15 + purpose*0xd1b54a32d192ed03
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Purposes of mix.
const (
	forID uint64 = iota
	forStatus
	forTime
	forMembers
	forAppUsers
	forAppGroups
	forFactors
	forNames
)

// Prefixes of ids.
const (
	userPrefix   = "00u"
	groupPrefix  = "00g"
	appPrefix    = "0oa"
	factorPrefix = "opf"
)

const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// appendID appends an id as Okta's: 20 characters, of which few tell the order.
func appendID(b []byte, prefix string, i int) []byte {
	b = append(b, prefix...)
	var count [7]byte
	for n, at := i, len(count)-1; at >= 0; n, at = n/36, at-1 {
		count[at] = digits[n%36]
	}
	b = append(b, count[:]...)
	for x, n := mix(i, forID), 0; n < 7; x, n = x/62, n+1 {
		b = append(b, digits[x%62])
	}
	return append(b, "697"...)
}

func id(prefix string, i int) string { return string(appendID(nil, prefix, i)) }

// index returns what id made; false if it is none of the first n.
func index(prefix, text string, n int) (int, bool) {
	if len(text) != 20 || !strings.HasPrefix(text, prefix) {
		return 0, false
	}
	i, err := strconv.ParseInt(text[3:10], 36, 64)
	return int(i), err == nil && i >= 0 && i < int64(n) && id(prefix, int(i)) == text
}

// member returns the j-th user of group g.
func (o *org) member(g, j int) int { return o.user(mix(g, forMembers), j) }

// isMember is the inverse of member.
func (o *org) isMember(g, u int) bool { return o.within(mix(g, forMembers), o.groups[g], u) }

// appUser returns the j-th user of application a.
func (o *org) appUser(a, j int) int { return o.user(mix(a, forAppUsers), j) }

// isAppUser is the inverse of appUser.
func (o *org) isAppUser(a, u int) bool { return o.within(mix(a, forAppUsers), o.apps[a], u) }

func (o *org) user(first uint64, j int) int {
	return (int(first%uint64(o.base)) + j) % o.base * o.stride % o.base
}

func (o *org) within(first uint64, n, u int) bool {
	return u < o.base && (u*o.unstride%o.base-int(first%uint64(o.base))+o.base)%o.base < n
}

// groupsOfApp returns how many groups an application is assigned to.
func (o *org) groupsOfApp(a int) int {
	return min(int(mix(a, forAppGroups)%8), len(o.groups)-1)
}

// appGroup returns the j-th of them.
func (o *org) appGroup(a, j int) int {
	return 1 + (int(mix(a, forAppGroups)>>8%uint64(len(o.groups)-1))+j)%(len(o.groups)-1)
}

// factorsOf returns how many factors a user has.
func (o *org) factorsOf(u int) int {
	if s := status(u); s == "STAGED" || s == "DEPROVISIONED" {
		return 0
	}
	return int(mix(u, forFactors) % 4)
}

// status returns a user's: of a hundred, ninety are active.
func status(u int) string {
	switch n := mix(u, forStatus) % 100; {
	case n < 90 || u == 0:
		return "ACTIVE"
	case n < 95:
		return "DEPROVISIONED"
	default:
		return [...]string{"STAGED", "PROVISIONED", "SUSPENDED", "PASSWORD_EXPIRED", "LOCKED_OUT"}[n-95]
	}
}

// The org was made in the years before this moment; since then it is quiet.
var quietSince = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const years = 4

// made returns when an object was made, and when it changed last, ms.
func made(i int, purpose uint64) (created, updated int64) {
	const span = years * 365 * 24 * 3600 * 1000
	x := mix(i, forTime+purpose<<8)
	created = quietSince.UnixMilli() - int64(x%span)
	return created, created + int64(x>>32)%(quietSince.UnixMilli()-created+1)
}

// fewest returns the calls of a full read by section 4 of Okta's management API notes,
// by family; of what is read once, only Okta's support access.
func (o *org) fewest(factors bool) map[string]int {
	up := func(n, page int) int { return (n + page - 1) / page }
	calls := map[string]int{
		"account": 1, "users": up(o.base, 200), "groups": up(len(o.groups), 200), "apps": up(len(o.apps), 200),
	}
	for _, n := range o.groups {
		calls["members"] += up(n, 1000)
	}
	for a, n := range o.apps {
		calls["assignments"] += max(1, up(n, 500)) + max(1, up(o.groupsOfApp(a), 200))
	}
	if factors {
		for u := range o.base {
			if s := status(u); s != "STAGED" && s != "DEPROVISIONED" {
				calls["factors"]++
			}
		}
	}
	return calls
}

// records returns how many of each kind a full read finds, as the service counts them.
func (o *org) records(factors bool) map[string]int {
	n := map[string]int{"account": 1, "user": o.base, "group": len(o.groups), "member": o.members,
		"app": len(o.apps), "appuser": o.appUsers, "appgroup": o.appGroups}
	if factors {
		for u := range o.base {
			n["factor"] += o.factorsOf(u)
		}
	}
	return n
}
