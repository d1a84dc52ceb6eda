package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oktasync/oktasync/sync/okta"
)

// Bounds of what is read to look at an org: a glance, not a read.
const (
	glanceGroups  = 10 // pages of groups
	glanceApps    = 5  // pages of applications
	sampledApps   = 5  // of which the assignments are looked at
	sampledPages  = 2  // of each of their lists
	largestSkew   = time.Minute
	almostUsedUp  = 5 // a bucket with less than a fifth of its calls left: lists stop at a tenth
	readOnlyAdmin = "give the token's owner the standard role Read-Only Administrator, or a custom role with the permission to view this, without limits to some groups or applications"
)

// checkOrg looks at the org: the way to it, the token, each list, limits and clock.
func (d *doctor) checkOrg(ctx context.Context) {
	const missing = "OKTA_CLIENT_ORGURL and OKTA_CLIENT_TOKEN are not set"
	if d.OrgURL == "" {
		d.r.skip("org.reach", "The org is not checked.", missing, "set them, and run doctor again")
		return
	}
	client, err := okta.NewClient(ctx, okta.ClientConfig{
		OrgURL: d.OrgURL, Token: d.OrgToken.Reveal(), AllowInsecure: d.AllowInsecureOrgs,
		Share: d.RateLimitShare, MaxInFlight: d.MaxInFlight, Log: d.world.log,
	})
	if err != nil {
		d.r.Org = "" // it may hold a password
		d.r.add(finding{"org.reach", levelError, "The org URL or the token cannot be used: " + err.Error() + ".",
			"no call can be made with them", "mend OKTA_CLIENT_ORGURL or OKTA_CLIENT_TOKEN"})
		return
	}
	defer client.Close()
	if d.reach(ctx, client) {
		o := &orgCheck{doctor: d, client: client, begun: time.Now(), before: client.Stats().Calls}
		o.run(ctx)
	}
	d.r.Calls = client.Stats().Calls
}

// reach looks at the way to the org, without the token.
func (d *doctor) reach(ctx context.Context, client *okta.Client) bool {
	err := client.Reach(ctx)
	var gone *okta.UnreachableError
	switch {
	case err == nil && strings.HasPrefix(d.OrgURL, "http://"):
		d.r.add(finding{"org.reach", levelWarning, "The org answers, without encryption.",
			"the token and all that is read can be seen by everybody on the way", "use https for any org that is not a simulated one"})
	case err == nil:
		d.r.ok("org.reach", "The org answers, by TLS with a certificate that is trusted here.")
	case errors.As(err, &gone):
		todo := map[okta.Fault]string{
			okta.FaultName:        "check the spelling of OKTA_CLIENT_ORGURL, and the name server of this machine",
			okta.FaultPrivate:     "check OKTA_CLIENT_ORGURL and what the name server of this machine answers for it: an org has a public address",
			okta.FaultConnection:  "check OKTA_CLIENT_ORGURL, and that a firewall lets this machine connect to it on port 443; a proxy is not used",
			okta.FaultCertificate: "check OKTA_CLIENT_ORGURL; if something on the way decrypts TLS, except the org from that, or trust its authority on this machine",
			okta.FaultTLS:         "check what answers at OKTA_CLIENT_ORGURL: it must speak TLS 1.2 or later",
		}[gone.Fault]
		d.r.add(finding{"org.reach", levelError, sentence(err.Error()), "nothing can be read, and the graph grows old", todo})
	default:
		d.r.add(finding{"org.reach", levelError, sentence(err.Error()), "nothing can be read, and the graph grows old", "run doctor again"})
	}
	return err == nil
}

// orgCheck is what is known of an org while it is looked at.
type orgCheck struct {
	*doctor
	client *okta.Client
	glance readCost

	user  string   // one to look at
	group string   // likewise, with few members
	apps  []string // some, evenly taken

	begun  time.Time // the calls of this look
	before int64     // calls before it
}

// endpoint is a list that the service reads.
type endpoint struct {
	check, name string // users, the users
	why, todo   string // if it is refused
}

func (o *orgCheck) run(ctx context.Context) {
	if !o.users(ctx) {
		return
	}
	o.groups(ctx)
	o.applications(ctx)
	o.people(ctx)
	o.rest(ctx)
	o.eventHook(ctx)
	o.clock()
	o.limits()
	o.estimate()
}

