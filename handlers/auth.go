package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

// maxSecret bounds the header that a caller shows as a secret.
const maxSecret = 4096

// bearer lets only calls with the token through. Without a token set, none. A
// token that nobody can guess opens at any time: a script with an old one must
// not lock out those who share its address.
func (a *api) bearer(realm, token string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			scheme, shown, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
			if !strings.EqualFold(scheme, "Bearer") {
				return tokenError{realm}
			}
			long := len(token) >= hardToGuess && matches(shown, slices.Values([]string{token}))
			if !long {
				if err := a.show(c, realm, shown, token); err != nil {
					return err
				}
			}
			return next(c)
		}
	}
}

// show compares what a caller shows as a token with the token. Whoever guesses
// is soon not even compared any more.
func (a *api) show(c echo.Context, realm, shown, token string) error {
	from := caller{realm, network(c.RealIP())}
	if wait := a.attempts.wait(from); wait > 0 {
		return attemptsError{wait}
	}
	if !matches(shown, slices.Values([]string{token})) || token == "" {
		if a.attempts.failed(from) {
			a.Log.Warn("too many wrong tokens from one address: it is refused for a while", "realm", realm, "address", c.RealIP())
		}
		return tokenError{realm}
	}
	return nil
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

// hardToGuess is how many characters a token has that no number of guesses finds.
const hardToGuess = 20

// Wrong tokens that one address may show: many at once, as a script with an old
// token does, and then one in a while. The secrets of event hooks have no such
// limit: Okta's addresses are shared by all its customers, and what is refused
// is lost.
const (
	attemptsAtOnce = 20
	attemptsEvery  = 6 * time.Second
	maxAddresses   = 10_000 // that are remembered
)

// attempts counts wrong tokens by caller. What it remembers is bounded: the
// one who was quiet longest is forgotten first.
type attempts struct {
	byCaller *lru.Cache[caller, *rate.Limiter]
	now      func() time.Time
}

// caller is an address that shows tokens of a realm.
type caller struct {
	realm   string
	network netip.Prefix
}

func newAttempts(now func() time.Time) *attempts {
	cache, err := lru.New[caller, *rate.Limiter](maxAddresses)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	return &attempts{cache, now}
}

// wait tells how long the caller is refused; 0 if it is not.
func (at *attempts) wait(from caller) time.Duration {
	limiter, ok := at.byCaller.Get(from)
	if !ok {
		return 0
	}
	missing := 1 - limiter.TokensAt(at.now())
	return time.Duration(max(0, missing) * float64(attemptsEvery))
}

// failed counts a wrong token, and tells whether it was the last for a while.
func (at *attempts) failed(from caller) bool {
	fresh := rate.NewLimiter(rate.Every(attemptsEvery), attemptsAtOnce)
	limiter, known, _ := at.byCaller.PeekOrAdd(from, fresh)
	if !known {
		limiter = fresh
	}
	limiter.AllowN(at.now(), 1)
	return limiter.TokensAt(at.now()) < 1
}

// network is what counts as one address: of IPv6 the /64 that one customer gets.
// What is no address counts as one.
func network(address string) netip.Prefix {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// addresses tells how the address of a caller is found: the connection's, or what
// trusted proxies say in X-Forwarded-For.
func addresses(proxies []*net.IPNet) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, proxy := range proxies {
		trust = append(trust, echo.TrustIPRange(proxy))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}
