package jupiterone

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/oktasync/oktasync/sync/sink"
)

const (
	attempts      = 5                // of one request
	firstWait     = time.Second      // before the second attempt; then twice as long each time
	maxRetryAfter = 10 * time.Minute // more is not waited, whatever the server says
	maxError      = 64 << 10         // bytes of an answer that tells an error
	maxAnswer     = 4 << 20          // bytes of any other
	maxMessage    = 300              // characters of the server's that an error shows

	notAwaiting = "JOB_NOT_AWAITING_UPLOADS"
	tooLarge    = "RequestEntityTooLargeException"
)

// client makes requests with the key, and repeats them.
type client struct {
	cfg  Config
	http *http.Client
}

// requestError is a request without the answer that was wanted. Its text holds
// nothing secret; what the HTTP client said is not wrapped, since that may.
type requestError struct {
	request string // method and path
	reason  string
	status  int // 0: no answer
	code    string
	after   time.Duration // the server said not to come back before
	ended   error         // of the context, if that is why
}

func (e *requestError) Error() string { return e.request + ": " + e.reason }
func (e *requestError) Unwrap() error { return e.ended }

// passing tells whether the same request may succeed later.
func (e *requestError) passing() bool {
	return e.ended == nil && !e.large() && (e.status == 0 || e.status == http.StatusTooManyRequests || e.status >= 500)
}

func (e *requestError) large() bool {
	return e.status == http.StatusRequestEntityTooLarge || e.code == tooLarge
}

// answered returns the error of an answer with this status, if err is one.
func answered(err error, status int) bool {
	e := (*requestError)(nil)
	return errors.As(err, &e) && e.status == status
}

func refusedAsNotAwaiting(err error) bool {
	e := (*requestError)(nil)
	return errors.As(err, &e) && e.code == notAwaiting
}

func refusedAsLarge(err error) bool {
	e := (*requestError)(nil)
	return errors.As(err, &e) && e.large()
}

// classify tells the runner what to make of an error.
func classify(err error) error {
	e := (*requestError)(nil)
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		return sink.Permanent(fmt.Errorf("%w: check the API key and the account id of JupiterOne; the key's policy must allow persister:Synchronize", err))
	case e.after > 0:
		return sink.After(e.after, err)
	}
	return err
}

// message is a request, or how to make one of it.
type message struct {
	method, url string
	header      http.Header // beside those that all have
	body        []byte
}

// send makes a request, again if need be, and decodes the answer.
func (c *client) send(ctx context.Context, m message, answer any) error {
	for attempt := 0; ; attempt++ {
		err := c.once(ctx, m, answer)
		if err == nil {
			return nil
		}
		if !err.passing() || attempt == attempts-1 {
			return err
		}
		wait := err.after
		if wait == 0 {
			wait = jitter(firstWait << attempt)
		}
		c.cfg.Log.Debug("a request to JupiterOne failed and is repeated", "err", err, "wait", wait)
		if ended := c.cfg.Sleep(ctx, wait); ended != nil {
			err.ended = ended
			return err
		}
	}
}

// once makes a request.
func (c *client) once(ctx context.Context, m message, answer any) *requestError {
	failed := &requestError{request: m.method}
	req, err := http.NewRequestWithContext(ctx, m.method, m.url, bytes.NewReader(m.body))
	if err != nil {
		failed.reason, failed.status = "the URL cannot be used", -1
		return failed
	}
	failed.request += " " + c.text(req.URL.Path)
	if m.header != nil {
		req.Header = m.header.Clone()
	}
	req.Header.Set("Authorization", "Bearer "+string(c.cfg.APIKey))
	req.Header.Set("JupiterOne-Account", c.cfg.Account)
	req.Header.Set("Accept", "application/json")
	if m.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err
		}
		failed.reason, failed.ended = c.text(err.Error()), ctx.Err()
		return failed
	}
	defer res.Body.Close()
	limit := int64(maxAnswer)
	if res.StatusCode/100 != 2 {
		limit = maxError
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, limit))
	if res.StatusCode/100 != 2 {
		c.refused(failed, res, b)
		return failed
	}
	if err == nil {
		err = json.Unmarshal(b, answer)
	}
	if err != nil { // as bad as a lost answer
		failed.reason, failed.ended = c.text("the answer cannot be read: "+err.Error()), ctx.Err()
		return failed
	}
	return nil
}

// refused fills in what an answer says of an error.
func (c *client) refused(failed *requestError, res *http.Response, body []byte) {
	failed.status = res.StatusCode
	failed.after = retryAfter(res.Header.Get("Retry-After"), c.cfg.Now())
	failed.reason = strings.TrimSpace(fmt.Sprintf("%d %s", res.StatusCode, http.StatusText(res.StatusCode)))
	var said struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &said) == nil {
		failed.code = c.text(said.Error.Code)
		if message := c.text(said.Error.Message); message != "" || failed.code != "" {
			failed.reason += " (" + strings.Trim(failed.code+": "+message, ": ") + ")"
		}
	}
	if res.StatusCode/100 == 3 {
		failed.reason += ": redirects are not followed; check the base URL of JupiterOne's API"
	}
}

