package okta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const eventHooksPath = "/api/v1/eventHooks"

// EventHook is an event hook of the org. What it has no field for is kept as
// Okta sent it, and sent back by a change: a PUT replaces the whole object, and
// the SDK's own type would erase filter and description.
type EventHook struct {
	ID                 string
	Name               string
	Status             string // ACTIVE, INACTIVE
	VerificationStatus string // VERIFIED, UNVERIFIED
	URI                string
	Header             string   // that carries the secret, which no read gives
	Types              []string // subscribed
	Filtered           []string // those of which a filter lets only some events through

	raw map[string]json.RawMessage
}

func (h EventHook) id() string { return h.ID }

// Delivers tells whether Okta sends events to the hook.
func (h EventHook) Delivers() bool { return h.Status == "ACTIVE" && h.VerificationStatus == "VERIFIED" }

// IsOf tells whether the hook leads to an instance of oktasync: whoever
// answers at its address.
func (h EventHook) IsOf(instance string) bool {
	u, err := url.Parse(h.URI)
	return err == nil && strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/hooks/okta/"+instance)
}

type (
	hookEvents struct {
		Items  []string        `json:"items"`
		Filter json.RawMessage `json:"filter"`
	}
	hookChannel struct {
		Config struct {
			URI        string `json:"uri"`
			AuthScheme struct {
				Key string `json:"key"`
			} `json:"authScheme"`
		} `json:"config"`
	}
)

// UnmarshalJSON reads a hook, and keeps all of it. A hook that cannot be
// understood is an error: half of it would look like one that lacks something.
func (h *EventHook) UnmarshalJSON(b []byte) error {
	var v struct {
		ID                 string      `json:"id"`
		Name               string      `json:"name"`
		Status             string      `json:"status"`
		VerificationStatus string      `json:"verificationStatus"`
		Events             hookEvents  `json:"events"`
		Channel            hookChannel `json:"channel"`
	}
	raw := map[string]json.RawMessage{}
	if err := errors.Join(json.Unmarshal(b, &v), json.Unmarshal(b, &raw)); err != nil {
		return errors.New("an event hook of a form that is not known: " + bounded(err.Error()))
	}
	*h = EventHook{ID: v.ID, Name: v.Name, Status: v.Status, VerificationStatus: v.VerificationStatus,
		URI: v.Channel.Config.URI, Header: v.Channel.Config.AuthScheme.Key, Types: v.Events.Items, raw: raw}
	if f := v.Events.Filter; len(f) > 0 && !bytes.Equal(f, []byte("null")) {
		h.Filtered = filtered(f, h.Types)
	}
	return nil
}

// filtered are the types that a filter names, or all, if it has another form.
func filtered(filter json.RawMessage, types []string) []string {
	var f struct {
		Map []struct {
			Event string `json:"event"`
		} `json:"eventFilterMap"`
	}
	if json.Unmarshal(filter, &f) != nil || f.Map == nil {
		return types
	}
	var names []string
	for _, condition := range f.Map {
		names = append(names, condition.Event)
	}
	return names
}

// EventHooks lists all event hooks of the org: they have no pages.
func (c *Client) EventHooks(ctx context.Context) ([]EventHook, error) {
	const what = "the event hooks"
	p, err := list[EventHook](ctx, c, what, eventHooksPath, nil, "")
	if err == nil && p.Next != "" {
		err = &Error{What: what, Summary: "the list has pages, which it is not known to have"}
	}
	return p.Items, err
}

// EventHookAdmin changes the event hooks of one org, and nothing else: its
// transport refuses to write to any other path. It is apart from Client, which
// only reads, so that nothing of the service can write to an org.
type EventHookAdmin struct{ client *Client }

