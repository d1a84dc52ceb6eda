package oktasim_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

// Thousands of tests start an org each: it must cost less than a millisecond.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		oktasim.New(b, oktasim.Config{Seed: 1}).Close()
	}
}

func BenchmarkMutate(b *testing.B) {
	o := oktasim.New(b, oktasim.Config{Seed: 1})
	for b.Loop() {
		o.Mutate(1)
	}
}

func BenchmarkPage(b *testing.B) {
	o := oktasim.New(b, oktasim.Config{Seed: 1, Users: 20_000})
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/users?limit=200", nil)
		r.Header.Set("Authorization", "SSWS "+o.Token())
		o.ServeHTTP(httptest.NewRecorder(), r)
	}
}
