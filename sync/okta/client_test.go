package okta

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestListIsReadToItsEnd(t *testing.T) {
	for name, joined := range map[string]bool{"a line for each link": false, "all links in one line": true} {
		t.Run(name, func(t *testing.T) {
			withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "SSWS secret-token" {
					t.Errorf("Authorization = %q", got)
				}
				if f := r.URL.Query().Get("filter"); f != `lastUpdated gt "1970-01-01T00:00:00.000Z"` {
					t.Errorf("filter = %q", f)
				}
				n, _ := strconv.Atoi(r.URL.Query().Get("after"))
				self := "<http://org.test" + r.URL.RequestURI() + `>; rel="self"`
				next := fmt.Sprintf(`<http://org.test/api/v1/users?after=%d&x=a%%2Cb,c&filter=%s>; rel="next"`, n+1,
					"lastUpdated%20gt%20%221970-01-01T00:00:00.000Z%22")
				switch {
				case n == 3:
					w.Header().Add("Link", self)
				case joined:
					w.Header().Add("Link", self+", "+next)
				default:
					w.Header().Add("Link", self)
					w.Header().Add("Link", next)
				}
				if n == 2 { // an empty page is not the end
					answer(w, 200, []any{})
					return
				}
				answer(w, 200, ids("00u", 2*n, 2*n+2))
			}, func(t *testing.T, c *Client) {
				users, err := all(t.Context(), c.Users)
				if err != nil || len(users) != 6 || users[0].ID != "00u0" || users[5].ID != "00u7" {
					t.Fatalf("%d users, %v", len(users), err)
				}
			})
		})
	}
}

// The next link's bytes are Okta's: the cursor in it means what it says only there.
func TestNextLinkIsFollowedByteForByte(t *testing.T) {
	const next = "/api/v1/groups/00g1/users?limit=1000&after=a%2fB+c%20d&&z=%7e"
	var got atomic.Value
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.RequestURI)
		answer(w, 200, []any{})
	}, func(t *testing.T, c *Client) {
		if _, err := c.GroupMembers(t.Context(), "00g1", "http://org.test"+next); err != nil {
			t.Fatal(err)
		}
		if got.Load() != next {
			t.Errorf("sent %v, want %v", got.Load(), next)
		}
	})
}

func TestTokenGoesNowhereElse(t *testing.T) {
	evil := []string{
		"http://evil.test/api/v1/users", "https://org.test/api/v1/users", "http://org.test:8080/api/v1/users",
		"http://org.test@evil.test/api/v1/users", "http://evil@org.test/api/v1/users", "//evil.test/api/v1/users",
		"/api/v1/users", "http://org.test/oauth2/v1/token", "http://org.test/api/v1/../../login",
		"http://org.test/api/v1/%2e%2e/%2e%2e/login", "http://org.test.evil.test/api/v1/users", "http://org.test/api/v1", "ftp://org.test/api/v1/users", "\x7f",
	}
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "<"+r.URL.Query().Get("limit")+evil[0]+`>; rel="next"`)
		answer(w, 200, ids("00g", 0, 1))
	}, func(t *testing.T, c *Client) {
		for _, link := range evil {
			if p, err := c.Groups(t.Context(), link); err == nil {
				t.Errorf("%q was followed: %v", link, p)
			}
		}
		if n := c.Stats().Calls; n != 0 {
			t.Errorf("%d calls were made", n)
		}
		if p, err := c.Groups(t.Context(), ""); err == nil {
			t.Errorf("a page whose next link leads away: %v", p)
		}
	})
}

