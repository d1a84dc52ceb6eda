package jupiterone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/sync/graph"
	"github.com/oktasync/oktasync/sync/sink"
	"github.com/oktasync/oktasync/sync/sink/jupiterone"
	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

func TestAFullUploadEqualsTheSnapshot(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	o := newOrg(40)
	if p := r.position(); p != "" {
		t.Fatalf("position before anything was delivered: %q", p)
	}
	r.deliver(o)
	r.check(o)
	jobs := r.srv.Jobs()
	if len(jobs) != 1 || jobs[0].Source != "api" || jobs[0].Scope != scope || jobs[0].Mode != "DIFF" || jobs[0].Partial != nil {
		t.Fatalf("jobs: %+v", jobs)
	}
	if c := jobs[0].Correlations; len(c) < 4 || slices.Contains(c, "") || len(slices.Compact(slices.Sorted(slices.Values(c)))) != len(c) {
		t.Fatalf("correlation ids, of each batch another: %q", c)
	}
	note := r.note()
	if note.Position != "position 1" || r.position() != "position 1" {
		t.Fatalf("position %q", note.Position)
	}
	for name, n := range map[string]int{
		"entities_uploaded": 43, "entities_created": 43, "relationships_uploaded": 121,
		"relationships_created": 80, "mapped_relationships_created": 41,
	} {
		if note.Counters[name] != int64(n) {
			t.Errorf("counter %s = %d, want %d", name, note.Counters[name], n)
		}
	}
}

// What changed while a snapshot was read comes after its creates.
func TestASnapshotIsWhatItsChangesLeadTo(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	before := newOrg(12)
	after := before.clone()
	after.mutate(rand.New(rand.NewPCG(1, 2)), 40)
	changes := graph.Diff(before.objects(), after.objects())
	unknown := graph.Change{Op: graph.Delete, Object: graph.Object{Entity: &graph.Entity{Key: "never was"}}}
	changes = append(changes, unknown)
	for _, o := range after.objects() { // created again
		changes = append(changes, graph.Change{Op: graph.Create, Object: o})
	}
	if err := r.sink.Replace(t.Context(), r.in, r.snapshot(before, changes...), false); err != nil {
		t.Fatal(err)
	}
	r.check(after)
}

func TestAVoidSnapshotBeginsNoJob(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	void := errors.New("void")
	s := sink.Snapshot{Position: func() string { return "x" }, Changes: func(yield func(graph.Change, error) bool) {
		_ = yield(graph.Change{Op: graph.Create, Object: newOrg(1).objects()[0]}, nil) && yield(graph.Change{}, void)
	}}
	if err := r.sink.Replace(t.Context(), r.in, s, true); !errors.Is(err, void) || permanent(err) {
		t.Fatal(err)
	}
	if n := r.srv.Requests(); n != 0 {
		t.Fatalf("%d requests", n)
	}
}

func TestApplyWantsASnapshot(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	if err := r.sink.Apply(t.Context(), r.in, sink.Batch{}); !errors.Is(err, sink.ErrSnapshot) {
		t.Fatal(err)
	}
}

