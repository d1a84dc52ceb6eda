package bench

import (
	"strconv"
	"strings"
	"time"
)

// Objects are written as Okta writes them: what oktasync does not read of them costs time too.

var (
	firstNames = strings.Fields("Ada Amina Bela Carlos Clara Diego Elif Emma Farid Grace Hana Hugo Ines Ivan Jana Kenji Lea Liam Mara Mei Nadia Nils Noor Olga Omar Petra Priya Ravi Rosa Samir Sofia Tariq Uma Viktor Wen Zoe")
	lastNames  = strings.Fields("Abbas Andersen Bauer Berg Bianchi Costa Demir Dubois Ferrari Fischer Garcia Haddad Hansen Horvat Ito Jansen Kaya Kim Kumar Larsen Lopez Martin Moreau Nakamura Novak Okafor Patel Petrov Rossi Sato Silva Singh Tanaka Tran Varga Weber Yilmaz Zhang")
	titles     = []string{"Engineer", "Account Executive", "Analyst", "Designer", "Support Specialist", "Product Manager", "Director of Operations"}
	teams      = strings.Fields("Engineering Sales Finance Support Design Product Security Marketing Operations Legal People Data Platform Research Field")
	catalogue  = strings.Fields("amazon_aws slack githubcloud google salesforce zoomus office365 workday jira_onprem bookmark oidc_client")
)

func pick(of []string, x uint64) string { return of[x%uint64(len(of))] }

func appendTime(b []byte, ms int64) []byte {
	b = append(b, '"')
	b = time.UnixMilli(ms).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return append(b, '"')
}

func appendLogin(b []byte, u int) []byte {
	x := mix(u, forNames)
	b = append(b, strings.ToLower(pick(firstNames, x))...)
	b = append(b, '.')
	b = append(b, strings.ToLower(pick(lastNames, x>>16))...)
	b = strconv.AppendInt(b, int64(u), 10)
	return append(b, "@example.com"...)
}

// appendUser appends a user. since is when it came, in ms, if it came by growth, or 0.
func appendUser(b []byte, base string, u int, since int64) []byte {
	x := mix(u, forNames)
	first, last := pick(firstNames, x), pick(lastNames, x>>16)
	created, updated := since, since
	if since == 0 {
		created, updated = made(u, 1)
	}
	b = append(b, `{"id":"`...)
	b = appendID(b, userPrefix, u)
	b = append(b, `","status":"`...)
	b = append(append(b, status(u)...), '"')
	for _, field := range []struct {
		name string
		at   int64
	}{{"created", created}, {"activated", created}, {"statusChanged", created}, {"lastLogin", updated}, {"lastUpdated", updated}, {"passwordChanged", created}} {
		b = append(b, `,"`...)
		b = append(b, field.name...)
		b = append(b, `":`...)
		b = appendTime(b, field.at)
	}
	b = append(b, `,"type":{"id":"oty1a2b3c4d5e6f7g697"},"profile":{"firstName":"`...)
	b = append(b, first...)
	b = append(b, `","lastName":"`...)
	b = append(b, last...)
	b = append(b, `","displayName":"`...)
	b = append(append(append(b, first...), ' '), last...)
	b = append(b, `","login":"`...)
	b = appendLogin(b, u)
	b = append(b, `","email":"`...)
	b = appendLogin(b, u)
	b = append(b, `","secondEmail":null,"middleName":null,"honorificPrefix":null,"honorificSuffix":null,"nickName":null,"profileUrl":null,"primaryPhone":"+49 40 555 0100","postalAddress":"Am Sandtorkai 12, 20457 Hamburg, Germany","mobilePhone":"+1 555 `...)
	b = strconv.AppendInt(b, int64(1000000+x%9000000), 10)
	b = append(b, `","title":"`...)
	b = append(b, pick(titles, x>>24)...)
	b = append(b, `","department":"`...)
	b = append(b, pick(teams, x>>28)...)
	b = append(b, `","organization":"Example Holding International","division":"Division `...)
	b = append(b, pick(teams, x>>30)...)
	b = append(b, `","costCenter":"CC-`...)
	b = strconv.AppendInt(b, int64(1000+x>>40%9000), 10)
	b = append(b, `","employeeNumber":"E`...)
	b = strconv.AppendInt(b, int64(100000+u), 10)
	b = append(b, `","userType":"Employee","countryCode":"DE","city":"Hamburg","state":"Hamburg","zipCode":"20457","streetAddress":"Am Sandtorkai 12, 4th floor","preferredLanguage":"en","locale":"en_US","timezone":"Europe/Berlin","manager":"`...)
	b = appendLogin(b, u/7)
	b = append(b, `","managerId":"`...)
	b = appendID(b, userPrefix, u/7)
	b = append(b, `"},"credentials":{"password":{},"emails":[{"value":"`...)
	b = appendLogin(b, u)
	b = append(b, `","status":"VERIFIED","type":"PRIMARY"}],"provider":{"type":"OKTA","name":"OKTA"}},"_links":{"self":{"href":"`...)
	b = append(b, base...)
	b = append(b, "/api/v1/users/"...)
	b = appendID(b, userPrefix, u)
	return append(b, `"}}}`...)
}

