package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// deployed is the folder deploy: tests work in folders of their own.
var deployed, _ = filepath.Abs("../../deploy")

// The examples of deploy/proxy run here as they stand, but for addresses and
// paths: each real proxy before a real service.
func TestProxiesOpenTheHooksOnlyAndLogNoSecret(t *testing.T) {
	const secret = "hook-secret-of-the-tests"
	for name, start := range map[string]func(t *testing.T, dir, listen, upstream string) (command []string){
		"nginx": nginx, "caddy": caddy,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			upstream, said := serveWith(t, "--debug", "--trusted-proxies=127.0.0.1", "--allow-insecure-orgs",
				"--okta-client-orgurl=http://127.0.0.1:1", "--okta-client-token=t", "--hook-secret="+secret, "--admin-token=admin-of-the-tests-only")
			listen := freeAddress(t)
			runProxy(t, start(t, dir, listen, upstream), listen)

			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "hooks.example.com"}}}
			_, port, err := net.SplitHostPort(listen)
			if err != nil {
				t.Fatal(err)
			}
			try := func(method, path, authorization, body string) (int, string, error) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, "https://"+listen+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "hooks.example.com:" + port
				req.Header.Set("Authorization", authorization)
				req.Header.Set("X-Okta-Verification-Challenge", "challenge")
				resp, err := client.Do(req)
				if err != nil {
					return 0, "", err
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				return resp.StatusCode, string(text), err
			}
			ask := func(method, path, authorization, body string) (int, string) {
				t.Helper()
				status, text, err := try(method, path, authorization, body)
				if err != nil {
					t.Fatal(err)
				}
				return status, text
			}
			delivery := `{"eventId":"1","data":{"events":[]}}`
			for _, c := range []struct {
				method, path, authorization, body string
				want                              int
			}{
				{"GET", "/hooks/okta/default", "", "", 200},
				{"POST", "/hooks/okta/default", secret, delivery, 204},
				{"POST", "/hooks/okta/default/", secret, delivery, 204},
				// More than nginx takes by itself, and less than the service.
				{"POST", "/hooks/okta/default", secret, delivery + strings.Repeat(" ", 3<<20), 204},
				{"POST", "/hooks/okta/default", "wrong", delivery, 401},
				{"POST", "/hooks/okta/nobody", secret, delivery, 404},
			} {
				if status, text := ask(c.method, c.path, c.authorization, c.body); status != c.want {
					t.Errorf("%s %s: %d, want %d: %.200s", c.method, c.path, status, c.want, text)
				}
			}
			// Too large: refused before it is read, so that the sender may find the
			// connection closed.
			if status, text, err := try("POST", "/hooks/okta/default", secret, delivery+strings.Repeat(" ", 9<<20)); err == nil && status != 413 {
				t.Errorf("9 MiB: %d %.200s", status, text)
			}
			// Nothing else is reached, by no spelling of the path: the service would
			// write a request's route into its log.
			before := len(said())
			for _, path := range []string{
				"/", "/admin", "/admin/instances", "/v1/instances/default/graph", "/metrics", "/healthz", "/readyz",
				"/hooks/okta/../../admin/instances", "/hooks/okta/..%2f..%2fadmin%2finstances", "/hooks/okta/default/../../../metrics",
				"/admin/runs/..%2f..%2fhooks%2fokta%2fdefault", "/admin/instances/%2e%2e%2f%2e%2e%2fhooks/okta/default", "//admin/instances",
				"/hooks/okta//admin/instances",
			} {
				if status, text := ask("GET", path, "Bearer admin-of-the-tests-only", ""); status == 200 && !strings.Contains(text, "verification") {
					t.Errorf("%s: %d %.200s", path, status, text)
				}
			}
			for line := range strings.Lines(said()[before:]) {
				if strings.Contains(line, "msg=request") && !strings.Contains(line, "route=/hooks/okta/:instance") {
					t.Errorf("reached the service: %s", line)
				}
			}
			logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
			if err != nil || len(logs) == 0 {
				t.Fatalf("no log: %v", err)
			}
			seen := false
			for _, path := range logs {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				seen = seen || bytes.Contains(text, []byte("/hooks/okta/default"))
				for _, hidden := range []string{secret, "admin-of-the-tests-only"} {
					if bytes.Contains(text, []byte(hidden)) {
						t.Errorf("%s holds a secret: %s", path, text)
					}
				}
			}
			if !seen {
				t.Error("no log tells of the deliveries")
			}
		})
	}
}

// example reads a file of deploy/proxy with some texts of it replaced, each of
// which must be there.
func example(t *testing.T, name string, pairs ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployed, "proxy", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(text, []byte(pairs[i])) {
			t.Fatalf("%s does not hold %q", name, pairs[i])
		}
		text = bytes.ReplaceAll(text, []byte(pairs[i]), []byte(pairs[i+1]))
	}
	return text
}

func nginx(t *testing.T, dir, listen, upstream string) []string {
	cert, key := certificateOf(t, 1)
	replace(t, filepath.Join(dir, "fullchain.pem"), cert)
	replace(t, filepath.Join(dir, "privkey.pem"), key)
	replace(t, filepath.Join(dir, "oktasync.conf"), example(t, "nginx.conf", "127.0.0.1:8080", upstream, "listen 443", "listen "+listen,
		"/etc/ssl/oktasync", dir, "/var/log/nginx", dir))
	replace(t, filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, `daemon off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events {} http { client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
include %[1]s/oktasync.conf; }`, dir))
	// Its workers, which are not root, write what they receive into the folder.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return []string{"nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "start.log")}
}

func caddy(t *testing.T, dir, listen, upstream string) []string {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	// A certificate of its own making instead of one from the internet.
	config := example(t, "Caddyfile", "127.0.0.1:8080", upstream, "/var/log/caddy", dir,
		"hooks.example.com {\n", "hooks.example.com:"+port+" {\n\tbind 127.0.0.1\n\ttls internal\n")
	config = append([]byte("{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"), config...)
	replace(t, filepath.Join(dir, "Caddyfile"), config)
	return []string{"caddy", "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile"}
}

// freeAddress is an address of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// runProxy runs a proxy until the test ends, and returns once it speaks TLS.
func runProxy(t *testing.T, command []string, listen string) {
	t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		t.Fatalf("the test needs %s: apt-get install %[1]s, or run ./deploy/test.sh, which does", command[0])
	}
	var said bytes.Buffer
	cmd := exec.Command(path, command[1:]...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("%s said: %s", command[0], said.String())
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		// Caddy listens before it has made its certificate.
		if conn, err := tls.Dial("tcp", listen, &tls.Config{InsecureSkipVerify: true, ServerName: "hooks.example.com"}); err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v: %s", command[0], err, said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not speak TLS", command[0])
		}
		time.Sleep(5 * time.Millisecond) // until another process listens
	}
}
