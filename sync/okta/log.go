package okta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// LogPage is a page of the System Log.
type LogPage struct {
	Events []Event
	Bad    []BadEvent // that could not be understood, with the reason
	Items  int        // of both
	Next   string     // what to pass as link, always set: after an empty page, later
	Start  time.Time  // Okta's clock when the attempt that brought the page began: a lower bound
}

// Log reads a page of the System Log, of at most 1000 events, as a polling
// request: with link the page behind it, without it the first one since then,
// in the order in which Okta stored the events. filter is an expression such
// as eventType sw "user."; it and since only count without link.
// A place in the log that Okta does not know any more is IsLinkRefused. An empty
// page may lead to itself; one with events that does is ErrEndlessPaging.
func (c *Client) Log(ctx context.Context, since time.Time, filter, link string) (LogPage, error) {
	const what = "the System Log"
	fail := func(summary string) (LogPage, error) {
		return LogPage{}, &Error{What: what, Summary: summary}
	}
	path := withQuery("/api/v1/logs", url.Values{
		"since": {oktaTime(since)}, "sortOrder": {"ASCENDING"}, "filter": {filter}, "limit": {"1000"},
	})
	if link != "" {
		local, err := c.localPath(link)
		if err != nil {
			return fail(err.Error())
		}
		path = local
	}
	k := &call{what: what, first: '[', retry500: true}
	var raw []json.RawMessage
	if err := c.get(ctx, k, path, &raw); err != nil {
		return LogPage{}, err
	}
	if len(raw) > maxEvents {
		return fail(fmt.Sprintf("the page has more than %d events", maxEvents))
	}
	next, err := nextLink(k.links)
	if err != nil {
		return fail(err.Error())
	}
	if next == "" {
		return fail("the answer has no next link, which a polling request always has")
	}
	local, err := c.localPath(next)
	if err != nil {
		return fail(err.Error())
	}
	if local == path && len(raw) > 0 {
		return LogPage{}, &Error{What: what, Summary: ErrEndlessPaging.Error(), cause: ErrEndlessPaging}
	}
	p := LogPage{Items: len(raw), Next: next, Start: k.start}
	texts := make([]string, len(raw))
	for i, event := range raw {
		texts[i] = string(event)
	}
	p.Events, p.Bad = parseEvents(texts)
	return p, nil
}

// Leads tells whether a next link leads to the client's org.
func (c *Client) Leads(link string) bool {
	_, err := c.localPath(link)
	return err == nil
}

// IsLinkRefused tells whether Okta does not know the place in the log any more:
// it is too old, or the log was moved.
func IsLinkRefused(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound || e.Status == http.StatusGone
}
