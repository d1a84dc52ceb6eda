package okta

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"syscall"
)

var hostname = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ParseOrgURL checks the URL of an org and brings it into one form: scheme and
// host, nothing after. allowInsecure lets in http, ports, and private addresses.
func ParseOrgURL(raw string, allowInsecure bool) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" {
		return "", errors.New("org URL: empty; give one like https://example.okta.com")
	}
	if len(raw) > 512 {
		return "", errors.New("org URL: longer than 512 bytes")
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("org URL: not a URL; give one like https://example.okta.com") // err would repeat what may hold a password
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname())
	switch {
	case scheme != "https" && scheme != "http":
		return "", errors.New("org URL: the scheme must be https")
	case scheme == "http" && !allowInsecure:
		return "", errors.New("org URL: http would show the API token to everyone on the way; use https, or allow insecure orgs")
	case u.User != nil:
		return "", errors.New("org URL: must not hold a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#"):
		return "", errors.New("org URL: must end after the host, without query or fragment")
	case u.Opaque != "" || u.Path != "" && u.Path != "/":
		return "", errors.New("org URL: must end after the host, without a path")
	case host == "":
		return "", errors.New("org URL: no host")
	}
	port := u.Port()
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	if port != "" && !allowInsecure {
		return "", fmt.Errorf("org URL: Okta listens on port 443, not %s; leave the port out", port)
	}

	if addr, err := netip.ParseAddr(host); err == nil {
		if !allowInsecure && !public(addr) {
			return "", fmt.Errorf("org URL: %s is not a public address", host)
		}
		if addr.Zone() != "" {
			return "", errors.New("org URL: an address must not have a zone")
		}
		if addr.Is6() {
			host = "[" + host + "]"
		}
	} else if err := checkName(host, allowInsecure); err != nil {
		return "", err
	}
	if port != "" {
		host += ":" + port
	}
	return scheme + "://" + host, nil
}

func checkName(host string, allowInsecure bool) error {
	if len(host) > 253 || !hostname.MatchString(host) {
		return errors.New("org URL: not a host name; give one like https://example.okta.com")
	}
	first, rest, dotted := strings.Cut(host, ".")
	if strings.HasSuffix(first, "-admin") && strings.Contains(rest, "okta") {
		return fmt.Errorf("org URL: this is the address of the admin console; use https://%s.%s", strings.TrimSuffix(first, "-admin"), rest)
	}
	if allowInsecure {
		return nil
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		// Some resolvers take 127.1 or 0x7f.1 for addresses.
		return errors.New("org URL: not a host name; give one like https://example.okta.com")
	}
	switch last {
	case "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "arpa":
		return fmt.Errorf("org URL: .%s names are private; an org has a public one", last)
	}
	if !dotted {
		return errors.New("org URL: the host must be a full domain name, like example.okta.com")
	}
	return nil
}

// Ranges that netip's own predicates do not name, none of them a public host's.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),        // IPv4-compatible
	netip.MustParsePrefix("64:ff9b::/96"), // NAT64: an IPv4 address in disguise
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/32"), // Teredo, likewise
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4, likewise
	netip.MustParsePrefix("fec0::/10"),
}

// public tells whether an address can be that of an org.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// refusePrivate is a Control of net.Dialer: the last word on an address, after
// the name was resolved, so that no name can lead inside.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !public(ap.Addr()) {
		return errPrivateAddress
	}
	return nil
}

var errPrivateAddress = errors.New("the org's name leads to a private address, which is refused unless insecure orgs are allowed")
