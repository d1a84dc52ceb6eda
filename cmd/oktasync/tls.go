package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// encryption is how the service speaks TLS by itself, without a proxy.
type encryption struct {
	CertFile string `name:"tls-cert-file" env:"OKTASYNC_TLS_CERT_FILE" placeholder:"PATH" help:"Certificate and its chain, PEM; then the service speaks https. A renewed file is taken without a restart."`
	KeyFile  string `name:"tls-key-file" env:"OKTASYNC_TLS_KEY_FILE" placeholder:"PATH" help:"Key of the certificate, PEM."`
}

func (e encryption) validate() error {
	if (e.CertFile == "") != (e.KeyFile == "") {
		return errors.New("of OKTASYNC_TLS_CERT_FILE and OKTASYNC_TLS_KEY_FILE only one is set: https needs both")
	}
	return nil
}

// over returns l as it is if no certificate is named, else with TLS over it.
func (e encryption) over(l net.Listener, log *slog.Logger) (net.Listener, error) {
	if e.CertFile == "" {
		return l, nil
	}
	c := &certificate{encryption: e, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"}, // what the bounds of the edge are tested with
		GetCertificate: c.get,
	}), nil
}

// retryCertificate is how long files that were refused are left alone, if they
// look the same: a renewal writes one after the other.
const retryCertificate = 5 * time.Second

// certificate is a pair of files, read again when they change. While a pair is
// refused, the one before it is served.
type certificate struct {
	encryption
	log *slog.Logger

	mu       sync.Mutex
	pair     *tls.Certificate
	seen     [2]os.FileInfo // the files that were last read
	triedAt  time.Time
	accepted bool
}

// get looks at the files at each handshake: two looks cost less than one
// signature, and nothing has to be told of a renewal.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, err := c.stat()
	unchanged := err == nil && same(seen, c.seen)
	if c.accepted && unchanged {
		return c.pair, nil
	}
	if !c.accepted && (unchanged || err != nil) && time.Since(c.triedAt) < retryCertificate {
		return c.pair, nil // refused a moment ago, and the log says so
	}
	if err := c.load(); err != nil {
		c.log.Error("the renewed TLS certificate cannot be used; the one before it is served on", "err", err)
	}
	return c.pair, nil
}

// load reads the files. It notes their look first: a change after that is seen.
func (c *certificate) load() error {
	c.triedAt, c.accepted = time.Now(), false
	seen, err := c.stat()
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	c.seen = seen
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.CertFile, c.KeyFile, err)
	}
	c.pair, c.accepted = &pair, true
	c.log.Info("TLS certificate read", "file", c.CertFile, "names", pair.Leaf.DNSNames, "until", pair.Leaf.NotAfter)
	if time.Now().After(pair.Leaf.NotAfter) {
		c.log.Warn("the TLS certificate has expired: Okta refuses it, and sends no events", "file", c.CertFile, "until", pair.Leaf.NotAfter)
	}
	return nil
}

func (c *certificate) stat() (seen [2]os.FileInfo, err error) {
	for i, path := range []string{c.CertFile, c.KeyFile} {
		if seen[i], err = os.Stat(path); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if b[i] == nil || !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}
