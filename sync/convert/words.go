package convert

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// camelCase and startCase are lodash's: customers' queries name properties as
// JupiterOne's integration does, and that uses lodash. No Go library splits
// words by the same rule; a comparison with lodash itself is in the tests.

func camelCase(s string) string {
	var b strings.Builder
	for i, w := range words(s) {
		w = strings.ToLower(w)
		if i > 0 {
			w = upperFirst(w)
		}
		b.WriteString(w)
	}
	return b.String()
}

func startCase(s string) string {
	list := words(s)
	for i, w := range list {
		list[i] = upperFirst(w)
	}
	return strings.Join(list, " ")
}

func upperFirst(s string) string {
	for i, r := range s {
		return string(unicode.ToUpper(r)) + s[i+len(string(r)):]
	}
	return s
}

// The classes of characters that the rule tells apart.
const (
	classBreak = iota // separates words
	classLower
	classUpper
	classDigit
	classOther // letters without case, and of scripts beyond Latin: may stand for either case
	classAlone // pictures: words of one character
)

func class(r rune) int {
	switch {
	case 'a' <= r && r <= 'z', 0xdf <= r && r <= 0xff && r != 0xf7:
		return classLower
	case 'A' <= r && r <= 'Z', 0xc0 <= r && r <= 0xde && r != 0xd7:
		return classUpper
	case '0' <= r && r <= '9':
		return classDigit
	case r <= 0xbf, r == 0xd7, r == 0xf7, 0x2000 <= r && r <= 0x206f, unicode.IsSpace(r), r == 0x180e, r == 0xfeff:
		return classBreak
	case 0x2700 <= r && r <= 0x27bf, r > 0xffff:
		return classAlone
	}
	return classOther
}

// words splits text where the case changes, around numbers and at what is
// neither letter nor digit. Upper-case letters before a capitalised word are a
// word: adminURLPath has three. An ordinal, as 1st or 2ND, is one word.
func words(s string) []string {
	text := []rune(deburr(s))
	is := func(i, c int) bool { return i < len(text) && class(text[i]) == c }
	run := func(i int, classes ...int) int {
		for ; i < len(text); i++ {
			if c := class(text[i]); !contains(classes, c) {
				break
			}
		}
		return i
	}

	var list []string
	for i := 0; i < len(text); {
		end := i
		switch class(text[i]) {
		case classBreak:
			i++
			continue
		case classDigit:
			if end = ordinal(text, i); end == i {
				end = run(i, classDigit)
			}
		case classAlone:
			end = i + 1
		case classLower:
			end = lowerWord(run, is, i, i, len(text))
		case classUpper:
			switch {
			case is(i+1, classLower):
				end = lowerWord(run, is, i, i+1, len(text))
			default:
				end = upperWord(run, is, i, len(text))
			}
		case classOther:
			end = upperWord(run, is, i, len(text))
		}
		list = append(list, string(text[i:end]))
		i = end
	}
	return list
}

func contains(list []int, c int) bool {
	for _, x := range list {
		if x == c {
			return true
		}
	}
	return false
}

// lowerWord ends a word whose lower-case letters begin at letters: at the first
// other character; characters without case go along unless a new word follows.
func lowerWord(run func(int, ...int) int, is func(int, int) bool, start, letters, n int) int {
	end := run(letters, classLower)
	if end == n || is(end, classBreak) || is(end, classUpper) {
		return end
	}
	if end := upperEnd(run, is, start, n); end > start {
		return end
	}
	return run(letters, classLower, classOther)
}

// upperWord ends a word that begins in upper case, or without case.
func upperWord(run func(int, ...int) int, is func(int, int) bool, start, n int) int {
	if end := upperEnd(run, is, start, n); end > start {
		return end
	}
	letters := start
	if is(start, classUpper) {
		letters++
	}
	if end := run(letters, classLower, classOther); end > letters {
		return end
	}
	return run(start, classUpper)
}

// upperEnd ends a run of upper-case letters before a break, the end, or a
// capitalised word; start if there is none.
func upperEnd(run func(int, ...int) int, is func(int, int) bool, start, n int) int {
	end := run(start, classUpper, classOther)
	if end > start && (end == n || is(end, classBreak)) {
		return end
	}
	for end--; end > start; end-- {
		if is(end, classUpper) && (is(end+1, classLower) || is(end+1, classOther)) {
			return end
		}
	}
	return start
}

// ordinal ends an ordinal number that begins at start; start if there is none.
func ordinal(text []rune, start int) int {
	end := start
	for end < len(text) && class(text[end]) == classDigit {
		end++
	}
	if end+2 > len(text) {
		return start
	}
	suffix, last := string(text[end:end+2]), text[end-1]
	lower := strings.ToLower(suffix)
	wanted := map[rune]string{'1': "st", '2': "nd", '3': "rd"}[last]
	if wanted == "" {
		wanted = "th"
	}
	if lower != wanted || suffix != lower && suffix != strings.ToUpper(suffix) {
		return start
	}
	end += 2
	if end == len(text) || text[end] == '_' {
		return end
	}
	next := class(text[end])
	switch {
	case suffix == lower && text[end] >= 'A' && text[end] <= 'Z',
		suffix != lower && text[end] >= 'a' && text[end] <= 'z',
		text[end] > 0x7f, // JavaScript's word boundary knows ASCII only
		next == classBreak:
		return end
	}
	return start
}

// ligatures are the Latin letters that have no decomposition in Unicode.
var ligatures = strings.NewReplacer(
	"ß", "ss", "Æ", "Ae", "æ", "ae", "Ø", "O", "ø", "o", "Ð", "D", "ð", "d", "Þ", "Th", "þ", "th",
	"Đ", "D", "đ", "d", "Ħ", "H", "ħ", "h", "ı", "i", "Ĳ", "IJ", "ĳ", "ij", "ĸ", "k", "Ŀ", "L", "ŀ", "l",
	"Ł", "L", "ł", "l", "ŉ", "n", "Ŋ", "N", "ŋ", "n", "Œ", "Oe", "œ", "oe", "Ŧ", "T", "ŧ", "t", "ſ", "s",
	"'", "", "’", "",
)

// deburr writes Latin letters without their marks, and drops apostrophes.
func deburr(s string) string {
	s = ligatures.Replace(s)
	var b strings.Builder
	for _, r := range s {
		switch {
		case 0xc0 <= r && r <= 0x17f && r != 0xd7 && r != 0xf7:
			for _, d := range norm.NFD.String(string(r)) {
				if !unicode.Is(unicode.Mn, d) {
					b.WriteRune(d)
				}
			}
		case 0x300 <= r && r <= 0x36f, 0xfe20 <= r && r <= 0xfe2f, 0x20d0 <= r && r <= 0x20ff:
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
