package oktasim

import (
	"encoding/json"
	"sort"
	"time"
)

// Event is an event of the org.
type Event struct {
	UUID         string
	Type         string
	Published    time.Time // milliseconds
	HookEligible bool      // false: only the System Log tells
	JSON         []byte    // as an event hook would carry it
}

// eventType is what the events of one type have in common. The texts are
// plausible only.
type eventType struct {
	eligible bool
	message  string
	legacy   string
	severity string // INFO when empty
}

var eventTypes = map[string]eventType{
	"user.lifecycle.create":                       {true, "Create okta user", "core.user.config.user_creation.success", ""},
	"user.lifecycle.activate":                     {true, "Activate Okta user", "core.user.config.user_activated", ""},
	"user.lifecycle.deactivate":                   {true, "Deactivate Okta user", "core.user.config.user_deactivated", ""},
	"user.lifecycle.reactivate":                   {true, "Reactivate Okta user", "", ""},
	"user.lifecycle.suspend":                      {true, "Suspend Okta user", "core.user.config.user_status.suspended", ""},
	"user.lifecycle.unsuspend":                    {true, "Unsuspend Okta user", "", ""},
	"user.lifecycle.delete.initiated":             {true, "Delete Okta user initiated", "", ""},
	"user.lifecycle.delete.completed":             {false, "Delete Okta user completed", "", ""},
	"user.account.update_profile":                 {true, "Update user profile for Okta", "core.user.config.profile_update.success", ""},
	"user.account.lock":                           {true, "Max sign in attempts exceeded", "core.user_auth.account_locked", "DEBUG"},
	"user.account.unlock_by_admin":                {true, "User account unlock by admin", "", ""},
	"user.account.update_password":                {true, "User update password for Okta", "core.user.config.password_update.success", ""},
	"user.account.reset_password":                 {true, "User reset password for Okta", "", ""},
	"user.account.expire_password":                {false, "Expire user password", "", ""},
	"user.mfa.factor.activate":                    {true, "Activate factor or authenticator enrollment method for user", "core.user.factor.activate", ""},
	"user.mfa.factor.deactivate":                  {true, "Reset factor or authenticator enrollment method for user", "core.user.factor.reset", ""},
	"user.mfa.factor.update":                      {true, "Update factor for user", "", ""},
	"user.mfa.factor.reset_all":                   {true, "Reset all factors or authenticator enrollments for user", "core.user.factor.reset_all", ""},
	"group.lifecycle.create":                      {true, "Create Okta group", "core.user_group.created", ""},
	"group.lifecycle.delete":                      {true, "Delete Okta group", "core.user_group.deleted", ""},
	"group.profile.update":                        {true, "Okta group profile updated", "", ""},
	"group.user_membership.add":                   {true, "Add user to group membership", "core.user_group_member.user_add", ""},
	"group.user_membership.remove":                {true, "Remove user from group membership", "core.user_group_member.user_remove", ""},
	"group.application_assignment.add":            {true, "Add assigned application to group", "", ""},
	"group.application_assignment.remove":         {true, "Remove assigned application from group", "", ""},
	"group.application_assignment.update":         {true, "Update assigned application of group", "", ""},
	"application.lifecycle.create":                {true, "Create application", "app.generic.config.app_created", ""},
	"application.lifecycle.update":                {true, "Update application", "app.generic.config.app_updated", ""},
	"application.lifecycle.activate":              {true, "Activate application", "", ""},
	"application.lifecycle.deactivate":            {true, "Deactivate application", "", ""},
	"application.lifecycle.delete":                {true, "Delete application", "app.generic.config.app_deleted", ""},
	"application.user_membership.add":             {true, "Add user to application membership", "app.generic.provision.assign_user_to_app", ""},
	"application.user_membership.remove":          {true, "Remove user's application membership", "app.generic.provision.deactivate_user_from_app", ""},
	"application.user_membership.update":          {true, "Updated user application property", "", ""},
	"application.user_membership.change_username": {false, "Change username of user's application membership", "", ""},
	"application.user_membership.restore":         {false, "Restore user's application membership", "", ""},
	"system.import.start":                         {true, "Import process start", "", ""},
	"system.import.complete":                      {true, "Import process complete", "", ""},
	"system.import.group.create":                  {true, "Create group triggered by import process", "", ""},
	"system.org.rate_limit.warning":               {true, "Rate limit warning", "", "WARN"},
	"system.org.rate_limit.violation":             {true, "Rate limit violation", "", "WARN"},
	"event_hook.delivery":                         {false, "Event hook delivery failed", "", "WARN"},
	"event_hook.created":                          {false, "Create event hook", "", ""},
	"event_hook.updated":                          {false, "Update event hook", "", ""},
	"event_hook.verified":                         {false, "Verify event hook", "", ""},
	"event_hook.activated":                        {false, "Activate event hook", "", ""},
	"event_hook.deactivated":                      {false, "Deactivate event hook", "", ""},
	"event_hook.deleted":                          {false, "Delete event hook", "", ""},
	"user.session.start":                          {true, "User login to Okta", "core.user_auth.login_success", ""},
}

