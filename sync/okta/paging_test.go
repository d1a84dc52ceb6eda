package okta

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNextLink(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  string
		bad   bool
	}{
		{nil, "", false},
		{[]string{""}, "", false},
		{[]string{`<https://a/1>; rel="self"`}, "", false},
		{[]string{`<https://a/1>; rel="self"`, `<https://a/2>; rel="next"`}, "https://a/2", false},
		{[]string{`<https://a/2>; rel="next"`, `<https://a/1>; rel="self"`}, "https://a/2", false},
		{[]string{`<https://a/1>; rel="self", <https://a/2>; rel="next"`}, "https://a/2", false},
		{[]string{`<https://a/2?x=1,2;3>;title="a, <b>; rel=\"next\"";rel=self,<https://a/3?x=1,2>;rel=next`}, "https://a/3?x=1,2", false},
		{[]string{`<https://a/2>; REL="prev Next"`}, "https://a/2", false},
		{[]string{`<https://a/2>; rel="next"`, `<https://a/2>; rel="next"`}, "https://a/2", false},
		{[]string{`<https://a/2>; rel="next"`, `<https://a/3>; rel="next"`}, "", true},
		{[]string{`<>; rel="next"`}, "", true},
		{[]string{`<https://a/2; rel="next"`}, "", true},
		{[]string{`https://a/2; rel="next"`}, "", true},
	} {
		got, err := nextLink(tt.lines)
		if got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: %q, %v", tt.lines, got, err)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	f.Add(`<https://a/1>; rel="self", <https://a/2>; rel="next"`)
	f.Add(`<a>;rel="\"`)
	f.Fuzz(func(t *testing.T, line string) {
		if next, err := nextLink([]string{line}); err == nil && next != "" && !strings.Contains(line, "<"+next+">") {
			t.Errorf("%q gave %q", line, next)
		}
	})
}

func FuzzLocalPath(f *testing.F) {
	f.Add("https://example.okta.com/api/v1/users?after=x")
	f.Add("https://example.okta.com:443/api/v1/%2e%2e/x")
	u, _ := url.Parse("https://example.okta.com")
	c := &Client{org: u}
	f.Fuzz(func(t *testing.T, link string) {
		path, err := c.localPath(link)
		if err != nil {
			return
		}
		to, err := url.Parse("https://example.okta.com" + path)
		if err != nil || to.Host != "example.okta.com" || to.User != nil || !strings.HasPrefix(to.Path, apiPath) || !strings.HasSuffix(link, path) {
			t.Errorf("%q leads to %v, %v", link, to, err)
		}
	})
}

func TestLinkGuardFindsAnyCircleAndNoOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lead, circle := rapid.IntRange(0, 60).Draw(t, "lead"), rapid.IntRange(1, 60).Draw(t, "circle")
		var g LinkGuard
		for i := range 3*(lead+circle) + 3 {
			n := i
			if n >= lead {
				n = lead + (n-lead)%circle
			}
			if err := g.Check(fmt.Sprint("link", n)); err != nil {
				if i < lead+circle {
					t.Fatalf("step %d of a way of %d and a circle of %d", i, lead, circle)
				}
				return
			}
		}
		t.Fatalf("a way of %d and a circle of %d was not found", lead, circle)
	})
}
