package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/commands"
)

// codeEvent marks the direct messages with a code.
const codeEvent = "auditbot_code"

// deliver sends the direct message, and does so again if it may not have
// arrived.
func (b *Bot) deliver(ctx context.Context, n *code) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	mark := slack.SlackMetadata{EventType: codeEvent, EventPayload: map[string]any{"id": n.ID}}
	tried := false
	return insist(ctx, func() (err error) {
		if tried && b.findPrompt(ctx, n) {
			return nil
		}
		tried = true
		n.TS, err = b.say(ctx, n.DM, "", n.prompt(), mark)
		return err
	})
}

// findPrompt looks for the direct message with the code where it is not known
// whether there is one.
func (b *Bot) findPrompt(ctx context.Context, n *code) bool {
	history, err := b.Slack.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
		ChannelID: n.DM, Limit: 100, IncludeAllMetadata: true,
	})
	if err != nil {
		b.Log.Warn("looking for a code's message", "err", err)
		return false
	}
	for _, m := range history.Messages {
		if m.Metadata.EventType == codeEvent && m.Metadata.EventPayload["id"] == n.ID {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.TS = m.Timestamp
			return true
		}
	}
	return false
}

// ts is where the direct message with the code stands; "" while that is not
// known.
func (n *code) ts() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.TS
}

// replacePrompt takes the code out of its message, and says instead what came
// of it.
func (b *Bot) replacePrompt(ctx context.Context, n *code, f form) error {
	if n.ts() == "" && !b.findPrompt(ctx, n) {
		_, err := b.say(ctx, n.DM, "", f, slack.SlackMetadata{})
		return err
	}
	return b.update(ctx, n.DM, n.ts(), f)
}

// prompt is the direct message with the code. Whoever reads it is to be able to
// tell it from a stranger's: it says what it is for, what signing in lets whom
// do, and how to get rid of it. The text for notifications has no code, since
// Slack shows it on locked screens and sends it by e-mail.
func (n *code) prompt() form {
	account := n.instance.Account
	tenant := mrkdwn(n.instance.Tenant)
	f := section(fmt.Sprintf("🔑 *Sign in to %s*, for %s", tenant, cmp.Or(n.Asked, "your command")))
	f.text = "Sign in to " + tenant + ": open this message"
	add := func(text string) { f.blocks = append(f.blocks, section(text).blocks...) }
	add(fmt.Sprintf("Enter the code `%s` at `%s`\n⏳ %s left, until %s UTC",
		mrkdwn(string(n.device.UserCode)), mrkdwn(n.device.URL), minutesLeft(time.Until(n.device.Expires)), n.device.Expires.UTC().Format("15:04")))
	about := fmt.Sprintf("*Application* %s (`%s`)\n*Tenant* %s",
		mrkdwn(cmp.Or(auditlog.FindApp(account.Entra.ClientID).Name, "an application of your organisation")), mrkdwn(account.Entra.ClientID), tenant)
	if account.Expect != "" {
		about += fmt.Sprintf("\n*Account* %s; any other is thrown away", mrkdwn(account.Expect))
	}
	// The scopes are those that package signin asks for.
	about += fmt.Sprintf("\n*It may* search the audit log in your name (`%s/.default`: what the application may do there), "+
		"stay signed in (`offline_access`), and learn who you are (`openid profile`)", mrkdwn(account.Entra.Resource))
	add(about)
	add("_I never send a code unasked. If that is not your command, do not enter the code, press Cancel, and tell your security team: " +
		"whoever enters it lets this bot search the audit log in their name._")
	f.blocks = append(f.blocks, codeCancelButton(n.ID))
	return f
}

// minutesLeft rounds up, so that a new code has all of its minutes.
func minutesLeft(left time.Duration) string {
	return counted(max(1, int((left+time.Minute-1)/time.Minute)), "minute")
}

// countDown edits the direct message whenever another minute of the code is
// over, up to the last one. After a restart it does so at once.
func (b *Bot) countDown(ctx context.Context, n *code, over <-chan struct{}) {
	if n.resumed {
		b.editPrompt(ctx, n)
	}
	for {
		left := time.Until(n.device.Expires)
		if left <= time.Minute {
			return
		}
		select {
		case <-time.After(cmp.Or(left%time.Minute, time.Minute)):
			b.editPrompt(ctx, n)
		case <-over:
			return
		}
	}
}

func (b *Bot) editPrompt(ctx context.Context, n *code) {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	if n.ts() == "" && !b.findPrompt(ctx, n) {
		return
	}
	if err := b.update(ctx, n.DM, n.ts(), n.prompt()); err != nil {
		b.Log.Warn("showing how long a code is valid", "err", err)
	}
}