// target is an actor or target of an event.
type target struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	AlternateID string `json:"alternateId"`
	DisplayName string `json:"displayName"`
	DetailEntry any    `json:"detailEntry"`
	Change      any    `json:"changeDetails,omitempty"`
}

func (u *user) target() target {
	return target{ID: u.id, Type: "User", AlternateID: u.login, DisplayName: u.name}
}

func (g *group) target() target {
	return target{ID: g.id, Type: "UserGroup", AlternateID: "unknown", DisplayName: g.name}
}

func (a *app) target() target {
	return target{ID: a.id, Type: "AppInstance", AlternateID: a.label, DisplayName: a.label}
}

// targets of an assignment: the app user's 0ua… id is not the user's.
func (u *appUser) targets(a *app, of *user) []target {
	return []target{
		{ID: u.ua, Type: "AppUser", AlternateID: u.userName, DisplayName: of.name},
		a.target(), of.target(),
	}
}

var systemActor = target{ID: "00u4fh2k0000SysQn697", Type: "SystemPrincipal", AlternateID: "system@okta.com", DisplayName: "Okta System"}

type outcome struct {
	Result string  `json:"result"`
	Reason *string `json:"reason"`
}

// happening is an event before it is rendered.
type happening struct {
	typ     string
	targets []target
	actor   target // the admin when empty
	job     bool   // a follow-up of something else, or the system's own work
	uri     string // of the request that did it
	result  string // SUCCESS when empty
	reason  string
	debug   map[string]string
}

// logged is an event in the System Log.
type logged struct {
	Event
	persisted, published int64 // ms
	seq                  int64
	actor, transaction   string
	result               string
	targets              []string
	log                  []byte // as GET /logs gives it
}

type geo struct {
	City        string             `json:"city"`
	State       string             `json:"state"`
	Country     string             `json:"country"`
	PostalCode  string             `json:"postalCode"`
	Geolocation map[string]float64 `json:"geolocation"`
}

type ip struct {
	IP     string `json:"ip"`
	Geo    geo    `json:"geographicalContext"`
	V      string `json:"version"`
	Source any    `json:"source"`
}

type userAgent struct {
	Raw     string `json:"rawUserAgent"`
	OS      string `json:"os"`
	Browser string `json:"browser"`
}

type client struct {
	UserAgent *userAgent `json:"userAgent"`
	Zone      *string    `json:"zone"`
	Device    *string    `json:"device"`
	ID        *string    `json:"id"`
	IPAddress *string    `json:"ipAddress"`
	Geo       *geo       `json:"geographicalContext"`
	IPChain   []ip       `json:"ipChain"`
}

type logClient struct {
	UserAgent *userAgent `json:"userAgent"`
	Zone      *string    `json:"zone"`
	Device    *string    `json:"device"`
	ID        *string    `json:"id"`
	IPAddress *string    `json:"ipAddress"`
	Geo       *geo       `json:"geographicalContext"`
}

type eventBody struct {
	UUID           string  `json:"uuid"`
	Published      string  `json:"published"`
	EventType      string  `json:"eventType"`
	Version        string  `json:"version"`
	DisplayMessage string  `json:"displayMessage"`
	Severity       string  `json:"severity"`
	Client         any     `json:"client"`
	Actor          target  `json:"actor"`
	Outcome        outcome `json:"outcome"`
	Target         any     `json:"target"`
	Transaction    struct {
		Type   string         `json:"type"`
		ID     string         `json:"id"`
		Detail map[string]any `json:"detail"`
	} `json:"transaction"`
	DebugContext struct {
		DebugData map[string]string `json:"debugData"`
	} `json:"debugContext"`
	LegacyEventType       *string `json:"legacyEventType"`
	AuthenticationContext struct {
		AuthenticationProvider any     `json:"authenticationProvider"`
		CredentialProvider     any     `json:"credentialProvider"`
		CredentialType         any     `json:"credentialType"`
		Issuer                 any     `json:"issuer"`
		AuthenticationStep     int     `json:"authenticationStep"`
		ExternalSessionID      *string `json:"externalSessionId"`
		Interface              any     `json:"interface"`
	} `json:"authenticationContext"`
	SecurityContext struct {
		ASNumber *int    `json:"asNumber"`
		ASOrg    *string `json:"asOrg"`
		ISP      *string `json:"isp"`
		Domain   *string `json:"domain"`
		IsProxy  *bool   `json:"isProxy"`
	} `json:"securityContext"`
}

type hookBody struct {
	eventBody
	Device             any `json:"device"`
	InsertionTimestamp any `json:"insertionTimestamp"`
}

type logBody struct {
	eventBody
	Request struct {
		IPChain []ip `json:"ipChain"`
	} `json:"request"`
}

