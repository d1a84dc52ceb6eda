package convert_test

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

func contentOf(t *testing.T, o record.Observation) record.Content {
	t.Helper()
	var c record.Content
	if err := json.Unmarshal(o.Content, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// The rows of a group come on any page, in any order.
func TestRowsOfAGroupInAnyOrderAreOneAssignment(t *testing.T) {
	rows := []okta.AppGroup{
		{ID: "g", Priority: 0, Profile: map[string]any{"role": "A"}},
		{ID: "g", Priority: 1, Profile: map[string]any{"role": "B"}},
		{ID: "g", Priority: 1, Profile: map[string]any{"samlRoles": []any{"C", "A"}}},
		{ID: "g", Priority: 2},
	}
	want := acme.AppGroup("a", rows)
	rapid.Check(t, func(t *rapid.T) {
		if got := acme.AppGroup("a", rapid.Permutation(rows).Draw(t, "rows")); string(got.Content) != string(want.Content) {
			t.Fatalf("got %s, want %s", got.Content, want.Content)
		}
	})
	if one := contentOf(t, acme.AppGroup("a", rows[:1])); one.Properties["allRoles"] != nil {
		t.Errorf("one row needs no allRoles: %v", one.Properties)
	}
}

func TestNobodyIsBehindAccountsOfMachines(t *testing.T) {
	for _, c := range []struct {
		profile map[string]any
		want    string
	}{
		{map[string]any{"login": "A@b.c"}, "employee:a@b.c"},
		{map[string]any{"login": "A@b.c", "userType": "Botanist", "employeeType": "services"}, "employee:a@b.c"},
		{map[string]any{"login": "A@b.c", "userType": []any{"bot"}}, "employee:a@b.c"},
		{map[string]any{"login": "A@b.c", "userType": "BOT"}, ""},
		{map[string]any{"login": "A@b.c", "employeeType": " generic\t"}, ""},
		{map[string]any{"login": "A@b.c", "userType": "service"}, ""},
		{map[string]any{"login": "A@b.c", "userType": "Shared"}, ""},
		{map[string]any{"login": "A@b.c", "employeeType": "sysTem"}, ""},
		{map[string]any{"login": " "}, ""},
		{map[string]any{"login": 7}, ""},
		{nil, ""},
	} {
		o := acme.User(okta.User{ID: "u", Profile: c.profile}, false)
		if got := contentOf(t, o).PersonKey; got != c.want {
			t.Errorf("%v: person %q, want %q", c.profile, got, c.want)
		}
	}
}

// A list that does not say how many members a group has does not say it has none.
func TestOnlyAKnownZeroEmptiesAGroup(t *testing.T) {
	for body, want := range map[string]int{
		`{"id":"g"}`:                                           0,
		`{"id":"g","_embedded":{}}`:                            0,
		`{"id":"g","_embedded":{"stats":{}}}`:                  0,
		`{"id":"g","_embedded":{"stats":{"usersCount":null}}}`: 0,
		`{"id":"g","_embedded":{"stats":{"usersCount":1}}}`:    0,
		`{"id":"g","_embedded":{"stats":{"usersCount":0}}}`:    1,
	} {
		if got := acme.Group(decode[okta.Group](t, []byte(body))).Empty; len(got) != want {
			t.Errorf("%s: empty %v", body, got)
		}
	}
}

func TestOnlyStatusesWithoutFactorsEmptyThem(t *testing.T) {
	for status, want := range map[string]bool{
		"STAGED": true, "DEPROVISIONED": true, "ACTIVE": false, "SUSPENDED": false, "PROVISIONED": false, "": false, "NEW": false,
	} {
		if got := acme.User(okta.User{ID: "u", Status: status}, true).Empty != nil; got != want {
			t.Errorf("%q: empty %v", status, got)
		}
		if acme.User(okta.User{ID: "u", Status: status}, false).Empty != nil {
			t.Errorf("%q: factors are not collected, yet said to be none", status)
		}
	}
}

func TestLongTextIsCut(t *testing.T) {
	long := strings.Repeat("é", 5000)
	o := acme.User(okta.User{ID: "u", Profile: map[string]any{"bio": long, "list": []any{long}, "fits": long[:2*4096]}}, false)
	p := convert.Project(acme, o.ID, &record.Projection{Content: o.Content})[0].Entity.Properties
	want := strings.Repeat("é", 4093) + "..."
	if p["bio"] != want || p["list"].([]any)[0] != want || p["fits"] != long[:2*4096] {
		t.Error("not cut at 4096 characters")
	}
}

func TestGoneAndUnknown(t *testing.T) {
	if o := acme.Application(okta.Application{ID: "a", Status: "DELETED"}); o.Present || o.ID != record.App("a") {
		t.Errorf("a deleted application is %+v", o)
	}
	if o := convert.Gone(record.User("u")); o.Present || o.Content != nil || o.Empty != nil {
		t.Errorf("gone is %+v", o)
	}
	account := contentOf(t, acme.Account(nil)).Entity.(map[string]any)
	if account["supportEnabled"] != false || account["supportExpiresOn"] != nil {
		t.Errorf("support that cannot be read: %v", account)
	}
}

// The graph shows mfaEnabled only once the user's factors were read.
func TestMFAOfAUser(t *testing.T) {
	o := acme.User(okta.User{ID: "u", Profile: map[string]any{"mfaEnabled": "of the profile"}}, true)
	no := false
	for _, c := range []struct {
		mfa  *bool
		want any
	}{{nil, nil}, {&no, false}} {
		objects := convert.Project(acme, o.ID, &record.Projection{Content: o.Content, MFA: c.mfa})
		if got := objects[0].Entity.Properties["mfaEnabled"]; got != c.want {
			t.Errorf("mfaEnabled is %v, want %v", got, c.want)
		}
	}
}

func BenchmarkProjectUser(b *testing.B) {
	o := acme.User(okta.User{ID: "u", Status: "ACTIVE", Created: "2024-01-02T03:04:05.678Z", Profile: map[string]any{
		"login": "a@b.c", "email": "a@b.c", "firstName": "A", "lastName": "B", "department": "d", "cost_center": "x",
	}}, true)
	for b.Loop() {
		convert.Project(acme, o.ID, &record.Projection{Content: o.Content, Everyone: "e"})
	}
}

func BenchmarkUser(b *testing.B) {
	u := okta.User{ID: "u", Status: "ACTIVE", Created: "2024-01-02T03:04:05.678Z", Profile: map[string]any{
		"login": "a@b.c", "email": "a@b.c", "firstName": "A", "lastName": "B", "department": "d", "cost_center": "x",
	}}
	for b.Loop() {
		acme.User(u, true)
	}
}
