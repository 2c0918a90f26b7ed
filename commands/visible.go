package commands

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Visible is text from outside, fit for one line: every character that does
// not show, or that moves others about, is replaced by one that shows. Line
// breaks and other control characters become their pictures (␊), what turns
// the direction of writing or has no width its number (‹U+202E›), and bytes
// that are not UTF-8 the character �.
func Visible(s string) string {
	if !strings.ContainsFunc(s, hides) && strings.ToValidUTF8(s, "") == s {
		return s
	}
	var b strings.Builder
	symbol := false       // before this character
	for _, r := range s { // an invalid byte is U+FFFD
		switch {
		case r < ' ':
			b.WriteRune('\u2400' + r)
		case r == 0x7f:
			b.WriteRune('\u2421')
		case r == '\uFE0F' && symbol: // makes an emoji of a symbol such as ⚠
			b.WriteRune(r)
		case hides(r):
			fmt.Fprintf(&b, "‹U+%04X›", r)
		default:
			b.WriteRune(r)
		}
		symbol = unicode.Is(unicode.So, r)
	}
	return b.String()
}

// VisibleLines is Visible for text that may have several lines.
func VisibleLines(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = Visible(line)
	}
	return strings.Join(lines, "\n")
}

// hides tells whether r leaves no ink or changes the place of what does.
func hides(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Variation_Selector) ||
		r == '\u115F' || r == '\u1160' || r == '\u3164' || r == '\uFFA0' // Hangul fillers
}

// Shorten cuts the middle out of what is longer than n characters.
func Shorten(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	tail := n / 3
	return string(runes[:n-tail-1]) + "…" + string(runes[len(runes)-tail:])
}

// Thousands writes 12400 as 12,400.
func Thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