func TestNothingUnknownLooksEmpty(t *testing.T) {
	long := strings.Repeat(" ", 1<<20) + "[]"
	for name, h := range map[string]http.HandlerFunc{
		"null":      func(w http.ResponseWriter, r *http.Request) { answer(w, 200, nil) },
		"an object": func(w http.ResponseWriter, r *http.Request) { answer(w, 200, map[string]any{}) },
		"text":      func(w http.ResponseWriter, r *http.Request) { answer(w, 200, "[]") },
		"no body":   func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "application/json") },
		"blank": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "  \n")
		},
		"no content": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"HTML": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "[]")
		},
		"no type": func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "[]") },
		"half an array": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `[{"id":"00u1"},`)
		},
		"null items":     func(w http.ResponseWriter, r *http.Request) { answer(w, 200, []any{nil}) },
		"texts as items": func(w http.ResponseWriter, r *http.Request) { answer(w, 200, []any{"00u1"}) },
		"items without id": func(w http.ResponseWriter, r *http.Request) {
			answer(w, 200, []any{map[string]any{"status": "ACTIVE"}})
		},
		"a path as id":   func(w http.ResponseWriter, r *http.Request) { answer(w, 200, []any{map[string]any{"id": "a/b"}}) },
		"a number as id": func(w http.ResponseWriter, r *http.Request) { answer(w, 200, []any{map[string]any{"id": 7}}) },
		"a broken Link": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `http://org.test/api/v1/users>; rel="next"`)
			answer(w, 200, []any{})
		},
		"a Link to no URL": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<%zz>; rel="next"`)
			answer(w, 200, []any{})
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			http.Redirect(w, r, "http://evil.test/", http.StatusFound)
		},
		"403": func(w http.ResponseWriter, r *http.Request) { fail(w, 403, "E0000006") },
		"404": func(w http.ResponseWriter, r *http.Request) { fail(w, 404, "E0000007") },
		"too much": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, long)
		},
		"less than promised": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "[]")
		},
	} {
		t.Run(name, func(t *testing.T) {
			withOrg(t, ClientConfig{}, h, func(t *testing.T, c *Client) {
				c.transport.maxBody = 1 << 20
				for list, read := range map[string]func() (int, error){
					"users":   func() (int, error) { p, err := c.Users(t.Context(), ""); return len(p.Items), err },
					"members": func() (int, error) { p, err := c.GroupMembers(t.Context(), "00g1", ""); return len(p.Items), err },
					"factors": func() (int, error) { p, err := c.Factors(t.Context(), "00u1"); return len(p.Items), err },
				} {
					n, err := read()
					if err == nil {
						t.Errorf("%s: %d items and no error", list, n)
					}
					var e *Error
					if !errors.As(err, &e) || e.What == "" {
						t.Errorf("%s: %v is no *Error that says of what", list, err)
					}
				}
			})
		})
	}
}

func TestOddValueDoesNotFailThePage(t *testing.T) {
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, []any{
			map[string]any{"id": "00u1", "status": 7, "profile": map[string]any{"login": "a"}},
			map[string]any{"id": "00u2", "status": "NEW_STATUS", "profile": []any{}, "lastLogin": nil, "created": "yesterday"},
		})
	}, func(t *testing.T, c *Client) {
		p, err := c.Users(t.Context(), "")
		if err != nil || len(p.Items) != 2 || p.Items[0].Profile["login"] != "a" || p.Items[1].Status != "NEW_STATUS" || p.Items[1].Created != "yesterday" {
			t.Errorf("%+v, %v", p.Items, err)
		}
	})
}

func TestEndlessPaging(t *testing.T) {
	for name, cycle := range map[string]int{"to itself": 1, "round and round": 7} {
		t.Run(name, func(t *testing.T) {
			withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
				n, _ := strconv.Atoi(r.URL.Query().Get("after"))
				if n++; n > 5+cycle {
					n = 6
				}
				w.Header().Set("Link", fmt.Sprintf(`<http://org.test/api/v1/groups?after=%d>; rel="next"`, n))
				answer(w, 200, ids("00g", n, n+1))
			}, func(t *testing.T, c *Client) {
				_, err := all(t.Context(), c.Groups)
				if !errors.Is(err, ErrEndlessPaging) {
					t.Errorf("err = %v", err)
				}
				if n := c.Stats().Calls; n > 3*int64(5+cycle)+1 {
					t.Errorf("found only after %d calls", n)
				}
			})
		})
	}
}

// No cache: an event's read must see what the event tells of.
func TestSecondReadSeesTheChange(t *testing.T) {
	var n atomic.Int64
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		v := map[string]any{"id": "00u1", "status": fmt.Sprint(n.Add(1))}
		if strings.HasSuffix(r.URL.Path, "/users") {
			answer(w, 200, []any{v})
			return
		}
		answer(w, 200, v)
	}, func(t *testing.T, c *Client) {
		for want := 1; want <= 3; want += 2 {
			u, err := c.User(t.Context(), "00u1")
			if err != nil || u.Value.Status != fmt.Sprint(want) {
				t.Errorf("user: %+v, %v", u, err)
			}
			p, err := c.Users(t.Context(), "")
			if err != nil || len(p.Items) != 1 || p.Items[0].Status != fmt.Sprint(want+1) {
				t.Errorf("list: %+v, %v", p, err)
			}
		}
	})
}

