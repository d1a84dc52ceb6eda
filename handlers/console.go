package handlers

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// The console is static files: they hold nothing secret, and ask the API for all
// that they show, with the cookie of the session.
//
//go:embed console
var consoleFiles embed.FS

const consolePage = "index.html"

// consolePolicy lets the page load its own files and talk to its own host, and
// nothing else. What data brings can become neither script nor markup.
var consolePolicy = strings.Join([]string{
	"default-src 'none'",
	"script-src 'self'",
	"style-src 'self'",
	"img-src 'self'",
	"connect-src 'self'",
	"form-action 'none'",
	"base-uri 'none'",
	"frame-ancestors 'none'",
	"require-trusted-types-for 'script'",
	"trusted-types 'none'",
}, "; ")

// consoleTypes are the files that are served, by the ends of their names: the
// system's own table of types is not asked, it may be wrong.
var consoleTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// asset is a file of the console, as it is served.
type asset struct {
	name, kind, etag string
	content          []byte
}

// console adds the routes of the operators' console. Its page moves about behind
// the #, so that no path of it collides with those of the API.
func console(e *echo.Echo) {
	assets := consoleAssets()
	serve := func(c echo.Context, name string) error {
		a, ok := assets[name]
		if !ok {
			return echo.ErrNotFound
		}
		a.serve(c)
		return nil
	}
	methods := []string{http.MethodGet, http.MethodHead}
	e.Match(methods, "/admin", func(c echo.Context) error { return serve(c, consolePage) })
	e.Match(methods, "/admin/assets/*", func(c echo.Context) error { return serve(c, c.Param("*")) })
}

// consoleAssets reads what is embedded, once.
func consoleAssets() map[string]asset {
	assets := map[string]asset{}
	err := fs.WalkDir(consoleFiles, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind, ok := consoleTypes[path.Ext(name)]
		if !ok {
			return nil
		}
		content, err := consoleFiles.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		short := strings.TrimPrefix(name, "console/")
		assets[short] = asset{short, kind, fmt.Sprintf("%q", base64.RawURLEncoding.EncodeToString(sum[:12])), content}
		return nil
	})
	if err != nil {
		panic(err) // the files are in the binary
	}
	return assets
}

// serve answers with the file. A browser asks each time whether its copy is still
// good: after an update no old part meets a new one.
func (a asset) serve(c echo.Context) {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, a.kind)
	h.Set(echo.HeaderCacheControl, "no-cache")
	h.Set("ETag", a.etag)
	h.Set(echo.HeaderContentSecurityPolicy, consolePolicy)
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	h.Set(echo.HeaderXFrameOptions, "DENY")
	h.Set(echo.HeaderReferrerPolicy, "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	http.ServeContent(c.Response(), c.Request(), a.name, time.Time{}, bytes.NewReader(a.content))
}
