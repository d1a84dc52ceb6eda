package okta

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a call.
const (
	attemptTime  = 30 * time.Second
	callTime     = 5 * time.Minute // if the caller's context has no deadline
	maxBody      = 64 << 20
	maxFailures  = 4 // attempts that ended in a failure of network or server
	maxTooMany   = 6 // attempts that ended in a 429
	maxCauses    = 20
	firstBackoff = 250 * time.Millisecond
	dateFormat   = "2006-01-02T15:04:05.000Z" // as Okta writes times
)

// Counter counts what calls cost; many may share one.
type Counter struct {
	Calls          atomic.Int64 // attempts, retries included
	RateLimitWaits atomic.Int64 // waits for the limiter or a 429
}

type (
	counterKey  struct{}
	priorityKey struct{}
	callKey     struct{}
)

// WithCounter makes the reads under ctx count in c too.
func WithCounter(ctx context.Context, c *Counter) context.Context {
	return context.WithValue(ctx, counterKey{}, c)
}

// WithPriority lets the reads under ctx go before lists, as events need.
func WithPriority(ctx context.Context) context.Context {
	return context.WithValue(ctx, priorityKey{}, true)
}

// call carries what the SDK has no room for, between the client and the
// transport: what is read, and what the answer said beside its body.
type call struct {
	what     string // for errors
	first    byte   // of the JSON value that is due: [ or {
	retry500 bool   // no smaller page to try
	verb     string // of a call that writes, for errors
	hidden   string // a secret that it sends: no error repeats it

	start time.Time     // Okta's clock at the start of the attempt that was answered
	links []string      // its Link header lines
	body  *bytes.Buffer // of a read that succeeded: the SDK would copy it three times; goes back by drop
}

// bodies are buffers for answers: a page of a thousand users takes more than a megabyte.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// drop gives a buffer back.
func drop(b *bytes.Buffer) {
	const most = 4 << 20
	if b != nil && b.Cap() <= most {
		b.Reset()
		bodies.Put(b)
	}
}

// transport makes the attempts of a call.
type transport struct {
	base    *http.Transport
	org     *url.URL
	clock   *oktaClock
	limiter *limiter
	maxBody int64
	total   Counter
	log     *slog.Logger
	writes  string // the path at and under which it may write; "": it only reads

	called func(bucket string, status int, took time.Duration)
	waited func(bucket string)
}

