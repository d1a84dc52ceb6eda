package okta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The SDK's token cache has a janitor that ends when the client is collected.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"))
}

// memory is a network of pipes: a real HTTP server and client on it work under
// synctest's clock, so that waits of minutes cost nothing.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	dialed []string
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	m.mu.Lock()
	m.dialed = append(m.dialed, addr)
	m.mu.Unlock()
	here, there := net.Pipe()
	select {
	case m.conns <- there:
		return here, nil
	case <-m.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// withOrg runs f in a bubble with a client of a server that has the handler.
func withOrg(t *testing.T, cfg ClientConfig, h http.HandlerFunc, f func(t *testing.T, c *Client)) {
	t.Helper()
	cfg.OrgURL, cfg.Token, cfg.AllowInsecure = "http://org.test", "secret-token", true
	var m *memory
	// Outside of the bubble, for the SDK's janitor would never end in it.
	c, err := newClient(t.Context(), cfg, func(ctx context.Context, network, addr string) (net.Conn, error) {
		return m.dial(ctx, network, addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m = &memory{conns: make(chan net.Conn), done: make(chan struct{})}
		var handling sync.WaitGroup
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handling.Add(1)
			defer handling.Done()
			h(w, r)
		})}
		stopped := make(chan struct{})
		go func() { defer close(stopped); srv.Serve(m) }()
		f(t, c)
		c.Close()
		srv.Close()
		<-stopped
		synctest.Wait()
		handling.Wait()
		for _, addr := range m.dialed {
			if addr != "org.test:80" {
				t.Errorf("dialed %s, which is not the org", addr)
			}
		}
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Okta-Request-Id", "req-1")
	answer(w, status, map[string]any{"errorCode": code, "errorSummary": "a summary", "errorCauses": []any{map[string]string{"errorSummary": "ada@example.com"}}})
}

func ids(prefix string, from, to int) []map[string]any {
	var out []map[string]any
	for i := from; i < to; i++ {
		out = append(out, map[string]any{"id": fmt.Sprintf("%s%d", prefix, i), "status": "ACTIVE"})
	}
	return out
}

// all reads a list to its end.
func all[T any](ctx context.Context, read func(context.Context, string) (Page[T], error)) ([]T, error) {
	var out []T
	var guard LinkGuard
	for link := ""; ; {
		p, err := read(ctx, link)
		if err != nil {
			return out, err
		}
		out = append(out, p.Items...)
		if p.Next == "" {
			return out, nil
		}
		if err := guard.Check(p.Next); err != nil {
			return out, err
		}
		link = p.Next
	}
}

func rate(w http.ResponseWriter, limit, remaining int, reset time.Time) {
	w.Header().Set("X-Rate-Limit-Limit", fmt.Sprint(limit))
	w.Header().Set("X-Rate-Limit-Remaining", fmt.Sprint(remaining))
	w.Header().Set("X-Rate-Limit-Reset", fmt.Sprint(reset.Unix()))
}
