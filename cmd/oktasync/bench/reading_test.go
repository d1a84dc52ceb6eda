package bench

import "testing"

// The bounds that are counts hold on any machine: calls of a full read and of a sweep,
// and what Redis takes for a membership or assignment.
func TestCallsAndMemoryKeepTheirBounds(t *testing.T) {
	l := testLab(t)
	ctx := t.Context()
	st, err := l.startStand(ctx, setting{shape: heavy, users: 1000, limits: "none", sinks: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer st.stop()
	var calls [2]int64
	for i, mode := range []string{"full", "sweep"} {
		r, err := st.reconcile(ctx, mode, func(run) {})
		if err == nil {
			err = st.complete(ctx, r)
		}
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		calls[i], _ = r.callsOfLists()
	}
	fewest := 0
	for _, n := range st.org.fewest(false) {
		fewest += n
	}
	if float64(calls[0]) > 1.02*float64(fewest) {
		t.Errorf("a full read made %d calls, the fewest are %d", calls[0], fewest)
	}
	if 10*calls[1] > calls[0] {
		t.Errorf("a sweep of a quiet org made %d calls, a full read %d", calls[1], calls[0])
	}
	prefixes, err := st.redis.memoryByPrefix(ctx)
	if err != nil {
		t.Fatal(err)
	}
	records, err := st.records(ctx)
	if err != nil {
		t.Fatal(err)
	}
	memory := memoryByKind(prefixes, records)
	for _, kind := range []string{"member", "appuser"} {
		if each := memory[kind] / records[kind]; each < 20 || each > 250 {
			t.Errorf("a record of kind %s takes %d bytes of Redis", kind, each)
		}
	}
}
