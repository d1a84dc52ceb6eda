package okta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// script answers call n (from 1) by its n-th handler, the last for good.
func script(n *atomic.Int64, hs ...http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1))
		hs[min(i, len(hs))-1](w, r)
	}
}

func good(w http.ResponseWriter, r *http.Request) { answer(w, 200, ids("00u", 0, 1)) }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { fail(w, code, "E0000009") }
}

func html502(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(502)
	fmt.Fprint(w, "<html>Bad Gateway")
}

// hangUp ends the connection without an answer: the client sees io.EOF.
func hangUp(w http.ResponseWriter, r *http.Request) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		c.Close()
	}
}

func breakOff(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	fmt.Fprint(w, `[{"id":"00u0"}`)
}

// hang answers late, or never: the attempt's deadline ends it.
func hang(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestPassingFailuresAreTriedAgain(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"502 as HTML": html502, "500": status(500), "503": status(503), "504": status(504),
		"EOF": hangUp, "a broken body": breakOff, "no end": hang,
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			withOrg(t, ClientConfig{}, script(&n, h, h, good), func(t *testing.T, c *Client) {
				p, err := c.Factors(t.Context(), "00u1")
				if err != nil || len(p.Items) != 1 || n.Load() != 3 {
					t.Errorf("%v, %v after %d calls", p, err, n.Load())
				}
			})
		})
		t.Run(name+" for good", func(t *testing.T) {
			var n atomic.Int64
			withOrg(t, ClientConfig{}, script(&n, h), func(t *testing.T, c *Client) {
				_, err := c.Factors(t.Context(), "00u1")
				var e *Error
				if !errors.As(err, &e) || n.Load() != maxFailures {
					t.Errorf("%v after %d calls", err, n.Load())
				}
				if errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v is what it must not be", err)
				}
			})
		})
	}
}

func TestLastingFailuresAreNotTriedAgain(t *testing.T) {
	for _, code := range []int{301, 302, 307, 400, 401, 403, 404, 405} {
		var n atomic.Int64
		withOrg(t, ClientConfig{}, script(&n, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://evil.test/api/v1/users")
			fail(w, code, "E0000001")
		}), func(t *testing.T, c *Client) {
			_, err := c.User(t.Context(), "00u1")
			var e *Error
			if !errors.As(err, &e) || e.Status != code || n.Load() != 1 {
				t.Errorf("%d: %v after %d calls", code, err, n.Load())
			}
		})
	}
}

func TestUsedUpWindowIsWaitedOut(t *testing.T) {
	var n atomic.Int64
	withOrg(t, ClientConfig{}, script(&n, func(w http.ResponseWriter, r *http.Request) {
		rate(w, 600, 0, time.Now().Add(42*time.Second))
		fail(w, 429, "E0000047")
	}, good), func(t *testing.T, c *Client) {
		var counter Counter
		began := time.Now()
		p, err := c.Users(WithCounter(t.Context(), &counter), "")
		if took := time.Since(began); err != nil || len(p.Items) != 1 || took < 42*time.Second || took > 45*time.Second {
			t.Errorf("%v, %v after %v", p, err, took)
		}
		if calls, waits := counter.Calls.Load(), counter.RateLimitWaits.Load(); calls != 2 || waits != 1 {
			t.Errorf("counted %d calls, %d waits", calls, waits)
		}
		if s := c.Stats(); s.Calls != 2 || s.RateLimitWaits != 1 {
			t.Errorf("stats %+v", s)
		}
		if off := p.Start.Sub(began.Add(42 * time.Second)); off < -2*time.Second || off > 3*time.Second {
			t.Errorf("as of %v: not the attempt that succeeded", p.Start)
		}
	})
}

