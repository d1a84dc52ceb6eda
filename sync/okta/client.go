package okta

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unsafe"

	sdk "github.com/okta/okta-sdk-golang/v2/okta"
	"github.com/tidwall/gjson"
)

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	OrgURL        string           // as ParseOrgURL returns it
	Token         string           // the SSWS API token
	AllowInsecure bool             // http and private addresses
	Share         float64          // of a rate-limit bucket, default 0.5
	MaxInFlight   int              // calls at once, default 10
	Clock         func() time.Time // the local clock, default time.Now, which is monotonic
	Log           *slog.Logger

	// For metrics; they must not block. A bucket is the endpoint with a * for each
	// id, one of a few dozen. Called: an attempt ended, with the status 0 if no answer came.
	Called func(bucket string, status int, took time.Duration)
	Waited func(bucket string) // a call has to wait for its rate limit
}

// Client reads one org. It is safe for concurrent use; an org should have one,
// since the rate limit is kept by it.
type Client struct {
	org       *url.URL
	sdk       *sdk.Client
	transport *transport
	log       *slog.Logger
}

// NewClient makes a client. It calls nothing. Close it after use; the SDK's
// token cache has a goroutine that ends only when the client is collected.
func NewClient(ctx context.Context, cfg ClientConfig) (*Client, error) {
	d := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	if !cfg.AllowInsecure {
		d.Control = refusePrivate
	}
	return newClient(ctx, cfg, d.DialContext)
}

func newClient(ctx context.Context, cfg ClientConfig, dial func(context.Context, string, string) (net.Conn, error)) (*Client, error) {
	org, err := ParseOrgURL(cfg.OrgURL, cfg.AllowInsecure)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(org)
	if err != nil {
		return nil, fmt.Errorf("org URL: %w", err)
	}
	if cfg.Token == "" || strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("API token: empty, or with characters that no token has; copy it again from Okta")
	}
	if cfg.Share == 0 {
		cfg.Share = 0.5
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = 10
	}
	if cfg.Share < 0 || cfg.Share > 1 || cfg.MaxInFlight < 0 {
		return nil, errors.New("the share of the rate limit must lie between 0 and 1, the calls in flight above 0")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Called == nil {
		cfg.Called = func(string, int, time.Duration) {}
	}
	if cfg.Waited == nil {
		cfg.Waited = func(string) {}
	}

	clock := &oktaClock{now: cfg.Clock}
	t := &transport{
		base: &http.Transport{
			DialContext:            dial,
			ForceAttemptHTTP2:      true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConns:           cfg.MaxInFlight,
			MaxIdleConnsPerHost:    cfg.MaxInFlight,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
		},
		org: u, clock: clock, log: cfg.Log, maxBody: maxBody, called: cfg.Called, waited: cfg.Waited,
		limiter: newLimiter(cfg.Share, cfg.MaxInFlight, clock),
	}
	// Every value that files and variables of the SDK could set is set here.
	_, c, err := sdk.NewClient(ctx,
		sdk.WithOrgUrl(org), sdk.WithToken(cfg.Token), sdk.WithAuthorizationMode("SSWS"),
		sdk.WithCache(false), sdk.WithCacheTtl(0), sdk.WithCacheTti(0),
		sdk.WithHttpClientPtr(&http.Client{Transport: t}),
		sdk.WithConnectionTimeout(0), sdk.WithRequestTimeout(0),
		sdk.WithRateLimitMaxRetries(0), sdk.WithRateLimitMaxBackOff(0),
		sdk.WithUserAgentExtra("oktasync"), sdk.WithTestingDisableHttpsCheck(cfg.AllowInsecure),
		sdk.WithProxyHost(""), sdk.WithProxyPort(0), sdk.WithProxyUsername(""), sdk.WithProxyPassword(""),
		sdk.WithClientId(""), sdk.WithScopes(nil), sdk.WithPrivateKey(""), sdk.WithPrivateKeyId(""),
		sdk.WithPrivateKeySigner(nil), sdk.WithClientAssertion(""),
	)
	if err != nil {
		return nil, fmt.Errorf("okta client: %w", err)
	}
	return &Client{org: u, sdk: c, transport: t, log: cfg.Log}, nil
}

// Close closes idle connections. Reads under way end with their context.
func (c *Client) Close() { c.transport.base.CloseIdleConnections() }

// Now is Okta's clock, a lower bound, and whether any answer has told it yet.
func (c *Client) Now() (time.Time, bool) {
	return c.transport.clock.at(c.transport.clock.now())
}

// Stats are what the client's calls cost so far.
type Stats struct {
	Calls          int64 // attempts, retries included
	RateLimitWaits int64
}

// Stats tells what the client's calls cost so far.
func (c *Client) Stats() Stats {
	return Stats{Calls: c.transport.total.Calls.Load(), RateLimitWaits: c.transport.total.RateLimitWaits.Load()}
}

// Page is a page of a list.
type Page[T any] struct {
	Items []T
	Next  string    // what to pass as link to get the next page; "" only at the list's end
	Start time.Time // Okta's clock when the attempt that brought the page, or a 404, began: a lower bound
}

// Read is an object read by id.
type Read[T any] struct {
	Value T
	Start time.Time // as of Page
	Found bool      // false only if Okta says that this object does not exist
}

// item is what a list can hold: something with an id.
type item interface{ id() string }

func (u User) id() string        { return u.ID }
func (g Group) id() string       { return g.ID }
func (a Application) id() string { return a.ID }
func (a AppUser) id() string     { return a.ID }
func (a AppGroup) id() string    { return a.ID }
func (f Factor) id() string      { return f.ID }
func (r Ref) id() string         { return r.ID }

