package oktasim

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// HookRights are what the org's token may do with event hooks.
type HookRights int

// The rights. The zero value is a super administrator's.
const (
	HooksManaged HookRights = iota
	HooksRead
	HooksDenied
)

// Bounds of event hooks.
const (
	maxLiveHooks = 25 // ACTIVE and VERIFIED
	maxHookTypes = 300
	maxHookName  = 255
	maxHookURI   = 1024
)

const (
	hookActive     = "ACTIVE"
	hookInactive   = "INACTIVE"
	hookVerified   = "VERIFIED"
	hookUnverified = "UNVERIFIED"
)

// hookSpec is what a client says of an event hook. What it says beside that is
// dropped; a filter is kept as it came, and not evaluated.
type hookSpec struct {
	Name        string      `json:"name"`
	Description *string     `json:"description,omitempty"`
	Events      hookEvents  `json:"events"`
	Channel     hookChannel `json:"channel"`
}

type hookEvents struct {
	Type   string          `json:"type"`
	Items  []string        `json:"items"`
	Filter json.RawMessage `json:"filter,omitempty"`
}

type hookChannel struct {
	Type    string     `json:"type"`
	Version string     `json:"version"`
	Config  hookConfig `json:"config"`
}

type hookConfig struct {
	URI        string       `json:"uri"`
	Headers    []hookHeader `json:"headers"`
	AuthScheme *hookAuth    `json:"authScheme,omitempty"`
	Method     string       `json:"method"`
}