// RoundTrip returns only answers with status 200, a whole JSON body of the kind
// that is due, and without Link, which the SDK would misread or fall over. The body
// of a read is left to its call.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, _ := req.Context().Value(callKey{}).(*call)
	if c == nil {
		c = &call{what: req.URL.Path, retry500: true}
	}
	if req.URL.Scheme != t.org.Scheme || req.URL.Host != t.org.Host || req.URL.User != nil {
		return nil, &Error{What: c.what, Summary: "the address is not the org's: the token is not sent there"}
	}
	write := req.Method != http.MethodGet
	if write && !t.mayWrite(req.URL.EscapedPath()) {
		return nil, &Error{What: c.what, Summary: "this client only reads, " + req.Method + " is refused"}
	}
	ctx := req.Context()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	ln := laneList
	if ctx.Value(priorityKey{}) != nil {
		ln = laneEvent
	}
	counter, _ := ctx.Value(counterKey{}).(*Counter)
	if counter == nil {
		counter = new(Counter)
	}
	waited := func(bucket string) {
		t.total.RateLimitWaits.Add(1)
		counter.RateLimitWaits.Add(1)
		t.waited(bucket)
	}

	name := familyOf(req.URL.EscapedPath())
	ctx, span := startSpan(ctx, name)
	defer span.End()
	for failures, tooMany := 0, 0; ; {
		p, wake, err := t.limiter.acquire(ctx, name, ln, waited)
		if err != nil {
			if !wake.IsZero() && errors.Is(err, context.DeadlineExceeded) {
				return nil, &RateLimitError{What: c.what, Limit: t.limiter.limitOf(name), Reset: wake, cause: err}
			}
			return nil, &Error{What: c.what, Summary: "the caller ended it while it waited to start", cause: err}
		}
		t.total.Calls.Add(1)
		counter.Calls.Add(1)
		a := t.attempt(ctx, req)
		t.limiter.done(p, a.rate, a.status)
		t.called(p.family.label, a.status, t.clock.now().Sub(a.started))
		noteAttempt(span, a, failures+tooMany)
		if a.err == nil { // a 404 is as of its start too
			c.start, _ = t.clock.at(a.started)
		}

		var wait time.Duration
		switch {
		case ctx.Err() != nil && a.err != nil:
			return nil, &Error{What: c.what, Summary: "the caller ended it while Okta worked on it", cause: ctx.Err()}

		case a.status == http.StatusTooManyRequests:
			if tooMany++; tooMany >= maxTooMany {
				e := &RateLimitError{What: c.what, Limit: a.rate.limit}
				if a.rate.limit > 0 {
					e.Reset = t.limiter.windowEnd(name)
				}
				return nil, e
			}
			if a.rate.ok && a.rate.limit > 0 {
				// The limiter waits for the window, and counts that; the
				// jitter keeps clients from coming all at once.
				wait = rand.N(500 * time.Millisecond)
			} else {
				t.limiter.waited(name)
				waited(p.family.label)
				wait = backoff(time.Second, min(tooMany, 3))
			}

		case write && a.err == nil && a.status/100 == 2:
			if a.status != http.StatusNoContent {
				if err := a.check(c); err != nil {
					return nil, err
				}
			}
			return a.response(req), nil

		case write: // it may have taken effect: the caller decides what to do
			return nil, a.fail(c)

		case a.err != nil, a.status >= 502 && a.status <= 504, a.status == 500 && c.retry500:
			if failures++; failures >= maxFailures || a.final {
				return nil, a.fail(c)
			}
			wait = backoff(firstBackoff, failures)

		case a.status == http.StatusNotFound && c.start.IsZero():
			return nil, a.dateless(c) // an absence is as of a time as well

		case a.status != http.StatusOK:
			return nil, a.fail(c)

		case c.start.IsZero():
			return nil, a.dateless(c)

		default:
			if err := a.check(c); err != nil {
				return nil, err
			}
			c.links, c.body = a.header.Values("Link"), a.buffer
			a.body = nil
			return a.response(req), nil
		}
		t.log.Debug("okta call to be tried again", "read", c.what, "status", a.status, "err", a.err, "wait", wait)
		if err := sleep(ctx, wait); err != nil {
			if a.status == http.StatusTooManyRequests {
				return nil, &RateLimitError{What: c.what, Limit: a.rate.limit, Reset: t.limiter.windowEnd(name), cause: err}
			}
			e := a.fail(c)
			e.cause = err
			return nil, e
		}
	}
}

// mayWrite tells whether a call that writes may go to a path.
func (t *transport) mayWrite(path string) bool {
	if t.writes == "" || strings.Contains(path, "%") || strings.Contains(path, "..") {
		return false
	}
	return path == t.writes || strings.HasPrefix(path, t.writes+"/")
}

// attempt is one try of a call.
type attempt struct {
	started time.Time
	status  int
	header  http.Header
	buffer  *bytes.Buffer
	body    []byte // that is in buffer
	rate    rateInfo
	err     error // no whole answer came
	final   bool  // err would come again
}

func (t *transport) attempt(ctx context.Context, req *http.Request) (a attempt) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	a.started = t.clock.now()
	try := req.WithContext(ctx)
	if req.GetBody != nil {
		if try.Body, a.err = req.GetBody(); a.err != nil {
			return a
		}
	}
	resp, err := t.base.RoundTrip(try)
	if err != nil {
		a.err, a.final = err, errors.Is(err, errPrivateAddress)
		return a
	}
	defer resp.Body.Close()
	t.clock.observe(resp.Header.Get("Date"), t.clock.now())
	a.status, a.header, a.rate = resp.StatusCode, resp.Header, rateOf(resp.Header)

	b := bodies.Get().(*bytes.Buffer) // only that of an answer that is decoded is given back
	if n := resp.ContentLength; n > 0 && n <= t.maxBody {
		b.Grow(int(n) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(resp.Body, t.maxBody+1))
	a.buffer, a.body = b, b.Bytes()
	switch {
	case n > t.maxBody:
		a.err, a.final = fmt.Errorf("an answer of more than %d MiB", t.maxBody>>20), true
	case err != nil:
		a.err = fmt.Errorf("the answer broke off: %w", err)
	}
	return a
}

