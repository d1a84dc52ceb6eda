package convert

import (
	"net"
	"net/url"
	"slices"
	"strings"
)

// Org is what the configured URL and name of an Okta org say about its account.
type Org struct {
	URL       string // scheme and host, no slash: the account's webLink
	AccountID string // the host, with a port if it is an odd one
	Name      string
	Preview   bool
	AdminURL  string // what links to the admin console start with, no slash
}

// oktaDomains are the domains under which Okta hosts orgs.
var oktaDomains = []string{"okta.com", "oktapreview.com", "okta-emea.com", "okta-gov.com"}

// NewOrg derives the account from the org's URL, written in whatever way: with
// or without scheme, path, slash, upper case, and of the admin console or not.
// So the account's key does not change with the spelling.
//
// The name is used where the URL has none: outside okta.com and
// oktapreview.com. Okta's own domains have the admin console at
// <label>-admin; of a custom domain that host cannot be known, so links lead to
// the custom domain itself rather than to a host that may be somebody else's.
func NewOrg(orgURL, name string) Org {
	scheme, host := splitURL(orgURL)
	label, domain, _ := strings.Cut(host, ".")
	admin := host
	ours := slices.ContainsFunc(oktaDomains, func(d string) bool {
		return domain == d || strings.HasSuffix(domain, "."+d)
	})
	if ours {
		label = strings.TrimSuffix(label, "-admin")
		host, admin = label+"."+domain, label+"-admin."+domain
	}
	switch {
	case domain == "okta.com", domain == "oktapreview.com", name == "" && ours:
		name = label
	case name == "":
		name = host
	}
	return Org{
		URL:       scheme + "://" + host,
		AccountID: host,
		Name:      name,
		Preview:   domain == "oktapreview.com",
		AdminURL:  scheme + "://" + admin,
	}
}

// AccountKey is the _key of the okta_account.
func (o Org) AccountKey() string { return "okta_account_" + o.AccountID }

func (o Org) adminLink(parts ...string) string {
	link := o.AdminURL + "/admin"
	for _, part := range parts {
		link += "/" + url.PathEscape(part)
	}
	return link
}

// splitURL returns scheme and host in lower case. The port stays if it is not
// the scheme's own.
func splitURL(text string) (scheme, host string) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		_, rest, _ := strings.Cut(text, "://")
		host, _, _ = strings.Cut(rest, "/")
		return "https", strings.ToLower(host)
	}
	scheme = strings.ToLower(u.Scheme)
	host = strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch port := u.Port(); {
	case port != "" && !(scheme == "https" && port == "443") && !(scheme == "http" && port == "80"):
		host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return scheme, host
}
