package oktasim

import (
	"encoding/json"
	"strconv"
	"time"
)

// Values of the org's things. They are never changed in place; times are in
// milliseconds, 0 where Okta says null; profiles are rendered JSON, so that a
// list costs little and an org of 100,000 users fits into memory.

type user struct {
	id, status, login, name, email string
	created, activated             int64
	statusChanged, lastLogin       int64
	lastUpdated, passwordChanged   int64
	profile                        []byte
}

type group struct {
	id, typ, name, source                       string
	created, lastUpdated, lastMembershipUpdated int64
	profile                                     []byte
	users, apps                                 int
}

type app struct {
	id, name, label, status, signOnMode string
	features                            []string
	created, lastUpdated                int64
	settings                            []byte // settings.app
}

type member struct{}

type appUser struct {
	user, ua, scope, status, userName   string
	created, lastUpdated, statusChanged int64
	profile                             []byte
}

type appGroup struct {
	group, ga   string
	priority    int
	lastUpdated int64
	profile     []byte
}

type factor struct {
	id, factorType, provider, vendorName, status string
	created, lastUpdated                         int64
	profile                                      []byte
}

// The things themselves: a value over time, and what hangs on it.

type userNode struct {
	node[user]
	factors  table[*node[factor]]
	groups   keys // where it is or was a member, Everyone left out
	apps     keys // likewise
	dropped  []dropped
	deleting bool
}

// dropped is a direct assignment that a deactivation took away.
type dropped struct {
	app string
	row *appUser
}

type groupNode struct {
	node[group]
	members  table[*node[member]] // unused for Everyone
	apps     keys                 // to which it is assigned now
	everyone bool
}

type appNode struct {
	node[app]
	users  table[*node[appUser]]
	groups table[*node[appGroup]] // key: group id, slash, priority
}

func rowKey(group string, priority int) string {
	p := strconv.Itoa(priority)
	return group + "/" + "000"[min(len(p), 3):] + p
}

func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			j, _ := json.Marshal(s)
			return append(b, j...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, value)
}

func appendRaw(b []byte, name string, raw []byte) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	if len(raw) == 0 {
		return append(b, "{}"...)
	}
	return append(b, raw...)
}

const timeFormat = "2006-01-02T15:04:05.000Z"

func appendTime(b []byte, name string, ms int64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	if ms == 0 {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = time.UnixMilli(ms).UTC().AppendFormat(b, timeFormat)
	return append(b, '"')
}

func appendSelf(b []byte, href string) []byte {
	b = append(b, `,"_links":{"self":{"href":`...)
	b = appendString(b, href)
	return append(b, "}}"...)
}

func (u *user) append(b []byte, base string) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, u.id)
	b = appendField(b, "status", u.status)
	b = appendTime(b, "created", u.created)
	b = appendTime(b, "activated", u.activated)
	b = appendTime(b, "statusChanged", u.statusChanged)
	b = appendTime(b, "lastLogin", u.lastLogin)
	b = appendTime(b, "lastUpdated", u.lastUpdated)
	b = appendTime(b, "passwordChanged", u.passwordChanged)
	b = append(b, `,"type":{"id":"oty1a2b3c4d5e6f7g697"}`...)
	b = appendRaw(b, "profile", u.profile)
	b = append(b, `,"credentials":{"password":{},"emails":[`...)
	if u.email != "" {
		b = append(b, `{"value":`...)
		b = appendString(b, u.email)
		verified := "VERIFIED"
		if u.status == "STAGED" || u.status == "PROVISIONED" {
			verified = "UNVERIFIED"
		}
		b = appendField(b, "status", verified)
		b = append(b, `,"type":"PRIMARY"}`...)
	}
	b = append(b, `],"provider":{"type":"OKTA","name":"OKTA"}}`...)
	b = appendSelf(b, base+"/api/v1/users/"+u.id)
	return append(b, '}')
}

func (g *group) append(b []byte, base string, stats bool) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, g.id)
	b = appendTime(b, "created", g.created)
	b = appendTime(b, "lastUpdated", g.lastUpdated)
	b = appendTime(b, "lastMembershipUpdated", g.lastMembershipUpdated)
	b = append(b, `,"objectClass":["okta:user_group"]`...)
	if g.source != "" {
		b = append(b[:len(b)-len(`["okta:user_group"]`)], `["okta:windows_security_principal"]`...)
	}
	b = appendField(b, "type", g.typ)
	b = appendRaw(b, "profile", g.profile)
	if g.source != "" {
		b = append(b, `,"source":{"id":`...)
		b = appendString(b, g.source)
		b = append(b, '}')
	}
	self := base + "/api/v1/groups/" + g.id
	b = append(b, `,"_links":{"logo":[{"name":"medium","href":"https://static.example.com/okta-medium.png","type":"image/png"}],"users":{"href":`...)
	b = appendString(b, self+"/users")
	b = append(b, `},"apps":{"href":`...)
	b = appendString(b, self+"/apps")
	b = append(b, `}}`...)
	if stats {
		b = append(b, `,"_embedded":{"stats":{"usersCount":`...)
		b = strconv.AppendInt(b, int64(g.users), 10)
		b = append(b, `,"appsCount":`...)
		b = strconv.AppendInt(b, int64(g.apps), 10)
		b = append(b, `,"groupPushMappingsCount":0,"hasAdminPrivlege":false,"_links":{}}}`...)
	}
	return append(b, '}')
}

