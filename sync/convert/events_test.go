package convert_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oktasync/oktasync/sync/convert"
	"github.com/oktasync/oktasync/sync/okta"
	"github.com/oktasync/oktasync/sync/record"
)

// say writes effects as lines: + present, - absent, ? read again.
func say(t *testing.T, e okta.Event, effect convert.Effect) []string {
	t.Helper()
	version := record.AsEvent(e.Published.UnixMilli())
	var lines []string
	for _, o := range effect.Observations {
		sign := "-"
		if o.Present {
			sign = "+"
		}
		if o.Version != version || o.Cause.ID != e.UUID || o.Content != nil || o.Empty != nil {
			t.Errorf("%s: odd observation %+v", e.Type, o)
		}
		lines = append(lines, sign+string(o.ID))
	}
	for _, a := range effect.Asks {
		if a.Exceed != version || a.Cause.ID != e.UUID {
			t.Errorf("%s: odd ask %+v", e.Type, a)
		}
		lines = append(lines, "?"+a.Target)
	}
	return lines
}

const (
	lea   = "00u7d9s1xCwLfGh2T697"
	tom   = "00u7da04mRkVzPq8S697"
	eng   = "00g2c7w8nBtYhJm4D697"
	staff = "00g2c7x3vQeRkLp9F697"
	wiki  = "0oa3h6r9yKmPvXc5B697"
	crm   = "0oa3h7f2dNsQwZb8G697"
)