func TestOnlyTheObjectsOwn404MeansAbsent(t *testing.T) {
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "gone"):
			fail(w, 404, "E0000007")
		case strings.Contains(r.URL.Path, "path"):
			fail(w, 404, "E0000008")
		case strings.Contains(r.URL.Path, "html"):
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(404)
			fmt.Fprint(w, `{"errorCode":"E0000007"}`)
		case strings.Contains(r.URL.Path, "forbidden"):
			fail(w, 403, "E0000006")
		case strings.Contains(r.URL.Path, "empty"):
			answer(w, 200, map[string]any{})
		}
	}, func(t *testing.T, c *Client) {
		ctx := t.Context()
		for id, absent := range map[string]bool{"gone": true, "path": false, "html": false, "forbidden": false, "empty": false} {
			for what, read := range map[string]func() (bool, time.Time, error){
				"user":     func() (bool, time.Time, error) { r, err := c.User(ctx, id); return r.Found, r.Start, err },
				"group":    func() (bool, time.Time, error) { r, err := c.Group(ctx, id); return r.Found, r.Start, err },
				"app":      func() (bool, time.Time, error) { r, err := c.Application(ctx, id); return r.Found, r.Start, err },
				"appuser":  func() (bool, time.Time, error) { r, err := c.AppUser(ctx, "0oa1", id); return r.Found, r.Start, err },
				"appgroup": func() (bool, time.Time, error) { r, err := c.AppGroup(ctx, "0oa1", id); return r.Found, r.Start, err },
			} {
				found, start, err := read()
				if found || absent != (err == nil) || absent && start.IsZero() {
					t.Errorf("%s %s: found %v, as of %v, %v", what, id, found, start, err)
				}
			}
		}
		for _, id := range []string{"", ".", "..", "me", "a/b", "a?b", strings.Repeat("x", 129)} {
			if _, err := c.Group(ctx, id); err == nil {
				t.Errorf("group %q was read", id)
			}
		}
		calls := c.Stats().Calls
		for _, id := range []string{"", ".", "..", "me", strings.Repeat("x", 257)} {
			if _, err := c.User(ctx, id); err == nil {
				t.Errorf("user %q was read", id)
			}
		}
		if c.Stats().Calls != calls {
			t.Error("calls were made for what is no id")
		}
	})
}

func TestUserByLogin(t *testing.T) {
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/api/v1/users/ada%2Flove@example.com" {
			t.Errorf("asked for %s", r.RequestURI)
		}
		fail(w, 403, "E0000006")
	}, func(t *testing.T, c *Client) {
		_, err := c.User(t.Context(), "ada/love@example.com")
		if !IsForbidden(err) || strings.Contains(err.Error(), "ada") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestErrorsSayWhatAndWhatToDo(t *testing.T) {
	var status atomic.Int64
	var code atomic.Value
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		fail(w, int(status.Load()), code.Load().(string))
	}, func(t *testing.T, c *Client) {
		for _, tt := range []struct {
			status             int
			code, want         string
			unauth, forbid, nf bool
		}{
			{401, "E0000011", "create a new one", true, false, false},
			{401, "E0000015", "lacks the feature", false, false, false},
			{403, "E0000006", "admin role", false, true, false},
			{404, "E0000007", "", false, false, true},
			{404, "E0000008", "check the org URL", false, false, false},
			{503, "E0000010", "next run", false, false, false},
		} {
			status.Store(int64(tt.status))
			code.Store(tt.code)
			_, err := c.GroupMembers(t.Context(), "00g1", "")
			var e *Error
			if !errors.As(err, &e) || e.Status != tt.status || e.Code != tt.code || e.RequestID != "req-1" {
				t.Errorf("%s: %#v", tt.code, err)
				continue
			}
			if IsUnauthorized(err) != tt.unauth || IsForbidden(err) != tt.forbid || IsNotFound(err) != tt.nf {
				t.Errorf("%s: wrong kind: %v", tt.code, err)
			}
			for _, want := range []string{"members of group 00g1", tt.code, "a summary", "req-1", tt.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not hold %q", err, want)
				}
			}
			for _, secret := range []string{"secret-token", "ada@example.com"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%v holds %q", err, secret)
				}
			}
		}
	})
}

