package bot

import (
	"fmt"
	"regexp"
	"strings"

	"auditbot/commands"
)

// token is what Slack puts in the place of links, mentions and channels:
// <target>, <target|label>, <@U123>, <#C123|name>, <!here>.
// https://docs.slack.dev/messaging/formatting-message-text
var token = regexp.MustCompile(`<([@#!]?)([^<>|]*)(?:\|([^<>]*))?>`)

// entities are the only three that Slack writes. They are decoded in one pass
// and after the tokens, so that a typed "&lt;" cannot become one.
var entities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

// typed undoes what Slack did to the text of a message and returns the line
// that the person typed, and whether it began with a mention of the bot. The
// order matters: the mention and the code marks around the whole message, then
// links, then entities. Odd spaces and quotes are left to the language, which
// knows what stands in quotes.
//
// A [*commands.Mistake] means that a link does not lead where it says, or that
// the line mentions a person. The line is then what could be undone of it.
func typed(text, botUser, prefix string) (line string, mentioned bool, err error) {
	line, mentioned = unmention(text, botUser)
	line = uncode(line, prefix)
	line = token.ReplaceAllStringFunc(line, func(t string) string {
		parts := token.FindStringSubmatch(t)
		plain, problem := untoken(parts[1], parts[2], parts[3], strings.Contains(t, "|"))
		if problem != nil && err == nil {
			err = problem
		}
		return plain
	})
	return entities.Replace(line), mentioned, err
}

// unmention takes the mentions of the bot off the start.
func unmention(text, botUser string) (rest string, mentioned bool) {
	rest = strings.TrimFunc(text, commands.IsBlank)
	for botUser != "" {
		after, ok := strings.CutPrefix(rest, "<@"+botUser)
		if !ok || after == "" || after[0] != '>' && after[0] != '|' {
			break
		}
		_, after, _ = strings.Cut(after, ">")
		rest, mentioned = strings.TrimLeftFunc(after, func(r rune) bool { return commands.IsBlank(r) || r == ':' || r == ',' }), true
	}
	return rest, mentioned
}

// uncode takes a code span or fence off a command that stands in one as a
// whole. A backtick elsewhere is a quote of the language.
func uncode(text, prefix string) string {
	for _, mark := range []string{"```", "`"} {
		inner, opened := strings.CutPrefix(text, mark)
		inner, closed := strings.CutSuffix(inner, mark)
		if opened && closed && strings.HasPrefix(strings.TrimLeftFunc(inner, commands.IsBlank), prefix) {
			return strings.TrimFunc(inner, commands.IsBlank)
		}
	}
	return text
}

// untoken is what was typed where a token is now.
func untoken(kind, target, label string, labelled bool) (string, error) {
	switch {
	case kind == "@":
		return "<@" + target + ">", &commands.Mistake{
			Problem: "there is a mention of somebody in the command, and Slack does not say which account it means",
			Hint:    "type the Microsoft account itself: user_ids=ada@contoso.com",
		}
	case kind == "#" && label != "":
		return "#" + label, nil
	case kind == "!" && label != "":
		return label, nil
	case kind == "!" && (target == "here" || target == "channel" || target == "everyone"):
		return "@" + target, nil
	case kind != "":
		return "<" + kind + target + ">", &commands.Mistake{
			Problem: "there is a mention of a channel or a group in the command, and Slack does not say what was typed",
			Hint:    "type it without the # or @ in front",
		}
	}
	scheme, rest, _ := strings.Cut(target, ":")
	if !labelled {
		if scheme == "mailto" || scheme == "tel" {
			return rest, nil
		}
		return target, nil
	}
	if agrees(target, label) {
		return label, nil
	}
	return label, &commands.Mistake{
		Problem: fmt.Sprintf("the link %q leads to %q", entities.Replace(label), entities.Replace(target)),
		Hint:    "type the one that you mean as plain text, without a link",
	}
}

// agrees tells whether a link leads where its label says: Slack made it of
// just this text.
func agrees(target, label string) bool {
	if rest, ok := strings.CutPrefix(target, "tel:"); ok {
		dialled, shown := digits(rest), digits(label)
		return shown != "" && strings.HasSuffix(dialled, shown) && strings.Trim(label, "0123456789+-(). ") == ""
	}
	for _, scheme := range []string{"", "mailto:", "http://", "https://"} {
		if strings.EqualFold(target, scheme+label) || strings.EqualFold(target, scheme+label+"/") {
			return true
		}
	}
	return false
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}