// Every sample delivery has the effect that the facts say.
func TestSampleDeliveries(t *testing.T) {
	lifecycle := func(user string) []string { return []string{"?factors/" + user, "?user/" + user} }
	want := map[string][]string{
		"application.lifecycle.create":            {"?app/" + wiki},
		"application.lifecycle.deactivate":        {"?app/" + crm},
		"application.lifecycle.delete":            {"-app/" + crm},
		"application.lifecycle.update":            {"?app/" + wiki},
		"application.user_membership.add":         {"+appuser/" + wiki + "/" + lea, "?appuser/" + wiki + "/" + lea},
		"application.user_membership.remove":      {"-appuser/" + crm + "/" + tom},
		"application.user_membership.update":      {"?appuser/" + wiki + "/" + lea},
		"device.user.add":                         nil,
		"group.application_assignment.add":        {"+appgroup/" + wiki + "/" + eng, "?appgroup/" + wiki + "/" + eng},
		"group.application_assignment.remove":     {"-appgroup/" + wiki + "/" + eng},
		"group.lifecycle.create":                  {"?group/" + eng},
		"group.lifecycle.delete":                  {"-group/" + staff},
		"group.privilege.grant":                   nil,
		"group.profile.update":                    {"?group/" + eng},
		"group.user_membership.add":               {"+member/" + eng + "/" + lea},
		"group.user_membership.remove":            {"-member/" + staff + "/" + lea},
		"odd.failed-outcome":                      nil,
		"odd.nulls-left-out":                      {"+member/" + eng + "/" + lea},
		"odd.preview-old-event":                   {"+member/00gsampleSAMPLEsa697/00usampleSAMPLEsa697"},
		"odd.unknown-event-type":                  nil,
		"system.import.complete":                  {"?changed/users", "?changed/groups"},
		"system.import.group.create":              {"?group/00g2d1k8sMvPzHc3R697"},
		"user.account.lock":                       {"?user/" + tom},
		"user.account.privilege.grant":            nil,
		"user.account.privilege.revoke":           nil,
		"user.account.unlock_by_admin":            {"?user/" + tom},
		"user.account.update_profile":             {"?user/" + lea},
		"user.account.update_profile.null-target": {"?changed/users"}, // named by its login only
		"user.lifecycle.activate":                 lifecycle(lea),
		"user.lifecycle.create":                   lifecycle(lea),
		"user.lifecycle.deactivate":               lifecycle(tom),
		"user.lifecycle.delete.initiated":         {"-user/" + tom},
		"user.lifecycle.suspend":                  lifecycle(tom),
		"user.lifecycle.unsuspend":                lifecycle(tom),
		"user.mfa.factor.activate":                {"?factors/" + lea},
		"user.mfa.factor.deactivate":              {"?factors/" + lea, "?factors/" + lea, "?factors/" + lea},
		"user.mfa.factor.reset_all":               {"?factors/" + tom},
		"batch.repeated-event":                    {"+member/" + staff + "/" + lea, "+member/" + staff + "/" + lea},
		"batch.onboarding-out-of-order": {
			"+member/" + staff + "/" + lea, "?factors/" + lea, "?user/" + lea,
			"+appuser/" + wiki + "/" + lea, "?appuser/" + wiki + "/" + lea,
			"+member/" + eng + "/" + lea, "?factors/" + lea, "?user/" + lea,
		},
	}
	files, err := filepath.Glob("../okta/testdata/events/*.json")
	if err != nil || len(files) < len(want) {
		t.Fatalf("%d samples, want %d: %v", len(files), len(want), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			expected, ok := want[name]
			if !ok {
				t.Fatal("no expectation for this sample")
			}
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := okta.ParseDelivery(body)
			if err != nil || len(d.Bad) > 0 || len(d.Events) == 0 {
				t.Fatalf("%d events, %d bad, %v", len(d.Events), len(d.Bad), err)
			}
			var got []string
			for _, e := range d.Events {
				effect, err := convert.Event(e)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, say(t, e, effect)...)
			}
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEventsWithOddTargets(t *testing.T) {
	user := func(id string) okta.Target { return okta.Target{ID: id, Type: "User"} }
	group := func(id string) okta.Target { return okta.Target{ID: id, Type: "UserGroup"} }
	app := func(id string) okta.Target { return okta.Target{ID: id, Type: "AppInstance"} }
	targets := func(list ...okta.Target) []okta.Target { return list }
	const self = "/api/v1/users/me"
	for _, c := range []struct {
		why     string
		typ     string
		actor   okta.Target
		targets []okta.Target
		uri     string
		outcome string
		want    string
	}{
		{why: "position means nothing", typ: "group.user_membership.add", targets: targets(group("g"), app("x"), user("u")), want: "+member/g/u"},
		{why: "a repeated target is one", typ: "group.user_membership.remove", targets: targets(user("u"), group("g"), user("u")), want: "-member/g/u"},
		{why: "two users: the list tells", typ: "group.user_membership.add", targets: targets(user("u"), user("v"), group("g")), want: "?members/g"},
		{why: "no user: the list tells", typ: "group.user_membership.add", actor: user("admin"), targets: targets(group("g")), want: "?members/g"},
		{typ: "group.user_membership.add", targets: targets(user("u")), want: "error: no target of type UserGroup"},
		{why: "an id with a slash is none", typ: "group.user_membership.add", targets: targets(user("u"), group("g/u")), want: "error: no target of type UserGroup"},
		{typ: "group.user_membership.add", want: "error: no target of type UserGroup"},
		{why: "no app: nobody knows", typ: "application.user_membership.remove", targets: targets(user("u"), okta.Target{ID: "0ua", Type: "AppUser"}), want: "error: no target of type AppInstance"},
		{why: "AppUser is no user", typ: "application.user_membership.remove", targets: targets(app("a"), okta.Target{ID: "0ua", Type: "AppUser"}), want: "?appusers/a"},
		{typ: "application.provision.user.push", targets: targets(app("a"), user("u")), want: "?appuser/a/u"},
		{typ: "group.application_assignment.update", targets: targets(app("a"), group("g")), want: "?appgroup/a/g"},
		{typ: "group.application_assignment.remove", targets: targets(app("a")), want: "?appgroups/a"},
		{typ: "group.application_assignment.skip_assignment_reconcile", targets: targets(app("a")), want: "?appusers/a"},
		{typ: "application.lifecycle.update", targets: targets(app("a"), user("u")), want: "?app/a"},
		{typ: "application.lifecycle.delete", want: "error: no target of type AppInstance"},
		{typ: "user.lifecycle.reactivate", targets: targets(user("u")), want: "?userapps/u ?factors/u ?user/u"},
		{why: "the admin who deletes is not deleted", typ: "user.lifecycle.delete.initiated", actor: user("admin"), want: "error: no target of type User"},
		{typ: "user.lifecycle.delete.completed", actor: user("admin"), uri: "/api/v1/users/" + lea, want: "?user/" + lea},
		{typ: "user.account.lock", actor: user("u"), outcome: "FAILURE", want: "?user/u"},
		{typ: "user.account.lock.limit", actor: user("u"), outcome: "FAILURE", want: "?user/u"},
		{typ: "user.account.lock", actor: okta.Target{ID: "s", Type: "SystemPrincipal"}, outcome: "FAILURE", want: "?changed/users"},
		{typ: "user.account.update_profile", actor: user("admin"), uri: "/api/v1/users/" + lea + "?strict=true", want: "?user/" + lea},
		{why: "the actor may be another", typ: "user.account.update_profile", actor: user("u"), uri: self, want: "?user/u ?changed/users"},
		{typ: "user.account.update_profile", targets: targets(user("u"), user("v")), want: "?user/u ?user/v"},
		{typ: "user.mfa.factor.activate", actor: user("u"), uri: "/idp/authenticators", want: "?factors/u"},
		{typ: "user.mfa.factor.activate", want: "error: no target of type User"},
		{typ: "system.import.user.update", targets: targets(app("a")), actor: user("admin"), want: "?changed/users"},
		{typ: "system.import.user.suspend", targets: targets(app("a"), user("u")), want: "?factors/u ?user/u"},
		{typ: "system.import.group.delete", targets: targets(app("a"), group("g")), want: "?group/g"},
		{typ: "system.import.group.delete", targets: targets(app("a")), want: "error: no target of type UserGroup"},
		{typ: "system.import.group.create", targets: targets(app("a")), want: "?changed/groups"},
		{typ: "system.import.group_membership.complete", targets: targets(app("a")), want: "?changed/groups"},
		{typ: "app.user_management", targets: targets(group("g")), want: "?members/g"},
		{typ: "app.user_management", want: "?changed/groups"},
		{typ: "user.lifecycle.password_mass_expiry", want: "?changed/users"},
		{typ: "app.oauth2.client.lifecycle.update", targets: targets(okta.Target{ID: "0oa", Type: "PublicClientApp"}), want: "?app/0oa"},
		{why: "a failure changes nothing", typ: "group.user_membership.add", targets: targets(user("u"), group("g")), outcome: "FAILURE", want: ""},
		{why: "an unclear outcome is read", typ: "group.user_membership.remove", targets: targets(user("u"), group("g")), outcome: "UNKNOWN", want: "?member/g/u"},
		{typ: "application.user_membership.add", targets: targets(user("u"), app("a")), outcome: "DEFERRED", want: "?appuser/a/u"},
		{typ: "no.such.type", want: ""},
	} {
		e := okta.Event{
			UUID: "5f1c", Type: c.typ, Published: time.UnixMilli(1773738132020), Actor: c.actor,
			Targets: c.targets, RequestURI: c.uri, Outcome: okta.Outcome{Result: c.outcome},
		}
		before := slices.Clone(e.Targets)
		effect, err := convert.Event(e)
		got := strings.Join(say(t, e, effect), " ")
		if err != nil {
			got = "error: " + err.Error()
			if !strings.Contains(err.Error(), "5f1c") || !strings.Contains(err.Error(), c.typ) {
				t.Errorf("%s: the error does not name the event: %v", c.typ, err)
			}
			if want, ok := strings.CutPrefix(c.want, "error: "); ok && strings.Contains(got, want) {
				continue
			}
		}
		if got != c.want {
			t.Errorf("%s (%s): got %q, want %q", c.typ, c.why, got, c.want)
		}
		if !slices.Equal(before, e.Targets) {
			t.Errorf("%s changed its targets", c.typ)
		}
	}
}

func TestEventWithoutATimeIsRefused(t *testing.T) {
	if _, err := convert.Event(okta.Event{UUID: "x", Type: "group.lifecycle.create"}); err == nil {
		t.Error("no error")
	}
}

// Whatever an event holds, its effect is well formed.
func FuzzEvent(f *testing.F) {
	files, _ := filepath.Glob("../okta/testdata/events/*.json")
	for _, file := range files {
		if body, err := os.ReadFile(file); err == nil {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := okta.ParseDelivery(body)
		if err != nil {
			return
		}
		for _, e := range d.Events {
			effect, err := convert.Event(e)
			if err != nil && (len(effect.Observations) > 0 || len(effect.Asks) > 0) {
				t.Fatal("an effect beside an error")
			}
			for _, o := range effect.Observations {
				owner, key := o.ID.Split()
				if n := strings.Count(string(o.ID), "/"); n != 1 && n != 2 || key == "" || n == 2 && owner == "" {
					t.Fatalf("odd record %q", o.ID)
				}
			}
		}
	})
}
