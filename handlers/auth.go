package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
	"iter"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// maxSecret bounds the header that a caller shows as a secret.
const maxSecret = 4096

// bearer lets only calls with the token through. Without a token set, none.
func bearer(realm, token string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			scheme, shown, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
			ok := matches(shown, slices.Values([]string{token}))
			if !strings.EqualFold(scheme, "Bearer") || token == "" || !ok {
				return tokenError{realm}
			}
			return next(c)
		}
	}
}

// matches tells whether shown is one of the secrets. It looks at each of them
// to its end, whatever it finds, and compares hashes: how long it takes tells
// nothing of a secret, not even how many characters were right. An empty or
// over-long header matches nothing, but costs the same.
func matches(shown string, secrets iter.Seq[string]) bool {
	usable := subtle.ConstantTimeLessOrEq(1, len(shown)) & subtle.ConstantTimeLessOrEq(len(shown), maxSecret)
	a := sha256.Sum256([]byte(shown[:min(len(shown), maxSecret)]))
	found := 0
	for secret := range secrets {
		b := sha256.Sum256([]byte(secret))
		found |= subtle.ConstantTimeCompare(a[:], b[:])
	}
	return usable&found == 1
}
