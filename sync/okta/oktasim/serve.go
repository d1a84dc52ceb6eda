package oktasim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// answer is what a call gets.
type answer struct {
	status int
	body   []byte
	next   string // URL of the next page, if there is one
	list   bool
}

// apiError is an error of Okta's.
type apiError struct {
	status int
	code   string
	text   string
	causes []string
}

func (e *apiError) Error() string { return e.code + ": " + e.text }

var errorTexts = map[string]struct {
	status int
	text   string
}{
	"E0000001": {400, "Api validation failed"},
	"E0000003": {400, "The request body was not well-formed."},
	"E0000004": {401, "Authentication failed"},
	"E0000006": {403, "You do not have permission to perform the requested action"},
	"E0000007": {404, "Not found: Resource not found"},
	"E0000008": {404, "The requested path was not found"},
	"E0000009": {500, "Internal Server Error"},
	"E0000010": {503, "Service is in read only mode"},
	"E0000011": {401, "Invalid token provided"},
	"E0000015": {401, "You do not have permission to access the feature you are requesting"},
	"E0000022": {405, "The endpoint does not support the provided HTTP method"},
	"E0000031": {400, "Invalid search criteria."},
	"E0000038": {403, "This operation is not allowed in the user's current status."},
	"E0000047": {429, "API call exceeded rate limit due to too many requests."},
	"E0000053": {400, "Invalid filter"},
}

func failure(code string, causes ...string) *apiError {
	e := errorTexts[code]
	return &apiError{e.status, code, e.text, causes}
}

func notFound(kind, id string) *apiError {
	e := failure("E0000007")
	e.text = fmt.Sprintf("Not found: Resource not found: %s (%s)", id, kind)
	return e
}

func codeOf(status int) string {
	switch {
	case status == 401:
		return "E0000011"
	case status == 403:
		return "E0000006"
	case status == 404:
		return "E0000007"
	case status == 405:
		return "E0000022"
	case status == 429:
		return "E0000047"
	case status == 503:
		return "E0000010"
	case status >= 500:
		return "E0000009"
	}
	return "E0000001"
}

