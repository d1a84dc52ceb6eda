package sqldbtest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
)

const account = "okta_account_acme.okta.com"

// epoch is the time of all the changes of Org.
var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// Org returns the graph of an org of so many users as a snapshot that can be read
// any number of times; the same for the same arguments. For each user there are
// about ten relationships: to the account, to a person (97 % have one), 7 from
// groups, of which few are large, 2 to applications, and half a factor. Some users are
// assigned roles of AWS.
//
// Their keys are User, Person, Group and App of a number from 0.
func Org(users int, seed uint64) sink.Snapshot {
	return sink.Snapshot{
		Changes: func(yield func(graph.Change, error) bool) {
			o := org{rng: rand.New(rand.NewPCG(seed, 1)), yield: yield, more: true}
			o.make(users)
		},
		Position: func() string { return fmt.Sprintf("org-%d-%d", users, seed) },
	}
}

// User is the key of the n-th user.
func User(n int) string { return fmt.Sprintf("00u%017d", n) }

// Person is the key of the person behind the n-th user.
func Person(n int) string { return "employee:" + Login(n) }

// Group is the key of the n-th group; the first holds everyone.
func Group(n int) string { return fmt.Sprintf("00g%017d", n) }

// App is the key of the n-th application; the first is AWS.
func App(n int) string { return fmt.Sprintf("0oa%017d", n) }

// Login is the login of the n-th user.
func Login(n int) string { return fmt.Sprintf("user%d@example.com", n) }

type org struct {
	rng   *rand.Rand
	yield func(graph.Change, error) bool
	more  bool
}

func (o *org) put(object graph.Object) {
	if o.more {
		o.more = o.yield(graph.Change{Op: graph.Create, Object: object, AsOf: epoch, Source: "reconcile", Cause: "run"}, nil)
	}
}

func (o *org) entity(key, typ string, class []string, p graph.Properties) {
	o.put(graph.Object{Entity: &graph.Entity{Key: key, Type: typ, Class: class, Properties: p}})
}

func (o *org) edge(key, typ, verb, from, to string, p graph.Properties) {
	if p == nil {
		p = graph.Properties{}
	}
	p["displayName"] = verb
	o.put(graph.Object{Relationship: &graph.Relationship{Key: key, Type: typ, Class: verb, From: from, To: to, Properties: p}})
}

func (o *org) has(what, key string) {
	o.edge(account+"|has|"+key, "okta_account_has_"+what, "HAS", account, key, nil)
}

func (o *org) make(users int) {
	groups, apps := max(5, users/20), max(5, users/200)
	o.entity(account, "okta_account", []string{"Account"}, graph.Properties{
		"name": "acme", "displayName": "acme", "accountId": "acme.okta.com", "vendor": "Okta", "supportEnabled": true,
		"webLink": "https://acme.okta.com",
	})
	for i := 0; i < users && o.more; i++ {
		o.user(i)
	}
	for i := 0; i < groups && o.more; i++ {
		o.group(i)
	}
	for i := 0; i < apps && o.more; i++ {
		o.app(i)
	}
	// The lower its number, the larger a group or an application.
	size := rand.NewZipf(o.rng, 1.1, 5, uint64(groups-2))
	use := rand.NewZipf(o.rng, 1.1, 5, uint64(apps-1))
	for i := 0; i < users && o.more; i++ {
		o.member(0, i)
		for _, g := range o.some(size, o.rng.IntN(13)) {
			o.member(g+1, i)
		}
		for _, a := range o.some(use, o.rng.IntN(5)) {
			o.edge(User(i)+"|assigned|"+App(a), "okta_user_assigned_application", "ASSIGNED", User(i), App(a),
				graph.Properties{"userId": User(i), "applicationId": App(a), "userEmail": Login(i)})
			if a == 0 && o.rng.IntN(4) == 0 {
				o.role("okta_user", User(i), fmt.Sprintf("Role%d", o.rng.IntN(20)))
			}
		}
		if o.rng.IntN(2) == 0 {
			o.factor(i)
		}
	}
	for g := 1; g < groups && o.more; g++ {
		for _, a := range o.some(use, o.rng.IntN(3)) {
			o.edge(Group(g)+"|assigned|"+App(a), "okta_group_assigned_application", "ASSIGNED", Group(g), App(a),
				graph.Properties{"groupId": Group(g), "applicationId": App(a)})
		}
	}
}

// some returns up to n different numbers.
func (o *org) some(z *rand.Zipf, n int) []int {
	seen := map[int]bool{}
	var all []int
	for range n {
		if v := int(z.Uint64()); !seen[v] {
			seen[v] = true
			all = append(all, v)
		}
	}
	return all
}

