package okta

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// ErrMalformed is a delivery or an event that cannot be understood.
var ErrMalformed = errors.New("malformed")

// Codes of Okta's errors that the code tells apart.
const (
	codeNotFound      = "E0000007" // the object; E0000008 is an unknown path
	codeFeature       = "E0000015"
	codeInvalid       = "E0000001"
	codeInvalidSearch = "E0000031"
	codeInvalidFilter = "E0000053"
)

// Error is a call that failed.
type Error struct {
	Verb      string   // what was tried; "" is read
	What      string   // with what, such as "members of group 00g…"
	Status    int      // of the last answer; 0 if none was usable
	Code      string   // Okta's errorCode
	Summary   string   // Okta's errorSummary, or what was wrong
	Causes    []string // Okta's errorCauses, of a call that was to write
	RequestID string   // X-Okta-Request-Id, for Okta's support

	cause error // of the caller's context, or one of this package
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", cmp.Or(e.Verb, "read"), e.What)
	switch {
	case e.Status == 0:
		b.WriteString(e.Summary)
	default:
		fmt.Fprintf(&b, "Okta answered %d", e.Status)
		if e.Code != "" {
			b.WriteString(" " + e.Code)
		}
		if said := e.Said(); said != "" {
			fmt.Fprintf(&b, " (%s)", said)
		}
	}
	if e.RequestID != "" {
		b.WriteString(", request " + e.RequestID)
	}
	if r := e.remedy(); r != "" {
		b.WriteString(": " + r)
	}
	return b.String()
}

// Said is what Okta said of the failure, in its words.
func (e *Error) Said() string { return strings.Join(append([]string{e.Summary}, e.Causes...), "; ") }

// Unwrap gives the error of the caller's context, if that is what ended the
// read, or ErrEndlessPaging.
func (e *Error) Unwrap() error { return e.cause }

func (e *Error) remedy() string {
	switch {
	case e.Code == codeFeature:
		return "the org lacks the feature, or it is switched off"
	case e.Status == http.StatusUnauthorized:
		return "the API token is invalid, expired or revoked; create a new one and register it"
	case e.Status == http.StatusForbidden && e.Verb != "":
		return "the admin role of the API token's owner does not allow this"
	case e.Verb != "" && (e.Status == 0 || e.Status >= 500):
		return "whether Okta did it is not known: look, and do it again if not"
	case e.Status == http.StatusForbidden:
		return "the admin role of the API token's owner does not allow this read; give it one that does, such as Read-only Administrator"
	case e.Status == http.StatusNotFound && e.Code != codeNotFound:
		return "no such path; check the org URL"
	case e.Status >= 300 && e.Status < 400:
		return "redirects are not followed; give the address that the org itself answers on as org URL"
	case e.Status >= 500:
		return "Okta failed; the next run tries again"
	}
	return ""
}

// RateLimitError is a read given up since the rate limit left no room for it.
type RateLimitError struct {
	Verb  string // as of Error
	What  string
	Limit int       // calls a window; 0: the limit of concurrent calls
	Reset time.Time // when the window ends, by the local clock; may be zero

	cause error
}

func (e *RateLimitError) Error() string {
	s := fmt.Sprintf("%s %s: given up, ", cmp.Or(e.Verb, "read"), e.What)
	if e.Limit == 0 {
		s += "the org has too many calls at once"
	} else {
		s += fmt.Sprintf("the rate limit (%d calls a window) is used up", e.Limit)
	}
	if !e.Reset.IsZero() {
		s += ", free again at " + e.Reset.UTC().Format(time.RFC3339)
	}
	return s + ": run again later, or find what else calls the org"
}

// Unwrap gives the error of the caller's context, if that is what ended the wait.
func (e *RateLimitError) Unwrap() error { return e.cause }

// IsUnauthorized tells whether Okta refused the token itself.
func IsUnauthorized(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusUnauthorized && e.Code != codeFeature
}

// IsForbidden tells whether the token may not read this.
func IsForbidden(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusForbidden
}

// IsTemporary tells whether the same read may do better a while later: Okta
// failed, had no room, or what it sent was cut off.
func IsTemporary(err error) bool {
	var limited *RateLimitError
	if errors.As(err, &limited) {
		return true
	}
	var e *Error
	return errors.As(err, &e) && (e.Status >= http.StatusInternalServerError || e.Status == 0 && e.cause == nil)
}

// IsNotFound tells whether Okta said that the object, or the one that owns the
// list, does not exist.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound && e.Code == codeNotFound
}

// bounded makes a text of Okta's fit for an error message.
func bounded(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