func TestPropertiesAreSentInFormsThatJupiterOneTakes(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	s := sink.Snapshot{Position: func() string { return "x" }, Changes: func(yield func(graph.Change, error) bool) {
		for _, o := range []graph.Object{
			{Entity: &graph.Entity{Key: "a", Type: "t", Class: []string{"C"}, Properties: graph.Properties{
				"_own": "dropped", "_rawData": map[string]any{"a": 1}, "null": nil, "nested": map[string]any{"a": []int{1}}, "texts": []string{"x", "y"},
				"mixed": []any{"x", 1}, "deep": []any{[]any{"x"}}, "holes": []any{"x", nil}, "none": []any{}, "int": 7, "float": 0.5, "big": json.Number("12345678901234567890"), "bool": false,
			}}},
			{Relationship: &graph.Relationship{Key: "a|has|a", Type: "t", Class: "HAS", From: "a", To: "a", Properties: graph.Properties{
				"_own": 1, "roles": []string{"x"}, "nested": map[string]any{"b": "<"}, "n": 1, "null": nil,
			}}},
		} {
			if !yield(graph.Change{Op: graph.Create, Object: o}, nil) {
				return
			}
		}
	}}
	if err := r.sink.Replace(t.Context(), r.in, s, false); err != nil {
		t.Fatal(err)
	}
	got := r.srv.Graph(scope)
	if diff := cmp.Diff(j1sim.Graph{
		Entities: map[string]string{"a": `{"_class":["C"],"_key":"a","_type":"t","big":12345678901234567890,"bool":false,"deep":"[[\"x\"]]","float":0.5,"holes":["x"],"int":7,"mixed":"[\"x\",1]","nested":"{\"a\":[1]}","none":[],"texts":["x","y"]}`},
		Relationships: map[string]string{"a|has|a": `{"_class":"HAS","_fromEntityKey":"a","_key":"a|has|a","_toEntityKey":"a","_type":"t","n":1,"nested":"{\"b\":\"` +
			`\\u003c` + `\"}","roles":"[\"x\"]"}`},
	}, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestAPersonOfAnotherIntegrationIsJoined(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	r.srv.Put("hr", map[string]any{"_key": "hr-1", "_type": "hr_person", "_class": []any{"Person"}, "email": []any{"user0@acme.com"}})
	r.deliver(newOrg(1))
	if got := r.srv.Mapped(); len(got) != 0 {
		t.Fatalf("made beside it: %s", got)
	}
	if got := r.srv.Graph(scope).Relationships; got["00u0|is|employee:user0@acme.com"] == "" {
		t.Fatalf("relationships: %v", got)
	}
}

// A relationship to a Person that the snapshot lacks cannot be sent; it is told.
func TestAMissingPersonIsCounted(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	o := newOrg(1)
	gone := graph.Change{Op: graph.Delete, Object: graph.Object{Entity: &graph.Entity{Key: "employee:user0@acme.com", Type: "employee", Class: []string{"Person"}}}}
	if err := r.sink.Replace(t.Context(), r.in, r.snapshot(o, gone), false); err != nil {
		t.Fatal(err)
	}
	if n := r.note().Counters["people_missing"]; n != 1 || !strings.Contains(r.log.String(), "people_missing") {
		t.Fatalf("people_missing = %d; log:\n%s", n, r.log.String())
	}
}

func TestRelationshipErrorsAreTold(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	o := newOrg(3)
	stray := graph.Change{Op: graph.Create, Object: graph.Object{Relationship: &graph.Relationship{Key: "x|has|y", Type: "t", Class: "HAS", From: "x", To: "y"}}}
	if err := r.sink.Replace(t.Context(), r.in, r.snapshot(o, stray), false); err != nil {
		t.Fatal(err)
	}
	if n := r.note().Counters["relationship_create_errors"]; n != 1 || !strings.Contains(r.log.String(), `"relationship_create_errors":1`) {
		t.Fatalf("relationship_create_errors = %d; log:\n%s", n, r.log.String())
	}
}

// faults are those that pass.
var faults = map[string]j1sim.Fault{
	"429": j1sim.TooMany, "429 in seconds": j1sim.TooManySeconds, "429 until a date": j1sim.TooManyDate,
	"503": j1sim.Unavailable, "lost": j1sim.DropBefore, "done but lost": j1sim.DropAfter,
}

// requestsOfAJob is how many requests a job of the org takes when nothing goes wrong.
func requestsOfAJob(t *testing.T, o *org) int {
	r := setup(t, j1sim.Config{}, oneAtATime)
	r.deliver(o)
	return r.srv.Requests()
}

// oneAtATime makes the order of requests certain.
func oneAtATime(cfg *jupiterone.Config) { cfg.Uploads, cfg.BatchBytes = 1, 1500 }

func TestAFaultAtAnyRequestPasses(t *testing.T) {
	o := newOrg(7)
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			for k := range requestsOfAJob(t, o) {
				r := newRig(t, j1sim.Config{}, oneAtATime)
				r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
					if q.N == k+1 {
						return fault
					}
					return j1sim.None
				})
				if err := r.replace(t.Context(), o); err != nil {
					t.Fatalf("request %d: %v", k+1, err)
				}
				r.check(o)
				r.close()
			}
		})
	}
}