func (o *org) user(i int) {
	status := "active"
	if i%20 == 19 {
		status = []string{"suspended", "staged", "deprovisioned", "locked_out"}[o.rng.IntN(4)]
	}
	created := epoch.Add(-time.Duration(o.rng.IntN(1000*24)) * time.Hour).UnixMilli()
	seen := epoch.Add(-time.Duration(o.rng.IntN(200*24)) * time.Hour).UnixMilli()
	department := []string{"Engineering", "Sales", "Support", "Finance", "People"}[o.rng.IntN(5)]
	first, last := fmt.Sprintf("First%d", i%500), fmt.Sprintf("Last%d", i/500)
	p := graph.Properties{
		"id": User(i), "login": Login(i), "email": Login(i), "displayName": Login(i), "username": fmt.Sprintf("user%d", i),
		"name": first + " " + last, "firstName": first, "lastName": last, "active": status == "active", "status": status,
		"created": created, "createdOn": created, "lastLogin": seen, "lastLoginOn": seen, "lastUpdated": created, "lastUpdatedOn": created,
		"department": department, "userType": "Employee", "employeeType": "full time", "employeeNumber": fmt.Sprintf("%06d", i),
		"mfaEnabled": i%2 == 0, "verifiedEmails": []string{Login(i)}, "unverifiedEmails": []string{},
		"webLink": "https://acme-admin.okta.com/admin/user/profile/view/" + User(i),
	}
	if i%3 == 0 {
		p["manager"] = Login(i / 10)
	}
	o.entity(User(i), "okta_user", []string{"User"}, p)
	o.has("user", User(i))
	if o.rng.IntN(100) < 3 {
		return
	}
	o.entity(Person(i), "employee", []string{"Person"}, graph.Properties{
		"name": first + " " + last, "displayName": first + " " + last, "firstName": first, "lastName": last,
		"email": []string{Login(i)}, "department": department, "employeeType": "full time", "userIds": fmt.Sprintf("user%d", i),
	})
	o.edge(User(i)+"|is|"+Person(i), "okta_user_is_employee", "IS", User(i), Person(i), nil)
}

func (o *org) group(i int) {
	name, typ := fmt.Sprintf("Group %d", i), "okta_user_group"
	if i == 0 {
		name = "Everyone"
	} else if i%10 == 0 {
		typ = "okta_app_user_group"
	}
	p := graph.Properties{
		"id": Group(i), "name": name, "displayName": name, "type": map[string]string{"okta_user_group": "OKTA_GROUP", "okta_app_user_group": "APP_GROUP"}[typ],
		"created": epoch.UnixMilli(), "createdOn": epoch.UnixMilli(), "lastMembershipUpdatedOn": epoch.UnixMilli(), "objectClass": []string{"okta:user_group"},
		"webLink": "https://acme-admin.okta.com/admin/group/" + Group(i),
	}
	if i%2 == 0 {
		p["description"] = "Those of group " + name
	}
	o.entity(Group(i), typ, []string{"UserGroup"}, p)
	o.has("group", Group(i))
}

func (o *org) app(i int) {
	name := "app"
	if i == 0 {
		name = "amazon_aws"
	}
	p := graph.Properties{
		"id": App(i), "name": name, "displayName": fmt.Sprintf("App %d", i), "label": fmt.Sprintf("App %d", i), "shortName": name,
		"active": i%15 != 14, "status": cmp.Or(map[bool]string{true: "inactive"}[i%15 == 14], "active"), "signOnMode": "SAML_2_0", "isSAMLApp": true,
		"isMultiInstanceApp": false, "features": []string{"PUSH_NEW_USERS"}, "createdOn": epoch.UnixMilli(),
		"webLink": "https://acme-admin.okta.com/admin/app/" + App(i),
	}
	if i == 0 {
		p["awsAccountId"] = "123456789012"
	}
	o.entity(App(i), "okta_application", []string{"Application"}, p)
	o.has("application", App(i))
}

func (o *org) member(group, user int) {
	o.edge(Group(group)+"|has_user|"+User(user), "okta_group_has_user", "HAS", Group(group), User(user),
		graph.Properties{"groupId": Group(group), "userId": User(user)})
}

func (o *org) factor(user int) {
	key := fmt.Sprintf("opf%017d", user)
	kind := []string{"push", "token:software:totp", "webauthn", "sms"}[o.rng.IntN(4)]
	o.entity(key, "mfa_device", []string{"Key", "AccessKey"}, graph.Properties{
		"id": key, "name": "OKTA " + kind, "displayName": "OKTA " + kind, "factorType": kind, "provider": "OKTA", "vendorName": "OKTA",
		"status": "active", "active": true, "createdOn": epoch.UnixMilli(), "credentialId": Login(user),
	})
	o.edge(User(user)+"|assigned|"+key, "okta_user_assigned_factor", "ASSIGNED", User(user), key,
		graph.Properties{"userId": User(user), "factorId": key})
}

func (o *org) role(typ, holder, role string) {
	arn := "arn:aws:iam::123456789012:role/" + role
	o.put(graph.Object{Relationship: &graph.Relationship{
		Key: holder + "|assigned|" + arn, Type: typ + "_assigned_aws_iam_role", Class: "ASSIGNED",
		Mapping: &graph.Mapping{
			SourceEntityKey: holder, RelationshipDirection: "FORWARD", TargetFilterKeys: [][]string{{"_type", "_key"}},
			TargetEntity: graph.Properties{
				"_class": "AccessRole", "_type": "aws_iam_role", "_key": arn, "roleName": role, "name": role, "displayName": role,
			},
			SkipTargetCreation: true,
		},
		Properties: graph.Properties{"displayName": "ASSIGNED"},
	}})
}
