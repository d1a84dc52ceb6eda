package okta

import (
	"slices"
	"testing"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func TestRateLimitsAreToldByBucket(t *testing.T) {
	_, c := simClient(t, oktasim.Config{Seed: 1, RateLimits: map[string]int{"apps": 100, "users": 600, "groups": 500}})
	if all := c.RateLimits(); len(all) != 0 {
		t.Errorf("before any call: %+v", all)
	}
	apps, err := c.Applications(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppUsers(t.Context(), apps.Items[0].ID, ""); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Users(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	all := c.RateLimits()
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	a, u := all[0], all[1]
	if !slices.Equal(a.Endpoints, []string{"apps", "apps/*/users"}) || a.Limit != 100 || a.Remaining != 98 || a.Lists != 48 || a.Reset.IsZero() {
		t.Errorf("apps: %+v", a)
	}
	if !slices.Equal(u.Endpoints, []string{"users"}) || u.Limit != 600 || u.Remaining != 598 || u.Lists != 285 {
		t.Errorf("users: %+v", u)
	}
}

// What the limiter holds lists to is what is told.
func TestRateLimitsTellWhatListsTake(t *testing.T) {
	_, c := simClient(t, oktasim.Config{Seed: 1, RateLimits: map[string]int{"users": 40}})
	if _, err := c.Users(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	lists := c.RateLimits()[0].Lists
	waits := func() int64 { return c.Stats().RateLimitWaits }
	for range lists - 1 {
		if _, err := c.Users(t.Context(), ""); err != nil || waits() > 0 {
			t.Fatalf("after %d calls: %v, %d waits", c.Stats().Calls, err, waits())
		}
	}
	l := c.transport.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok, _ := l.admit(l.families["users"], laneList, l.now()); ok {
		t.Errorf("call %d may start, lists were said to take %d", lists+1, lists)
	}
}
