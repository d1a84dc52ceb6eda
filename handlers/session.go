package handlers

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// sessionTime is how long a sign-in to the console lasts.
const sessionTime = 8 * time.Hour

// sessions makes and checks the cookies of the console. A cookie holds when it
// ends and a number of its own, under a key that is made from the admin token: any
// replica can check it, and a new admin token ends all sessions. Those that
// somebody signed out of are kept in the store until their time.
type sessions struct {
	key []byte
	now func() time.Time
}

func newSessions(adminToken string, now func() time.Time) sessions {
	key, err := hkdf.Key(sha256.New, []byte(adminToken), nil, "oktasync console session", sha256.Size)
	if err != nil {
		panic(err) // sha256 gives as many bytes
	}
	return sessions{key, now}
}

// A session's cookie is base64 of these bytes: its end in seconds, a random
// number, and the HMAC of both.
const (
	sessionEnd    = 8
	sessionNumber = 16
	sessionBody   = sessionEnd + sessionNumber
)

func (s sessions) mac(body []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(body)
	return h.Sum(nil)
}

// start returns the value of a new session's cookie, and its end.
func (s sessions) start() (string, time.Time) {
	end := s.now().Add(sessionTime).Truncate(time.Second)
	body := make([]byte, sessionBody)
	binary.BigEndian.PutUint64(body, uint64(end.Unix()))
	rand.Read(body[sessionEnd:])
	return base64.RawURLEncoding.EncodeToString(append(body, s.mac(body)...)), end
}

// open returns the number of the session that a cookie is of, and its end; not
// ok if it was never given out, or is over.
func (s sessions) open(value string) (number string, end time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) != sessionBody+sha256.Size || !hmac.Equal(b[sessionBody:], s.mac(b[:sessionBody])) {
		return "", time.Time{}, false
	}
	end = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	return base64.RawURLEncoding.EncodeToString(b[sessionEnd:sessionBody]), end, s.now().Before(end)
}

// The names of the session's cookie. Over https it has the prefix by which
// browsers promise that this host alone set it.
const (
	plainCookie = "oktasync"
	hostCookie  = "__Host-oktasync"
)

// sessionCookie returns the session's cookie, without its value. That the page
// came over https a proxy may leave unsaid, but the browser tells.
func sessionCookie(c echo.Context) *http.Cookie {
	cookie := &http.Cookie{Name: plainCookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if c.Scheme() == "https" || strings.HasPrefix(c.Request().Header.Get("Origin"), "https://") {
		cookie.Name, cookie.Secure = hostCookie, true
	}
	return cookie
}

// admin lets calls of operators through: with the admin token, or with the
// cookie of a session of the console.
func (a *api) admin(next echo.HandlerFunc) echo.HandlerFunc {
	byToken := a.bearer("admin", a.AdminToken)(next)
	return func(c echo.Context) error {
		if showsToken(c) {
			return byToken(c)
		}
		if _, _, err := a.signedIn(c); err != nil {
			return err
		}
		if err := sameOrigin(c.Request()); err != nil {
			return err
		}
		return next(c)
	}
}

// showsToken tells whether a call comes with a token. A proxy before the console
// may have credentials of its own in the same header.
func showsToken(c echo.Context) bool {
	scheme, _, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
	return strings.EqualFold(scheme, "Bearer")
}

// still tells whether a call that lasts may go on: not if it came with a cookie
// whose session is over by now.
func (a *api) still(c echo.Context) error {
	if showsToken(c) {
		return nil
	}
	_, _, err := a.signedIn(c)
	return err
}

// signedIn returns the session that the call belongs to.
func (a *api) signedIn(c echo.Context) (number string, end time.Time, err error) {
	cookie, err := c.Cookie(hostCookie)
	if err != nil {
		cookie, err = c.Cookie(plainCookie)
	}
	if err != nil || a.AdminToken == "" {
		return "", time.Time{}, tokenError{"admin"}
	}
	number, end, ok := a.sessions.open(cookie.Value)
	if !ok {
		return "", time.Time{}, tokenError{"admin"}
	}
	switch over, err := a.engine.SignedOut(c.Request().Context(), number); {
	case err != nil:
		return "", time.Time{}, fmt.Errorf("look up a session: %w", err)
	case over:
		return "", time.Time{}, tokenError{"admin"}
	}
	return number, end, nil
}

// crossOrigin refuses what another site had a browser send.
var crossOrigin = http.NewCrossOriginProtection()

// sameOrigin refuses a call that changes something unless a page of this host
// sent it: a cookie goes with what any page sends. A browser always tells where
// a call comes from; what carries a cookie and does not is no browser of today.
func sameOrigin(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return nil
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return errCrossOrigin
	}
	if err := crossOrigin.Check(r); err != nil {
		return errCrossOrigin
	}
	return nil
}

type signInRequest struct {
	Token string `json:"token" validate:"required,max=4096"`
}

// signIn starts a session of the console.
func (a *api) signIn(c echo.Context) error {
	// Another site must not sign a browser in, to see what its user then does.
	if err := crossOrigin.Check(c.Request()); err != nil {
		return errCrossOrigin
	}
	var req signInRequest
	if err := decode(c, &req, strict); err != nil {
		return err
	}
	if err := invalid(check(&req)); err != nil {
		return err
	}
	if err := a.show(c, "admin", strings.TrimSpace(req.Token), a.AdminToken); err != nil {
		return err
	}
	cookie := sessionCookie(c)
	cookie.Value, cookie.Expires = a.sessions.start()
	c.SetCookie(cookie)
	a.Log.Info("an operator signed in to the console", "address", c.RealIP())
	return c.NoContent(http.StatusNoContent)
}

// session tells until when the session of the call lasts.
func (a *api) session(c echo.Context) error {
	_, end, err := a.signedIn(c)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]time.Time{"until": end.UTC()})
}

// signOut ends the session: its cookie is good for nothing from now on, wherever
// it may have been copied to.
func (a *api) signOut(c echo.Context) error {
	number, end, err := a.signedIn(c)
	if err != nil {
		return err
	}
	if err := sameOrigin(c.Request()); err != nil {
		return err
	}
	if err := a.engine.SignOut(c.Request().Context(), number, time.Until(end)); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	cookie := sessionCookie(c)
	cookie.MaxAge = -1
	c.SetCookie(cookie)
	return c.NoContent(http.StatusNoContent)
}