func TestTooManyForeverIsATypedError(t *testing.T) {
	for name, tt := range map[string]struct {
		limit  int
		within time.Duration
		hdr    bool
	}{
		"of a window": {100, 10 * time.Minute, true}, "at once": {0, time.Minute, true}, "without headers": {0, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			withOrg(t, ClientConfig{}, script(&n, func(w http.ResponseWriter, r *http.Request) {
				if tt.hdr {
					rate(w, tt.limit, 0, time.Now().Add(30*time.Second))
				}
				fail(w, 429, "E0000047")
			}), func(t *testing.T, c *Client) {
				began := time.Now()
				_, err := c.User(t.Context(), "00u1")
				var e *RateLimitError
				if !errors.As(err, &e) || e.Limit != tt.limit || n.Load() != maxTooMany || time.Since(began) > tt.within {
					t.Errorf("%#v after %d calls and %v", err, n.Load(), time.Since(began))
				} else if tt.limit > 0 && !e.Reset.After(time.Now()) {
					t.Errorf("free again at %v, which is past", e.Reset)
				}
			})
		})
	}
}

// A 429 with limit 0 means too many at once: fewer then, and no wait for Reset.
func TestConcurrencyLimitMakesFewerCallsAtOnce(t *testing.T) {
	const most = 3
	var now, peak, late atomic.Int64
	withOrg(t, ClientConfig{MaxInFlight: 16}, func(w http.ResponseWriter, r *http.Request) {
		k := now.Add(1)
		defer now.Add(-1)
		time.Sleep(100 * time.Millisecond)
		if k > most {
			late.Store(time.Now().UnixNano())
			rate(w, 0, 0, time.Now().Add(time.Minute))
			fail(w, 429, "E0000047")
			return
		}
		peak.Store(max(peak.Load(), k))
		answer(w, 200, map[string]any{"id": "00u1"})
	}, func(t *testing.T, c *Client) {
		began := time.Now()
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if _, err := c.User(t.Context(), "00u1"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("took %v", took)
		}
		if c.transport.limiter.slots > most+1 {
			t.Errorf("still %d at once", c.transport.limiter.slots)
		}
	})
}

func TestContextEndsEveryWait(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"for a window": func(w http.ResponseWriter, r *http.Request) {
			rate(w, 600, 0, time.Now().Add(time.Minute))
			fail(w, 429, "E0000047")
		},
		"at once":     func(w http.ResponseWriter, r *http.Request) { rate(w, 0, 0, time.Now()); fail(w, 429, "E0000047") },
		"to back off": status(503),
		"for Okta":    hang,
	} {
		t.Run(name, func(t *testing.T) {
			withOrg(t, ClientConfig{}, h, func(t *testing.T, c *Client) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				_, err := c.User(ctx, "00u1")
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 201*time.Millisecond {
					t.Errorf("%v after %v", err, time.Since(began))
				}
			})
		})
	}
}

