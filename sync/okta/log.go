package okta

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// LogPage is a page of the System Log.
type LogPage struct {
	Events []Event
	Bad    []BadEvent // that could not be understood, with the reason
	Items  int        // of both
	Next   string     // what to pass as link, always set: an empty page says to poll later
	Start  time.Time  // Okta's clock when the attempt that brought the page began: a lower bound
}

// Log reads a page of the System Log as a polling request: with link the page
// behind it, without it the first one since then, in the order in which Okta
// stored the events. filter is an expression over eventType.
// A place in the log that Okta does not know any more is IsLinkRefused.
func (c *Client) Log(ctx context.Context, since time.Time, filter, link string) (LogPage, error) {
	const what = "the System Log"
	path := "/api/v1/logs"
	if link != "" {
		local, err := c.localPath(link)
		if err != nil {
			return LogPage{}, &Error{What: what, Summary: err.Error()}
		}
		path = local
	} else {
		path = withQuery(path, url.Values{
			"since": {since.UTC().Format("2006-01-02T15:04:05.000Z")}, "sortOrder": {"ASCENDING"},
			"filter": {filter}, "limit": {"1000"},
		})
	}
	k := &call{what: what, first: '[', retry500: true}
	var raw []json.RawMessage
	if err := c.get(ctx, k, path, &raw); err != nil {
		return LogPage{}, err
	}
	if len(raw) > maxEvents {
		return LogPage{}, &Error{What: what, Summary: "the page has more events than was asked for"}
	}
	next, err := nextLink(k.links)
	if err != nil {
		return LogPage{}, &Error{What: what, Summary: err.Error()}
	}
	if next == "" {
		return LogPage{}, &Error{What: what, Summary: "the answer has no next link, which a polling request always has"}
	}
	if _, err := c.localPath(next); err != nil {
		return LogPage{}, &Error{What: what, Summary: err.Error()}
	}
	p := LogPage{Items: len(raw), Next: next, Start: k.start}
	for _, r := range raw {
		e, err := ParseEvent(r)
		if err != nil {
			p.Bad = append(p.Bad, badEvent(r, err))
			continue
		}
		p.Events = append(p.Events, e)
	}
	return p, nil
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