// text makes foreign text fit to be shown: without the key, printable, and short.
func (c *client) text(s string) string {
	for _, secret := range []string{string(c.cfg.APIKey), url.QueryEscape(string(c.cfg.APIKey)), url.PathEscape(string(c.cfg.APIKey))} {
		s = strings.ReplaceAll(s, secret, "[secret]")
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if r := []rune(s); len(r) > maxMessage {
		s = string(r[:maxMessage]) + "…"
	}
	return s
}

// retryAfter reads the header Retry-After: seconds, or a date. 0: there is none
// that can be read.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// job is one of JupiterOne's synchronization jobs.
type job struct {
	ID       string
	Status   string
	Done     bool
	Counters map[string]int64 // named as entities_uploaded
}

// The states that we tell apart.
const (
	awaitingUploads = "AWAITING_UPLOADS"
	finished        = "FINISHED"
	badConfig       = "ABORTED_DUE_TO_INVALID_CONFIGURATION"
)

// final tells whether the state of the job stays. A state that no list names does
// once the job says that it is done.
func (j job) final() bool {
	switch j.Status {
	case finished, "ABORTED", "ERROR_BAD_DATA", "ERROR_UNEXPECTED_FAILURE", badConfig:
		return true
	}
	return j.Done
}

var (
	jobID   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	counter = regexp.MustCompile(`^num([A-Z][A-Za-z]{1,60})$`)
	hump    = regexp.MustCompile(`([a-z])([A-Z])`)
)

// jobRequest makes a request whose answer is a job.
func (c *client) jobRequest(ctx context.Context, m message) (job, error) {
	var answer struct{ Job map[string]json.RawMessage }
	m.url = c.cfg.BaseURL + "/persister/synchronization/jobs" + m.url
	if err := c.send(ctx, m, &answer); err != nil {
		return job{}, err
	}
	j := job{Counters: map[string]int64{}}
	for name, raw := range answer.Job {
		var err error
		switch name {
		case "id":
			err = json.Unmarshal(raw, &j.ID)
		case "status":
			err = json.Unmarshal(raw, &j.Status)
		case "done":
			err = json.Unmarshal(raw, &j.Done)
		default:
			var n int64
			if m := counter.FindStringSubmatch(name); m != nil && json.Unmarshal(raw, &n) == nil && len(j.Counters) < 100 {
				j.Counters[strings.ToLower(hump.ReplaceAllString(m[1], "${1}_${2}"))] = n
			}
		}
		if err != nil {
			return job{}, fmt.Errorf("%s %s: JupiterOne answered with a job whose %s cannot be read", m.method, c.text(m.url), name)
		}
	}
	if !jobID.MatchString(j.ID) {
		return job{}, fmt.Errorf("%s %s: JupiterOne answered without a job: check the base URL of its API", m.method, c.text(m.url))
	}
	j.Status = c.text(j.Status)
	return j, nil
}

// start starts a job that makes a scope hold what will be uploaded.
func (c *client) start(ctx context.Context, scope string) (job, error) {
	body, err := json.Marshal(map[string]any{
		"source": "api", "scope": scope, "syncMode": "DIFF",
		"ignoreDuplicates": true, // a batch whose answer was lost is sent again
	})
	if err != nil {
		return job{}, err
	}
	return c.jobRequest(ctx, message{method: http.MethodPost, body: body})
}

func (c *client) job(ctx context.Context, id string) (job, error) {
	return c.jobRequest(ctx, message{method: http.MethodGet, url: "/" + id})
}

// finalize lets JupiterOne apply the job. Of the partial types it deletes nothing.
func (c *client) finalize(ctx context.Context, id string, partial []string) (job, error) {
	var body struct {
		PartialDatasets *partialDatasets `json:"partialDatasets,omitempty"`
	}
	if len(partial) > 0 {
		body.PartialDatasets = &partialDatasets{partial}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return job{}, err
	}
	return c.jobRequest(ctx, message{method: http.MethodPost, url: "/" + id + "/finalize", body: b})
}

type partialDatasets struct {
	Types []string `json:"types"`
}

func (c *client) abort(ctx context.Context, id, reason string) (job, error) {
	b, err := json.Marshal(map[string]string{"reason": reason})
	if err != nil {
		return job{}, err
	}
	return c.jobRequest(ctx, message{method: http.MethodPost, url: "/" + id + "/abort", body: b})
}

// query runs a J1QL query whose answer is a table.
func (c *client) query(ctx context.Context, j1ql string) ([]map[string]any, error) {
	const document = `query J1QL($query: String!, $cursor: String) {
  queryV1(query: $query, cursor: $cursor, deferredResponse: DISABLED) { type data cursor }
}`
	var rows []map[string]any
	for cursor := ""; ; {
		variables := map[string]any{"query": j1ql}
		if cursor != "" {
			variables["cursor"] = cursor
		}
		body, err := json.Marshal(map[string]any{"query": document, "variables": variables})
		if err != nil {
			return nil, err
		}
		var answer struct {
			Data struct {
				QueryV1 *struct {
					Type   string
					Data   json.RawMessage
					Cursor string
				}
			}
			Errors []struct{ Message string }
		}
		if err := c.send(ctx, message{method: http.MethodPost, url: c.cfg.GraphQLURL, body: body}, &answer); err != nil {
			return nil, err
		}
		got := answer.Data.QueryV1
		switch {
		case len(answer.Errors) > 0:
			return nil, fmt.Errorf("JupiterOne refused a query: %s", c.text(answer.Errors[0].Message))
		case got == nil:
			return nil, errors.New("JupiterOne answered a query without data: check the GraphQL URL")
		case got.Type != "table":
			return nil, fmt.Errorf("JupiterOne answered a query with a %s, not a table", c.text(cmp.Or(got.Type, "thing without a type")))
		}
		var page []map[string]any
		if err := json.Unmarshal(got.Data, &page); err != nil {
			return nil, fmt.Errorf("JupiterOne answered a query with what is no table: %s", c.text(err.Error()))
		}
		rows = append(rows, page...)
		if got.Cursor == "" || len(rows) > 1000 {
			return rows, nil
		}
		cursor = got.Cursor
	}
}
