package jupiterone

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/oktasync/oktasync/sync/sink/jupiterone/j1sim"
)

func TestCheckTellsWhetherTheKeyIsTakenAndChangesNothing(t *testing.T) {
	sim, err := j1sim.Start(j1sim.Config{Account: "acme", Key: "the-key"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	cfg := Config{Account: "acme", APIKey: "the-key", BaseURL: sim.URL()}
	if err := Check(t.Context(), cfg); err != nil {
		t.Errorf("a good key: %v", err)
	}
	cfg.APIKey = "another-key"
	if err := Check(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "check the API key") || strings.Contains(err.Error(), "another-key") {
		t.Errorf("a wrong key: %v", err)
	}
	if sim.Requests() != sim.Requests(j1sim.JobStatus) || len(sim.Jobs()) != 0 || len(sim.Violations()) > 0 {
		t.Errorf("more than a question: %d requests, jobs %v, %v", sim.Requests(), sim.Jobs(), sim.Violations())
	}
}

func TestCheckFindsAnotherServer(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	if err := Check(t.Context(), Config{Account: "acme", APIKey: "k", BaseURL: srv.URL}); err == nil || !strings.Contains(err.Error(), "JUPITERONE_API_BASE_URL") {
		t.Errorf("another server: %v", err)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Check(ctx, Config{Account: "acme", APIKey: "k", BaseURL: srv.URL}); err == nil {
		t.Error("a server that does not answer is taken for good")
	}
}
