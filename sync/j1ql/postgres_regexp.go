package j1ql

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode"
)

// postgresRegexp says in PostgreSQL's advanced regular expressions what a
// regular expression of Go says: which texts match, not where.
func postgresRegexp(pattern string) (string, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("***:") // advanced, whatever the server's default is
	if err := writeRegexp(&b, re.Simplify()); err != nil {
		return "", err
	}
	return b.String(), nil
}

func writeRegexp(b *strings.Builder, re *syntax.Regexp) error {
	group := func(sub *syntax.Regexp, after string) error {
		b.WriteString("(?:")
		err := writeRegexp(b, sub)
		b.WriteString(")" + after)
		return err
	}
	switch re.Op {
	case syntax.OpNoMatch:
		b.WriteString("(?!)")
	case syntax.OpEmptyMatch:
		b.WriteString("(?:)")
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase == 0 {
				writeRune(b, r)
				continue
			}
			b.WriteString("[")
			writeRune(b, r)
			for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
				writeRune(b, other)
			}
			b.WriteString("]")
		}
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			b.WriteString("(?!)")
			return nil
		}
		b.WriteString("[")
		for i := 0; i < len(re.Rune); i += 2 {
			lo, hi := max(re.Rune[i], 1), re.Rune[i+1] // PostgreSQL has no NUL
			if lo > hi {
				continue
			}
			writeRune(b, lo)
			if lo < hi {
				b.WriteString("-")
				writeRune(b, hi)
			}
		}
		b.WriteString("]")
	case syntax.OpAnyCharNotNL:
		b.WriteString(`[^\n]`)
	case syntax.OpAnyChar:
		b.WriteString(`(?:.|\n)`)
	case syntax.OpBeginText:
		b.WriteString(`\A`)
	case syntax.OpEndText:
		b.WriteString(`\Z`)
	case syntax.OpBeginLine:
		b.WriteString(`(?:\A|(?<=\n))`)
	case syntax.OpEndLine:
		b.WriteString(`(?:\Z|(?=\n))`)
	case syntax.OpWordBoundary:
		b.WriteString(`(?:(?<=[A-Za-z0-9_])(?![A-Za-z0-9_])|(?<![A-Za-z0-9_])(?=[A-Za-z0-9_]))`)
	case syntax.OpNoWordBoundary:
		b.WriteString(`(?:(?<=[A-Za-z0-9_])(?=[A-Za-z0-9_])|(?<![A-Za-z0-9_])(?![A-Za-z0-9_]))`)
	case syntax.OpCapture:
		return group(re.Sub[0], "")
	case syntax.OpStar:
		return group(re.Sub[0], "*")
	case syntax.OpPlus:
		return group(re.Sub[0], "+")
	case syntax.OpQuest:
		return group(re.Sub[0], "?")
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if err := group(sub, ""); err != nil {
				return err
			}
		}
	case syntax.OpAlternate:
		for i, sub := range re.Sub {
			if i > 0 {
				b.WriteString("|")
			}
			if err := group(sub, ""); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("%s", re.Op)
	}
	if b.Len() > 64<<10 {
		return fmt.Errorf("it is too large")
	}
	return nil
}

// writeRune writes a character as itself if it cannot mean anything else.
func writeRune(b *strings.Builder, r rune) {
	switch {
	case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9':
		b.WriteRune(r)
	case r > 0xFFFF:
		fmt.Fprintf(b, `\U%08X`, r)
	default:
		fmt.Fprintf(b, `\u%04X`, r)
	}
}
