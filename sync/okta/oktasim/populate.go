package oktasim

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
)

var (
	firstNames = strings.Fields("Ada Amina Andre Anja Aylin Bela Carlos Chidi Clara Daria Diego Elif Emma Farid Fatou Finn Grace Hana Hugo Ines Ivan Jana Jonas Kenji Lea Liam Mara Mateo Mei Nadia Nils Noor Olga Omar Petra Priya Rafael Ravi Rosa Samir Sara Sofia Tariq Tom Uma Viktor Wen Yara Youssef Zoe")
	lastNames  = strings.Fields("Abbas Adeyemi Andersen Bauer Berg Bianchi Costa Demir Diallo Dubois Eriksen Ferrari Fischer Garcia Haddad Hansen Horvat Ito Jansen Kaya Kim Kovacs Kumar Larsen Lopez Martin Meyer Moreau Nakamura Novak Okafor Olsen Patel Petrov Popescu Rossi Sato Schmidt Silva Singh Sousa Tanaka Tran Varga Virtanen Weber Wang Yilmaz Zhang Zimmer")
	titles     = []string{"Engineer", "Account Executive", "Analyst", "Designer", "Support Specialist", "Product Manager"}
	teams      = strings.Fields("Engineering Sales Finance Support Design Product Security Marketing Operations Legal People Data Platform Research Field")
	userTypes  = []string{"Employee", "Contractor", "Employee", "service", "Employee", "Generic", "Employee", "BOT", "", "Intern"}
	statuses   = []string{"ACTIVE", "STAGED", "PROVISIONED", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED", "DEPROVISIONED"}
)

// appKind is a kind of application of the catalogue.
type appKind struct {
	name, label, mode string
	features          []string
	settings          map[string]any
	roles             bool // its assignments carry roles
}

var appKinds = []appKind{
	{"amazon_aws", "Amazon Web Services", "SAML_2_0", []string{"IMPORT_PROFILE_UPDATES"}, map[string]any{
		"awsEnvironmentType": "aws.amazon", "identityProviderArn": "arn:aws:iam::123456789012:saml-provider/Okta",
		"groupFilter": "aws_(?{{accountid}}\\d+)_(?{{role}}[a-zA-Z0-9+=.,@\\-_]+)", "roleValuePattern": "arn:aws:iam::${accountid}:saml-provider/Okta,arn:aws:iam::${accountid}:role/${role}",
		"joinAllRoles": true, "sessionDuration": 3600, "loginURL": "https://console.aws.amazon.com/ec2/home"}, true},
	{"oidc_client", "Customer Portal", "OPENID_CONNECT", nil, nil, false},
	{"bookmark", "Lunch Menu", "BOOKMARK", nil, map[string]any{"url": "https://lunch.example.com", "requestIntegration": false}, false},
	{"acme_my_portal_1", "My Portal", "SAML_2_0", nil, map[string]any{}, false},
	{"githubcloud", "GitHub Enterprise Cloud", "SAML_2_0", []string{"PUSH_NEW_USERS"}, map[string]any{"githubOrg": "acme-labs"}, false},
	{"google", "Google Workspace", "SAML_2_0", []string{"PUSH_NEW_USERS", "GROUP_PUSH"}, map[string]any{"domain": "example.com", "afwOnly": false}, false},
	{"slack", "Slack", "SAML_2_0", nil, map[string]any{"domain": "acme", "userEmailValue": nil}, false},
	{"template_basic_auth", "Old Intranet", "BASIC_AUTH", nil, map[string]any{"url": "https://intranet.example.com", "authURL": "https://intranet.example.com/login"}, false},
}

const (
	dayMS  = int64(24 * 3600 * 1000)
	yearMS = 365 * dayMS
)

func count(configured, byDefault int) int {
	if configured < 0 {
		return 0
	}
	if configured == 0 {
		return byDefault
	}
	return configured
}

// populate fills the org as if it had been there since ever: without events.
func (o *Org) populate() {
	now := o.clock.Now().UnixMilli()
	past := func() int64 { return now - dayMS - o.rng.Int64N(3*yearMS) }
	nUsers, nGroups, nApps := count(o.cfg.Users, 20), count(o.cfg.Groups, 8), count(o.cfg.Apps, 8)

	for i := range nUsers {
		u := o.newUser(i, past())
		status := "ACTIVE"
		switch {
		case i == 0: // the admin
		case nUsers >= 12 && i < len(statuses):
			status = statuses[i]
		case o.rng.IntN(10) < 3:
			status = statuses[o.rng.IntN(len(statuses))]
		}
		if o.cfg.UnknownStatus && i == min(8, nUsers-1) {
			status = "AWAITING_REVIEW"
		}
		u.status = status
		if status != "STAGED" {
			u.activated, u.passwordChanged = u.created+60_000, u.created+3600_000
		}
		u.statusChanged, u.lastUpdated = u.created+60_000, u.created+7200_000
		if status == "ACTIVE" {
			u.lastLogin = u.created + dayMS/2
		}
		n := &userNode{node: node[user]{key: u.id}}
		n.set(0, u)
		for range o.rng.IntN(4) {
			if factorsOf(status) {
				f := o.newFactor(u, o.rng.IntN(len(factorKinds)), u.created+o.rng.Int64N(dayMS))
				n.factors.nodes = append(n.factors.nodes, &node[factor]{key: f.id, hist: hist[factor]{cur: version[factor]{val: f}}})
			}
		}
		n.factors.sort()
		o.users.nodes = append(o.users.nodes, n)
		o.logins[strings.ToLower(u.login)] = n
		if i == 0 {
			o.admin = u.id
		}
	}
	o.users.sort()

	for i := range nApps {
		k := appKinds[i%len(appKinds)]
		a := &app{id: o.id("0oa"), name: k.name, label: k.label, status: "ACTIVE", signOnMode: k.mode, features: k.features, created: past()}
		if k.name == "oidc_client" {
			a.settings = mustJSON(map[string]any{"orn": "orn:okta:oidc:" + a.id})
		} else {
			a.settings = mustJSON(k.settings)
		}
		if n := i / len(appKinds); n > 0 {
			a.label = fmt.Sprintf("%s %d", k.label, n+1)
		}
		if i%6 == 5 {
			a.status = "INACTIVE"
		}
		a.lastUpdated = a.created + 3600_000
		n := &appNode{node: node[app]{key: a.id}}
		n.set(0, a)
		o.apps.nodes = append(o.apps.nodes, n)
	}
	created := slices.Clone(o.apps.nodes) // in the order of their kinds
	o.apps.sort()

	built := func(name, description string) *groupNode {
		g := &group{id: o.id("00g"), typ: "BUILT_IN", name: name, created: now - 4*yearMS, lastUpdated: now - 4*yearMS, lastMembershipUpdated: now - dayMS}
		g.profile = mustJSON(map[string]any{"name": name, "description": description})
		n := &groupNode{node: node[group]{key: g.id}}
		n.set(0, g)
		o.groups.nodes = append(o.groups.nodes, n)
		return n
	}
	o.everyone = built("Everyone", "All users in your organization")
	o.everyone.everyone = true
	o.everyone.now().users = nUsers
	admins := built("Okta Administrators", "Okta manages this group, which contains all administrators in your organization.")
	if o.admin != "" {
		o.join(admins, o.admin)
	}
	var made []*groupNode
	for i := range nGroups {
		g := &group{id: o.id("00g"), typ: "OKTA_GROUP", name: teams[i%len(teams)], created: past()}
		if n := i / len(teams); n > 0 {
			g.name = fmt.Sprintf("%s %d", g.name, n+1)
		}
		profile := map[string]any{"name": g.name, "description": nil}
		if i%4 == 3 && nApps > 0 {
			g.typ, g.source = "APP_GROUP", created[i%nApps].key
			profile["description"] = "corp.example.com/Groups/" + g.name
			profile["windowsDomainQualifiedName"] = `CORP\` + g.name
			profile["dn"] = "CN=" + g.name + ",DC=corp,DC=example,DC=com"
		} else if i%3 == 0 {
			profile["description"] = "Everyone who works in " + g.name
		}
		g.profile = mustJSON(profile)
		g.lastUpdated, g.lastMembershipUpdated = g.created+3600_000, g.created+dayMS/2
		n := &groupNode{node: node[group]{key: g.id}}
		n.set(0, g)
		size := o.cfg.GroupSize
		if size == 0 && i != nGroups-1 { // the last one stays empty
			size = nUsers * 4 / 5 / (i + 1)
		}
		for _, id := range o.pick(size) {
			o.join(n, id)
		}
		n.members.sort()
		made = append(made, n)
		o.groups.nodes = append(o.groups.nodes, n)
	}
	o.groups.sort()

	for i, a := range created {
		o.assignFirst(i, a, made)
	}
}

// join makes a user a member, of old.
func (o *Org) join(g *groupNode, userID string) {
	g.members.nodes = append(g.members.nodes, &node[member]{key: userID, hist: hist[member]{cur: version[member]{val: &member{}}}})
	g.now().users++
	u, _ := o.users.get(userID)
	u.groups.add(g.key)
}

// assignFirst gives an application its first groups and users.
func (o *Org) assignFirst(i int, a *appNode, groups []*groupNode) {
	kind, at := appKinds[i%len(appKinds)], a.now().created+dayMS/4
	if o.cfg.AppUsers == 0 && len(groups) > 0 {
		assigned := []*groupNode{groups[(i+1)%len(groups)]}
		if kind.roles || i%3 == 0 {
			if g := groups[(i*3+2)%len(groups)]; g != assigned[0] {
				assigned = append(assigned, g)
			}
		}
		priority := 0
		for j, g := range assigned {
			rows := 1
			if kind.roles && j == 0 {
				rows = 3 // one for each role
			}
			for range rows {
				profile := []byte("{}")
				if kind.roles {
					profile = mustJSON(roleProfile(priority))
				}
				r := &appGroup{group: g.key, ga: o.id("0ga"), priority: priority, lastUpdated: at, profile: profile}
				n := &node[appGroup]{key: rowKey(g.key, priority)}
				n.set(0, r)
				a.groups.nodes = append(a.groups.nodes, n)
				priority++
			}
			g.apps.add(a.key)
			g.now().apps++
		}
		a.groups.sort()
	}
	size := o.cfg.AppUsers
	if size == 0 {
		size = len(o.users.nodes) / 2 / (i + 1)
	}
	for _, id := range o.pick(size) {
		u, _ := o.users.get(id)
		if u.now().status == "DEPROVISIONED" {
			continue
		}
		row := o.newAppUser(u.now(), at)
		row.scope, row.profile = "USER", mustJSON(directProfile(u.now(), kind.roles, o.rng.IntN(4)))
		n := &node[appUser]{key: id}
		n.set(0, row)
		a.users.nodes = append(a.users.nodes, n)
		u.apps.add(a.key)
	}
	a.users.sort()
	seen := map[string]bool{}
	for _, n := range a.users.nodes {
		seen[n.key] = true
	}
	for _, r := range a.groups.nodes {
		g, _ := o.groups.get(r.now().group)
		for _, m := range g.members.nodes {
			u, _ := o.users.get(m.key)
			if seen[m.key] || u.now().status == "DEPROVISIONED" {
				continue
			}
			seen[m.key] = true
			row := o.newAppUser(u.now(), at)
			row.scope, row.profile = "GROUP", groupProfile(u.now().email, o.rowsOf(a, m.key))
			n := &node[appUser]{key: m.key}
			n.set(0, row)
			a.users.nodes = append(a.users.nodes, n)
			u.apps.add(a.key)
		}
	}
	a.users.sort()
}

// pick draws up to n different users.
func (o *Org) pick(n int) []string {
	n = min(n, len(o.users.nodes))
	if n <= 0 {
		return nil
	}
	if n*2 > len(o.users.nodes) {
		perm := o.rng.Perm(len(o.users.nodes))[:n]
		sort.Ints(perm)
		ids := make([]string, n)
		for i, p := range perm {
			ids[i] = o.users.nodes[p].key
		}
		return ids
	}
	seen := make(map[int]bool, n)
	ids := make([]string, 0, n)
	for len(ids) < n {
		if i := o.rng.IntN(len(o.users.nodes)); !seen[i] {
			seen[i] = true
			ids = append(ids, o.users.nodes[i].key)
		}
	}
	sort.Strings(ids)
	return ids
}

// newUser makes the i-th user: whoever comes later repeats the oddities.
func (o *Org) newUser(i int, created int64) *user {
	first, last := firstNames[o.rng.IntN(len(firstNames))], lastNames[o.rng.IntN(len(lastNames))]
	login := fmt.Sprintf("%s.%s%d@example.com", strings.ToLower(first), strings.ToLower(last), i)
	if i%9 == 2 {
		login = first + "." + last + fmt.Sprint(i) + "@Example.com"
	}
	p := map[string]any{
		"login": login, "email": login, "firstName": first, "lastName": last,
		"displayName": first + " " + last, "title": titles[i%len(titles)], "department": teams[i%len(teams)],
		"secondEmail": nil, "mobilePhone": nil, "employeeNumber": fmt.Sprint(10000 + i),
	}
	if t := userTypes[i%len(userTypes)]; t != "" {
		p["userType"] = t
	}
	switch i % 11 {
	case 1:
		p["employeeType"] = "Full-Time"
	case 2:
		p["employeeType"] = "SERVICE"
	case 3:
		p["email"] = strings.ToLower(first) + "@corp.example.com" // not the login
		p["secondEmail"] = strings.ToLower(first) + "@home.example"
	case 4:
		delete(p, "firstName")
	case 5:
		p["hireDate"] = "1577836800000" // digits only
	case 6:
		p["hireDate"], p["terminationDate"] = "2019-05-01", ""
	case 7:
		p["hireDate"] = "2021-11-15T08:00:00.000Z"
		p["address"] = map[string]any{"street": "1 Main Street", "geo": map[string]any{"lat": 45.75, "lon": 4.85}}
	case 8:
		p["skills"], p["badges"], p["nothing"] = []any{"go", "sql"}, []any{}, nil
		p["clearances"] = []any{map[string]any{"level": 2}, nil, 3}
	case 9:
		p["cost_center"], p["costCenter"] = "4711", "0815"
	case 10:
		p["status"], p["id"], p["created"] = "on leave", "E-17", "yesterday" // collide with Okta's own
		p["remote"], p["floor"] = true, 3.5
	}
	return o.userOf(&user{id: o.id("00u"), created: created}, p)
}

// userOf returns u with the profile p.
func (o *Org) userOf(u *user, p map[string]any) *user {
	text := func(key string) string { s, _ := p[key].(string); return s }
	u.login, u.email = text("login"), text("email")
	u.name = strings.TrimSpace(text("firstName") + " " + text("lastName"))
	u.profile = mustJSON(p)
	return u
}

func decodeProfile(b []byte) map[string]any {
	var p map[string]any
	_ = json.Unmarshal(b, &p) // we made it
	if p == nil {
		p = map[string]any{}
	}
	return p
}

type factorKind struct {
	prefix, typ, provider, vendor, name string
	profile                             func(*user) map[string]any
}

var factorKinds = []factorKind{
	{"opf", "push", "OKTA", "OKTA", "OKTA_VERIFY_PUSH", func(u *user) map[string]any {
		return map[string]any{"credentialId": u.login, "deviceType": "SmartPhone_IPhone", "keys": []any{}, "name": "Phone of " + u.name, "platform": "IOS", "version": "17.5"}
	}},
	{"ost", "token:software:totp", "GOOGLE", "GOOGLE", "GOOGLE_AUTHENTICATOR", func(u *user) map[string]any { return map[string]any{"credentialId": u.login} }},
	{"sms", "sms", "OKTA", "OKTA", "SMS_FACTOR", func(*user) map[string]any { return map[string]any{"phoneNumber": "+33 1 99 00 12 34"} }},
	{"ema", "email", "OKTA", "OKTA", "EMAIL_FACTOR", func(u *user) map[string]any { return map[string]any{"email": u.email} }},
	{"fwf", "webauthn", "FIDO", "FIDO", "FIDO_WEBAUTHN", func(*user) map[string]any {
		return map[string]any{"credentialId": "l3Br0n-7H3g047NqESqJynFtIgf3Ix9OfaRoNwLoloso99Xl2zS_O7EXUkmPeAIzTVtEL4dYjicJWBz7NpqhGA", "authenticatorName": "Security Key"}
	}},
	{"ufs", "question", "OKTA", "OKTA", "QUESTION", func(*user) map[string]any {
		return map[string]any{"question": "disliked_food", "questionText": "What is the food you least liked as a child?"}
	}},
	{"ykf", "token:hardware", "YUBICO", "YUBICO", "YUBIKEY_TOKEN", nil},
}

func (o *Org) newFactor(u *user, kind int, at int64) *factor {
	k := factorKinds[kind]
	f := &factor{id: o.id(k.prefix), factorType: k.typ, provider: k.provider, vendorName: k.vendor, status: "ACTIVE", created: at, lastUpdated: at}
	if k.profile != nil {
		f.profile = mustJSON(k.profile(u))
	}
	if o.rng.IntN(5) == 0 {
		f.status = []string{"PENDING_ACTIVATION", "INACTIVE", "EXPIRED", "NOT_SETUP"}[o.rng.IntN(4)]
	}
	return f
}

// factorsOf tells whether a user of the status can have factors that matter.
func factorsOf(status string) bool {
	switch status {
	case "ACTIVE", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED", "PROVISIONED":
		return true
	}
	return false
}

func (o *Org) newAppUser(u *user, at int64) *appUser {
	status := "ACTIVE"
	if u.status == "STAGED" {
		status = "STAGED"
	}
	return &appUser{user: u.id, ua: o.id("0ua"), status: status, userName: u.login, created: at, lastUpdated: at, statusChanged: at}
}

func directProfile(u *user, roles bool, variant int) map[string]any {
	p := map[string]any{"email": u.email, "displayName": u.name}
	if roles {
		switch variant {
		case 0:
			p["samlRoles"] = []any{"Admin", "acme-prod -- ReadOnly", "[staging] -- Developer"}
		case 1:
			p["role"] = "PowerUser"
		case 2:
			p["samlRoles"] = []any{}
		case 3:
			p["role"], p["samlRoles"] = "Auditor", []any{"Auditor"}
		}
	}
	return p
}

// roleProfile is the profile of a group's row: one role each.
func roleProfile(n int) map[string]any {
	switch n % 4 {
	case 0:
		return map[string]any{"role": "Developer", "samlRoles": []any{"Developer", "acme-prod -- Deployer"}}
	case 1:
		return map[string]any{"role": "ReadOnly"}
	case 2:
		return map[string]any{"role": "[data] -- Analyst"}
	default:
		return map[string]any{"samlRoles": []any{"acme-dev -- Admin"}}
	}
}

// rowsOf returns the rows through which the user has the application, first
// the one that counts: the lowest priority.
func (o *Org) rowsOf(a *appNode, userID string) []*appGroup {
	var rows []*appGroup
	for _, n := range a.groups.nodes {
		if r := n.now(); r != nil {
			if g, ok := o.groups.get(r.group); ok && o.isMember(g, userID) {
				rows = append(rows, r)
			}
		}
	}
	sort.Slice(rows, func(i, j int) bool {
		if rows[i].priority != rows[j].priority {
			return rows[i].priority < rows[j].priority
		}
		return rows[i].group < rows[j].group
	})
	return rows
}

func (o *Org) isMember(g *groupNode, userID string) bool {
	if g.now() == nil {
		return false
	}
	if g.everyone {
		return true
	}
	m, ok := g.members.get(userID)
	return ok && m.now() != nil
}

// groupProfile is what rows give to an app user: the first row's profile, and
// the SAML roles of all.
func groupProfile(email string, rows []*appGroup) []byte {
	if !slices.ContainsFunc(rows, func(r *appGroup) bool { return len(r.profile) > len("{}") }) {
		return append(appendString([]byte(`{"email":`), email), '}')
	}
	p := map[string]any{}
	var roles []any
	for i, r := range rows {
		q := map[string]any(nil)
		if len(r.profile) > 2 {
			q = decodeProfile(r.profile)
		}
		for k, v := range q {
			if list, ok := v.([]any); ok && k == "samlRoles" {
				for _, role := range list {
					if !slices.Contains(roles, role) {
						roles = append(roles, role)
					}
				}
			} else if i == 0 {
				p[k] = v
			}
		}
	}
	if roles != nil {
		p["samlRoles"] = roles
	}
	p["email"] = email
	return mustJSON(p)
}
