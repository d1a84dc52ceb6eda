package okta

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

var logSince = time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC)

// logOf answers as the log would, with a next link and what events says.
func logOf(next string, events string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if next != "" {
			w.Header().Add("Link", "<"+next+`>; rel="next"`)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, events)
	}
}

func TestLogBeginsAsAPoll(t *testing.T) {
	const filter = `eventType sw "user." or eventType eq "a.b"`
	const next = "http://org.test/api/v1/logs?after=a%2fB+c&&z=%7e"
	var asked atomic.Value
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL)
		if r.URL.Query().Has("after") {
			next := "http://org.test" + r.RequestURI // an empty page leads to itself
			logOf(next, "[]")(w, r)
			return
		}
		q := r.URL.Query()
		want := map[string][]string{"since": {"2026-03-17T09:00:00.000Z"}, "sortOrder": {"ASCENDING"}, "filter": {filter}, "limit": {"1000"}}
		if r.URL.Path != "/api/v1/logs" || !reflect.DeepEqual(map[string][]string(q), want) {
			t.Errorf("asked for %s", r.URL)
		}
		logOf(next, "["+fine+`,null,`+with("u-1", "u-2")+`]`)(w, r)
	}, func(t *testing.T, c *Client) {
		began := time.Now()
		p, err := c.Log(t.Context(), logSince, filter, "")
		if err != nil || p.Items != 3 || len(p.Events) != 2 || p.Events[1].UUID != "u-2" || len(p.Bad) != 1 || p.Next != next {
			t.Fatalf("%+v, %v", p, err)
		}
		if p.Start.After(began) || p.Start.Before(began.Add(-time.Second)) {
			t.Errorf("as of %v, and it began at %v", p.Start, began)
		}
		for range 3 {
			if p, err = c.Log(t.Context(), time.Time{}, "", p.Next); err != nil || p.Items != 0 || p.Next != next {
				t.Fatalf("%+v, %v", p, err)
			}
		}
		if got := asked.Load(); "http://org.test"+fmt.Sprint(got) != next {
			t.Errorf("followed %v", got)
		}
	})
}

// What is no page of the log moves nobody's place.
func TestWhatIsNoPageOfTheLog(t *testing.T) {
	const next = "http://org.test/api/v1/logs?after=x"
	for name, h := range map[string]http.HandlerFunc{
		"no next link":         logOf("", "["+fine+"]"),
		"no next link, empty":  logOf("", "[]"),
		"a link to elsewhere":  logOf("http://evil.test/api/v1/logs?after=x", "[]"),
		"a link away from API": logOf("http://org.test/x", "[]"),
		"an object":            logOf(next, "{}"),
		"nothing":              logOf(next, ""),
		"half an array":        logOf(next, "["+fine),
		"more than a page":     logOf(next, "["+strings.Repeat("1,", maxEvents)+"1]"),
		"two links": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Link", "<"+next+`y>; rel="next"`)
			logOf(next, "[]")(w, r)
		},
		"events that lead nowhere": func(w http.ResponseWriter, r *http.Request) {
			logOf("http://org.test"+r.RequestURI, "["+fine+"]")(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			withOrg(t, ClientConfig{}, h, func(t *testing.T, c *Client) {
				for _, link := range []string{"", next} {
					p, err := c.Log(t.Context(), logSince, "", link)
					if err == nil || p.Next != "" || p.Items != 0 || IsLinkRefused(err) {
						t.Errorf("%+v, %v", p, err)
					}
					if endless := errors.Is(err, ErrEndlessPaging); endless != (name == "events that lead nowhere") {
						t.Errorf("endless paging: %v, %v", endless, err)
					}
				}
			})
		})
	}
	withOrg(t, ClientConfig{}, func(http.ResponseWriter, *http.Request) { t.Error("it was followed") }, func(t *testing.T, c *Client) {
		if _, err := c.Log(t.Context(), logSince, "", "http://evil.test/api/v1/logs?after=x"); err == nil {
			t.Error("a stored link may lead away from the org")
		}
	})
}

