package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// healthcheckCmd is for the container, whose image has no shell and no curl. It
// takes the settings of serve, so that it asks where serve listens.
type healthcheckCmd struct {
	Listen   string `default:":8080" env:"OKTASYNC_LISTEN" help:"Address that the service listens on."`
	CertFile string `name:"tls-cert-file" env:"OKTASYNC_TLS_CERT_FILE" hidden:""`
}

// Run asks the service of this machine whether it is ready.
func (cmd healthcheckCmd) Run(ctx context.Context) error {
	host, port, err := net.SplitHostPort(cmd.Listen)
	if err != nil {
		return usageError{fmt.Errorf("OKTASYNC_LISTEN: %w", err)}
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	scheme := "http"
	if cmd.CertFile != "" {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	// The certificate is that of the public name, not of this address; nothing
	// secret is sent, and nothing but the status is taken.
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the service does not answer: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the service is not ready: %s; /healthz says why", resp.Status)
	}
	return nil
}