// A fault that stays longer than requests are repeated fails the job; but once it is
// finalized it is looked at until it ends.
func TestAnOutageAtAnyRequestIsSurvived(t *testing.T) {
	o, before := newOrg(7), newOrg(8)
	for name, fault := range map[string]j1sim.Fault{"503": j1sim.Unavailable, "lost": j1sim.DropBefore, "done but lost": j1sim.DropAfter} {
		t.Run(name, func(t *testing.T) {
			for k := range requestsOfAJob(t, o) {
				r := newRig(t, j1sim.Config{}, oneAtATime)
				r.deliver(before)
				r.srv.Restart()
				var polled atomic.Bool
				r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
					if q.N > k && q.N <= k+25 {
						if q.N == k+1 && q.Kind == j1sim.JobStatus {
							polled.Store(true)
						}
						return fault
					}
					return j1sim.None
				})
				err := r.replace(t.Context(), o)
				polling := polled.Load()
				if (err == nil) != polling {
					t.Fatalf("request %d, of a poll: %v, error %v", k+1, polling, err)
				}
				if polling {
					r.check(o)
					r.close()
					continue
				}
				if permanent(err) || r.position() != "position 1" {
					t.Fatalf("request %d: position %q, %v", k+1, r.position(), err)
				}
				r.srv.Inject(nil)
				r.restart()
				r.deliver(o)
				r.check(o)
				r.close()
			}
		})
	}
}

func TestACancelledContextAtAnyRequestIsSurvived(t *testing.T) {
	o := newOrg(7)
	for k := range requestsOfAJob(t, o) {
		for _, when := range []string{"before", "before, lost", "after"} {
			r := newRig(t, j1sim.Config{}, oneAtATime)
			ctx, cancel := context.WithCancel(t.Context())
			if when == "after" {
				r.srv.OnApplied(func(q j1sim.Request) {
					if q.N == k+1 {
						cancel()
					}
				})
			} else {
				r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
					if q.N != k+1 {
						return j1sim.None
					}
					cancel()
					if when == "before" {
						return j1sim.None
					}
					return j1sim.DropBefore
				})
			}
			if err := r.replace(ctx, o); err != nil && (!errors.Is(err, context.Canceled) || permanent(err)) {
				t.Fatalf("request %d, %s: %v", k+1, when, err)
			}
			cancel()
			if k > 0 && k < 4 { // while uploads were under way
				if jobs := r.srv.Jobs(); jobs[0].Status != "ABORTED" {
					t.Fatalf("request %d, %s: the job is %s", k+1, when, jobs[0].Status)
				}
			}
			r.restart()
			r.deliver(o)
			r.check(o)
			r.close()
		}
	}
}

