package oktasim_test

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// TestAStaleListShowsTheOrgAsItWas compares lists that lag by so much with what
// the org was then, for up to an hour, while older pasts are forgotten.
func TestAStaleListShowsTheOrgAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := oktasim.NewManualClock(time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC))
		var lag time.Duration
		o := oktasim.New(t, oktasim.Config{
			Seed: rapid.Int64().Draw(t, "seed"), Clock: at, Users: 8, Groups: 3, Apps: 2,
			Lag: func(*http.Request) time.Duration { return lag },
		})
		o.MutateKinds(everyKind())
		type past struct {
			at   time.Time
			were oktasim.Snapshot
		}
		var pasts []past
		for range rapid.IntRange(2, 6).Draw(t, "steps") {
			o.Mutate(rapid.IntRange(1, 12).Draw(t, "changes"))
			pasts = append(pasts, past{at.Now(), o.Snapshot()})
			at.Advance(time.Duration(rapid.Int64Range(1, int64(25*time.Minute)).Draw(t, "pause")))
		}
		o.Emit("user.session.start", "User", "00uX") // a change that forgets what is too old
		present := o.Snapshot()
		groups, apps := map[string]bool{}, map[string]bool{}
		for _, g := range present.Groups {
			groups[g.ID] = true
		}
		for _, a := range present.Apps {
			apps[a.ID] = true
		}
		for _, p := range pasts {
			if lag = at.Now().Sub(p.at); lag > time.Hour {
				continue
			}
			users, _ := list(t, o, everybody+"5")
			equal(t, "users", texts(users), texts(p.were.Users))
			var were []string
			for _, g := range p.were.Groups {
				were = append(were, string(g.JSON))
				if groups[g.ID] { // of a deleted one there is no list
					members, _ := list(t, o, "groups/"+g.ID+"/users?limit=4")
					equal(t, "members", ids(t, members), g.Members)
				}
			}
			got, _ := list(t, o, "groups?expand=stats&limit=2")
			equal(t, "groups", texts(got), were)
			were = nil
			for _, a := range p.were.Apps {
				were = append(were, string(a.JSON))
				if apps[a.ID] {
					got, _ = list(t, o, "apps/"+a.ID+"/users?limit=3")
					equal(t, "app users", texts(got), texts(a.Users))
					got, _ = list(t, o, "apps/"+a.ID+"/groups?limit=20")
					equal(t, "app groups", texts(got), texts(a.Groups))
				}
			}
			got, _ = list(t, o, "apps?includeNonDeleted=true&limit=2")
			equal(t, "apps", texts(got), were)
		}
	})
}

func texts[T ~[]byte](items []T) (out []string) {
	for _, i := range items {
		out = append(out, string(i))
	}
	return out
}