type hookHeader struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// hookAuth is the header that carries the secret. Value is never read back.
type hookAuth struct {
	Type  string `json:"type"`
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// eventHook is an event hook as it stands. Its body is replaced, never changed.
type eventHook struct {
	hookSpec
	ID                 string         `json:"id"`
	Status             string         `json:"status"`
	VerificationStatus string         `json:"verificationStatus"`
	Created            string         `json:"created"`
	CreatedBy          string         `json:"createdBy"`
	LastUpdated        string         `json:"lastUpdated"`
	Links              map[string]any `json:"_links"`
}

func (h eventHook) live() bool { return h.Status == hookActive && h.VerificationStatus == hookVerified }

// shown is the hook as a read gives it.
func (h eventHook) shown(org string) json.RawMessage {
	if auth := h.Channel.Config.AuthScheme; auth != nil {
		h.Channel.Config.AuthScheme = &hookAuth{Type: auth.Type, Key: auth.Key}
	}
	h.Channel.Config.Method = http.MethodPost
	self := org + "/api/v1/eventHooks/" + h.ID
	h.Links = map[string]any{
		"self":   map[string]any{"href": self},
		"verify": map[string]any{"href": self + "/lifecycle/verify", "hints": map[string]any{"allow": []string{"POST"}}},
	}
	return mustJSON(h)
}

// manageHooks answers a call that writes event hooks. A verification calls the
// hook, so mu is not held throughout.
func (o *Org) manageHooks(r *http.Request, p []string) (answer, error) {
	if o.cfg.HookRights != HooksManaged {
		return answer{}, failure("E0000006")
	}
	switch {
	case len(p) == 1 && r.Method == http.MethodPost:
		return o.createHook(r)
	case len(p) == 2 && r.Method == http.MethodPut:
		return o.replaceHook(r, p[1])
	case len(p) == 2 && r.Method == http.MethodDelete:
		return o.deleteHook(p[1])
	case len(p) == 4 && r.Method == http.MethodPost && p[2] == "lifecycle":
		switch p[3] {
		case "verify":
			return o.verifyEventHook(r.Context(), p[1])
		case "activate":
			return o.setHookStatus(p[1], hookActive)
		case "deactivate":
			return o.setHookStatus(p[1], hookInactive)
		}
		return answer{}, failure("E0000008")
	}
	return answer{}, failure("E0000022")
}

func (c *req) listHooks() (answer, error) {
	if c.cfg.HookRights == HooksDenied {
		return answer{}, failure("E0000006")
	}
	all := []json.RawMessage{}
	for _, h := range c.hooks {
		all = append(all, h.shown(c.url))
	}
	return answer{status: http.StatusOK, body: mustJSON(all), list: true}, nil
}

func (c *req) oneHook() (answer, error) {
	if c.cfg.HookRights == HooksDenied {
		return answer{}, failure("E0000006")
	}
	h, err := c.hook(c.path[1])
	if err != nil {
		return answer{}, err
	}
	return ok(h.shown(c.url)), nil
}

// hook finds a hook. The caller holds mu.
func (o *Org) hook(id string) (*eventHook, error) {
	for _, h := range o.hooks {
		if h.ID == id {
			return h, nil
		}
	}
	return nil, notFound("EventHook", id)
}

func (o *Org) createHook(r *http.Request) (answer, error) {
	body, err := o.hookOf(r)
	if err != nil {
		return answer{}, err
	}
	o.mu.Lock()
	if err := o.nameFree(body.Name, ""); err != nil {
		o.mu.Unlock()
		return answer{}, err
	}
	h := o.addHook(body)
	o.mu.Unlock()
	o.tellOfHook("event_hook.created", h, "")
	return ok(h.shown(o.url)), nil
}

// addHook adds a hook as it is after its creation: ACTIVE, UNVERIFIED. Ids of
// what comes later do not depend on it. The caller holds mu.
func (o *Org) addHook(body hookSpec) eventHook {
	ids := o.ids
	o.ids = 1<<52 + uint64(o.hooksMade)<<8
	id := o.id("who")
	o.ids = ids
	o.hooksMade++
	now := o.clock.Now().UTC().Format(timeFormat)
	h := &eventHook{hookSpec: body, ID: id, Status: hookActive, VerificationStatus: hookUnverified,
		Created: now, CreatedBy: o.actor().ID, LastUpdated: now}
	o.hooks = append(o.hooks, h)
	return *h
}

// replace puts another body in the place of all that a client may say: what it
// leaves out is gone, the secret too, and a channel that differs has to be
// verified again.
func (h *eventHook) replace(body hookSpec) {
	if !bytes.Equal(mustJSON(h.Channel), mustJSON(body.Channel)) {
		h.VerificationStatus = hookUnverified
	}
	h.hookSpec = body
}

func (o *Org) replaceHook(r *http.Request, id string) (answer, error) {
	body, err := o.hookOf(r)
	if err != nil {
		return answer{}, err
	}
	o.mu.Lock()
	h, err := o.hook(id)
	if err == nil {
		err = o.nameFree(body.Name, id)
	}
	if err != nil {
		o.mu.Unlock()
		return answer{}, err
	}
	h.replace(body)
	h.LastUpdated = o.clock.Now().UTC().Format(timeFormat)
	now := *h
	o.mu.Unlock()
	o.tellOfHook("event_hook.updated", now, "")
	return ok(now.shown(o.url)), nil
}

// deleteHook deletes a hook that was deactivated before. Which error an active
// one gets is not documented.
func (o *Org) deleteHook(id string) (answer, error) {
	o.mu.Lock()
	h, err := o.hook(id)
	if err == nil && h.Status != hookInactive {
		err = failure("E0000001", "the event hook must be deactivated before it is deleted")
	}
	if err != nil {
		o.mu.Unlock()
		return answer{}, err
	}
	gone := *h
	o.hooks = slices.DeleteFunc(o.hooks, func(h *eventHook) bool { return h.ID == id })
	o.mu.Unlock()
	o.tellOfHook("event_hook.deleted", gone, "")
	return answer{status: http.StatusNoContent}, nil
}

func (o *Org) setHookStatus(id, status string) (answer, error) {
	o.mu.Lock()
	h, err := o.hook(id)
	if err == nil && status == hookActive && h.Status != hookActive && h.VerificationStatus == hookVerified {
		err = o.roomForHook(id)
	}
	if err != nil {
		o.mu.Unlock()
		return answer{}, err
	}
	h.Status, h.LastUpdated = status, o.clock.Now().UTC().Format(timeFormat)
	now := *h
	o.mu.Unlock()
	o.tellOfHook(map[string]string{hookActive: "event_hook.activated", hookInactive: "event_hook.deactivated"}[status], now, "")
	return ok(now.shown(o.url)), nil
}

// verifyEventHook has the hook echo a challenge. If it does not, even at the
// second try, the call fails with the reason.
func (o *Org) verifyEventHook(ctx context.Context, id string) (answer, error) {
	o.mu.Lock()
	h, err := o.hook(id)
	if err == nil && h.Status == hookActive && h.VerificationStatus != hookVerified {
		err = o.roomForHook(id)
	}
	if err != nil {
		o.mu.Unlock()
		return answer{}, err
	}
	asked := *h
	o.mu.Unlock()

	s := o.NewSender(Hook{URL: asked.Channel.Config.URI}, Faults{})
	defer s.client.CloseIdleConnections()
	if err := s.Verify(ctx); err != nil {
		o.tellOfHook("event_hook.verified", asked, "the endpoint did not echo the challenge")
		return answer{}, failure("E0000001", "Event hook verification failed: "+err.Error())
	}
	o.mu.Lock()
	h, err = o.hook(id)
	if err == nil && !bytes.Equal(mustJSON(h.Channel), mustJSON(asked.Channel)) {
		err = failure("E0000001", "the channel was changed meanwhile")
	}
	if err != nil {
		o.mu.Unlock()
		return answer{}, err
	}
	h.VerificationStatus = hookVerified
	now := *h
	o.mu.Unlock()
	o.tellOfHook("event_hook.verified", now, "")
	return ok(now.shown(o.url)), nil
}

// tellOfHook writes to the log what happened to a hook. failed is why it did not.
func (o *Org) tellOfHook(event string, h eventHook, failed string) {
	what := happening{typ: event, uri: "/api/v1/eventHooks/" + h.ID,
		targets: []target{{ID: h.ID, Type: "EventHook", AlternateID: "unknown", DisplayName: h.Name}}}
	if failed != "" {
		what.result, what.reason = "FAILURE", failed
	}
	o.notice(what)
}

// roomForHook refuses one more live hook than there may be. The caller holds mu.
func (o *Org) roomForHook(id string) error {
	live := 0
	for _, h := range o.hooks {
		if h.live() && h.ID != id {
			live++
		}
	}
	if live >= maxLiveHooks {
		return failure("E0000001", fmt.Sprintf("the org has %d active and verified event hooks already", maxLiveHooks))
	}
	return nil
}

// nameFree refuses a name that another hook has. The caller holds mu.
func (o *Org) nameFree(name, id string) error {
	for _, h := range o.hooks {
		if h.Name == name && h.ID != id {
			return failure("E0000001", "name: An object with this field already exists in the current organization")
		}
	}
	return nil
}

// hookOf reads the hook of a request.
func (o *Org) hookOf(r *http.Request) (hookSpec, error) {
	var b hookSpec
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || json.Unmarshal(body, &b) != nil {
		return b, failure("E0000003")
	}
	var causes []string
	refuse := func(format string, args ...any) { causes = append(causes, fmt.Sprintf(format, args...)) }
	if n := utf8.RuneCountInString(b.Name); n < 1 || n > maxHookName {
		refuse("name: must have 1 to %d characters", maxHookName)
	}
	if b.Events.Type != "EVENT_TYPE" {
		refuse("events.type: must be EVENT_TYPE")
	}
	if len(b.Events.Items) == 0 || len(b.Events.Items) > maxHookTypes {
		refuse("events.items: must have 1 to %d event types", maxHookTypes)
	}
	for _, typ := range b.Events.Items {
		if !o.hookable(typ) {
			refuse("events.items: %s is not an event type that event hooks can have", typ)
		}
	}
	if b.Channel.Type != "HTTP" || b.Channel.Version == "" {
		refuse("channel: type must be HTTP, with a version")
	}
	c := b.Channel.Config
	u, err := url.Parse(c.URI)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && o.cfg.PlainHooks) {
		refuse("channel.config.uri: must be an https address")
	}
	if len(c.URI) > maxHookURI || strings.ContainsFunc(c.URI, unicode.IsSpace) {
		refuse("channel.config.uri: must have at most %d characters and no white space", maxHookURI)
	}
	if a := c.AuthScheme; a != nil && (a.Type != "HEADER" || a.Key == "") {
		refuse("channel.config.authScheme: must be of type HEADER, with a key")
	}
	for _, h := range c.Headers {
		if h.Key == "" || strings.EqualFold(h.Key, "Accept") {
			refuse("channel.config.headers: the key %q is reserved", h.Key)
		}
	}
	if causes != nil {
		return b, failure("E0000001", causes...)
	}
	b.Channel.Config.Method = "" // Okta's to say
	if b.Channel.Config.Headers == nil {
		b.Channel.Config.Headers = []hookHeader{}
	}
	return b, nil
}

