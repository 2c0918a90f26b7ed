package transport

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// SignInAgain is advice to somebody whose sign-in a service refused.
const SignInAgain = "sign in again: !o365-auditlog-auth-reset, then !o365-auditlog-auth-start"

// Clean makes text from outside fit for one line of at most n characters: no
// control characters, no characters that cannot be seen or turn the direction
// of writing, single blanks, an end.
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
	return shorten(strings.Join(strings.Fields(s), " "), n)
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