// appendGroup appends a group. members is how many it has, or -1 without statistics.
func (o *org) appendGroup(b []byte, base string, g, members int) []byte {
	created, updated := made(g, 2)
	b = append(b, `{"id":"`...)
	b = appendID(b, groupPrefix, g)
	b = append(b, `","created":`...)
	b = appendTime(b, created)
	b = append(b, `,"lastUpdated":`...)
	b = appendTime(b, updated)
	b = append(b, `,"lastMembershipUpdated":`...)
	b = appendTime(b, updated)
	b = append(b, `,"objectClass":["okta:user_group"],"type":"`...)
	if g == 0 {
		b = append(b, `BUILT_IN","profile":{"name":"Everyone","description":"All users in your organization"}`...)
	} else {
		b = append(b, `OKTA_GROUP","profile":{"name":"`...)
		b = append(b, pick(teams, mix(g, forNames))...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(g), 10)
		b = append(b, `","description":"Members of the team who may use what it owns, kept by its managers"}`...)
	}
	b = append(b, `,"_links":{"logo":[{"name":"medium","href":"https://static.example.com/assets/img/logos/groups/okta-medium.png","type":"image/png"},{"name":"large","href":"https://static.example.com/assets/img/logos/groups/okta-large.png","type":"image/png"}]`...)
	for _, name := range []string{"users", "apps"} {
		b = appendLink(b, base+"/api/v1/groups/", groupPrefix, g, name)
	}
	b = append(b, '}')
	if members >= 0 {
		b = append(b, `,"_embedded":{"stats":{"usersCount":`...)
		b = strconv.AppendInt(b, int64(members), 10)
		b = append(b, `,"appsCount":0,"groupPushMappingsCount":0,"hasAdminPrivlege":false}}`...)
	}
	return append(b, '}')
}