// hookable tells whether hooks of this org may have the type.
func (o *Org) hookable(typ string) bool {
	t, known := eventTypes[typ]
	if !known {
		t.eligible = slices.Contains(otherHookTypes, typ)
	}
	return t.eligible && !slices.Contains(o.cfg.NoHookTypes, typ)
}

// otherHookTypes can be subscribed to, but do not happen here.
var otherHookTypes = strings.Fields(`
	user.account.unlock user.import.password user.account.privilege.grant user.account.privilege.revoke
	user.account.report_suspicious_activity_by_enduser user.account.subscriptions.update user.mfa.factor.suspend
	user.mfa.factor.unsuspend user.mfa.promote_enrollment system.mfa.preregister.initiate security.authenticator.lifecycle.create
	security.authenticator.lifecycle.activate security.authenticator.lifecycle.deactivate security.authenticator.lifecycle.update
	group.privilege.grant group.privilege.revoke system.import.group.delete system.import.roadblock app.user_management
	app.user_management.user_group_import.upsert_success application.user_membership.change_password application.provision.user.push
	application.provision.user.push_profile application.provision.user.import_profile application.provision.user.reactivate
	application.provision.user.sync application.provision.user.delete application.policy.sign_on.deny_access
	app.oauth2.client.privilege.grant app.oauth2.client.privilege.revoke iam.role.create iam.role.update iam.role.delete
	iam.role.permissions.add iam.role.permissions.delete iam.resourceset.create iam.resourceset.update iam.resourceset.delete
	iam.resourceset.resources.add iam.resourceset.resources.delete iam.resourceset.resources.update iam.resourceset.bindings.add
	iam.resourceset.bindings.delete device.enrollment.create device.lifecycle.activate device.lifecycle.deactivate
	device.lifecycle.suspend device.lifecycle.unsuspend device.lifecycle.delete device.user.add device.user.remove
	policy.lifecycle.activate policy.lifecycle.deactivate policy.lifecycle.update policy.rule.add policy.rule.update
	policy.rule.activate policy.rule.deactivate policy.rule.delete system.api_token.create system.api_token.revoke user.session.end
	user.session.clear user.authentication.sso user.authentication.auth_via_mfa`)