// naming names m for whoever wrote it, in Slack's markup: as a link to it, or,
// if Slack gives none, with where it was written.
func (b *Bot) naming(ctx context.Context, m Message) string {
	at := m.Sent().Format("15:04") + " UTC"
	if link := b.linkTo(ctx, m.Channel, cmp.Or(m.Clicked, m.TS)); link != "" {
		return "<" + mrkdwn(link) + "|your command of " + at + ">"
	}
	if m.Direct() {
		return "your command here at " + at
	}
	return "your command in <#" + m.Channel + "> at " + at
}

// linkTo is the address of a message, or "" if Slack gives none that fits into
// its markup.
func (b *Bot) linkTo(ctx context.Context, channel, ts string) string {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	link, err := b.Slack.GetPermalinkContext(ctx, &slack.PermalinkParameters{Channel: channel, Ts: ts})
	if err != nil {
		b.Log.Warn("asking for a link to a message", "err", err)
		return ""
	}
	if strings.ContainsAny(link, "<>| \n") {
		return ""
	}
	return link
}

// pointTo says in words for the thread where the code is that was sent before
// m. Under the code itself it says what needs it now, which takes its reader
// there.
func (b *Bot) pointTo(ctx context.Context, m Message, n *code) string {
	where := ""
	if ts := n.ts(); ts != "" {
		if asked := b.naming(ctx, m); asked != n.Asked { // not the same command, at another try
			if _, err := b.say(ctx, n.DM, ts, section("🔑 The code above is for "+asked+", too."), slack.SlackMetadata{}); err != nil {
				b.Log.Warn("pointing to a code", "err", err)
			}
		}
		if link := b.linkTo(ctx, n.DM, ts); link != "" {
			where = " (" + link + ")"
		}
	}
	return fmt.Sprintf("The code that I sent you in a direct message at %s UTC%s is still valid, until %s UTC.",
		n.Sent.Format("15:04"), where, n.device.Expires.UTC().Format("15:04"))
}

// An outcome is what came of a sign-in.
type outcome struct {
	result  string // a sentence for whoever asks
	text    string // in the place of the code, in Slack's markup
	givenUp string // a line for the commands that waited; "" if they run now
}

func (n *code) succeeded(upn string, waiting bool) outcome {
	o := outcome{result: "Signed in to " + n.instance.Tenant + " as " + upn + "."}
	o.text = "✅ " + mrkdwn(o.result)
	if waiting {
		o.text += " What waited for this runs now."
	}
	return o
}

func (n *code) wasCancelled() outcome {
	result := "The sign-in to " + n.instance.Tenant + " was cancelled."
	return outcome{result, "⏹ Cancelled. Do not enter the code any more: I do not collect what it would give.", "⏹ " + result}
}

// failed is the outcome of an error, which is in the log under id.
func (n *code) failed(err error, id string) outcome {
	problem, advice := "the log has the reason under "+id, ""
	if refusal, ok := errors.AsType[*auditlog.Refusal](err); ok {
		problem, advice = refusal.Problem, refusal.Advice
	}
	result := "Not signed in to " + n.instance.Tenant + ": " + problem + "."
	return outcome{result, "❌ " + mrkdwn(result) + "\n" + mrkdwn(commands.Sentence(advice)), "❌ " + result}
}

// A reason is why a sign-in that there was is no more. The zero reason is that
// there was none.
type reason struct{ problem, advice string }

// startAgain is what package signin advises where a sign-in has ended, which is
// being done.
const startAgain = "start again: !o365-auditlog-auth-start"

// reasonOf is the reason in the error of a command that needs a sign-in.
func reasonOf(err error) reason {
	r, ok := errors.AsType[*auditlog.Refusal](err)
	if !ok {
		return reason{}
	}
	advice := strings.TrimLeft(strings.TrimPrefix(r.Advice, startAgain), "; ")
	return reason{r.Problem, advice}
}

// signInFirst tells in the thread that a command waits for a sign-in. Said is
// how it goes on.
func signInFirst(instance commands.Instance, why reason, said string) commands.Reply {
	first := "Sign in to " + instance.Tenant + " first"
	text := said + " This command runs by itself as soon as you have signed in."
	if why.problem == "" {
		return commands.Reply{Title: "🔑 " + first, Text: text}
	}
	text = first + ". " + text
	if why.advice != "" {
		text = commands.Sentence(why.advice) + "\n" + text
	}
	return commands.Reply{Title: "🔑 " + commands.Sentence(why.problem), Text: text}
}
