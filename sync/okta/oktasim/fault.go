package oktasim

import (
	"net/http"
	"strings"
	"time"
)

// Fault is how a call goes wrong. The zero Fault changes nothing.
type Fault struct {
	Delay time.Duration // before the answer; Okta's limits count already

	// Instead of the answer:
	Status   int    // with the error envelope of Code, or a code that fits
	Code     string // E0000009, …
	HTML     bool   // with Status (502 if 0): a page of some proxy
	Drop     bool   // the connection ends before any answer: EOF
	Location string // with Status 3xx: where to

	// Of the answer:
	ContentType  string // another one
	Empty        bool   // a list without items and without a next link
	Half         bool   // a list of half the items, without a next link
	Truncate     bool   // the connection ends in the middle of the body
	BadJSON      bool   // half the body, as if it were the whole
	RepeatCursor bool   // the next link is the page itself
}

type planned struct {
	match func(*http.Request) bool
	left  int
	fault Fault
}

// Fail has f decide of every call how it fails; nil from f lets it succeed, and
// a nil f all of them. f may change the org.
func (o *Org) Fail(f func(*http.Request) *Fault) {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	o.faults = f
}

// FailNext lets the next n calls fail whose path and query contain part.
func (o *Org) FailNext(n int, part string, f Fault) {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	o.planned = append(o.planned, &planned{
		match: func(r *http.Request) bool { return strings.Contains(r.URL.RequestURI(), part) },
		left:  n, fault: f,
	})
}

// ClearFaults lets all calls succeed from now on.
func (o *Org) ClearFaults() {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	o.faults, o.planned = nil, nil
}

func (o *Org) faultOf(r *http.Request) Fault {
	o.callMu.Lock()
	f := o.faults
	for _, p := range o.planned {
		if p.left > 0 && p.match(r) {
			p.left--
			o.callMu.Unlock()
			return p.fault
		}
	}
	o.callMu.Unlock()
	if f != nil {
		if x := f(r); x != nil {
			return *x
		}
	}
	return Fault{}
}

// Call is a call that the org got.
type Call struct {
	Method, Path, RawQuery string
	Status                 int // 0: the connection was dropped
}

// OnRequest has f called before each answer is computed: f may change the org,
// between the pages of a list for instance. A nil f ends that.
func (o *Org) OnRequest(f func(*http.Request)) {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	o.onRequest = f
}

// Calls returns the calls since the last ResetCalls, in the order of their
// answers: the last 100,000 of them at most.
func (o *Org) Calls() []Call {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	return append([]Call(nil), o.calls...)
}

// CallCount returns how many calls there were since the last ResetCalls.
func (o *Org) CallCount() int {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	return o.callCount
}

// ResetCalls forgets the calls so far.
func (o *Org) ResetCalls() {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	o.calls, o.callCount = nil, 0
}

func (o *Org) record(c Call) {
	o.callMu.Lock()
	defer o.callMu.Unlock()
	o.callCount++
	if len(o.calls) >= 100_000 {
		o.calls = append([]Call(nil), o.calls[50_000:]...)
	}
	o.calls = append(o.calls, c)
}