// append renders an application; embedded, if not nil, is the app user that the
// caller asked to expand.
func (a *app) append(b []byte, base string, embedded *appUser) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, a.id)
	b = appendField(b, "name", a.name)
	b = appendField(b, "label", a.label)
	b = appendField(b, "status", a.status)
	b = appendTime(b, "lastUpdated", a.lastUpdated)
	b = appendTime(b, "created", a.created)
	b = append(b, `,"accessibility":{"selfService":false,"errorRedirectUrl":null,"loginRedirectUrl":null},"visibility":{"autoSubmitToolbar":false,"hide":{"iOS":false,"web":false},"appLinks":{"login":true}},"features":[`...)
	for i, f := range a.features {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, f)
	}
	b = append(b, ']')
	b = appendField(b, "signOnMode", a.signOnMode)
	b = append(b, `,"credentials":{"userNameTemplate":{"template":"${source.login}","type":"BUILT_IN"},"signing":{}},"settings":{"app":`...)
	if len(a.settings) == 0 {
		b = append(b, "{}"...)
	} else {
		b = append(b, a.settings...)
	}
	self := base + "/api/v1/apps/" + a.id
	b = append(b, `,"notifications":{"vpn":{"network":{"connection":"DISABLED"},"message":null,"helpUrl":null}}},"_links":{"logo":[{"name":"medium","href":"https://static.example.com/logos/`...)
	b = append(b, a.name...)
	b = append(b, `.png","type":"image/png"}],"appLinks":[{"name":"login","href":`...)
	b = appendString(b, base+"/home/"+a.name+"/"+a.id)
	b = append(b, `,"type":"text/html"}],"users":{"href":`...)
	b = appendString(b, self+"/users")
	b = append(b, `},"groups":{"href":`...)
	b = appendString(b, self+"/groups")
	b = append(b, `},"self":{"href":`...)
	b = appendString(b, self)
	b = append(b, "}}"...)
	if embedded != nil {
		b = append(b, `,"_embedded":{"user":`...)
		b = embedded.append(b, base, a.id)
		b = append(b, '}')
	}
	return append(b, '}')
}

func (u *appUser) append(b []byte, base, appID string) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, u.user)
	b = append(b, `,"externalId":null`...)
	b = appendTime(b, "created", u.created)
	b = appendTime(b, "lastUpdated", u.lastUpdated)
	b = appendField(b, "scope", u.scope)
	b = appendField(b, "status", u.status)
	b = appendTime(b, "statusChanged", u.statusChanged)
	b = append(b, `,"passwordChanged":null,"syncState":"DISABLED"`...)
	b = append(b, `,"credentials":{"userName":`...)
	b = appendString(b, u.userName)
	b = append(b, '}')
	b = appendRaw(b, "profile", u.profile)
	b = append(b, `,"_links":{"app":{"href":`...)
	b = appendString(b, base+"/api/v1/apps/"+appID)
	b = append(b, `},"user":{"href":`...)
	b = appendString(b, base+"/api/v1/users/"+u.user)
	return append(b, "}}}"...)
}

func (g *appGroup) append(b []byte, base, appID string) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, g.group)
	b = appendTime(b, "lastUpdated", g.lastUpdated)
	b = append(b, `,"priority":`...)
	b = strconv.AppendInt(b, int64(g.priority), 10)
	b = appendRaw(b, "profile", g.profile)
	b = append(b, `,"_links":{"app":{"href":`...)
	b = appendString(b, base+"/api/v1/apps/"+appID)
	b = append(b, `},"group":{"href":`...)
	b = appendString(b, base+"/api/v1/groups/"+g.group)
	return append(b, "}}}"...)
}

func (f *factor) append(b []byte, base, userID string) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, f.id)
	b = appendField(b, "factorType", f.factorType)
	b = appendField(b, "provider", f.provider)
	b = appendField(b, "vendorName", f.vendorName)
	b = appendField(b, "status", f.status)
	b = appendTime(b, "created", f.created)
	b = appendTime(b, "lastUpdated", f.lastUpdated)
	if len(f.profile) > 0 {
		b = appendRaw(b, "profile", f.profile)
	}
	b = appendSelf(b, base+"/api/v1/users/"+userID+"/factors/"+f.id)
	return append(b, '}')
}