func rateOf(h http.Header) rateInfo {
	limit, err1 := strconv.Atoi(h.Get("X-Rate-Limit-Limit"))
	remaining, err2 := strconv.Atoi(h.Get("X-Rate-Limit-Remaining"))
	reset, err3 := strconv.ParseInt(h.Get("X-Rate-Limit-Reset"), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || limit < 0 || reset < 0 {
		return rateInfo{}
	}
	return rateInfo{ok: true, limit: limit, remaining: max(remaining, 0), reset: reset}
}

// fail is the error of an attempt that cannot be used.
func (a *attempt) fail(c *call) *Error {
	e := &Error{What: c.what, Status: a.status, RequestID: bounded(a.header.Get("X-Okta-Request-Id"))}
	if a.err != nil {
		// As text: no io.EOF may reach the SDK, which would try again without
		// end, and no deadline of an attempt may look like the caller's.
		e.Status, e.Summary = 0, bounded(a.err.Error())
		if errors.Is(a.err, context.DeadlineExceeded) {
			e.Summary = fmt.Sprintf("no whole answer within %v", attemptTime)
		}
		return e
	}
	var body struct {
		Code    string `json:"errorCode"`
		Summary string `json:"errorSummary"`
		Causes  []struct {
			Summary string `json:"errorSummary"`
		} `json:"errorCauses"`
	}
	if a.json() && json.Unmarshal(a.body, &body) == nil {
		e.Code, e.Summary = bounded(body.Code), bounded(c.hide(body.Summary))
		if c.verb != "" { // of a read they may name people
			for _, cause := range body.Causes[:min(len(body.Causes), maxCauses)] {
				e.Causes = append(e.Causes, bounded(c.hide(cause.Summary)))
			}
		}
	}
	return e
}

// hide takes the secret that the call sent out of a text.
func (c *call) hide(s string) string {
	if c.hidden == "" {
		return s
	}
	return strings.ReplaceAll(s, c.hidden, "[secret]")
}

// dateless is the error of an answer that came before anything told Okta's
// time: what it says would be as of no time.
func (a *attempt) dateless(c *call) *Error {
	return &Error{What: c.what, RequestID: bounded(a.header.Get("X-Okta-Request-Id")),
		Summary: "the answer has no Date, and none before it told Okta's time: is something between here and Okta that takes it away?"}
}

// check holds what a good answer must be.
func (a *attempt) check(c *call) *Error {
	e := &Error{What: c.what, RequestID: bounded(a.header.Get("X-Okta-Request-Id"))}
	body := bytes.TrimLeft(a.body, " \t\r\n")
	switch {
	case !a.json():
		e.Summary = "the answer is no JSON: is something between here and Okta?"
	case len(body) == 0:
		e.Summary = "the answer is empty"
	case c.first != 0 && body[0] != c.first:
		e.Summary = fmt.Sprintf("the answer must begin with %c, which it does not", c.first)
	default:
		return nil
	}
	return e
}

func (a *attempt) json() bool {
	t, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	return err == nil && t == "application/json"
}

func (a *attempt) response(req *http.Request) *http.Response {
	h := a.header.Clone()
	h.Del("Link")
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: io.NopCloser(bytes.NewReader(a.body)),
		ContentLength: int64(len(a.body)), Request: req,
	}
}

// backoff doubles with each failure; half of it is jitter.
func backoff(first time.Duration, failures int) time.Duration {
	d := first << (failures - 1)
	return d/2 + rand.N(d)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// saneID tells whether an id can stand in a path and in a record's id.
func saneID(id string) bool {
	if id == "" || len(id) > 128 || strings.Trim(id, ".") == "" {
		return false
	}
	for i := range len(id) {
		switch b := id[i]; {
		case b >= '0' && b <= '9', b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b == '_', b == '.', b == '-':
		default:
			return false
		}
	}
	return true
}