// appendApp appends an application. user is whose assignment is embedded, or -1.
func (o *org) appendApp(b []byte, base string, a, user int) []byte {
	created, updated := made(a, 3)
	kind := pick(catalogue, mix(a, forNames))
	b = append(b, `{"id":"`...)
	b = appendID(b, appPrefix, a)
	b = append(b, `","name":"`...)
	b = append(b, kind...)
	b = append(b, `","label":"`...)
	b = append(b, pick(teams, mix(a, forNames)>>8)...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(a), 10)
	b = append(b, `","status":"ACTIVE","lastUpdated":`...)
	b = appendTime(b, updated)
	b = append(b, `,"created":`...)
	b = appendTime(b, created)
	b = append(b, `,"accessibility":{"selfService":false,"errorRedirectUrl":null,"loginRedirectUrl":null},"visibility":{"autoLaunch":false,"autoSubmitToolbar":false,"hide":{"iOS":false,"web":false},"appLinks":{"login":true}},"features":["PUSH_NEW_USERS"],"signOnMode":"SAML_2_0","credentials":{"userNameTemplate":{"template":"${source.login}","type":"BUILT_IN"},"signing":{"kid":"SIMULATEDNOTAKEY"}},"settings":{"app":{"domain":"example.com","siteURL":"https://`...)
	b = append(b, kind...)
	b = append(b, `.example.com"},"notifications":{"vpn":{"network":{"connection":"DISABLED"},"message":null,"helpUrl":null}},"signOn":{"defaultRelayState":null,"ssoAcsUrlOverride":null,"audienceOverride":null,"recipientOverride":null,"attributeStatements":[]}},"_links":{"logo":[{"name":"medium","href":"https://static.example.com/logos/`...)
	b = append(b, kind...)
	b = append(b, `.png","type":"image/png"}],"appLinks":[{"name":"login","href":"`...)
	b = append(b, base...)
	b = append(b, "/home/"...)
	b = append(b, kind...)
	b = append(b, '/')
	b = appendID(b, appPrefix, a)
	b = append(b, `","type":"text/html"}]`...)
	for _, name := range []string{"users", "groups"} {
		b = appendLink(b, base+"/api/v1/apps/", appPrefix, a, name)
	}
	b = append(b, '}')
	if user >= 0 {
		b = append(b, `,"_embedded":{"user":`...)
		b = o.appendAppUser(b, base, a, user)
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendAppUser appends the assignment of an application to a user.
func (o *org) appendAppUser(b []byte, base string, a, u int) []byte {
	created, updated := made(u^a<<24, 4)
	b = append(b, `{"id":"`...)
	b = appendID(b, userPrefix, u)
	b = append(b, `","externalId":null,"created":`...)
	b = appendTime(b, created)
	b = append(b, `,"lastUpdated":`...)
	b = appendTime(b, updated)
	b = append(b, `,"scope":"`...)
	b = append(b, []string{"USER", "GROUP"}[u&1]...)
	b = append(b, `","status":"ACTIVE","statusChanged":`...)
	b = appendTime(b, created)
	b = append(b, `,"passwordChanged":null,"syncState":"DISABLED","credentials":{"userName":"`...)
	b = appendLogin(b, u)
	b = append(b, `"},"profile":{"email":"`...)
	b = appendLogin(b, u)
	b = append(b, `","displayName":"`...)
	x := mix(u, forNames)
	b = append(append(append(b, pick(firstNames, x)...), ' '), pick(lastNames, x>>16)...)
	b = append(b, `","secondEmail":null,"middleName":null,"honorificPrefix":null,"honorificSuffix":null,"nickName":null,"profileUrl":null,"primaryPhone":"+49 40 555 0100","postalAddress":"Am Sandtorkai 12, 20457 Hamburg, Germany","mobilePhone":null},"_links":{"app":{"href":"`...)
	b = append(b, base...)
	b = append(b, "/api/v1/apps/"...)
	b = appendID(b, appPrefix, a)
	b = append(b, `"},"user":{"href":"`...)
	b = append(b, base...)
	b = append(b, "/api/v1/users/"...)
	b = appendID(b, userPrefix, u)
	return append(b, `"}}}`...)
}

// appendAppGroup appends the j-th assignment of an application to a group.
func (o *org) appendAppGroup(b []byte, base string, a, j int) []byte {
	_, updated := made(a, 5)
	g := o.appGroup(a, j)
	b = append(b, `{"id":"`...)
	b = appendID(b, groupPrefix, g)
	b = append(b, `","lastUpdated":`...)
	b = appendTime(b, updated)
	b = append(b, `,"priority":`...)
	b = strconv.AppendInt(b, int64(j), 10)
	b = append(b, `,"profile":{},"_links":{"app":{"href":"`...)
	b = append(b, base...)
	b = append(b, "/api/v1/apps/"...)
	b = appendID(b, appPrefix, a)
	b = append(b, `"},"group":{"href":"`...)
	b = append(b, base...)
	b = append(b, "/api/v1/groups/"...)
	b = appendID(b, groupPrefix, g)
	return append(b, `"}}}`...)
}

var factorKinds = []struct{ factorType, provider, profile string }{
	{"token:software:totp", "GOOGLE", `{"credentialId":"someone@example.com"}`},
	{"push", "OKTA", `{"credentialId":"someone@example.com","deviceType":"SmartPhone_IPhone","name":"iPhone","platform":"IOS","version":"17.5"}`},
	{"webauthn", "FIDO", `{"credentialId":"k5xGp0zZ8l","authenticatorName":"YubiKey 5"}`},
}

// appendFactor appends the j-th factor of a user.
func (o *org) appendFactor(b []byte, base string, u, j int) []byte {
	created, updated := made(u*4+j, 6)
	f := factorKinds[j]
	b = append(b, `{"id":"`...)
	b = appendID(b, factorPrefix, u*4+j)
	b = append(b, `","factorType":"`...)
	b = append(b, f.factorType...)
	b = append(b, `","provider":"`...)
	b = append(b, f.provider...)
	b = append(b, `","vendorName":"`...)
	b = append(b, f.provider...)
	b = append(b, `","status":"ACTIVE","created":`...)
	b = appendTime(b, created)
	b = append(b, `,"lastUpdated":`...)
	b = appendTime(b, updated)
	b = append(b, `,"profile":`...)
	b = append(b, f.profile...)
	b = append(b, `,"_links":{"self":{"href":"`...)
	b = append(b, base...)
	b = append(b, "/api/v1/users/"...)
	b = appendID(b, userPrefix, u)
	b = append(b, "/factors/"...)
	b = appendID(b, factorPrefix, u*4+j)
	return append(b, `"}}}`...)
}

// appendCreated appends the event that a user was made.
func appendCreated(b []byte, u int, at int64) []byte {
	x := mix(u, forNames)
	b = append(b, `{"uuid":"`...)
	b = appendUUID(b, u)
	b = append(b, `","published":`...)
	b = appendTime(b, at)
	b = append(b, `,"eventType":"user.lifecycle.create","version":"0","displayMessage":"Create okta user","severity":"INFO","client":{"userAgent":{"rawUserAgent":"Okta-Integrations","os":"Unknown","browser":"UNKNOWN"},"zone":"null","device":"Unknown","id":null,"ipAddress":"192.0.2.44","geographicalContext":null,"ipChain":[{"ip":"192.0.2.44","geographicalContext":null,"version":"V4","source":null}]},"device":null,"actor":{"id":"0oa9p3xwtLJcM5fRk697","type":"PublicClientApp","alternateId":"0oa9p3xwtLJcM5fRk697","displayName":"HR Provisioner","detailEntry":null},"outcome":{"result":"SUCCESS","reason":null},"target":[{"id":"`...)
	b = appendID(b, userPrefix, u)
	b = append(b, `","type":"User","alternateId":"`...)
	b = appendLogin(b, u)
	b = append(b, `","displayName":"`...)
	b = append(append(append(b, pick(firstNames, x)...), ' '), pick(lastNames, x>>16)...)
	b = append(b, `","detailEntry":null}],"transaction":{"type":"JOB","id":"Zrd0f631ca1ddba8db3bcfcb","detail":{}},"debugContext":{"debugData":{"requestId":"Zrd0f631ca1ddba8db3bcfcb","requestUri":"/api/v1/users","url":"/api/v1/users?"}},"legacyEventType":"core.user.config.user_creation.success","authenticationContext":{"authenticationProvider":null,"credentialProvider":null,"credentialType":null,"issuer":null,"authenticationStep":0,"externalSessionId":"trsd0f631ca1ddba8db3bcf","interface":null},"securityContext":{"asNumber":null,"asOrg":null,"isp":null,"domain":null,"isProxy":null},"insertionTimestamp":null}`...)
	return b
}

func appendUUID(b []byte, i int) []byte {
	const hex = "0123456789abcdef"
	x, y := mix(i, forID), uint64(i)
	for n := range 32 {
		if n == 8 || n == 12 || n == 16 || n == 20 {
			b = append(b, '-')
		}
		if n < 16 {
			b = append(b, hex[x>>(4*n)&15])
		} else {
			b = append(b, hex[y>>(4*(31-n))&15])
		}
	}
	return b
}

// delivery returns the body of an event hook's delivery: that users from..to-1 were made.
func delivery(base string, from, to int, at int64) []byte {
	b := append([]byte(nil), `{"eventType":"com.okta.event_hook","eventTypeVersion":"1.0","cloudEventsVersion":"0.1","source":"`...)
	b = append(b, base...)
	b = append(b, `/api/v1/eventHooks/who5k2mzrTqLw8Yd1697","eventId":"`...)
	b = appendUUID(b, -from-1)
	b = append(b, `","data":{"events":[`...)
	for u := from; u < to; u++ {
		if u > from {
			b = append(b, ',')
		}
		b = appendCreated(b, u, at)
	}
	b = append(b, `]},"eventTime":`...)
	b = appendTime(b, at)
	return append(b, `,"contentType":"application/json"}`...)
}

// appendLink appends the link of an object to one of its lists.
func appendLink(b []byte, path, prefix string, n int, list string) []byte {
	b = append(b, `,"`...)
	b = append(b, list...)
	b = append(b, `":{"href":"`...)
	b = append(b, path...)
	b = appendID(b, prefix, n)
	b = append(b, '/')
	b = append(b, list...)
	return append(b, `"}`...)
}
