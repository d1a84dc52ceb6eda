package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// names is a name server of an attacker: it answers as it likes.
type names struct {
	mu    sync.Mutex
	asked map[string]int
	of    func(name string, n int) []netip.Addr // n counts the questions for the name
}

// start has the process ask these names, and no others, until the test ends.
func (ns *names) start(t *testing.T) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var answering sync.WaitGroup
	answering.Go(func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			if reply, err := ns.reply(packet[:n]); err == nil {
				conn.WriteTo(reply, from)
			}
		}
	})
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		conn.Close()
		answering.Wait()
	})
}

func (ns *names) reply(packet []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil || len(m.Questions) != 1 {
		return nil, fmt.Errorf("no question: %w", err)
	}
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	ns.mu.Lock()
	defer ns.mu.Unlock()
	ns.asked[name]++
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	for _, a := range ns.of(name, ns.asked[name]) {
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m.Pack()
}

func (ns *names) questions(name string) int {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.asked[name]
}

// A name that looks like an org's may lead anywhere, and elsewhere at each question.
// The service looks at the address that it connects to, so none of them leads inside.
func TestNamesOfOrgsLeadNowhereInside(t *testing.T) {
	t.Chdir(t.TempDir()) // oktasync.db is written there
	inside := map[string][]string{
		"loopback":  {"127.0.0.1"},
		"loopback6": {"::1"},
		"network":   {"10.1.2.3"},
		"cloud":     {"169.254.169.254"},
		"cloud6":    {"fd00:ec2::254"},
		"mapped":    {"::ffff:169.254.169.254"},
		"nat64":     {"64:ff9b::a9fe:a9fe"},
		"carrier":   {"100.100.100.200"},
		"many":      {"10.0.0.1", "192.168.0.1", "::1", "0.0.0.0"},
		"rebinding": {"172.16.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1"}, // one at a time
	}
	ns := &names{asked: map[string]int{}, of: func(name string, n int) []netip.Addr {
		label, _, _ := strings.Cut(name, ".")
		var all []netip.Addr
		for _, a := range inside[label] {
			all = append(all, netip.MustParseAddr(a))
		}
		if label == "rebinding" {
			all = all[n%len(all):][:1]
		}
		return all
	}}
	ns.start(t)

	const admin, trigger, apiKey = "admin-token-of-this-test", "trigger-token-of-this-test", "api-key-of-this-test"
	ctx, stop := context.WithCancel(t.Context())
	w, said := testWorld()
	address, refused := make(chan string, 1), make(chan string, 1000)
	w.stderr = writerFunc(func(p []byte) (int, error) { // one handler at a time writes
		if _, after, ok := strings.Cut(string(p), "msg=listening address="); ok {
			address <- strings.Fields(after)[0]
		}
		if strings.Contains(string(p), "leads to a private address") {
			select {
			case refused <- string(p):
			default: // enough of them
			}
		}
		return said.Write(p)
	})
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--debug", "--listen=127.0.0.1:0", "--admin-token=" + admin, "--trigger-token=" + trigger}, w)
	}()
	url := "http://" + <-address
	call := func(method, path, token, body string, into any) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || into != nil && json.Unmarshal(text, into) != nil {
			t.Fatalf("%s: %d %s %v", path, resp.StatusCode, text, err)
		}
		if strings.Contains(string(text), apiKey) {
			t.Errorf("%s shows the API key: %s", path, text)
		}
		return resp.StatusCode
	}
	defer http.DefaultClient.CloseIdleConnections()

	for label := range inside {
		name := label + ".evil-org.example.com"
		event := fmt.Sprintf(`{"instance":{"id":%q,"config":{"oktaOrgUrl":"https://%s","oktaApiKey":%q}}}`, label, name, apiKey)
		if got := call("POST", "/v1/instance-events", trigger, event, nil); got != http.StatusAccepted {
			t.Fatalf("%s: %d", label, got)
		}
		for deadline := time.After(20 * time.Second); ; {
			select {
			case line := <-refused:
				if !strings.Contains(line, "instance="+label+" ") {
					continue
				}
			case <-deadline:
				t.Errorf("%s: no refusal of its address is logged", label)
			}
			break
		}
		if ns.questions(name) == 0 {
			t.Errorf("%s was not asked for: the test tests nothing", name)
		}
	}
	stop()
	if status := <-ended; status != 0 {
		t.Errorf("status %d", status)
	}
	for _, secret := range []string{admin, trigger, apiKey} {
		if strings.Contains(said.String(), secret) {
			t.Errorf("the log shows %s", secret)
		}
	}
}