func TestCallWithoutDeadlineEnds(t *testing.T) {
	withOrg(t, ClientConfig{MaxInFlight: 1}, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(25 * time.Second)
		fail(w, 503, "E0000010")
	}, func(t *testing.T, c *Client) {
		began := time.Now()
		var wg sync.WaitGroup
		for range 9 {
			wg.Go(func() {
				if _, err := c.User(context.Background(), "00u1"); err == nil {
					t.Error("no error")
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took > callTime+time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestOnlyReads(t *testing.T) {
	withOrg(t, ClientConfig{}, good, func(t *testing.T, c *Client) {
		if _, err := c.sdk.User.DeactivateUser(t.Context(), "00u1", nil); err == nil {
			t.Error("a write went through")
		}
		if n := c.Stats().Calls; n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

// Start and Now may lag behind Okta's clock by the second that Date rounds
// off, whatever our own clock says, and never lead.
func TestOktaClockIsALowerBound(t *testing.T) {
	for _, skew := range []time.Duration{0, 5 * time.Minute, -5 * time.Minute} {
		local := func() time.Time { return time.Now().Add(skew) }
		var n atomic.Int64
		withOrg(t, ClientConfig{Clock: local}, func(w http.ResponseWriter, r *http.Request) {
			switch n.Add(1) % 4 {
			case 1: // Date as it is, after a while
				time.Sleep(1500 * time.Millisecond)
			case 2:
				w.Header()["Date"] = nil
			case 3:
				w.Header().Set("Date", "yesterday")
			}
			good(w, r)
		}, func(t *testing.T, c *Client) {
			if _, ok := c.Now(); ok {
				t.Error("the clock is known before any answer")
			}
			for range 8 {
				time.Sleep(333*time.Millisecond + 777*time.Microsecond)
				began := time.Now()
				p, err := c.Users(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				if lag := began.Sub(p.Start); lag < 0 || lag > 2600*time.Millisecond {
					t.Errorf("skew %v: the page is as of %v before the attempt began", skew, lag)
				}
				if p.Start.Nanosecond()%int(time.Millisecond) != 0 || p.Start.Location() != time.UTC {
					t.Errorf("as of %v", p.Start)
				}
				now, ok := c.Now()
				if lag := time.Since(now); !ok || lag < 0 || lag > 2600*time.Millisecond {
					t.Errorf("skew %v: the clock lags by %v", skew, lag)
				}
			}
		})
	}
}

// What is as of no time would lose to everything, or win against it.
func TestNothingIsReadBeforeOktaToldItsTime(t *testing.T) {
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/timed") {
			w.Header()["Date"] = nil
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/gone"), strings.HasSuffix(r.URL.Path, "/gone/users"):
			fail(w, 404, "E0000007")
		case strings.HasSuffix(r.URL.Path, "/denied"):
			fail(w, 403, "E0000006")
		case r.URL.Path == "/api/v1/groups":
			answer(w, 200, ids("00g", 0, 2))
		case r.URL.Path == "/api/v1/logs":
			logOf("http://org.test/api/v1/logs?after=x", "[]")(w, r)
		default:
			answer(w, 200, map[string]string{"id": "00g1"})
		}
	}, func(t *testing.T, c *Client) {
		reads := map[string]func() (time.Time, error){
			"an object":           func() (time.Time, error) { r, err := c.Group(t.Context(), "00g1"); return r.Start, err },
			"an object not there": func() (time.Time, error) { r, err := c.Group(t.Context(), "gone"); return r.Start, err },
			"a list":              func() (time.Time, error) { p, err := c.Groups(t.Context(), ""); return p.Start, err },
			"a list of nobody": func() (time.Time, error) {
				p, err := c.GroupMembers(t.Context(), "gone", "")
				if IsNotFound(err) && !p.Start.IsZero() {
					return p.Start, nil
				}
				return p.Start, err
			},
			"the log": func() (time.Time, error) { p, err := c.Log(t.Context(), logSince, "", ""); return p.Start, err },
		}
		for name, read := range reads {
			if start, err := read(); err == nil || !strings.Contains(err.Error(), "the answer has no Date") || IsNotFound(err) || !start.IsZero() {
				t.Errorf("%s: as of %v, %v", name, start, err)
			}
		}
		if _, err := c.Group(t.Context(), "denied"); !IsForbidden(err) {
			t.Errorf("a refusal needs no time: %v", err)
		}
		if _, err := c.Group(t.Context(), "timed"); err != nil {
			t.Fatal(err)
		}
		for name, read := range reads {
			if start, err := read(); err != nil || start.IsZero() {
				t.Errorf("%s, later: as of %v, %v", name, start, err)
			}
		}
	})
}

// bucket is a rate limit as Okta keeps it: windows of a minute that begin with
// a call.
type bucket struct {
	mu                     sync.Mutex
	limit, used            int
	others                 int // used by others at the start of each window
	reset                  time.Time
	most, refused, windows int
}

func (b *bucket) take(w http.ResponseWriter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); !now.Before(b.reset) {
		// Reset has whole seconds; the window ends with it.
		b.reset, b.used = now.Add(time.Minute).Truncate(time.Second), 0
		b.windows++
	}
	if b.used+b.others >= b.limit {
		b.refused++
		rate(w, b.limit, 0, b.reset)
		fail(w, 429, "E0000047")
		return false
	}
	b.used++
	b.most = max(b.most, b.used)
	rate(w, b.limit, b.limit-b.used-b.others, b.reset)
	return true
}

// Users, their factors and groups may be one bucket of Okta's or several; the
// client is not told which.
func TestShareOfEachBucketIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		share   float64
		same    bool
		others  int
		windows int // at most, for 3 × 200 calls of 100 a window
	}{
		"one bucket":            {0.5, true, 0, 16},
		"buckets of their own":  {0.5, false, 0, 9},
		"a smaller share":       {0.2, true, 0, 40},
		"the whole limit":       {1, true, 0, 10},
		"others use most of it": {0.9, true, 70, 40},
	} {
		t.Run(name, func(t *testing.T) {
			bs := map[string]*bucket{}
			for _, k := range []string{"", "factors", "groups"} {
				bs[k] = &bucket{limit: 100, others: tt.others}
				if tt.same {
					bs[k] = bs[""]
					if bs[k] == nil {
						bs[k] = &bucket{limit: 100, others: tt.others}
					}
				}
			}
			withOrg(t, ClientConfig{Share: tt.share}, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(20 * time.Millisecond)
				sub := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v1/users/00u1"), "/")
				if bs[sub].take(w) {
					time.Sleep(20 * time.Millisecond)
					if sub == "" {
						answer(w, 200, map[string]any{"id": "00u1"})
					} else {
						answer(w, 200, []any{})
					}
				}
			}, func(t *testing.T, c *Client) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				var wg sync.WaitGroup
				for range 4 {
					for _, read := range []func() error{
						func() error { _, err := c.User(ctx, "00u1"); return err },
						func() error { _, err := c.Factors(ctx, "00u1"); return err },
						func() error { _, err := c.UserGroups(ctx, "00u1", ""); return err },
					} {
						wg.Go(func() {
							for range 50 {
								if err := read(); err != nil {
									t.Error(err)
									return
								}
							}
						})
					}
				}
				wg.Wait()
				for k, b := range bs {
					if most := int(math.Ceil(tt.share * 100)); b.most > most || b.refused > 0 || b.windows > tt.windows {
						t.Errorf("%q: up to %d calls in a window where %d are ours, %d refused, %d windows", k, b.most, most, b.refused, b.windows)
					}
				}
			})
		})
	}
}

// A bucket that waits holds no slot: the others go on.
func TestUsedUpBucketStopsNobodyElse(t *testing.T) {
	apps := &bucket{limit: 4}
	withOrg(t, ClientConfig{MaxInFlight: 3}, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v1/apps") && !apps.take(w) {
			return
		}
		answer(w, 200, []any{})
	}, func(t *testing.T, c *Client) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { c.AppUsers(ctx, "0oa1", "") })
		}
		synctest.Wait() // as many as the window allows are done, the others wait
		began := time.Now()
		for range 100 {
			if _, err := c.GroupMembers(ctx, "00g1", ""); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("100 calls took %v", took)
		}
		cancel()
		wg.Wait()
		if n := len(c.transport.limiter.waiting[laneList]); n != 0 || c.transport.limiter.inFlight != 0 {
			t.Errorf("%d still wait, %d in flight", n, c.transport.limiter.inFlight)
		}
	})
}