// ask asks one question, within its time.
func ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return question(ctx)
}

// users finds out whether the token is taken at all: the first list tells.
func (o *orgCheck) users(ctx context.Context) bool {
	p, err := ask(ctx, func(ctx context.Context) (okta.Page[okta.User], error) { return o.client.Users(ctx, "") })
	if okta.IsUnauthorized(err) {
		o.r.add(finding{"org.token", levelError, "Okta refuses the token.",
			"it is wrong, expired (after 30 days without use) or revoked, or its owner was deactivated; nothing can be read",
			"create a new token (Security › API › Tokens) as a user with the role Read-Only Administrator, and set OKTA_CLIENT_TOKEN"})
		return false
	}
	var answered *okta.Error
	if errors.As(err, &answered) && answered.Status != 403 || err != nil && answered == nil {
		o.r.add(finding{"org.token", levelError, "Whether the token is taken cannot be found out: " + err.Error() + ".",
			"nothing can be read", "check that OKTA_CLIENT_ORGURL is an Okta org's, and run doctor again"})
		return false
	}
	o.r.ok("org.token", "Okta takes the token.")
	users := endpoint{"users", "the users", "without them there is no graph: each run ends incomplete", readOnlyAdmin + " (okta.users.read)"}
	if !o.judge(users, err) {
		return true
	}
	if len(p.Items) == 0 {
		o.trap("users", "The list of users is empty, and Okta calls that a success.",
			"every org has users, the token's owner among them: Okta answers so to a token whose owner has no admin role that shows users")
		return true
	}
	o.granted(users)
	for _, u := range p.Items {
		if u.MayHaveFactors() {
			o.glance.listedWithFactors++
			if o.user == "" {
				o.user = u.ID
			}
		}
	}
	o.glance.listedUsers = len(p.Items)
	o.glance.usersListed = p.Next == ""
	return true
}

func (o *orgCheck) granted(e endpoint) {
	o.r.ok("rights."+e.check, "%s can be read.", sentenceStart(e.name))
}

// trap is an answer without objects that looks like that of an empty org.
func (o *orgCheck) trap(check, what, why string) {
	o.r.add(finding{"rights." + check, levelError, what,
		why + ". The service never takes that for an empty org: nothing is deleted, but the graph goes stale and the run is held", readOnlyAdmin})
}

// judge tells whether a list was answered; if not, that is a finding.
func (o *orgCheck) judge(e endpoint, err error) bool {
	var answered *okta.Error
	switch {
	case err == nil:
		return true
	case okta.IsForbidden(err):
		o.r.add(finding{"rights." + e.check, levelError, "The token may not read " + e.name + ".", e.why, e.todo})
	case errors.As(err, &answered) && answered.Status == 401: // the token itself was taken
		o.r.add(finding{"rights." + e.check, levelError, "The org does not offer " + e.name + ": " + err.Error() + ".", e.why, "ask Okta whether the feature can be switched on"})
	case okta.IsTemporary(err):
		o.r.add(finding{"rights." + e.check, levelWarning, "Whether the token may read " + e.name + " cannot be found out now: " + err.Error() + ".", e.why, "run doctor again later"})
	default:
		o.r.add(finding{"rights." + e.check, levelError, "Reading " + e.name + " fails: " + err.Error() + ".", e.why, "run doctor again; with the number of the request, Okta's support can tell more"})
	}
	return false
}

func (o *orgCheck) untried(e endpoint, why string) {
	o.r.skip("rights."+e.check, "Reading "+e.name+" is not tried.", why, "mend that, and run doctor again")
}

