package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(prefix, i)
	}
	return list
}

// load counts the instances of each replica.
func load(of map[string]string) map[string]int {
	n := map[string]int{}
	for _, r := range of {
		n[r]++
	}
	return n
}

// moved counts the instances that another replica has now.
func moved(before, after map[string]string) int {
	n := 0
	for id, r := range after {
		if before[id] != r {
			n++
		}
	}
	return n
}

// All have one, none has more than its part, and all processes agree, whatever
// the order in which they learned of the others.
func TestSpreadIsEvenAndTheSameEverywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		instances := names("org", rapid.IntRange(0, 300).Draw(t, "instances"))
		replicas := names("host/", rapid.IntRange(1, 12).Draw(t, "replicas"))
		of := spread(instances, replicas)
		if len(of) != len(instances) {
			t.Fatalf("%d of %d have a replica", len(of), len(instances))
		}
		most := (len(instances) + len(replicas) - 1) / len(replicas)
		for r, n := range load(of) {
			if n > most || !slices.Contains(replicas, r) {
				t.Fatalf("%q has %d, of at most %d", r, n, most)
			}
		}
		other := spread(rapid.Permutation(instances).Draw(t, "in any order"), rapid.Permutation(replicas).Draw(t, "replicas in any order"))
		if diff := cmp.Diff(of, other); diff != "" {
			t.Fatal(diff)
		}
	})
}

// What moves when a replica comes or goes is its own part, and a little more
// for the room.
func TestSpreadMovesLittle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ instances, replicas int }{{300, 3}, {300, 9}, {1000, 5}, {10_000, 30}} {
		instances, replicas := names("org", c.instances), names("host/", c.replicas+1)
		few, all := spread(instances, replicas[:c.replicas]), spread(instances, replicas)
		part := c.instances / (c.replicas + 1)
		if n := moved(few, all); n < part || n > part*3/2+10 {
			t.Errorf("%d instances, %d replicas and one more: %d moved, its part is %d", c.instances, c.replicas, n, part)
		} else {
			t.Logf("%d instances, %d replicas and one more: %d moved, its part is %d", c.instances, c.replicas, n, part)
		}
	}
	if of := spread(names("org", 3), nil); of != nil {
		t.Errorf("without replicas: %v", of)
	}
}

func BenchmarkSpread(b *testing.B) {
	instances, replicas := names("org", 10_000), names("host/", 30)
	for b.Loop() {
		spread(instances, replicas)
	}
}