func TestEventsGoBeforeLists(t *testing.T) {
	users := &bucket{limit: 100}
	withOrg(t, ClientConfig{MaxInFlight: 4}, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(200 * time.Millisecond)
		if !users.take(w) {
			return
		}
		if strings.HasSuffix(r.URL.Path, "/groups") {
			answer(w, 200, []any{})
			return
		}
		answer(w, 200, map[string]any{"id": "00u1"})
	}, func(t *testing.T, c *Client) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() { c.UserGroups(ctx, "00u1", "") })
		}
		// While lists keep all their slots busy, and when their part of the window is used up.
		for _, at := range []time.Duration{2 * time.Second, 20 * time.Second} {
			time.Sleep(at)
			began := time.Now()
			if _, err := c.User(WithPriority(ctx), "00u1"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("an event's read took %v", took)
			}
		}
		cancel()
		wg.Wait()
		if users.most > 50 {
			t.Errorf("%d calls in a window", users.most)
		}
	})
}

func TestInFlightIsCapped(t *testing.T) {
	var now, peak atomic.Int64
	withOrg(t, ClientConfig{MaxInFlight: 5}, func(w http.ResponseWriter, r *http.Request) {
		peak.Store(max(peak.Load(), now.Add(1)))
		time.Sleep(50 * time.Millisecond)
		now.Add(-1)
		answer(w, 200, map[string]any{"id": "00u1"})
	}, func(t *testing.T, c *Client) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = WithPriority(ctx)
				}
				if _, err := c.User(ctx, "00u1"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if p := peak.Load(); p > 5 || p < 4 {
			t.Errorf("%d at once", p)
		}
	})
}

