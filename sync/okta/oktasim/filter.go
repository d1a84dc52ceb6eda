package oktasim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// filter is a parsed SCIM-like expression; nil matches everything.
type filter func(get func(attr string) (string, bool)) bool

// attrs tells which attributes an endpoint filters by: the operators of each.
type attrs func(attr string) (ops []string, isTime bool)

var (
	opsEq   = []string{"eq"}
	opsTime = []string{"eq", "gt", "ge", "lt", "le"}
	opsText = []string{"eq", "gt", "ge", "lt", "le", "sw", "co", "pr"}
)

func userFilterAttrs(attr string) ([]string, bool) {
	switch attr {
	case "lastUpdated":
		return opsTime, true
	case "id", "status", "profile.login", "profile.email", "profile.firstName", "profile.lastName":
		return opsEq, false
	}
	return nil, false
}

func userSearchAttrs(attr string) ([]string, bool) {
	switch attr {
	case "lastUpdated", "created", "activated", "statusChanged":
		return append(opsTime, "pr"), true
	case "id", "status", "type.id":
		return opsEq, false
	}
	if strings.HasPrefix(attr, "profile.") {
		return opsText, false
	}
	return nil, false
}

func groupFilterAttrs(attr string) ([]string, bool) {
	switch attr {
	case "lastUpdated", "lastMembershipUpdated":
		return opsTime, true
	case "id", "type":
		return opsEq, false
	}
	return nil, false
}

func groupSearchAttrs(attr string) ([]string, bool) {
	switch attr {
	case "lastUpdated", "lastMembershipUpdated", "created":
		return opsTime, true
	case "id", "type", "source.id":
		return opsEq, false
	}
	if strings.HasPrefix(attr, "profile.") {
		return opsText, false
	}
	return nil, false
}

func appFilterAttrs(attr string) ([]string, bool) {
	switch attr {
	case "id", "status", "name", "user.id":
		return opsEq, false
	}
	return nil, false
}

func logFilterAttrs(attr string) ([]string, bool) {
	switch attr {
	case "eventType", "target.id", "actor.id", "transaction.id", "outcome.result":
		return []string{"eq", "sw", "co", "ew"}, false
	}
	return nil, false
}

// parseFilter parses expr: terms joined by and, or and brackets.
func parseFilter(expr string, allowed attrs) (filter, error) {
	p := &parser{rest: expr, allowed: allowed}
	f, err := p.or(0)
	if err == nil && p.token() != "" {
		err = fmt.Errorf("unexpected %q", p.tok)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

type parser struct {
	rest, tok string
	allowed   attrs
}

// token peeks at the next token.
func (p *parser) token() string {
	if p.tok != "" {
		return p.tok
	}
	p.rest = strings.TrimLeft(p.rest, " \t")
	if p.rest == "" {
		return ""
	}
	n := 1
	switch p.rest[0] {
	case '(', ')':
	case '"':
		for n < len(p.rest) && p.rest[n] != '"' {
			if p.rest[n] == '\\' {
				n++
			}
			n++
		}
		n = min(n+1, len(p.rest))
	default:
		if n = strings.IndexAny(p.rest, " \t()"); n < 0 {
			n = len(p.rest)
		}
	}
	p.tok, p.rest = p.rest[:n], p.rest[n:]
	return p.tok
}

func (p *parser) next() string {
	t := p.token()
	p.tok = ""
	return t
}

func (p *parser) or(depth int) (filter, error) {
	left, err := p.and(depth)
	for err == nil && strings.EqualFold(p.token(), "or") {
		p.next()
		var right filter
		l := left
		if right, err = p.and(depth); err == nil {
			left = func(get func(string) (string, bool)) bool { return l(get) || right(get) }
		}
	}
	return left, err
}

func (p *parser) and(depth int) (filter, error) {
	left, err := p.term(depth)
	for err == nil && strings.EqualFold(p.token(), "and") {
		p.next()
		var right filter
		l := left
		if right, err = p.term(depth); err == nil {
			left = func(get func(string) (string, bool)) bool { return l(get) && right(get) }
		}
	}
	return left, err
}

func (p *parser) term(depth int) (filter, error) {
	if depth > 50 {
		return nil, fmt.Errorf("too deep")
	}
	if p.token() == "(" {
		p.next()
		f, err := p.or(depth + 1)
		if err == nil && p.next() != ")" {
			err = fmt.Errorf("a bracket is not closed")
		}
		return f, err
	}
	attr, op := p.next(), strings.ToLower(p.next())
	ops, isTime := p.allowed(attr)
	if !slices.Contains(ops, op) {
		return nil, fmt.Errorf("%q %q is not supported", attr, op)
	}
	if op == "pr" {
		return func(get func(string) (string, bool)) bool { _, ok := get(attr); return ok }, nil
	}
	quoted := p.next()
	if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
		return nil, fmt.Errorf("the value of %q is not in double quotes", attr)
	}
	want := strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
	if isTime {
		at, err := time.Parse(time.RFC3339, want)
		if err != nil {
			return nil, fmt.Errorf("%q is not a time", want)
		}
		want = at.UTC().Format(timeFormat) // equal lengths: text order is time order
	}
	return func(get func(string) (string, bool)) bool {
		got, ok := get(attr)
		if !ok {
			return false
		}
		switch op {
		case "eq":
			return got == want
		case "gt":
			return got > want
		case "ge":
			return got >= want
		case "lt":
			return got < want
		case "le":
			return got <= want
		case "sw":
			return strings.HasPrefix(got, want)
		case "ew":
			return strings.HasSuffix(got, want)
		default: // co
			return strings.Contains(got, want)
		}
	}, nil
}

func timeText(ms int64) (string, bool) {
	if ms == 0 {
		return "", false
	}
	return time.UnixMilli(ms).UTC().Format(timeFormat), true
}
