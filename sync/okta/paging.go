package okta

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// ErrEndlessPaging is a list whose next link came up before.
var ErrEndlessPaging = errors.New("endless paging: Okta gave a next link a second time")

// LinkGuard finds a list that runs in circles. The zero value is ready; each
// list has its own. It holds one link however long the list is, and moves it up
// at every power of two: so any circle is found, at the latest after three
// times the way into and around it.
type LinkGuard struct {
	mark  string
	steps uint64
	next  uint64
}

// Check takes the next link of a page, before it is followed.
func (g *LinkGuard) Check(link string) error {
	if link == "" {
		return nil
	}
	if link == g.mark {
		return ErrEndlessPaging
	}
	g.steps++
	if g.steps >= g.next {
		g.mark, g.next = link, 2*g.steps
	}
	return nil
}

// nextLink returns the URL of rel="next" in Link header lines, which may hold
// one link each, as Okta writes them, or several with commas, as proxies do.
func nextLink(lines []string) (string, error) {
	next := ""
	for _, line := range lines {
		for line = trimSeparators(line); line != ""; line = trimSeparators(line) {
			if line[0] != '<' {
				return "", errors.New("a Link header that cannot be understood")
			}
			target, rest, ok := strings.Cut(line[1:], ">")
			if !ok {
				return "", errors.New("a Link header that cannot be understood")
			}
			var params string
			params, line = cutUnquoted(rest)
			if !isNext(params) {
				continue
			}
			if next != "" && next != target || target == "" {
				return "", errors.New("next links that contradict each other")
			}
			next = target
		}
	}
	return next, nil
}

func trimSeparators(s string) string { return strings.TrimLeft(s, " \t,") }

// cutUnquoted cuts at the first comma outside quotes.
func cutUnquoted(s string) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func isNext(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
	}
	return false
}

const apiPath = "/api/v1/"

// localPath checks that a link leads to the org's own API and returns what
// follows the host, byte for byte: the cursor in it is Okta's.
func (c *Client) localPath(link string) (string, error) {
	const most = 16 << 10
	if len(link) > most {
		return "", fmt.Errorf("a next link longer than %d bytes", most)
	}
	u, err := url.Parse(link)
	if err != nil {
		return "", errors.New("a next link that is no URL")
	}
	port := u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	if u.Scheme != c.org.Scheme || !strings.EqualFold(u.Hostname(), c.org.Hostname()) || port != c.org.Port() || u.User != nil {
		return "", errors.New("a next link that leads away from the org: the token is not sent there")
	}
	if !strings.HasPrefix(u.Path, apiPath) || !strings.HasPrefix(path.Clean(u.Path)+"/", apiPath) || u.Fragment != "" {
		return "", errors.New("a next link that leads away from the org's API")
	}
	after := link[strings.Index(link, "://")+len("://"):]
	return after[strings.IndexByte(after, '/'):], nil
}
