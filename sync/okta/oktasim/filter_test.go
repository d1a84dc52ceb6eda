package oktasim

import "testing"

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`status eq "ACTIVE"`, `(id eq "x" or status eq "y") and lastUpdated gt "2026-03-17T09:00:00.000Z"`,
		`profile.login sw "a\"b"`, `((((`, `"`, `id eq "\`, `id eq`, `id pr`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		if match, err := parseFilter(expr, userSearchAttrs); err == nil {
			match((&user{id: "00u", status: "ACTIVE", profile: []byte(`{"login":"a"}`)}).attr())
		}
	})
}