// Headers that make no sense must not stop the client for good.
func TestSenselessRateHeaders(t *testing.T) {
	for name, set := range map[string]func(w http.ResponseWriter){
		"reset in the past":       func(w http.ResponseWriter) { rate(w, 100, 50, time.Unix(1, 0)) },
		"reset in a century":      func(w http.ResponseWriter) { rate(w, 100, 0, time.Now().AddDate(100, 0, 0)) },
		"limit of one":            func(w http.ResponseWriter) { rate(w, 1, 0, time.Now().Add(time.Second)) },
		"limit 0 without a 429":   func(w http.ResponseWriter) { rate(w, 0, 0, time.Now().Add(time.Minute)) },
		"more left than there is": func(w http.ResponseWriter) { rate(w, 10, 1000, time.Now().Add(time.Second)) },
		"words":                   func(w http.ResponseWriter) { w.Header().Set("X-Rate-Limit-Limit", "lots") },
		"no Date":                 func(w http.ResponseWriter) { w.Header()["Date"] = nil; rate(w, 10, 5, time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.URL.Path, "first") {
					set(w)
				}
				good(w, r)
			}, func(t *testing.T, c *Client) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				if _, err := c.Factors(ctx, "first"); err != nil { // it tells Okta's time
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for range 5 {
							if _, err := c.Factors(ctx, "00u1"); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

// Through the real network: the name of an org must not lead inside, and a
// plain server on this machine needs insecure orgs.
func TestDialerRefusesPrivateAddresses(t *testing.T) {
	var hits atomic.Int64
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hits.Add(1); good(w, r) }))
	defer srv.Close()
	c, err := NewClient(t.Context(), ClientConfig{OrgURL: "https://example.okta.com", Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// As if a resolver had given the org's name this server's address.
	dial := c.transport.base.DialContext
	addr := srv.Listener.Addr().String()
	c.transport.base.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	c.transport.base.DialContext = func(ctx context.Context, n, _ string) (net.Conn, error) { return dial(ctx, n, addr) }
	_, err = c.Users(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "private address") || hits.Load() != 0 || c.Stats().Calls != 1 {
		t.Errorf("%v, %d hits, %d calls", err, hits.Load(), c.Stats().Calls)
	}
}

func TestOverARealNetwork(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(good))
	defer srv.Close()
	c, err := NewClient(t.Context(), ClientConfig{OrgURL: srv.URL, Token: "t", AllowInsecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p, err := c.Users(t.Context(), ""); err != nil || len(p.Items) != 1 {
		t.Errorf("%v, %v", p, err)
	}
}
