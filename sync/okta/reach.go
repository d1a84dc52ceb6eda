package okta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// reachTime is how long Reach tries.
const reachTime = 15 * time.Second

// Fault is where on the way to an org something fails.
type Fault string

// The parts of the way, in order.
const (
	FaultName        Fault = "name"        // it does not resolve
	FaultPrivate     Fault = "private"     // it leads to an address that no org has
	FaultConnection  Fault = "connection"  // nobody answers there
	FaultCertificate Fault = "certificate" // it is not the org's, or who signed it is not known here
	FaultTLS         Fault = "tls"         // no encrypted connection comes about
)

// UnreachableError is an org that cannot be connected to.
type UnreachableError struct {
	Fault Fault
	cause error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the org cannot be reached (%s): %s", e.Fault, bounded(e.cause.Error()))
}

// Unwrap gives what failed.
func (e *UnreachableError) Unwrap() error { return e.cause }

// Reach connects to the org as reads do, and sends nothing: no call, no token. What
// fails is an *UnreachableError.
func (c *Client) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	port := c.org.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[c.org.Scheme]
	}
	conn, err := c.transport.base.DialContext(ctx, "tcp", net.JoinHostPort(c.org.Hostname(), port))
	if err != nil {
		fault := FaultConnection
		switch name := (*net.DNSError)(nil); {
		case errors.Is(err, errPrivateAddress):
			fault = FaultPrivate
		case errors.As(err, &name):
			fault = FaultName
		}
		return &UnreachableError{fault, err}
	}
	defer conn.Close()
	if c.org.Scheme != "https" {
		return nil
	}
	cfg := c.transport.base.TLSClientConfig.Clone()
	cfg.ServerName = c.org.Hostname()
	if err := tls.Client(conn, cfg).HandshakeContext(ctx); err != nil {
		fault := FaultTLS
		if wrong := (*tls.CertificateVerificationError)(nil); errors.As(err, &wrong) {
			fault = FaultCertificate
		}
		return &UnreachableError{fault, err}
	}
	return nil
}