// groups looks at the groups: how many there are and how large.
func (o *orgCheck) groups(ctx context.Context) {
	groups := endpoint{"groups", "the groups", "without them there are no groups and memberships: each run ends incomplete", readOnlyAdmin + " (okta.groups.read)"}
	members := endpoint{"members", "the members of a group", "without them there are no memberships: each run ends incomplete", readOnlyAdmin + " (okta.groups.read)"}
	builtIn, err := ask(ctx, o.client.BuiltInGroups)
	if !o.judge(groups, err) {
		o.untried(members, "the groups cannot be read")
		return
	}
	seen := false
	for _, g := range builtIn.Items {
		if !g.Everyone() {
			continue
		}
		seen, o.group = true, g.ID
		if g.Embedded.Stats != nil && g.Embedded.Stats.UsersCount != nil {
			o.glance.everyone = *g.Embedded.Stats.UsersCount
		}
	}
	if !seen {
		o.trap("groups", "The group Everyone is not among the groups that the token shows.",
			"every org has it: the token's owner has no admin role that shows groups, or one for some groups only")
		o.untried(members, "not all groups can be seen")
		return
	}
	least := 0
	link := ""
	for pages := 0; ; {
		p, err := ask(ctx, func(ctx context.Context) (okta.Page[okta.Group], error) { return o.client.Groups(ctx, link) })
		if !o.judge(groups, err) {
			o.untried(members, "the groups cannot be read")
			return
		}
		for _, g := range p.Items {
			n := o.glance.addGroup(g)
			if n > 0 && (least == 0 || n < least) {
				least, o.group = n, g.ID
			}
		}
		link = p.Next
		if pages++; link == "" || pages == glanceGroups {
			break
		}
	}
	o.glance.moreGroups = link != ""
	o.granted(groups)
	_, err = ask(ctx, func(ctx context.Context) (okta.Page[okta.Ref], error) { return o.client.GroupMembers(ctx, o.group, "") })
	if o.judge(members, err) {
		o.granted(members)
	}
}

// applications looks at the applications, and of some of them at who is assigned.
func (o *orgCheck) applications(ctx context.Context) {
	apps := endpoint{"applications", "the applications", "without them there are no applications and assignments: each run ends incomplete", readOnlyAdmin + " (okta.apps.read)"}
	appUsers := endpoint{"application-users", "the users of an application", "without them there are no assignments of users: each run ends incomplete", readOnlyAdmin + " (okta.apps.read)"}
	appGroups := endpoint{"application-groups", "the groups of an application", "without them there are no assignments of groups: each run ends incomplete", readOnlyAdmin + " (okta.apps.read)"}
	var all []string
	link := ""
	for pages := 0; ; {
		p, err := ask(ctx, func(ctx context.Context) (okta.Page[okta.Application], error) {
			return o.client.Applications(ctx, link)
		})
		if !o.judge(apps, err) {
			o.untried(appUsers, "the applications cannot be read")
			o.untried(appGroups, "the applications cannot be read")
			return
		}
		for _, a := range p.Items {
			all = append(all, a.ID)
		}
		link = p.Next
		if pages++; link == "" || pages == glanceApps {
			break
		}
	}
	o.glance.Applications, o.glance.moreApps = len(all), link != ""
	if len(all) == 0 {
		o.r.add(finding{"rights.applications", levelWarning, "The token shows no application.",
			"an org without any is rare: Okta answers so, too, to a token whose owner's role shows none, and then the graph has no applications and assignments",
			"if there are applications in the Admin Console: " + readOnlyAdmin + " (okta.apps.read)"})
		o.untried(appUsers, "no application can be seen")
		o.untried(appGroups, "no application can be seen")
		return
	}
	o.granted(apps)
	for i := range min(sampledApps, len(all)) {
		o.apps = append(o.apps, all[i*len(all)/min(sampledApps, len(all))])
	}
	users, err := sample(ctx, o.apps, o.client.AppUsers)
	if o.judge(appUsers, err) {
		o.granted(appUsers)
	}
	rows, err := sample(ctx, o.apps, o.client.AppGroups)
	if o.judge(appGroups, err) {
		o.granted(appGroups)
	}
	o.glance.sampled, o.glance.appUsers, o.glance.appGroups = len(o.apps), users, rows
}

// sampled is what some lists hold.
type sampled struct {
	objects, pages int
	more           bool // than was looked at
}