// Mutations, faults and restarts at random: in the end JupiterOne has the org.
func TestAnyHistoryConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partial := rapid.Bool().Draw(t, "partial")
		r := newRig(t, j1sim.Config{Strange: rapid.Bool().Draw(t, "strange"), Polls: rapid.IntRange(1, 2).Draw(t, "polls")}, func(cfg *jupiterone.Config) {
			cfg.BatchBytes, cfg.MaxDropRatio, cfg.Partial = rapid.SampledFrom([]int{1200, 3000, 1 << 20}).Draw(t, "batch"), 1, partial
		})
		defer r.close()
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		o := newOrg(8)
		r.deliver(o)
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			before := o.clone()
			o.mutate(rnd, 1+rnd.IntN(8))
			rate := rapid.SampledFrom([]float64{0, 0.1, 0.6}).Draw(t, "faults")
			ctx, cancel := context.WithCancel(context.Background())
			stop := 1 + rnd.IntN(30)
			seed := rnd.Uint64()
			r.srv.Restart()
			r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
				dice := rand.New(rand.NewPCG(seed, uint64(q.N)))
				if q.N == stop && rate > 0 {
					cancel()
				}
				if dice.Float64() >= rate {
					return j1sim.None
				}
				return []j1sim.Fault{j1sim.TooMany, j1sim.TooManySeconds, j1sim.Unavailable, j1sim.DropBefore, j1sim.DropAfter, j1sim.TooLarge}[dice.IntN(6)]
			})
			r.n++
			err := r.sink.Apply(ctx, r.in, sink.Batch{Changes: graph.Diff(before.objects(), o.objects()), Position: fmt.Sprint("position ", r.n)})
			if err != nil && rnd.IntN(3) > 0 {
				err = r.replace(ctx, o)
			}
			cancel()
			r.srv.Inject(nil)
			r.checkViolations()
			if err != nil { // what the batch brought must not be lost
				if rnd.IntN(2) == 0 {
					r.restart()
				}
				r.deliver(o)
				r.check(o)
			}
			r.clock.pass(time.Minute)
		}
		r.deliver(o)
		r.check(o)
	})
}

func TestARetryWaitsAsLongAsItIsTold(t *testing.T) {
	for fault, wait := range map[j1sim.Fault]time.Duration{
		j1sim.TooManySeconds: 7 * time.Second,
		j1sim.TooManyDate:    10 * time.Minute, // told an hour
	} {
		r := setup(t, j1sim.Config{}, func(cfg *jupiterone.Config) { cfg.Now = time.Now })
		r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
			if q.N == 1 {
				return fault
			}
			return j1sim.None
		})
		r.deliver(newOrg(1))
		if r.clock.slept[0] != wait {
			t.Errorf("waited %s, want %s", r.clock.slept[0], wait)
		}
		r.srv.Inject(func(j1sim.Request) j1sim.Fault { return fault })
		err := r.replace(t.Context(), newOrg(1))
		if err == nil || fmt.Sprintf("%T", errors.Unwrap(err)) != fmt.Sprintf("%T", sink.After(1, err)) {
			t.Errorf("the runner is not told when to try again: %v", err)
		}
	}
}

func TestRetriesGrowFromASecond(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	r.srv.Inject(func(j1sim.Request) j1sim.Fault { return j1sim.Unavailable })
	err := r.replace(t.Context(), newOrg(1))
	if err == nil || permanent(err) || !strings.Contains(err.Error(), "503 Service Unavailable (SERVICE_UNAVAILABLE: try again later)") {
		t.Fatal(err)
	}
	if n := r.srv.Requests(); n != 5 || len(r.clock.slept) != 4 {
		t.Fatalf("%d requests, %d waits", n, len(r.clock.slept))
	}
	for i, d := range r.clock.slept {
		if most := time.Second << i; d < most/2 || d > most {
			t.Errorf("wait %d is %s", i, d)
		}
	}
}

func TestABatchKeepsItsCorrelationIDOverRetries(t *testing.T) {
	r := setup(t, j1sim.Config{}, oneAtATime)
	r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
		if q.Kind == j1sim.Entities && q.OfKind < 3 {
			return j1sim.Unavailable
		}
		return j1sim.None
	})
	r.deliver(newOrg(1))
	if c := r.srv.Jobs()[0].Correlations; len(c) != 3 || c[0] != c[1] || c[1] == c[2] {
		t.Fatalf("correlation ids: %q", c)
	}
}