// EventHook is an event hook as an administrator sees it.
type EventHook struct {
	ID, Name, URI              string
	Status, VerificationStatus string
	Types                      []string
	Description                string
	Filter                     string // JSON; "" if there is none
	JSON                       []byte // as GET /api/v1/eventHooks/{id} shows it
}

// EventHooks returns the hooks of the org.
func (o *Org) EventHooks() []EventHook {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var all []EventHook
	for _, h := range o.hooks {
		e := EventHook{ID: h.ID, Name: h.Name, URI: h.Channel.Config.URI, Status: h.Status, VerificationStatus: h.VerificationStatus,
			Types: slices.Clone(h.Events.Items), Filter: string(h.Events.Filter), JSON: h.shown(o.url)}
		if h.Description != nil {
			e.Description = *h.Description
		}
		all = append(all, e)
	}
	return all
}

// AddEventHook makes a hook in the Admin Console, whatever the token may do:
// ACTIVE and VERIFIED, with the types of the hook, or all that happen here.
func (o *Org) AddEventHook(name string, hook Hook) (id string) {
	types := hook.Types
	if types == nil {
		for typ, t := range eventTypes {
			if t.eligible && !strings.HasPrefix(typ, "user.session.") && o.hookable(typ) {
				types = append(types, typ)
			}
		}
		slices.Sort(types)
	}
	if hook.Header == "" {
		hook.Header = "Authorization"
	}
	o.mu.Lock()
	h := o.addHook(hookSpec{Name: name, Events: hookEvents{Type: "EVENT_TYPE", Items: types},
		Channel: hookChannel{Type: "HTTP", Version: "1.0.0", Config: hookConfig{URI: hook.URL, Headers: []hookHeader{},
			AuthScheme: &hookAuth{Type: "HEADER", Key: hook.Header, Value: hook.Secret}}}})
	o.hooks[len(o.hooks)-1].VerificationStatus = hookVerified
	o.mu.Unlock()
	o.tellOfHook("event_hook.created", h, "")
	o.tellOfHook("event_hook.verified", h, "")
	return h.ID
}

// EditEventHook does in the Admin Console what the API does with a PUT of the
// hook, whatever the token may do: edit gets it as JSON, with the secret.
func (o *Org) EditEventHook(id string, edit func(hook map[string]any)) error {
	o.mu.Lock()
	h, err := o.hook(id)
	if err != nil {
		o.mu.Unlock()
		return err
	}
	var v map[string]any
	_ = json.Unmarshal(mustJSON(h), &v) // we made it
	edit(v)
	var edited eventHook
	if err := json.Unmarshal(mustJSON(v), &edited); err != nil {
		o.mu.Unlock()
		return err
	}
	h.replace(edited.hookSpec)
	now := *h
	o.mu.Unlock()
	o.tellOfHook("event_hook.updated", now, "")
	return nil
}

// DeactivateEventHook deactivates a hook in the Admin Console.
func (o *Org) DeactivateEventHook(id string) error {
	_, err := o.setHookStatus(id, hookInactive)
	return err
}

// NewHookSender returns a sender for a hook of the org. It delivers by what the
// hook is at that moment: nothing unless it is ACTIVE and VERIFIED, only the
// types that it has, to its address, with its secret.
func (o *Org) NewHookSender(id string, faults Faults) *Sender {
	s := o.NewSender(Hook{}, faults)
	s.id = id
	return s
}

// current is the hook to deliver to now; false: there is none.
func (s *Sender) current() (Hook, bool) {
	if s.id == "" {
		return s.hook, true
	}
	s.org.mu.RLock()
	defer s.org.mu.RUnlock()
	h, err := s.org.hook(s.id)
	if err != nil || !h.live() {
		return Hook{}, false
	}
	c := h.Channel.Config
	now := Hook{URL: c.URI, Types: h.Events.Items, Timeout: s.hook.Timeout}
	if c.AuthScheme != nil {
		now.Header, now.Secret = c.AuthScheme.Key, c.AuthScheme.Value
	}
	return now, true
}