// get makes one call. What does not fit its field is left out, and logged by
// the field's name: an odd value must not fail the page that holds it.
func (c *Client) get(ctx context.Context, k *call, path string, into any) error {
	rq := c.sdk.CloneRequestExecutor()
	req, err := rq.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return &Error{What: k.what, Summary: "the request cannot be made"}
	}
	if _, err = rq.Do(context.WithValue(ctx, callKey{}, k), req, nil); err == nil {
		err = decode(k.body.Bytes(), into)
		drop(k.body)
		k.body = nil
	}
	if err == nil {
		return nil
	}
	var own *Error
	var limited *RateLimitError
	var odd *json.UnmarshalTypeError
	switch {
	case errors.As(err, &own):
		return own // without the URL that net/http wraps around it
	case errors.As(err, &limited):
		return limited
	case errors.As(err, &odd) && odd.Field != "":
		c.log.Warn("okta sent a value of an unexpected type", "read", k.what, "field", odd.Field, "type", odd.Value)
		return nil
	default:
		return &Error{What: k.what, Summary: bounded("the answer cannot be decoded: " + err.Error())}
	}
}

// decode is json.Unmarshal; a list of which only ids are read it does not build
// first. Most of what a full read gets are such lists, of whole users each.
func decode(b []byte, into any) error {
	refs, ok := into.(*[]Ref)
	if !ok || len(b) == 0 {
		return json.Unmarshal(b, into)
	}
	text := unsafe.String(unsafe.SliceData(b), len(b)) // not kept: b is used again
	list := gjson.Parse(text)
	if deeper(text, maxNesting) || !gjson.Valid(text) || !list.IsArray() {
		return json.Unmarshal(b, into) // it says what is wrong
	}
	list.ForEach(func(_, item gjson.Result) bool {
		var id string
		if v := item.Get("id"); v.Type == gjson.String {
			id = strings.Clone(v.Str)
		}
		*refs = append(*refs, Ref{ID: id})
		return true
	})
	return nil
}

// list reads a page. A first page that Okta fails on, which often is a timeout,
// is asked for again with half the limit, and in the end without statistics,
// which cost Okta most; a next link stays as Okta made it.
func list[T item](ctx context.Context, c *Client, what, path string, query url.Values, link string) (Page[T], error) {
	if link != "" {
		local, err := c.localPath(link)
		if err != nil {
			return Page[T]{}, &Error{What: what, Summary: err.Error()}
		}
		return page[T](ctx, c, &call{what: what, first: '[', retry500: true}, local, link)
	}
	const least = 25
	for {
		limit, _ := strconv.Atoi(query.Get("limit"))
		last := limit <= least && query.Get("expand") != "stats"
		p, err := page[T](ctx, c, &call{what: what, first: '[', retry500: last}, withQuery(path, query), "")
		var e *Error
		if last || !errors.As(err, &e) {
			return p, err
		}
		switch {
		case e.Status == http.StatusInternalServerError:
			if limit <= least {
				limit = 2 * 200
				query.Del("expand")
			}
			limit = max(limit/2, least)
		case e.Status == http.StatusBadRequest && e.Code == codeInvalid && limit > 200:
			limit = 200 // as older orgs have it
		default:
			return p, err
		}
		query.Set("limit", strconv.Itoa(limit))
		c.log.Warn("okta failed on a list, asking for smaller pages", "read", what, "limit", limit, "request", e.RequestID)
	}
}

func page[T item](ctx context.Context, c *Client, k *call, path, link string) (Page[T], error) {
	fail := func(summary string) (Page[T], error) {
		return Page[T]{}, &Error{What: k.what, Summary: summary}
	}
	var items []T
	if err := c.get(ctx, k, path, &items); err != nil {
		return Page[T]{Start: k.start}, err
	}
	for _, it := range items {
		if !saneID(it.id()) {
			return fail("an item of the list has no usable id")
		}
	}
	next, err := nextLink(k.links)
	if err != nil {
		return fail(err.Error())
	}
	if next != "" {
		local, err := c.localPath(next)
		if err != nil {
			return fail(err.Error())
		}
		if next == link || local == path {
			return Page[T]{}, &Error{What: k.what, Summary: ErrEndlessPaging.Error(), cause: ErrEndlessPaging}
		}
	}
	return Page[T]{Items: items, Next: next, Start: k.start}, nil
}

// read reads an object by id.
func read[T item](ctx context.Context, c *Client, what, path string) (Read[T], error) {
	k := &call{what: what, first: '{', retry500: true}
	var r Read[T]
	err := c.get(ctx, k, path, &r.Value)
	switch {
	case IsNotFound(err):
		return Read[T]{Start: k.start}, nil
	case err != nil:
		return Read[T]{}, err
	case !saneID(r.Value.id()):
		return Read[T]{}, &Error{What: what, Summary: "the object has no usable id"}
	}
	r.Start, r.Found = k.start, true
	return r, nil
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
}

func limited(limit int) url.Values {
	return url.Values{"limit": {strconv.Itoa(limit)}}
}

// idPath builds a path from a format and ids, and refuses what is no id.
func idPath(what, format string, ids ...string) (string, error) {
	args := make([]any, len(ids))
	for i, id := range ids {
		if !saneID(id) || id == "me" {
			return "", &Error{What: what, Summary: "not an id"}
		}
		args[i] = id
	}
	return fmt.Sprintf(format, args...), nil
}