func TestABatchThatIsTooLargeIsHalved(t *testing.T) {
	o := newOrg(40)
	for name, change := range map[string]func(*jupiterone.Config){
		"refused":          func(cfg *jupiterone.Config) { cfg.BatchBytes = 1 << 20 },
		"after compressed": func(cfg *jupiterone.Config) { cfg.BatchBytes, cfg.BatchGzip = 1<<20, 500 },
	} {
		t.Run(name, func(t *testing.T) {
			r := setup(t, j1sim.Config{MaxBody: 3000}, change)
			r.deliver(o)
			r.check(o)
			if n := r.srv.Requests(j1sim.Entities); n < 3 {
				t.Fatalf("%d uploads of entities", n)
			}
		})
	}
}

func TestAnObjectThatFitsNoBatchFailsTheJob(t *testing.T) {
	large := graph.Change{Op: graph.Create, Object: graph.Object{Entity: &graph.Entity{Key: "00gLarge", Type: "okta_user_group", Class: []string{"UserGroup"}, Properties: graph.Properties{}}}}
	text := make([]byte, 2000)
	for i := range text {
		text[i] = byte('a' + rand.IntN(26))
	}
	large.Entity.Properties["description"] = string(text)
	for name, c := range map[string]struct {
		change func(*jupiterone.Config)
		server int
		begun  bool
	}{
		"plain":      {func(cfg *jupiterone.Config) { cfg.BatchBytes = 1000 }, 0, false},
		"compressed": {func(cfg *jupiterone.Config) { cfg.BatchBytes, cfg.BatchGzip = 1<<20, 1000 }, 0, true},
		"refused":    {func(cfg *jupiterone.Config) { cfg.BatchBytes = 1 << 20 }, 1500, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := setup(t, j1sim.Config{MaxBody: c.server}, c.change)
			err := r.sink.Replace(t.Context(), r.in, r.snapshot(newOrg(3), large), true)
			if err == nil || !permanent(err) || !strings.Contains(err.Error(), `"00gLarge"`) || !strings.Contains(err.Error(), " 2") {
				t.Fatalf("an error that names the object and its size: %v", err)
			}
			jobs := r.srv.Jobs()
			if (len(jobs) > 0) != c.begun || c.begun && jobs[0].Status != "ABORTED" {
				t.Fatalf("jobs: %+v", jobs)
			}
			r.checkViolations()
		})
	}
}

func TestTheGuardHoldsADropBackUntilForced(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	r.deliver(newOrg(100)) // 103 entities, 301 relationships
	r.restart()
	for _, users := range []int{79, 0} {
		err := r.replace(t.Context(), newOrg(users))
		if !permanent(err) || !strings.Contains(err.Error(), "103") || !strings.Contains(err.Error(), fmt.Sprint(users+3)) || !strings.Contains(err.Error(), "force") {
			t.Fatalf("an error that tells both numbers and the remedy: %v", err)
		}
	}
	lonely := newOrg(100)
	lonely.members = nil
	if err := r.replace(t.Context(), lonely); !permanent(err) || !strings.Contains(err.Error(), "relationships") {
		t.Fatal(err)
	}
	if n := len(r.srv.Jobs()); n != 1 {
		t.Fatalf("%d jobs", n)
	}
	r.deliver(newOrg(81)) // fewer, but not by that much
	o := newOrg(20)
	if err := r.sink.Replace(t.Context(), r.in, r.snapshot(o), true); err != nil {
		t.Fatal(err)
	}
	r.check(o)
	r.deliver(newOrg(17)) // at most ten fewer of each
	r.check(newOrg(17))
}

func TestAnEmptyGraphIsNeverDelivered(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	r.deliver(newOrg(1))
	requests := r.srv.Requests()
	for _, force := range []bool{false, true} {
		empty := sink.Snapshot{Changes: func(func(graph.Change, error) bool) {}, Position: func() string { return "x" }}
		err := r.sink.Replace(t.Context(), r.in, empty, force)
		if err == nil || permanent(err) == force {
			t.Fatalf("force %v: %v", force, err)
		}
	}
	if r.srv.Requests() != requests {
		t.Fatal("there were requests")
	}
	r.check(newOrg(1))
}

