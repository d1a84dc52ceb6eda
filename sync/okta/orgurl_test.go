package okta

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseOrgURL(t *testing.T) {
	for raw, want := range map[string]string{
		"https://example.okta.com":          "https://example.okta.com",
		" Example.Okta.com/ ":               "https://example.okta.com",
		"example.oktapreview.com":           "https://example.oktapreview.com",
		"https://example.okta-emea.com/":    "https://example.okta-emea.com",
		"https://example.okta-gov.com":      "https://example.okta-gov.com",
		"https://example.trex-govcloud.com": "https://example.trex-govcloud.com",
		"HTTPS://id.example.org:443":        "https://id.example.org",
		"https://login-admin.example.org":   "https://login-admin.example.org",
		"https://8.8.8.8":                   "https://8.8.8.8",
		"https://[2606:4700:4700::1111]":    "https://[2606:4700:4700::1111]",
		"https://xn--bcher-kva.example.org": "https://xn--bcher-kva.example.org",
	} {
		if got, err := ParseOrgURL(raw, false); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", raw, got, err, want)
		}
	}
	insecure := map[string]string{
		"http://127.0.0.1:8080":   "http://127.0.0.1:8080",
		"http://localhost":        "http://localhost",
		"http://[::1]:99/":        "http://[::1]:99",
		"https://okta.internal":   "https://okta.internal",
		"https://10.1.2.3:8443":   "https://10.1.2.3:8443",
		"example.okta.com:8443":   "https://example.okta.com:8443",
		"http://example.okta.com": "http://example.okta.com",
	}
	for raw, want := range insecure {
		if got, err := ParseOrgURL(raw, true); err != nil || got != want {
			t.Errorf("insecure %q: %q, %v, want %q", raw, got, err, want)
		}
		if got, err := ParseOrgURL(raw, false); err == nil {
			t.Errorf("%q: %q, but insecure orgs are not allowed", raw, got)
		}
	}
	for _, raw := range []string{
		"", "  ", "https://", "ftp://example.okta.com", "file:///etc/passwd", "https:example.okta.com",
		"https://example.okta.com/app", "https://example.okta.com?x=1", "https://example.okta.com?", "https://example.okta.com#f", "https://example.okta.com#",
		"https://user@example.okta.com", "https://user:hunter2@example.okta.com", "https://user:hunter2@exa mple.okta.com",
		"https://example-admin.okta.com", "https://example-admin.oktapreview.com",
		"https://exam_ple.okta.com", "https://exam ple.okta.com", "https://-a.okta.com", "https://a..okta.com", "https://example.okta.com.",
		"https://bücher.example.org", "https://%31.okta.com", "https://[fe80::1%25eth0]", "javascript://example.okta.com/%0aalert(1)",
		"https://" + strings.Repeat("a.", 300) + "com",
	} {
		for _, insecure := range []bool{false, true} {
			got, err := ParseOrgURL(raw, insecure)
			if err == nil {
				t.Errorf("%q: %q", raw, got)
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: the error shows the password: %v", raw, err)
			}
		}
	}
	for _, host := range []string{
		"localhost", "a.localhost", "okta", "okta.local", "okta.internal", "nas.home.arpa", "127.1", "0x7f.1", "2130706433", "0x7f000001", "0177.0.0.1",
		"127.0.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1",
		"[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[ff02::1]", "[::ffff:10.0.0.1]", "[::ffff:127.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "[::7f00:1]", "[fd00:ec2::254]",
	} {
		if got, err := ParseOrgURL("https://"+host, false); err == nil {
			t.Errorf("%s: %q, which is private", host, got)
		}
	}
	if _, err := ParseOrgURL("https://acme-admin.okta.com", false); !strings.Contains(err.Error(), "https://acme.okta.com") {
		t.Errorf("no hint: %v", err)
	}
}

func FuzzParseOrgURL(f *testing.F) {
	f.Add("https://example.okta.com")
	f.Add("[::1]:80")
	f.Fuzz(func(t *testing.T, raw string) {
		for _, insecure := range []bool{false, true} {
			got, err := ParseOrgURL(raw, insecure)
			if err != nil {
				continue
			}
			again, err := ParseOrgURL(got, insecure)
			if err != nil || again != got {
				t.Errorf("%q gave %q, which gave %q, %v", raw, got, again, err)
			}
			if !insecure && !strings.HasPrefix(got, "https://") {
				t.Errorf("%q gave %q", raw, got)
			}
		}
	})
}

func TestRefusePrivate(t *testing.T) {
	for addr, ok := range map[string]bool{
		"8.8.8.8:443": true, "[2606:4700:4700::1111]:443": true,
		"127.0.0.1:443": false, "[::1]:443": false, "10.0.0.1:443": false, "169.254.169.254:80": false, "[fe80::1%eth0]:443": false, "nonsense": false,
	} {
		if err := refusePrivate("tcp", addr, nil); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address is public")
	}
}
