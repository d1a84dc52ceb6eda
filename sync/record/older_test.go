package record_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/oktasync/oktasync/state/statetest"
	"github.com/oktasync/oktasync/sync/record"
)

// olderSteps are what a build of November 2026, before dd68944, was told; testdata/older.json
// are the commands that write what it left in Redis, their keys without the prefix.
var olderSteps = []step{
	saw(u1, 2, record.Content{Entity: "x", PersonKey: "employee:a"}), saw(u2, 2, record.Content{Entity: "y", PersonKey: "employee:a"}),
	saw(g1, 2, entity("x")), saw(record.Group("everyone"), 2, record.Content{Entity: "x", Everyone: true}),
	saw(a1, 2, record.Content{Entity: "x", AWSAccount: "123"}), saw(a2, 2, entity("y")),
	saw(record.Member("g1", "u1"), 3, entity("")), came(record.Member("g1", "u2"), 4), went(record.Member("g2", "u1"), 5),
	saw(record.AppUser("a1", "u1"), 3, record.Content{Entity: "x", ARNRoles: []string{"admin"}}), came(record.AppUser("a1", "u2"), 4),
	missed(record.AppUser("a2", "u1"), 3), saw(record.AppUser("a2", "u1"), 5, entity("y")),
	saw(record.AppGroup("a1", "g1"), 3, entity("x")), came(record.AppGroup("a1", "g1"), 6), saw(record.AppGroup("a2", "g1"), 3, entity("y")),
	saw(record.Factor("u1", "f1"), 3, record.Content{Entity: "x", Active: true}), saw(record.Factor("u1", "f2"), 3, entity("y")),
	listed(record.Factors("u1"), 3), listed(record.Members("g1"), 3), listed(record.AppUsers("a1"), 3), listed(record.Users, 2),
	went(record.User("u2"), 6), want(string(record.Factors("u1")), record.AsEvent(6)),
}

// What an older build left in Redis is read and goes on as what this one writes.
func TestStateOfAnOlderBuild(t *testing.T) {
	text, err := os.ReadFile("testdata/older.json")
	if err != nil {
		t.Fatal(err)
	}
	var commands [][]any
	if err := json.Unmarshal(text, &commands); err != nil {
		t.Fatal(err)
	}
	store := statetest.Open(t)
	opts, err := redis.ParseURL(statetest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	rapid.Check(t, func(rt *rapid.T) {
		id := statetest.Instance()
		for _, c := range commands {
			args := append([]any{c[0], "oktasync:{" + id + "}:" + c[1].(string)}, c[2:]...)
			if err := rdb.Do(t.Context(), args...).Err(); err != nil {
				rt.Fatal(err)
			}
		}
		model, live := record.NewModel(), &live{t: t, org: store.Org(id), position: "0", graph: map[record.ID]record.Projection{}}
		live.follow()
		for _, s := range olderSteps {
			take(model, s)
		}
		steps := rapid.SliceOfN(rapid.Custom(genStep), 0, 40).Draw(rt, "steps")
		for i := 0; ; i++ {
			if diff := cmp.Diff(model.Graph(), live.graph); diff != "" {
				rt.Fatalf("graph after %d of the steps: -model +script:\n%s", i, diff)
			}
			if diff := cmp.Diff(asks(model), live.asks()); diff != "" {
				rt.Fatalf("asks after %d of the steps: -model +script:\n%s", i, diff)
			}
			if diff := cmp.Diff(model.Graph(), live.read()); diff != "" {
				rt.Fatalf("stored graph after %d of the steps: -model +script:\n%s", i, diff)
			}
			if i == len(steps) {
				return
			}
			take(model, steps[i])
			live.take(steps[i])
		}
	})
}
