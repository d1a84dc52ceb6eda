package okta

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/oktasync/oktasync/sync/okta/oktasim"
)

func TestReachTellsWhereTheWayEnds(t *testing.T) {
	sim := oktasim.New(t, oktasim.Config{Seed: 1})
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "https://" + silent.Addr().String()
	silent.Close()
	speaksHTTP := "https" + sim.URL()[len("http"):]
	for url, want := range map[string]Fault{
		sim.URL():                     "",
		secure.URL:                    FaultCertificate,
		gone:                          FaultConnection,
		speaksHTTP:                    FaultTLS,
		"https://no-such-org.invalid": FaultName,
	} {
		c, err := NewClient(t.Context(), ClientConfig{OrgURL: url, Token: "t", AllowInsecure: true})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Reach(t.Context())
		c.Close()
		var e *UnreachableError
		if want == "" && err != nil || want != "" && (!errors.As(err, &e) || e.Fault != want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	if n := sim.CallCount(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// A name that leads inside is refused before anything is sent there.
func TestReachRefusesPrivateAddresses(t *testing.T) {
	c, err := NewClient(t.Context(), ClientConfig{OrgURL: "https://example.okta.com", Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.org.Host = "127.0.0.1" // as if the name led there
	var e *UnreachableError
	if err := c.Reach(t.Context()); !errors.As(err, &e) || e.Fault != FaultPrivate {
		t.Errorf("got %v", err)
	}
}
