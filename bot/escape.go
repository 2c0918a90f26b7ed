package bot

import (
	"sort"
	"strings"
	"unicode/utf8"

	"auditbot/commands"
)

// markdown writes a line of text so that Slack's markdown block shows it
// letter by letter, whatever is in it. Backslashes take the meaning from
// Markdown's own marks; entities, which are decoded for display only, take it
// from Slack's tokens (<!channel>), from emoji names and from addresses that
// would become links.
// https://docs.slack.dev/reference/block-kit/blocks/markdown-block/
func markdown(line string) string {
	var b strings.Builder
	line = commands.Visible(line)
	for i, r := range line {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == ':':
			b.WriteString("&#58;")
		case r == '.' && i >= 3 && strings.EqualFold(line[i-3:i], "www"):
			b.WriteString("&#46;")
		case strings.ContainsRune("\\`*_[]~|", r):
			b.WriteString(`\` + string(r))
		case i == 0 && strings.ContainsRune("#+-=!", r):
			b.WriteString(`\` + string(r))
		case (r == '.' || r == ')') && onlyDigits(line[:i]): // "1." would begin a list
			b.WriteString(`\` + string(r))
		case r == ' ' && onlySpaces(line[:i]): // four of them would begin a code block
			b.WriteRune('\u00A0')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func onlyDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
func onlySpaces(s string) bool { return strings.Trim(s, " ") == "" }

// markdownLines is markdown for text of several lines, each of which stays
// one.
func markdownLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = markdown(line)
	}
	return strings.Join(lines, "  \n") // two blanks: a break that Markdown keeps
}

// mrkdwn writes text for the places where Slack reads its older markup and
// decodes three entities: the text of a message, and section blocks. Without
// a "<" no mention and no link can form; other marks are harmless there.
// https://docs.slack.dev/messaging/formatting-message-text#escaping
func mrkdwn(text string) string {
	return mrkdwnEntities.Replace(commands.VisibleLines(text))
}

var mrkdwnEntities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// fit encodes text, or as much of its start as has n bytes then.
func fit(text string, n int, encode func(string) string) string {
	text = cutBytes(text, utf8.UTFMax*(n+1)) // no encoding is shorter than a byte for a character
	if all := encode(text); len(all) <= n {
		return all
	}
	runes := []rune(text)
	k := sort.Search(len(runes), func(k int) bool { return len(encode(string(runes[:k+1])+"…")) > n })
	return encode(string(runes[:k]) + "…")
}