// sample looks at the lists of some owners.
func sample[T any](ctx context.Context, owners []string, list func(ctx context.Context, owner, link string) (okta.Page[T], error)) (sampled, error) {
	var s sampled
	for _, owner := range owners {
		link := ""
		for pages := 0; ; {
			p, err := ask(ctx, func(ctx context.Context) (okta.Page[T], error) { return list(ctx, owner, link) })
			if err != nil {
				return s, err
			}
			s.objects += len(p.Items)
			s.pages++
			link = p.Next
			if pages++; link == "" || pages == sampledPages {
				break
			}
		}
		s.more = s.more || link != ""
	}
	return s, nil
}

// people looks at what is read of a single user.
func (o *orgCheck) people(ctx context.Context) {
	factors := endpoint{"factors", "the factors of a user",
		"factors and mfaEnabled are missing, and each run that is to read them ends incomplete",
		readOnlyAdmin + ` (okta.users.read); or leave factors out, by "ingest":{"factors":false} in the instance event`}
	groups := endpoint{"user-groups", "the groups of a user",
		"two contradicting events of a membership cannot be decided before the next full read", readOnlyAdmin + " (okta.users.read)"}
	apps := endpoint{"user-applications", "the applications of a user",
		"the applications of a reactivated user are missing until the next full read", readOnlyAdmin + " (okta.apps.read)"}
	if o.user == "" {
		for _, e := range []endpoint{factors, groups, apps} {
			o.untried(e, "there is no user to try it with")
		}
		return
	}
	_, err := ask(ctx, func(ctx context.Context) (okta.Page[okta.Factor], error) { return o.client.Factors(ctx, o.user) })
	if o.judge(factors, err) {
		o.granted(factors)
	}
	of, err := ask(ctx, func(ctx context.Context) (okta.Page[okta.Ref], error) { return o.client.UserGroups(ctx, o.user, "") })
	switch {
	case !o.judge(groups, err):
	case len(of.Items) == 0:
		o.trap("user-groups", "The list of a user's groups is empty, and Okta calls that a success.",
			"every user is in Everyone: the token's owner has no admin role that shows groups")
	default:
		o.granted(groups)
	}
	_, err = ask(ctx, func(ctx context.Context) (okta.Page[okta.UserApp], error) { return o.client.UserApps(ctx, o.user, "") })
	if o.judge(apps, err) {
		o.granted(apps)
	}
}

// rest looks at the System Log and at what is read of the org itself.
func (o *orgCheck) rest(ctx context.Context) {
	log := endpoint{"log", "the System Log",
		"what hooks lose is never found, and the graph is never known to be whole: sinks that need a snapshot wait", readOnlyAdmin + " (okta.logs.read)"}
	now, _ := o.client.Now()
	_, err := ask(ctx, func(ctx context.Context) (okta.LogPage, error) {
		return o.client.Log(ctx, now.Add(-time.Minute), `eventType sw "user.lifecycle"`, "")
	})
	if o.judge(log, err) {
		o.granted(log)
	}
	_, err = ask(ctx, o.client.Support)
	if okta.IsForbidden(err) {
		o.r.ok("rights.support", "The state of Okta's support access cannot be read, which only a super administrator may: supportEnabled of the account shows as false, and nothing else suffers.")
		return
	}
	support := endpoint{"support", "the state of Okta's support access", "each run ends incomplete", "run doctor again"}
	if o.judge(support, err) {
		o.granted(support)
	}
}

// clock compares the clock of this machine with Okta's.
func (o *orgCheck) clock() {
	okta, known := o.client.Now()
	if !known {
		return
	}
	o.skew("clock.okta", "Okta", time.Until(okta))
}

// skew is how far another clock is ahead of this machine's.
func (d *doctor) skew(check, of string, ahead time.Duration) {
	if ahead.Abs() <= largestSkew {
		d.r.ok(check, "The clocks of this machine and of %s agree within a minute.", of)
		return
	}
	direction := "behind"
	if ahead < 0 {
		direction = "ahead of"
	}
	d.r.add(finding{check, levelWarning, fmt.Sprintf("The clock of this machine is %s %s that of %s.", ahead.Abs().Round(time.Second), direction, of),
		"the graph is right all the same, since times come from Okta's own clock; but the times of log lines, of runs and of the schedule are off, which misleads people who compare them with Okta's",
		"have this machine's clock set by NTP"})
}

// sentence makes an error's text one.
func sentence(s string) string { return sentenceStart(s) + "." }

func sentenceStart(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
