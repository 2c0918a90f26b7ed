package commands

import (
	"strings"
	"unicode"
)

// isDouble tells whether r is a double quote: straight, or one of the curly
// ones that keyboards and word processors put in its place.
func isDouble(r rune) bool { return strings.ContainsRune(`"“”„‟`, r) }

// isSingle is the same for single quotes and apostrophes.
func isSingle(r rune) bool { return strings.ContainsRune(`'‘’‚‛`, r) }

// closers are the characters that close what opener opens, or "" if it is not
// a quote. Curly quotes open and close in each other's shape in one language
// or another („German“, ”Swedish”).
func closers(opener rune) string {
	switch {
	case opener == '"' || opener == '\'' || opener == '`':
		return string(opener)
	case isDouble(opener):
		return `"“”„‟`
	case isSingle(opener):
		return `'‘’‚‛`
	}
	return ""
}

// quote writes a value so that [words] reads it back, with quotes only if it
// needs them. Every value that words can return can be written; of others,
// not those that have a NUL, are not UTF-8, or end with a backslash and
// contain both ' and `.
func quote(value string) string {
	switch {
	case value != "" && !strings.ContainsFunc(value, needsQuotes):
		return value
	case !strings.HasSuffix(value, `\`):
		return `"` + strings.ReplaceAll(value, `"`, `\"`) + `"`
	case !strings.Contains(value, `'`):
		return `'` + value + `'`
	}
	return "`" + value + "`"
}

// needsQuotes tells whether a value with r in it is better written in quotes.
func needsQuotes(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(`@.,:;/\_-+*%&?!#$~(){}<>|`, r)
}

// isSpace tells whether r separates words: any space or line break, also
// those that only typesetting knows.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || unicode.Is(unicode.Zs, r)
}

// isInvisible tells whether r is a character of no width that copying from
// web pages, mails and Windows dialogs brings along: zero-width spaces and
// joiners, byte order marks, soft hyphens, and the marks of writing direction.
func isInvisible(r rune) bool {
	switch {
	case r == '\u00AD' || r == '\uFEFF',
		r >= '\u200B' && r <= '\u200F',
		r >= '\u202A' && r <= '\u202E',
		r >= '\u2060' && r <= '\u2064',
		r >= '\u2066' && r <= '\u2069':
		return true
	}
	return false
}

// IsBlank tells whether r takes no ink: a space of any kind, or an invisible
// character.
func IsBlank(r rune) bool { return isSpace(r) || isInvisible(r) }

// isDash tells whether r is a hyphen, a dash or a minus sign.
func isDash(r rune) bool { return unicode.Is(unicode.Pd, r) || r == '−' }

// plainDashes makes every dash in s a hyphen.
func plainDashes(s string) string {
	return strings.Map(func(r rune) rune {
		if isDash(r) {
			return '-'
		}
		return r
	}, s)
}

// firstField is what stands in s before its first space, without invisible
// characters.
func firstField(s string) string {
	if i := strings.IndexFunc(s, isSpace); i >= 0 {
		s = s[:i]
	}
	return strings.Map(func(r rune) rune {
		if isInvisible(r) {
			return -1
		}
		return r
	}, s)
}