func TestWhichLogLinksAreRefused(t *testing.T) {
	for status, refused := range map[int]bool{400: true, 404: true, 410: true, 401: false, 403: false, 405: false, 429: false, 500: false, 503: false} {
		for _, link := range []string{"", "http://org.test/api/v1/logs?after=x"} {
			var calls atomic.Int32
			withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				fail(w, status, "E0000001")
			}, func(t *testing.T, c *Client) {
				_, err := c.Log(t.Context(), logSince, "", link)
				if err == nil || IsLinkRefused(err) != refused {
					t.Errorf("%d: %v", status, err)
				}
				if again := calls.Load() > 1; again != (status == 429 || status >= 500) {
					t.Errorf("%d: %d calls", status, calls.Load())
				}
			})
		}
	}
	if IsLinkRefused(nil) || IsLinkRefused(errors.New("something else")) {
		t.Error("what did not come from Okta is taken for its refusal")
	}
}

// The simulated org's log, followed through faults, is all that happened.
func TestLogOfTheSimulatedOrg(t *testing.T) {
	at := oktasim.NewManualClock(logSince)
	org := oktasim.New(t, oktasim.Config{Seed: 4, Clock: at, Step: 300 * time.Millisecond, LogLag: 20 * time.Second})
	c, err := NewClient(t.Context(), ClientConfig{OrgURL: org.URL(), Token: org.Token(), AllowInsecure: true, Clock: at.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	org.MutateKinds(oktasim.LogKinds())
	faults := []oktasim.Fault{{Drop: true}, {Truncate: true}, {Status: 500}, {Status: 503}, {HTML: true}}
	var got, want []string
	link := ""
	follow := func() {
		for {
			p, err := c.Log(t.Context(), logSince, "", link)
			if err != nil || len(p.Bad) > 0 {
				t.Fatalf("%+v, %v", p, err)
			}
			if p.Start.After(at.Now()) {
				t.Fatalf("as of %v, it is %v", p.Start, at.Now())
			}
			link = p.Next
			for _, e := range p.Events {
				got = append(got, e.UUID)
			}
			if p.Items == 0 {
				return
			}
		}
	}
	for i := range 10 {
		for _, e := range org.Mutate(30) {
			want = append(want, e.UUID)
		}
		org.FailNext(1, "/logs", faults[i%len(faults)])
		follow()
	}
	at.Advance(time.Minute)
	follow()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d events of %d", len(got), len(want))
	}

	org.ExpireLogLinks()
	if _, err := c.Log(t.Context(), logSince, "", link); !IsLinkRefused(err) {
		t.Errorf("a link of before the move: %v", err)
	}
	if _, err := c.Log(t.Context(), at.Now().AddDate(0, 0, -181), "", ""); !IsLinkRefused(err) {
		t.Errorf("half a year ago: %v", err)
	}
	p, err := c.Log(t.Context(), at.Now().AddDate(0, 0, -179), `eventType sw "user.lifecycle." or eventType sw "group."`, "")
	if err != nil || p.Items == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, e := range p.Events {
		if !strings.HasPrefix(e.Type, "user.lifecycle.") && !strings.HasPrefix(e.Type, "group.") {
			t.Errorf("%s passed the filter", e.Type)
		}
	}
	if p, err = c.Log(t.Context(), logSince, "", p.Next); err != nil {
		t.Errorf("the link of a page since long ago: %+v, %v", p, err)
	}
}

// The log and a hook say the same of the same events.
func FuzzLogPage(f *testing.F) {
	var body atomic.Pointer[[]byte]
	var org *httptest.Server
	org = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		logOf(org.URL+"/api/v1/logs?after=x", string(*body.Load()))(w, r)
	}))
	f.Cleanup(org.Close)
	c, err := NewClient(f.Context(), ClientConfig{OrgURL: org.URL, Token: "secret-token", AllowInsecure: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	for _, s := range []string{"[]", "[" + fine + "]", "[" + fine + ",null,{},7]", "null", "{}", "[[", " [ ] x", `[{"uuid":"a"}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		body.Store(&page)
		p, err := c.Log(t.Context(), logSince, "", "")
		if err != nil {
			if !reflect.DeepEqual(p, LogPage{}) || IsLinkRefused(err) {
				t.Errorf("%+v, %v", p, err)
			}
			return
		}
		var raw []json.RawMessage
		if err := json.NewDecoder(strings.NewReader(string(page))).Decode(&raw); err != nil {
			t.Fatalf("%q was understood: %+v", page, p)
		}
		again, err := json.Marshal(map[string]any{"data": map[string]any{"events": raw}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := ParseDelivery(again)
		if err != nil || p.Items != len(raw) || len(p.Events)+len(p.Bad) != p.Items || len(p.Bad) != len(d.Bad) || !reflect.DeepEqual(p.Events, d.Events) {
			t.Errorf("the log has %+v, a hook %+v, %v", p, d, err)
		}
	})
}