var (
	webAgent = userAgent{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Linux", "FIREFOX"}
	webGeo   = geo{"Lyon", "Auvergne-Rhone-Alpes", "France", "69003", map[string]float64{"lat": 45.7579, "lon": 4.8551}}
	webIP    = "192.0.2.44"
	webZone  = "null" // Okta writes the text, not the null
	webNet   = "example net"
	webHost  = "example.com"
	webASN   = 64500
	computer = "Computer"
	no       = false
)

// emit writes what happened at the instant at (ns) to the log, and returns it.
// The caller holds mu.
func (o *Org) emit(at int64, h happening) Event {
	typ, ok := eventTypes[h.typ]
	if !ok {
		typ = eventType{eligible: true, message: "A type of later years"}
	}
	ms := at / 1e6
	var b eventBody
	b.UUID = o.uuid()
	b.Published = time.UnixMilli(ms).UTC().Format(timeFormat)
	b.EventType, b.Version, b.DisplayMessage = h.typ, "0", typ.message
	b.Severity = typ.severity
	if b.Severity == "" {
		b.Severity = "INFO"
	}
	b.Outcome.Result = h.result
	if h.result == "" {
		b.Outcome.Result = "SUCCESS"
	} else if h.result != "SUCCESS" && typ.severity == "" {
		b.Severity = "WARN"
	}
	if h.reason != "" {
		b.Outcome.Reason = &h.reason
	}
	if typ.legacy != "" {
		b.LegacyEventType = &typ.legacy
	}
	if h.targets != nil {
		b.Target = h.targets
	}
	b.Actor = h.actor
	if h.actor.ID == "" {
		b.Actor = o.actor()
	}
	debug := map[string]string{"targetEventHookIds": o.cfg.HookID}
	for k, v := range h.debug {
		debug[k] = v
	}
	hex := o.hex(64)
	hook, log := client{IPChain: []ip{}}, logClient{}
	chain := []ip{}
	b.Transaction.Detail = map[string]any{}
	if h.job {
		b.Transaction.Type, b.Transaction.ID = "JOB", "gam"+hex[:17]
	} else {
		b.Transaction.Type, b.Transaction.ID = "WEB", "Zr"+hex[:22]
		debug["requestId"], debug["dtHash"] = b.Transaction.ID, hex
		if h.uri != "" {
			debug["requestUri"], debug["url"] = h.uri, h.uri+"?"
		}
		chain = []ip{{IP: webIP, Geo: webGeo, V: "V4"}}
		log = logClient{&webAgent, &webZone, &computer, nil, &webIP, &webGeo}
		hook = client{&webAgent, &webZone, &computer, nil, &webIP, &webGeo, chain}
		session := "trs" + hex[:20]
		b.AuthenticationContext.ExternalSessionID = &session
		b.SecurityContext.ASNumber, b.SecurityContext.ASOrg = &webASN, &webNet
		b.SecurityContext.ISP, b.SecurityContext.Domain, b.SecurityContext.IsProxy = &webNet, &webHost, &no
	}
	b.DebugContext.DebugData = debug

	e := &logged{
		Event:     Event{UUID: b.UUID, Type: h.typ, Published: time.UnixMilli(ms).UTC(), HookEligible: typ.eligible},
		published: ms, persisted: ms, seq: o.seq(),
		actor: b.Actor.ID, transaction: b.Transaction.ID, result: b.Outcome.Result,
	}
	for _, t := range h.targets {
		e.targets = append(e.targets, t.ID)
	}
	b.Client = hook
	e.JSON = mustJSON(hookBody{eventBody: b})
	b.Client = log
	lb := logBody{eventBody: b}
	lb.Request.IPChain = chain
	e.log = mustJSON(lb)
	if o.cfg.LogLag > 0 {
		e.persisted += o.rng.Int64N(o.cfg.LogLag.Milliseconds() + 1)
	}
	i := sort.Search(len(o.log), func(i int) bool { return o.log[i].persisted > e.persisted })
	o.log = append(o.log, nil)
	copy(o.log[i+1:], o.log[i:])
	o.log[i] = e
	for len(o.log) > 0 && o.log[0].persisted < ms-keepLog {
		o.log[0], o.log = nil, o.log[1:]
	}
	o.feed = append(o.feed, e.Event)
	if len(o.feed) > maxFeed {
		drop := len(o.feed) - maxFeed/2
		o.feed, o.feedAt = append([]Event(nil), o.feed[drop:]...), o.feedAt+drop
	}
	close(o.news)
	o.news = make(chan struct{})
	return e.Event
}

// notice writes to the log what Okta itself noticed. That is no change of the
// org, and calls that run side by side bring it about: so the clock does not
// step for it, and neither ids nor chances of later changes depend on it.
func (o *Org) notice(h happening) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := max(o.clock.Now().UnixNano(), o.lastAt)
	o.doDue(at)
	o.lastAt = at
	rng, ids := o.rng, o.ids
	o.rng, o.ids = o.noticing, 1<<48+o.noticed<<8 // of each its own 256
	o.noticed++
	o.emit(at, h)
	o.rng, o.ids = rng, ids
}

const (
	keepLog = int64(90 * 24 * 3600 * 1000) // ms
	maxFeed = 100_000
)

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("oktasim: " + err.Error()) // our own types only
	}
	return b
}
