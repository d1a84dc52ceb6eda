package handlers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
)

// consoleServer serves the console alone.
func consoleServer(t *testing.T) *httptest.Server {
	t.Helper()
	e := echo.New()
	console(e)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return server
}

func fetch(t *testing.T, method, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// Every file is served with its type, and may load and be shown nowhere but here.
func TestConsoleIsServedUnderAStrictPolicy(t *testing.T) {
	server := consoleServer(t)
	paths := map[string]string{"/admin": "text/html; charset=utf-8"}
	for name, a := range consoleAssets() {
		paths["/admin/assets/"+name] = a.kind
	}
	for _, want := range []string{"app.js", "style.css", "icon.svg", "lib/cytoscape.esm.min.mjs", "lib/cytoscape.LICENSE.txt"} {
		if paths["/admin/assets/"+want] == "" {
			t.Errorf("%s is not served", want)
		}
	}
	for path, kind := range paths {
		resp, body := fetch(t, "GET", server.URL+path, nil)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: %s, %s, %d bytes", path, resp.Status, resp.Header.Get("Content-Type"), len(body))
		}
		for name, want := range map[string]string{
			"Content-Security-Policy":    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
			"X-Content-Type-Options":     "nosniff",
			"Referrer-Policy":            "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Cache-Control":              "no-cache",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		// A copy that is still good is not sent again.
		again, body := fetch(t, "GET", server.URL+path, http.Header{"If-None-Match": {resp.Header.Get("ETag")}})
		if again.StatusCode != http.StatusNotModified || body != "" {
			t.Errorf("%s again: %s, %d bytes", path, again.Status, len(body))
		}
		if head, body := fetch(t, "HEAD", server.URL+path, nil); head.StatusCode != http.StatusOK || body != "" {
			t.Errorf("HEAD %s: %s", path, head.Status)
		}
	}
	for _, path := range []string{"/admin/assets/", "/admin/assets/lib", "/admin/assets/lib/README.md", "/admin/assets/../console.go",
		"/admin/assets/%2e%2e/console.go", "/admin/assets/nothing.js"} {
		if resp, _ := fetch(t, "GET", server.URL+path, nil); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// What a page refers to by an address exists, and nothing is loaded from elsewhere.
func TestConsoleRefersOnlyToItself(t *testing.T) {
	assets := consoleAssets()
	refers := regexp.MustCompile(`(?:src|href)="([^"#]+)"|(?:from|import)\(? ?'([^']+)'`)
	seen := 0
	for name, a := range assets {
		if strings.HasPrefix(name, "lib/") {
			continue
		}
		text := string(a.content)
		for _, m := range refers.FindAllStringSubmatch(text, -1) {
			seen++
			target := strings.TrimPrefix(m[1], "/admin/assets/")
			if m[2] != "" {
				target = path.Join(path.Dir(name), m[2])
			}
			if _, ok := assets[target]; !ok {
				t.Errorf("%s refers to %s, which is not served", name, m[1]+m[2])
			}
		}
		for _, never := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage", "sessionStorage",
			"https://", "<style", " style=", "onclick=\""} {
			if strings.Contains(text, never) {
				t.Errorf("%s holds %s", name, never)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d references found: the pattern does not fit any more", seen)
	}
}

// The library is the one that lib/README.md names, byte for byte.
func TestVendoredLibraryIsTheOneNamed(t *testing.T) {
	readme, err := os.ReadFile("console/lib/README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^(\S+): .* npm's cytoscape (\S+), .* sha256 ([0-9a-f]{64})$`).FindStringSubmatch(string(readme))
	if m == nil {
		t.Fatalf("no file, version and sha256 in %q", readme)
	}
	lib := consoleAssets()["lib/"+m[1]].content
	if sum := sha256.Sum256(lib); hex.EncodeToString(sum[:]) != m[3] {
		t.Errorf("%s has the sha256 %x", m[1], sum)
	}
	if !strings.Contains(string(lib), fmt.Sprintf("version=%q", m[2])) {
		t.Errorf("%s is not of the version %s", m[1], m[2])
	}
}