func TestNothingIsUploadedIntoAnothersAccount(t *testing.T) {
	r := setup(t, j1sim.Config{}, func(cfg *jupiterone.Config) { cfg.Partial = true })
	r.in.AccountID = "globex-account"
	_, position := r.sink.Position(t.Context(), r.in)
	for _, err := range []error{position, r.replace(t.Context(), newOrg(1)), r.sink.Apply(t.Context(), r.in, sink.Batch{})} {
		if !permanent(err) || !strings.Contains(err.Error(), account) || !strings.Contains(err.Error(), "globex-account") {
			t.Errorf("an error that names both: %v", err)
		}
	}
	if r.srv.Requests() != 0 {
		t.Fatal("there were requests")
	}
	r.in.AccountID = ""
	r.deliver(newOrg(1))
	r.in.OrgHost = ""
	if err := r.replace(t.Context(), newOrg(1)); !permanent(err) {
		t.Fatal(err)
	}
}

// The position of one account says nothing of another.
func TestAnotherAccountIsFilledAnew(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	r.deliver(newOrg(40))
	r.cfg.Account, r.in.AccountID = "globex-account", ""
	r.srv.Configure(func(c *j1sim.Config) { c.Account = "globex-account" })
	r.restart()
	if p := r.position(); p != "" {
		t.Fatalf("position %q", p)
	}
	r.deliver(newOrg(1)) // no guard
}

func TestAWrongKeyIsToldWithItsRemedy(t *testing.T) {
	for name, fault := range map[string]j1sim.Fault{"401": j1sim.None, "403": j1sim.Forbidden} {
		t.Run(name, func(t *testing.T) {
			r := setup(t, j1sim.Config{}, nil)
			r.srv.Configure(func(c *j1sim.Config) { c.Key = "another" })
			r.srv.Inject(func(j1sim.Request) j1sim.Fault { return fault })
			err := r.replace(t.Context(), newOrg(1))
			if !permanent(err) || !strings.Contains(err.Error(), "persister:Synchronize") || !strings.Contains(err.Error(), name) {
				t.Fatal(err)
			}
		})
	}
}

func TestAJobThatEndsBadlyIsAnError(t *testing.T) {
	for status, stops := range map[string]bool{
		"ERROR_BAD_DATA": false, "ERROR_UNEXPECTED_FAILURE": false, "ABORTED_DUE_TO_INVALID_CONFIGURATION": true, "SOMETHING_NEW": false,
	} {
		t.Run(status, func(t *testing.T) {
			r := setup(t, j1sim.Config{}, nil)
			r.srv.EndAs(status)
			err := r.replace(t.Context(), newOrg(1))
			if err == nil || permanent(err) != stops || !strings.Contains(err.Error(), status) || !strings.Contains(err.Error(), "job-") {
				t.Fatal(err)
			}
			if p := r.position(); p != "" {
				t.Fatalf("position %q", p)
			}
			r.srv.EndAs("")
			r.deliver(newOrg(1))
			r.check(newOrg(1))
		})
	}
}

func TestAJobIsPolledLessAndLessOftenUntilGivenUp(t *testing.T) {
	r := setup(t, j1sim.Config{Polls: 1 << 30, Strange: true}, nil)
	err := r.replace(t.Context(), newOrg(1))
	if err == nil || permanent(err) || !strings.Contains(err.Error(), "job-1: the job is still FINALIZE_PENDING after 1h") {
		t.Fatal(err)
	}
	slept := r.clock.slept
	if slept[0] != time.Second || slept[1] != 1500*time.Millisecond || slept[len(slept)-1] != 30*time.Second || len(slept) > 140 {
		t.Fatalf("%d waits: %v", len(slept), slept)
	}
	r.srv.Configure(func(c *j1sim.Config) { c.Polls = 2 })
	r.restart()
	r.deliver(newOrg(1))
	r.check(newOrg(1))
}

