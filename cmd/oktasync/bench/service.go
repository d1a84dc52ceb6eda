package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// service is oktasync serve, in a process of its own.
type service struct {
	*process
	url     string // of the service
	metrics string // of its metrics and profiles
	admin   string // bearer token of operators
	trigger string // bearer token of instance events
	http    *http.Client
}

// startService starts oktasync serve with the state in Redis. env adds to its
// environment, as OKTASYNC_SINKS=none, which is the default here.
func (l *lab) startService(ctx context.Context, redisURL string, env ...string) (*service, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &service{url: "http://" + listen, admin: rand.Text(), trigger: rand.Text(), http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Minute,
	}}
	key := make([]byte, 32)
	rand.Read(key)
	own := []string{
		"OKTASYNC_LISTEN=" + listen,
		"OKTASYNC_REDIS_URL=" + redisURL,
		"OKTASYNC_ADMIN_TOKEN=" + s.admin,
		"OKTASYNC_TRIGGER_TOKEN=" + s.trigger,
		"OKTASYNC_SECRET_KEY=" + base64.StdEncoding.EncodeToString(key),
		"OKTASYNC_SINKS=none",
		"OKTASYNC_ALLOW_INSECURE_ORGS=true",
		"OKTASYNC_METRICS_LISTEN=127.0.0.1:0",
	}
	s.process, err = l.start(ctx, "service-"+listen, l.exe, []string{"serve"}, append(own, env...))
	if err != nil {
		return nil, err
	}
	ready := func(ctx context.Context) error {
		_, err := s.call(ctx, http.MethodGet, "/readyz", "", nil)
		return err
	}
	if err := s.await(ctx, 15*time.Second, ready); err != nil {
		s.stop()
		return nil, err
	}
	if s.metrics, err = s.metricsURL(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// metricsURL reads in the log where the metrics are: the system chose the port.
func (s *service) metricsURL() (string, error) {
	const before = `msg="metrics and profiles are served" address=`
	said := []byte(s.lab.tail(s.name))
	if i := bytes.Index(said, []byte(before)); i >= 0 {
		address, _, _ := bytes.Cut(said[i+len(before):], []byte("\n"))
		return "http://" + string(address), nil
	}
	return "", fmt.Errorf("the log of the service does not tell where its metrics are:\n%s", said)
}

// call calls the service, with JSON if body is not nil, and returns the answer of a
// call that succeeded.
func (s *service) call(ctx context.Context, method, path, token string, body any) ([]byte, error) {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, sent)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %.500s", method, path, resp.Status, answer)
	}
	return answer, nil
}

// hookSecret is what deliveries of the instance carry in Authorization.
const hookSecret = "the hook secret of a benchmark"

// instance is the id of the instance that a benchmark registers.
const instance = "bench"

// register sends an instance event, which starts a run, and returns the run's id.
func (s *service) register(ctx context.Context, orgURL, orgToken, mode string, factors bool) (string, error) {
	type object = map[string]any
	answer, err := s.call(ctx, http.MethodPost, "/v1/instance-events", s.trigger, object{"mode": mode, "instance": object{
		"id": instance, "name": "bench", "accountId": "bench", "config": object{
			"oktaOrgUrl": orgURL, "oktaApiKey": orgToken, "hookSecrets": []string{hookSecret}, "ingest": object{"factors": factors},
		},
	}})
	if err != nil {
		return "", fmt.Errorf("send the instance event: %w", err)
	}
	var run struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &run); err != nil || run.ID == "" {
		return "", fmt.Errorf("the answer to the instance event names no run: %.500s", answer)
	}
	return run.ID, nil
}
