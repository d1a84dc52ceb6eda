package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// certificateOf makes a certificate for 127.0.0.1 with a serial number, and its key.
func certificateOf(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "oktasync"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "oktasync"}}, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// replace writes a file as renewals do: beside the old one, then in its place.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// serveWith runs serve with args until the test ends, and gives its address
// once it listens, and what it has said so far.
func serveWith(t *testing.T, args ...string) (address string, said func() string) {
	t.Helper()
	t.Chdir(t.TempDir()) // oktasync.db is written there
	var mu sync.Mutex
	var text bytes.Buffer
	listening := make(chan string, 1)
	w, _ := testWorld()
	w.stderr = writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if m := regexp.MustCompile(`msg=listening address=(\S+)`).FindSubmatch(p); m != nil {
			listening <- string(m[1])
		}
		return text.Write(p)
	})
	said = func() string {
		mu.Lock()
		defer mu.Unlock()
		return text.String()
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, append([]string{"serve", "--listen=127.0.0.1:0"}, args...), w) }()
	select {
	case address = <-listening:
	case status := <-ended:
		stop()
		t.Fatalf("serve ended with %d: %s", status, said())
	}
	t.Cleanup(func() {
		stop()
		if status := <-ended; status != 0 {
			t.Errorf("serve ended with %d: %s", status, said())
		}
	})
	return address, said
}

// serial asks the service over https, trusting anything, and tells which
// certificate it showed.
func serial(t *testing.T, address string, trusted ...[]byte) (int64, error) {
	t.Helper()
	pool := x509.NewCertPool()
	for _, cert := range trusted {
		pool.AppendCertsFromPEM(cert)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get("https://" + address + "/readyz")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: %s", resp.Status)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
}

// A renewal writes the certificate, then the key. In between they do not fit:
// the old pair is served on. No restart is needed.
func TestARenewedCertificateIsServedWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	oldCert, oldKey := certificateOf(t, 1)
	newCert, newKey := certificateOf(t, 2)
	replace(t, certFile, oldCert)
	replace(t, keyFile, oldKey)
	address, said := serveWith(t, "--tls-cert-file="+certFile, "--tls-key-file="+keyFile)
	check := func(when string, want int64) {
		t.Helper()
		if got, err := serial(t, address, oldCert, newCert); err != nil || got != want {
			t.Errorf("%s: certificate %d, %v; want %d", when, got, err, want)
		}
	}
	check("at start", 1)
	replace(t, certFile, newCert)
	check("new certificate, old key", 1)
	check("and once more", 1)
	if n := strings.Count(said(), "the renewed TLS certificate cannot be used"); n != 1 {
		t.Errorf("the log complains %d times, want 1: %s", n, said())
	}
	replace(t, keyFile, newKey)
	check("renewed", 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	check("a lost file", 2)
}

func TestTLSBelow12AndPlainHTTPAreRefused(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert, key := certificateOf(t, 1)
	replace(t, certFile, cert)
	replace(t, keyFile, key)
	address, _ := serveWith(t, "--tls-cert-file="+certFile, "--tls-key-file="+keyFile)
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain http: %s", resp.Status)
	}
	w, said := testWorld()
	if status := run(t.Context(), []string{"healthcheck", "--listen=" + address, "--tls-cert-file=" + certFile}, w); status != 0 {
		t.Errorf("healthcheck: %d %s", status, said)
	}
}

func TestACertificateThatCannotBeUsedEndsTheStart(t *testing.T) {
	t.Chdir(t.TempDir())
	cert, _ := certificateOf(t, 1)
	_, otherKey := certificateOf(t, 2)
	replace(t, "tls.crt", cert)
	replace(t, "other.key", otherKey)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--tls-cert-file=tls.crt"}, 2, "https needs both"},
		{[]string{"--tls-key-file=other.key"}, 2, "https needs both"},
		{[]string{"--tls-cert-file=tls.crt", "--tls-key-file=other.key"}, 1, "tls.crt"},
		{[]string{"--tls-cert-file=none.crt", "--tls-key-file=other.key"}, 1, "none.crt"},
	} {
		w, said := testWorld()
		status := run(t.Context(), append([]string{"serve", "--listen=127.0.0.1:0"}, c.args...), w)
		if status != c.status || !strings.Contains(said.String(), c.want) || strings.Contains(said.String(), "msg=listening") {
			t.Errorf("%v: status %d: %s", c.args, status, said)
		}
	}
}

func TestHealthcheckTellsWhetherTheServiceIsReady(t *testing.T) {
	address, _ := serveWith(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for _, c := range []struct {
		listen string
		status int
	}{{address, 0}, {":" + port, 0}, {"0.0.0.0:" + port, 0}, {"[::]:" + port, 0}, {nobody, 1}, {"8080", 2}} {
		w, said := testWorld()
		if status := run(t.Context(), []string{"healthcheck", "--listen=" + c.listen}, w); status != c.status {
			t.Errorf("%s: status %d: %s", c.listen, status, said)
		}
	}
}
