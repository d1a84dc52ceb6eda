package engine

import "testing"

func TestWhatARunWillTakeIsWorkedOutFromItsSlowestFamily(t *testing.T) {
	known := map[string]int64{"user": 1000, "group": 50}
	for name, c := range map[string]struct {
		progress map[string]Progress
		want     float64
	}{
		"nothing read":       {map[string]Progress{"users": {Total: 1}, "members": {}}, 0},
		"half of the users":  {map[string]Progress{"users": {Total: 1, Objects: 500}, "account": {Done: 1, Total: 1}}, 0.5},
		"the org was new":    {map[string]Progress{"apps": {Total: 1, Objects: 500}}, 0},
		"a quarter of lists": {map[string]Progress{"users": {Done: 1, Total: 1, Objects: 999}, "members": {Done: 10, Total: 40}, "factors": {Done: 30, Total: 40}}, 0.25},
		"all":                {map[string]Progress{"users": {Done: 1, Total: 1}, "members": {Done: 40, Total: 40}}, 1},
		"more than before":   {map[string]Progress{"users": {Total: 1, Objects: 5000}}, 1},
	} {
		if got := completed(c.progress, known); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
