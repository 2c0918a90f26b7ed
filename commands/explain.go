package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"auditbot/auditlog"
)

// Explain is the reply to a command that failed with err, where commands begin
// with prefix. A mistake of the person's comes with what to type instead, a
// refusal of Microsoft's with what to do and who can do it. Of any other error
// they see only the id under which the log has it.
func Explain(prefix string, err error, id string) Reply {
	if m, ok := errors.AsType[*Mistake](err); ok {
		return Reply{Title: "⚠️ " + Sentence(m.Problem), Text: Sentence(m.Hint)}
	}
	if r, ok := errors.AsType[*auditlog.Refusal](err); ok {
		return Reply{Title: "❌ " + Sentence(r.Problem), Text: strings.TrimSpace(Sentence(AsTyped(prefix, r.Advice)) + "\nThe log has more under " + id + ".")}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Reply{
			Title: "❌ This took too long and was stopped",
			Text:  fmt.Sprintf("Ask for less: a shorter range, user_ids or operations. The log has more under %s.", id),
		}
	}
	return Reply{Title: "❌ That did not work", Text: fmt.Sprintf("This is a failure of the bot, not of yours. The log has the reason under %s.", id)}
}

// AsTyped is advice with the commands in it as they are typed here. Whoever knows
// of no prefix writes !o365-auditlog-auth-start.
func AsTyped(prefix, advice string) string {
	return strings.ReplaceAll(advice, "!o365-auditlog-", prefix+"o365-auditlog-")
}

// Sentence begins s with a capital, unless its first word is a name of ours,
// such as start_date.
func Sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if strings.ContainsFunc(first, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return s
	}
	return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):]
}

// IsMistake tells whether err is the person's own, and not a failure.
func IsMistake(err error) bool {
	_, ok := errors.AsType[*Mistake](err)
	return ok
}