// A process that lost the instance ends its own job.
func TestALostInstanceEndsTheJob(t *testing.T) {
	for lost := 1; lost <= 2; lost++ { // before the first upload, before finalize
		r := setup(t, j1sim.Config{}, nil)
		r.mem = &memory{lost: lost}
		r.restart()
		if err := r.replace(t.Context(), newOrg(1)); !errors.Is(err, errLost) || permanent(err) {
			t.Fatal(err)
		}
		if jobs := r.srv.Jobs(); len(jobs) != 1 || jobs[0].Status != "ABORTED" || (jobs[0].Entities > 0) != (lost == 2) {
			t.Fatalf("jobs: %+v", jobs)
		}
	}
}

// Another process ends the job of one that does not know yet that it lost the instance.
func TestAJobThatAnotherEndedIsGivenUp(t *testing.T) {
	r := setup(t, j1sim.Config{}, oneAtATime)
	other := newRig(t, j1sim.Config{}, nil)
	other.srv.Close()
	other.srv, other.cfg.BaseURL, other.mem = r.srv, r.cfg.BaseURL, r.mem
	other.restart()
	defer other.sink.Close()
	r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
		if q.Kind == j1sim.Relationships && q.OfKind == 1 {
			r.srv.Inject(nil)
			if err := other.replace(context.Background(), newOrg(2)); err != nil {
				t.Error(err)
			}
		}
		return j1sim.None
	})
	err := r.replace(t.Context(), newOrg(1))
	if err == nil || permanent(err) || !strings.Contains(err.Error(), "JOB_NOT_AWAITING_UPLOADS") {
		t.Fatal(err)
	}
	r.check(newOrg(2))
}

func TestAJobThatJupiterOneForgotIsForgotten(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
		if q.Kind == j1sim.Finalize || q.Kind == j1sim.Abort || q.Kind == j1sim.JobStatus {
			return j1sim.Unavailable
		}
		return j1sim.None
	})
	if err := r.replace(t.Context(), newOrg(1)); err == nil {
		t.Fatal("no error")
	}
	r.srv.Forget("job-1")
	r.srv.Inject(nil)
	r.restart()
	r.deliver(newOrg(1))
	r.check(newOrg(1))
}

func TestTheWindowOfALargeGraphIsLonger(t *testing.T) {
	r := setup(t, j1sim.Config{}, func(cfg *jupiterone.Config) { cfg.LargeObjects = 50 })
	window := func(want time.Duration) {
		t.Helper()
		if got, err := r.sink.Window(t.Context(), r.in); err != nil || got != want {
			t.Fatalf("window %s, %v, want %s", got, err, want)
		}
	}
	window(time.Minute)
	r.deliver(newOrg(5)) // 24 objects
	window(time.Minute)
	r.deliver(newOrg(20))
	window(5 * time.Minute)
	r.clock.pass(2 * time.Minute)
	window(3 * time.Minute)
	r.clock.pass(time.Hour)
	window(time.Minute)
}