// ServeHTTP answers a call, in this order: what tests hang in, the limits, the
// faults, the token, the answer.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := Call{Method: r.Method, Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	defer func() { o.record(call) }()
	o.callMu.Lock()
	hook := o.onRequest
	o.callMu.Unlock()
	if hook != nil {
		hook(r)
	}
	fault := o.faultOf(r)

	h := w.Header()
	h.Set("X-Okta-Request-Id", fmt.Sprintf("ZqSim%019d", o.requests.Add(1)))
	h.Set("Cache-Control", "no-cache, no-store")
	now := o.clock.Now()
	var a answer
	if inFlight := o.inFlight.Add(1); inFlight > int64(o.cfg.Concurrency) {
		setRate(h, 0, 0, now.Unix()+60) // a guess, as Okta's
		a = o.errorAnswer(failure("E0000047"))
	} else {
		bucket := bucketOf(r.URL.Path)
		limit, remaining, reset, room, event := o.rates.take(bucket, now)
		setRate(h, limit, remaining, reset)
		if event != "" {
			o.tellOfLimit(event, bucket)
		}
		switch {
		case !room:
			a = o.errorAnswer(failure("E0000047"))
		case fault.HTML || fault.Drop:
		case fault.Status >= 300 && fault.Status < 400:
			h.Set("Location", fault.Location)
			a = answer{status: fault.Status}
		case fault.Status != 0:
			code := fault.Code
			if code == "" {
				code = codeOf(fault.Status)
			}
			e := failure(code)
			e.status = fault.Status
			if e.status == http.StatusTooManyRequests {
				h.Set("X-Rate-Limit-Remaining", "0")
			}
			a = o.errorAnswer(e)
		case !strings.HasPrefix(r.Header.Get("Authorization"), "SSWS ") || r.Header.Get("Authorization")[5:] != o.token:
			a = o.errorAnswer(failure("E0000011"))
		default:
			var err error
			if a, err = o.route(r); err != nil {
				e, ok := err.(*apiError)
				if !ok {
					e = failure("E0000001", err.Error())
				}
				a = o.errorAnswer(e)
			}
		}
	}
	wait := o.cfg.Latency + fault.Delay
	if wait > 0 {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-o.done:
		}
		timer.Stop()
	}
	o.inFlight.Add(-1)
	if fault.Drop {
		panic(http.ErrAbortHandler)
	}
	h.Set("Date", o.clock.Now().UTC().Format(http.TimeFormat)) // rounded down
	if fault.HTML {
		if call.Status = fault.Status; call.Status == 0 {
			call.Status = http.StatusBadGateway
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(call.Status)
		_, _ = w.Write([]byte("<html><body><h1>Bad Gateway</h1></body></html>"))
		return
	}
	if a.list && fault.Empty {
		a.body, a.next = []byte("[]"), ""
	}
	if a.list && fault.Half {
		var items []json.RawMessage
		if json.Unmarshal(a.body, &items) == nil {
			a.body, a.next = mustJSON(items[:len(items)/2]), ""
		}
	}
	if a.list {
		self := o.url + r.URL.RequestURI()
		h.Add("Link", `<`+self+`>; rel="self"`)
		if fault.RepeatCursor {
			a.next = self
		}
		if a.next != "" {
			h.Add("Link", `<`+a.next+`>; rel="next"`)
		}
	}
	h.Set("Content-Type", "application/json")
	if fault.ContentType != "" {
		h.Set("Content-Type", fault.ContentType)
	}
	if fault.BadJSON {
		a.body = a.body[:len(a.body)/2]
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	call.Status = a.status
	w.WriteHeader(a.status)
	if fault.Truncate {
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(a.body) // the client may be gone
}

func (o *Org) errorAnswer(e *apiError) answer {
	type cause struct {
		ErrorSummary string `json:"errorSummary"`
	}
	causes := []cause{}
	for _, c := range e.causes {
		causes = append(causes, cause{c})
	}
	return answer{status: e.status, body: mustJSON(struct {
		ErrorCode    string  `json:"errorCode"`
		ErrorSummary string  `json:"errorSummary"`
		ErrorLink    string  `json:"errorLink"`
		ErrorID      string  `json:"errorId"`
		ErrorCauses  []cause `json:"errorCauses"`
	}{e.code, e.text, e.code, fmt.Sprintf("oaeSim%014d", o.requests.Load()), causes})}
}

// route finds the endpoint.
func (o *Org) route(r *http.Request) (answer, error) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if !ok {
		return answer{}, failure("E0000008")
	}
	p := strings.Split(path, "/")
	if p[0] == "eventHooks" && r.Method != http.MethodGet {
		return o.manageHooks(r, p)
	}
	shape := p[0]
	for i, s := range p[1:] {
		if i%2 == 0 && p[0] != "org" {
			if s == "" {
				return answer{}, failure("E0000008")
			}
			s = "*"
		}
		shape += "/" + s
	}
	f, ok := endpoints[shape]
	if !ok {
		return answer{}, failure("E0000008")
	}
	if r.Method != http.MethodGet {
		return answer{}, failure("E0000022")
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return answer{}, failure("E0000001", "the query is malformed")
	}
	c := &req{Org: o, r: r, q: q, path: p, at: latest, settled: o.settle()}
	if strings.HasPrefix(shape, "users/*/") && !strings.HasSuffix(shape, "/groups") {
		// A user's factors are as consistent as the user.
	} else if lag := o.lag(r); lag > 0 && !byID[shape] {
		c.at = o.clock.Now().Add(-lag).UnixNano()
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return f(c)
}

func (o *Org) lag(r *http.Request) time.Duration {
	if o.cfg.Lag != nil {
		return min(o.cfg.Lag(r), time.Duration(keepHistory))
	}
	o.lagMu.Lock()
	defer o.lagMu.Unlock()
	if o.listLag <= 0 {
		return 0
	}
	return time.Duration(o.lagRng.Int64N(int64(o.listLag) + 1))
}

// req is a call that is being answered; mu is held for reading.
type req struct {
	*Org
	r    *http.Request
	q    url.Values
	path []string
	at   int64 // the moment that the answer shows
	// settled is a moment up to which all that Okta does later by itself is
	// done: nothing will be logged as of before it any more.
	settled int64
}

var byID = map[string]bool{
	"users/*": true, "groups/*": true, "apps/*": true,
	"apps/*/users/*": true, "apps/*/groups/*": true, "org": true, "org/privacy/oktaSupport": true,
	"logs":       true, // has a lag of its own
	"eventHooks": true, "eventHooks/*": true,
}

var endpoints map[string]func(*req) (answer, error)

func init() {
	endpoints = map[string]func(*req) (answer, error){
		"users":                   (*req).listUsers,
		"users/*":                 (*req).oneUser,
		"users/*/groups":          (*req).userGroups,
		"users/*/factors":         (*req).userFactors,
		"users/*/roles":           (*req).nothingOfUser,
		"users/*/devices":         (*req).nothingOfUser,
		"users/*/appLinks":        (*req).nothingOfUser,
		"groups":                  (*req).listGroups,
		"groups/*":                (*req).oneGroup,
		"groups/*/users":          (*req).groupUsers,
		"groups/*/apps":           (*req).groupApps,
		"groups/*/roles":          (*req).nothingOfGroup,
		"groups/*/owners":         (*req).nothingOfGroup,
		"apps":                    (*req).listApps,
		"apps/*":                  (*req).oneApp,
		"apps/*/users":            (*req).appUsers,
		"apps/*/users/*":          (*req).oneAppUser,
		"apps/*/groups":           (*req).appGroups,
		"apps/*/groups/*":         (*req).oneAppGroup,
		"org":                     (*req).org,
		"org/privacy/oktaSupport": (*req).support,
		"logs":                    (*req).logs,
		"eventHooks":              (*req).listHooks,
		"eventHooks/*":            (*req).oneHook,
	}
}

func ok(body []byte) answer { return answer{status: http.StatusOK, body: body} }

// page is a page in the making.
type page struct {
	c     *req
	b     []byte
	limit int
	n     int
	last  string // key of the last item
	more  bool
}

// page begins a page of a list; from is the key after which it starts.
func (c *req) page(byDefault, least, most int) (p *page, from string, err error) {
	for _, name := range []string{"q", "sortBy", "sortOrder"} {
		if c.q.Has(name) {
			return nil, "", failure("E0000031", name+" is not simulated")
		}
	}
	p = &page{c: c, limit: byDefault, b: []byte{'['}}
	if text := c.q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, "", failure("E0000001", "limit: must be a positive number")
		}
		p.limit = max(least, min(n, most))
	}
	from, err = c.cursor()
	return p, from, err
}