func TestFailingListIsAskedForInSmallerPages(t *testing.T) {
	var asked []string
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("limit")+r.URL.Query().Get("expand"))
		if limit, _ := strconv.Atoi(r.URL.Query().Get("limit")); limit > 50 || r.URL.Query().Has("expand") {
			fail(w, 500, "E0000009")
			return
		}
		answer(w, 200, ids("00g", 0, 1))
	}, func(t *testing.T, c *Client) {
		p, err := c.Groups(t.Context(), "")
		if err != nil || len(p.Items) != 1 {
			t.Errorf("%v, %v", p, err)
		}
		if got := strings.Join(asked, " "); got != "200stats 100stats 50stats 25stats 200 100 50" {
			t.Errorf("asked for %s", got)
		}
		asked = nil
		// A cursor belongs to its parameters: the link stays as it is.
		if _, err := c.Groups(t.Context(), "http://org.test/api/v1/groups?limit=200&after=x"); err == nil || len(asked) != maxFailures {
			t.Errorf("%v, asked for %v", err, asked)
		}
	})
}

func TestUsersWhereTheFilterIsRefused(t *testing.T) {
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case strings.HasPrefix(q.Get("filter"), "lastUpdated"):
			fail(w, 400, "E0000031")
		case q.Get("filter") == `status eq "DEPROVISIONED"` && q.Get("after") == "":
			w.Header().Set("Link", `<http://org.test/api/v1/users?filter=status%20eq%20%22DEPROVISIONED%22&after=1>; rel="next"`)
			answer(w, 200, ids("00d", 0, 1))
		case q.Has("filter"):
			answer(w, 200, ids("00d", 1, 2))
		case q.Get("after") == "":
			w.Header().Set("Link", `<http://org.test/api/v1/users?after=1&limit=200>; rel="next"`)
			answer(w, 200, ids("00u", 0, 1))
		default:
			answer(w, 200, ids("00u", 1, 2))
		}
	}, func(t *testing.T, c *Client) {
		users, err := all(t.Context(), c.Users)
		var got []string
		for _, u := range users {
			got = append(got, u.ID)
		}
		if err != nil || strings.Join(got, " ") != "00u0 00u1 00d0 00d1" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestUserAppsCarryTheAssignment(t *testing.T) {
	withOrg(t, ClientConfig{}, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		user := strings.TrimPrefix(q.Get("expand"), "user/")
		if q.Get("filter") != `user.id eq "`+user+`"` {
			t.Errorf("query %v", q)
		}
		app := map[string]any{"id": "0oa1", "label": "Wiki"}
		if user == "00u1" {
			app["_embedded"] = map[string]any{"user": map[string]any{"id": "00u1", "scope": "GROUP"}}
		}
		answer(w, 200, []any{app})
	}, func(t *testing.T, c *Client) {
		p, err := c.UserApps(t.Context(), "00u1", "")
		if err != nil || len(p.Items) != 1 || p.Items[0].App.Label != "Wiki" || p.Items[0].User.Scope != "GROUP" {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := c.UserApps(t.Context(), "00u2", ""); err == nil {
			t.Error("an application without the assignment passed")
		}
	})
}

func TestStrayVariablesOfTheSDKHaveNoEffect(t *testing.T) {
	for name, v := range map[string]string{
		"OKTA_CLIENT_CACHE_ENABLED": "true", "OKTA_CLIENT_ORGURL": "https://evil.okta.com", "OKTA_CLIENT_TOKEN": "other",
		"OKTA_CLIENT_AUTHORIZATIONMODE": "Bearer", "OKTA_CLIENT_PROXY_HOST": "evil.test", "OKTA_CLIENT_PROXY_PORT": "1",
		"OKTA_CLIENT_RATE_LIMIT_MAX_RETRIES": "9", "OKTA_CLIENT_REQUEST_TIMEOUT": "1", "HTTP_PROXY": "http://evil.test",
	} {
		t.Setenv(name, v)
	}
	TestSecondReadSeesTheChange(t)
	TestListIsReadToItsEnd(t)
}

func TestNewClientRefuses(t *testing.T) {
	for name, cfg := range map[string]ClientConfig{
		"no token":     {OrgURL: "https://a.okta.com"},
		"odd token":    {OrgURL: "https://a.okta.com", Token: "a\r\nb"},
		"http":         {OrgURL: "http://a.okta.com", Token: "t"},
		"a big share":  {OrgURL: "https://a.okta.com", Token: "t", Share: 1.5},
		"no org":       {Token: "t"},
		"a private IP": {OrgURL: "https://10.0.0.1", Token: "t"},
	} {
		if _, err := NewClient(context.Background(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
