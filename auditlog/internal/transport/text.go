package transport

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// SignInAgain is advice to somebody whose sign-in a service refused.
const SignInAgain = "sign in again: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start"

// tokenLike is how tokens of Entra ID begin (RFC 7519): with {" in base64.
var tokenLike = regexp.MustCompile(`eyJ[\w~+/=.-]{9,}`)

// Clean makes text from outside fit for one line of at most n characters: no
// control characters, no characters that cannot be seen or turn the direction
// of writing, single blanks, an end; and no token, which whoever was sent one
// may repeat.
func Clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return shorten(tokenLike.ReplaceAllLiteralString(strings.Join(strings.Fields(s), " "), "[…]"), n)
}

// shorten cuts s to n characters.
func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

// Said adds a service's words, which are clean, to a sentence of ours: at most
// 500 characters, and nothing if it said nothing.
func Said(text string) string {
	if text == "" {
		return ""
	}
	return ": " + shorten(strings.TrimRight(text, ". "), 500)
}

// Asking adds to a sentence for how long a service asked to be left alone, and
// nothing if that is 0.
func Asking(wait time.Duration) string {
	if wait == 0 {
		return ""
	}
	return fmt.Sprintf(" and asks to be left alone for %v", wait.Round(time.Second))
}