// NewEventHookAdmin makes one. It calls nothing. Close it after use.
func NewEventHookAdmin(ctx context.Context, cfg ClientConfig) (*EventHookAdmin, error) {
	c, err := NewClient(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.transport.writes = eventHooksPath
	return &EventHookAdmin{c}, nil
}

// Close closes idle connections.
func (a *EventHookAdmin) Close() { a.client.Close() }

// List lists all event hooks of the org.
func (a *EventHookAdmin) List(ctx context.Context) ([]EventHook, error) {
	return a.client.EventHooks(ctx)
}

// HookChannel is where a hook delivers, and the secret that it shows there as the
// whole Authorization header.
type HookChannel struct {
	URI    string
	Secret string
}

// authScheme is how the secret is sent.
func (c HookChannel) authScheme() map[string]any {
	return map[string]any{"type": "HEADER", "key": "Authorization", "value": c.Secret}
}

// Create makes a hook: ACTIVE, and to be verified.
func (a *EventHookAdmin) Create(ctx context.Context, name string, types []string, to HookChannel) (EventHook, error) {
	body := map[string]any{
		"name":   name,
		"events": map[string]any{"type": "EVENT_TYPE", "items": types},
		"channel": map[string]any{"type": "HTTP", "version": "1.0.0",
			"config": map[string]any{"uri": to.URI, "authScheme": to.authScheme()}},
	}
	var h EventHook
	err := a.write(ctx, &call{verb: "create", what: "event hook " + name, first: '{', hidden: to.Secret}, http.MethodPost, eventHooksPath, body, &h)
	return h, err
}

// Change gives a hook types on top of those that it has, and another channel. It
// leaves everything else as h has it. A change of the channel, of which the
// secret is a part, has to be verified.
func (a *EventHookAdmin) Change(ctx context.Context, h EventHook, types []string, to HookChannel) (EventHook, error) {
	const verb = "change"
	what := "event hook " + h.ID
	path, err := idPath(what, eventHooksPath+"/%s", h.ID)
	if err != nil {
		return h, err
	}
	body, err := h.changed(types, to)
	if err != nil {
		return h, &Error{Verb: verb, What: what, Summary: "it has a form that is not known, and is left as it is: change it in the Admin Console"}
	}
	var now EventHook
	err = a.write(ctx, &call{verb: verb, what: what, first: '{', hidden: to.Secret}, http.MethodPut, path, body, &now)
	return now, err
}

// changed is the hook as a PUT must send it.
func (h EventHook) changed(types []string, to HookChannel) (map[string]json.RawMessage, error) {
	body := maps.Clone(h.raw)
	for _, read := range []string{"id", "status", "verificationStatus", "created", "createdBy", "lastUpdated", "_links"} {
		delete(body, read) // what only reads show
	}
	items := slices.Clone(h.Types)
	for _, t := range types {
		if !slices.Contains(items, t) {
			items = append(items, t)
		}
	}
	err := edit(body, "events", func(events map[string]json.RawMessage) error {
		return set(events, "items", items)
	})
	if err != nil {
		return nil, err
	}
	return body, edit(body, "channel", func(channel map[string]json.RawMessage) error {
		return edit(channel, "config", func(config map[string]json.RawMessage) error {
			if err := set(config, "uri", to.URI); err != nil {
				return err
			}
			return set(config, "authScheme", to.authScheme())
		})
	})
}

// edit changes a member of an object, itself an object.
func edit(object map[string]json.RawMessage, name string, f func(map[string]json.RawMessage) error) error {
	var member map[string]json.RawMessage
	if err := json.Unmarshal(object[name], &member); err != nil {
		return err
	}
	if member == nil {
		return fmt.Errorf("%s is null", name)
	}
	if err := f(member); err != nil {
		return err
	}
	return set(object, name, member)
}

func set(object map[string]json.RawMessage, name string, v any) error {
	b, err := json.Marshal(v)
	object[name] = b
	return err
}

// Verify has Okta call the hook's address for a proof that it is ours. What Okta
// finds wrong is the error's Said.
func (a *EventHookAdmin) Verify(ctx context.Context, id string) (EventHook, error) {
	return a.lifecycle(ctx, id, "verify")
}

// Activate has Okta send events to a verified hook.
func (a *EventHookAdmin) Activate(ctx context.Context, id string) (EventHook, error) {
	return a.lifecycle(ctx, id, "activate")
}

// Deactivate has Okta send no more events to the hook.
func (a *EventHookAdmin) Deactivate(ctx context.Context, id string) (EventHook, error) {
	return a.lifecycle(ctx, id, "deactivate")
}

func (a *EventHookAdmin) lifecycle(ctx context.Context, id, step string) (EventHook, error) {
	what := "event hook " + id
	path, err := idPath(what, eventHooksPath+"/%s/lifecycle/"+step, id)
	if err != nil {
		return EventHook{}, err
	}
	var h EventHook
	err = a.write(ctx, &call{verb: step, what: what, first: '{'}, http.MethodPost, path, nil, &h)
	return h, err
}

// Delete deletes a hook, which must have been deactivated.
func (a *EventHookAdmin) Delete(ctx context.Context, id string) error {
	what := "event hook " + id
	path, err := idPath(what, eventHooksPath+"/%s", id)
	if err != nil {
		return err
	}
	return a.write(ctx, &call{verb: "delete", what: what}, http.MethodDelete, path, nil, nil)
}

// write makes one call that writes. It is tried again only after a 429.
func (a *EventHookAdmin) write(ctx context.Context, k *call, method, path string, body, into any) error {
	fail := func(summary string) error { return &Error{Verb: k.verb, What: k.what, Summary: summary} }
	rq := a.client.sdk.CloneRequestExecutor()
	var text any // nil: no body
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fail("the request cannot be made")
		}
		text = b
	}
	req, err := rq.NewRequest(method, path, text)
	if err != nil {
		return fail("the request cannot be made")
	}
	if _, err = rq.Do(context.WithValue(ctx, callKey{}, k), req, into); err == nil {
		return nil
	}
	var own *Error
	var limited *RateLimitError
	switch {
	case errors.As(err, &own):
		own.Verb = k.verb
		return own
	case errors.As(err, &limited):
		limited.Verb = k.verb
		return limited
	}
	return fail("the answer cannot be decoded: " + bounded(k.hide(err.Error())))
}
