package jupiterone_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

// empty fails if the probe left anything, or did what only it may elsewhere.
func (r *rig) checkProbed(result jupiterone.Result) {
	r.Helper()
	r.checkViolations()
	if g := r.srv.Graph(result.Scope); len(g.Entities)+len(g.Relationships) > 0 || !result.Cleaned {
		r.Fatalf("cleaned %v, left: %v", result.Cleaned, g)
	}
	for _, j := range r.srv.Jobs() {
		if j.Scope != result.Scope || !strings.HasPrefix(j.Scope, j1sim.ProbePrefix) || j.Status == "AWAITING_UPLOADS" && j.Entities > 0 {
			r.Fatalf("job: %+v", j)
		}
	}
}

func TestProbeTellsWhetherPartialDatasetsAreHonoured(t *testing.T) {
	for name, c := range map[string]struct {
		sim            j1sim.Config
		kept, resolved bool
		says           string
	}{
		"honoured":              {j1sim.Config{}, true, true, "OKTASYNC_JUPITERONE_PARTIAL=true"},
		"honoured, but lagging": {j1sim.Config{Lag: 9}, true, true, "OKTASYNC_JUPITERONE_PARTIAL=true"},
		"ignored":               {j1sim.Config{IgnorePartial: true}, false, false, "Leave OKTASYNC_JUPITERONE_PARTIAL off"},
		"ignored and lagging":   {j1sim.Config{IgnorePartial: true, Lag: 9}, false, false, "Leave OKTASYNC_JUPITERONE_PARTIAL off"},
		"ends not found":        {j1sim.Config{UploadedEndsOnly: true}, true, false, "Leave OKTASYNC_JUPITERONE_PARTIAL off"},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup(t, c.sim, nil)
			var out strings.Builder
			result, err := jupiterone.Probe(t.Context(), r.cfg, &out)
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if result.Kept != c.kept || result.Resolved != c.resolved || result.Partial() != (c.kept && c.resolved) {
				t.Errorf("%+v", result)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("it says:\n%s", out.String())
			}
			r.checkProbed(result)
		})
	}
}

func TestProbeSaysSoWhenTheGraphLagsTooMuch(t *testing.T) {
	r := setup(t, j1sim.Config{Lag: 1000}, nil)
	var out strings.Builder
	result, err := jupiterone.Probe(t.Context(), r.cfg, &out)
	if err == nil || !strings.Contains(err.Error(), "1m0s") {
		t.Fatal(err)
	}
	r.checkProbed(result)
}

// It cleans up after an outage, or a cancelled context, at any request.
func TestProbeLeavesNothingBehind(t *testing.T) {
	clean := setup(t, j1sim.Config{}, oneAtATime)
	last := 0 // what follows cleans up itself
	clean.srv.Inject(func(q j1sim.Request) j1sim.Fault {
		if q.Kind == j1sim.Query {
			last = q.N
		}
		return j1sim.None
	})
	if _, err := jupiterone.Probe(t.Context(), clean.cfg, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	for k := range last {
		for _, outage := range []bool{false, true} {
			t.Run(fmt.Sprintf("request %d, outage %v", k+1, outage), func(t *testing.T) {
				r := setup(t, j1sim.Config{}, oneAtATime)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
					switch {
					case outage && q.N > k && q.N <= k+5:
						return j1sim.Unavailable
					case !outage && q.N == k+1:
						cancel()
					}
					return j1sim.None
				})
				var out strings.Builder
				result, err := jupiterone.Probe(ctx, r.cfg, &out)
				if !outage && !errors.Is(err, context.Canceled) && (err != nil || k+1 < last) { // the last answer may come before
					t.Fatalf("%v\n%s", err, out.String())
				}
				if err != nil && !strings.Contains(out.String(), "Leave OKTASYNC_JUPITERONE_PARTIAL off") {
					t.Errorf("it says:\n%s", out.String())
				}
				r.checkProbed(result)
			})
		}
	}
}