// The jobs of instances at once are bounded: one more waits, until its context ends.
func TestJobsAtOnceAreBounded(t *testing.T) {
	r := setup(t, j1sim.Config{}, func(cfg *jupiterone.Config) { cfg.JobsAtOnce = 1 })
	second := r.in
	second.ID, second.OrgHost, second.Memory = "globex", "globex.okta.com", &memory{}
	ctx, cancel := context.WithCancel(t.Context())
	r.srv.Inject(func(q j1sim.Request) j1sim.Fault {
		if q.N == 1 {
			cancel()
			if err := r.sink.Replace(ctx, second, r.snapshot(newOrg(1)), false); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		return j1sim.None
	})
	r.deliver(newOrg(1))
	if err := r.sink.Replace(t.Context(), second, r.snapshot(newOrg(1)), false); err != nil {
		t.Fatal(err)
	}
}

func TestTheKeyIsNeverShown(t *testing.T) {
	r := setup(t, j1sim.Config{}, nil)
	shown := []string{fmt.Sprintf("%v %+v %#v %s %q %d %x %T", r.cfg, r.cfg, r.cfg, r.cfg.APIKey, r.cfg.APIKey, r.cfg.APIKey, r.cfg.APIKey, r.cfg)}
	shown = append(shown, fmt.Sprintf("%v %+v %#v %s %d", r.sink, r.sink, r.sink, r.sink, r.sink))
	if b, err := json.Marshal(r.cfg.APIKey); err != nil || string(b) != `"[secret]"` {
		t.Fatalf("%s, %v", b, err)
	}
	r.cfg.Log.Info("config", "key", r.cfg.APIKey)
	for _, fault := range []j1sim.Fault{j1sim.Echo, j1sim.DropBefore} {
		r.srv.Inject(func(j1sim.Request) j1sim.Fault { return fault })
		err := r.replace(t.Context(), newOrg(1))
		shown = append(shown, everything(err)...)
		if fault == j1sim.Echo && !strings.Contains(err.Error(), "Bearer [secret]") {
			t.Fatalf("the server told the headers: %v", err)
		}
		_, err = jupiterone.Probe(t.Context(), r.cfg, &r.log)
		shown = append(shown, everything(err)...)
	}
	bad := r.cfg
	bad.BaseURL = "https://user:" + key + "@host?" + key + "%zz"
	_, err := jupiterone.New(bad)
	shown = append(shown, everything(err)...)
	bad = r.cfg
	bad.APIKey += "\n"
	_, err = jupiterone.New(bad)
	shown = append(shown, everything(err)...)
	bad = r.cfg
	bad.BaseURL = "http://127.0.0.1:1/" + key // refused connection
	s, err := jupiterone.New(bad)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	shown = append(shown, everything(s.Replace(t.Context(), r.in, r.snapshot(newOrg(1)), false))...)
	for _, text := range append(shown, r.log.String(), string(r.note().Data)) {
		if strings.Contains(text, key) {
			t.Fatalf("it is in: %s", strings.ReplaceAll(text, key, "KEY"))
		}
	}
}

// everything is what can be made visible of an error.
func everything(err error) (all []string) {
	for ; err != nil; err = errors.Unwrap(err) {
		all = append(all, err.Error(), fmt.Sprintf("%+v %#v", err, err))
	}
	return all
}

func TestAWrongConfigurationIsRefused(t *testing.T) {
	good := jupiterone.Config{Account: account, APIKey: key}
	for name, change := range map[string]func(*jupiterone.Config){
		"no account":          func(cfg *jupiterone.Config) { cfg.Account = "" },
		"no key":              func(cfg *jupiterone.Config) { cfg.APIKey = "" },
		"a key with a line":   func(cfg *jupiterone.Config) { cfg.APIKey = "a\nb" },
		"in the clear":        func(cfg *jupiterone.Config) { cfg.BaseURL = "http://api.us.jupiterone.io" },
		"no URL":              func(cfg *jupiterone.Config) { cfg.BaseURL = "api.us.jupiterone.io" },
		"GraphQL in clear":    func(cfg *jupiterone.Config) { cfg.GraphQLURL = "http://example.com" },
		"a negative window":   func(cfg *jupiterone.Config) { cfg.Window = -1 },
		"no batches":          func(cfg *jupiterone.Config) { cfg.BatchBytes = -1 },
		"a ratio above one":   func(cfg *jupiterone.Config) { cfg.MaxDropRatio = 1.1 },
		"polled too seldom":   func(cfg *jupiterone.Config) { cfg.PollMin = time.Hour },
		"no jobs":             func(cfg *jupiterone.Config) { cfg.JobsAtOnce = -1 },
		"no uploads":          func(cfg *jupiterone.Config) { cfg.Uploads = -1 },
		"an account and more": func(cfg *jupiterone.Config) { cfg.Account = "a\r\nX: y" },
	} {
		cfg := good
		change(&cfg)
		if _, err := jupiterone.New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	s, err := jupiterone.New(good)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name() != "jupiterone" || s.Forget(t.Context(), "acme") != nil || s.Close() != nil {
		t.Error("a good one is not good")
	}
}