// add takes an item, or notes that there is more than fits.
func (p *page) add(key string, render func([]byte) []byte) bool {
	if p.n == p.limit {
		p.more = true
		return false
	}
	if p.n > 0 {
		p.b = append(p.b, ',')
	}
	p.b = render(p.b)
	p.last = key
	p.n++
	return true
}

func (p *page) answer() answer {
	a := answer{status: http.StatusOK, body: append(p.b, ']'), list: true}
	if p.more {
		a.next = p.c.nextURL(p.last)
	}
	return a
}

// Cursors name the item after which to go on: they hold whatever comes or goes.
func (c *req) listName() string { return strings.Join(c.path, "/") }

func (c *req) nextURL(last string) string {
	q := url.Values{}
	for k, v := range c.q {
		q[k] = v
	}
	q.Set("after", base64.RawURLEncoding.EncodeToString([]byte(c.listName()+"|"+last)))
	return c.url + c.r.URL.EscapedPath() + "?" + q.Encode()
}

func (c *req) cursor() (string, error) {
	after := c.q.Get("after")
	if after == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(after)
	if err == nil {
		if key, ok := strings.CutPrefix(string(b), c.listName()+"|"); ok {
			return key, nil
		}
	}
	return "", failure("E0000001", "after: Invalid cursor")
}

// filter parses the parameter, if it is there.
func (c *req) filter(param string, allowed attrs) (filter, error) {
	expr := c.q.Get(param)
	if expr == "" {
		return nil, nil
	}
	f, err := parseFilter(expr, allowed)
	if err != nil {
		return nil, failure("E0000031", err.Error())
	}
	return f, nil
}
