package oktasim_test

import (
	"net/http"
	"testing"

	sdk "github.com/okta/okta-sdk-golang/v2/okta"
	"github.com/okta/okta-sdk-golang/v2/okta/query"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// TestOktasOwnSDKReadsTheOrg reads as a client of Okta does.
func TestOktasOwnSDKReadsTheOrg(t *testing.T) {
	o := oktasim.New(t, oktasim.Config{Seed: 1, Users: 45})
	hc := &http.Client{Transport: &http.Transport{}}
	defer hc.CloseIdleConnections()
	ctx, c, err := sdk.NewClient(t.Context(), sdk.WithOrgUrl(o.URL()), sdk.WithToken(o.Token()), sdk.WithCache(false),
		sdk.WithTestingDisableHttpsCheck(true), sdk.WithHttpClientPtr(hc), sdk.WithRateLimitMaxRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	users, resp, err := c.User.ListUsers(ctx, query.NewQueryParams(query.WithLimit(7), query.WithFilter(`lastUpdated gt "1970-01-01T00:00:00.000Z"`)))
	for {
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			got = append(got, u.Id)
		}
		if !resp.HasNextPage() {
			break
		}
		users = nil
		resp, err = resp.Next(ctx, &users)
	}
	s := o.Snapshot()
	equal(t, "users", got, ids(t, s.Users))

	groups, _, err := c.Group.ListGroups(ctx, query.NewQueryParams(query.WithLimit(200), query.WithExpand("stats")))
	if err != nil || len(groups) != len(s.Groups) {
		t.Fatalf("%d groups: %v", len(groups), err)
	}
	apps, _, err := c.Application.ListApplications(ctx, query.NewQueryParams(query.WithLimit(200), query.WithIncludeNonDeleted(true)))
	if err != nil || len(apps) != len(s.Apps) {
		t.Fatalf("%d applications: %v", len(apps), err)
	}
	for _, a := range s.Apps {
		u, _, err := c.Application.ListApplicationUsers(ctx, a.ID, query.NewQueryParams(query.WithLimit(500)))
		if err != nil || len(u) != len(a.Users) {
			t.Errorf("%d app users: %v", len(u), err)
		}
		g, _, err := c.Application.ListApplicationGroupAssignments(ctx, a.ID, query.NewQueryParams(query.WithLimit(200)))
		if err != nil || len(g) != len(a.Groups) {
			t.Errorf("%d app groups: %v", len(g), err)
		}
	}
	for user, want := range s.Factors {
		f, _, err := c.UserFactor.ListFactors(ctx, user)
		if err != nil || len(f) != len(want) {
			t.Errorf("%d factors: %v", len(f), err)
		}
	}
	if support, _, err := c.OrgSetting.GetOrgOktaSupportSettings(ctx); err != nil || support.Support != "DISABLED" {
		t.Errorf("support: %v", err)
	}
	if events, resp, err := c.LogEvent.GetLogs(ctx, query.NewQueryParams()); err != nil || len(events) != 0 || !resp.HasNextPage() {
		t.Errorf("log: %v", err)
	}
	if _, resp, err := c.User.GetUser(ctx, "00uNobody"); err == nil || resp.StatusCode != 404 || err.(*sdk.Error).ErrorCode != "E0000007" {
		t.Errorf("nobody: %v", err)
	}
	// A change is seen at once: nothing is cached.
	user := o.UserIDs("ACTIVE")[0]
	for _, title := range []string{"One", "Two"} {
		if _, err := o.UpdateProfile(user, map[string]any{"title": title}); err != nil {
			t.Fatal(err)
		}
		if u, _, err := c.User.GetUser(ctx, user); err != nil || (*u.Profile)["title"] != title {
			t.Errorf("title %q: %v", title, err)
		}
	}
}
