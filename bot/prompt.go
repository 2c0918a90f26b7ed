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

// deliver sends the direct message, and tries it again for a while.
func (b *Bot) deliver(ctx context.Context, n *code) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return insist(ctx, func() error { return b.showPrompt(ctx, n) })
}

// showPrompt sends the direct message with the code, unless it may have been
// sent and is found; one that was sent it makes up to date.
func (b *Bot) showPrompt(ctx context.Context, n *code) error {
	n.showing.Lock()
	defer n.showing.Unlock()
	if err := b.findPrompt(ctx, n); err != nil {
		return err
	}
	if ts := n.ts(); ts != "" {
		return b.update(ctx, n.DM, ts, n.prompt())
	}
	n.tried = true
	mark := slack.SlackMetadata{EventType: codeEvent, EventPayload: map[string]any{"id": n.ID}}
	ts, err := b.say(ctx, n.DM, "", n.prompt(), mark)
	if err == nil {
		n.setTS(ts)
	}
	return err
}

// findPrompt looks for the direct message with the code where it is not known
// whether there is one. With an error it is as little known as before.
func (b *Bot) findPrompt(ctx context.Context, n *code) error {
	if n.ts() != "" || !n.tried {
		return nil
	}
	ts, err := b.findMarked(ctx, n.DM, codeEvent, n.ID)
	n.setTS(ts)
	if err != nil && !passing(err) {
		b.Log.Warn("looking for a code's message; taking it for missing", "err", err)
		return nil
	}
	return err
}

// findMarked looks in direct messages for one of ours with this mark. It is ""
// if there is none.
func (b *Bot) findMarked(ctx context.Context, dm, event, id string) (ts string, err error) {
	history, err := b.Slack.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
		ChannelID: dm, Limit: 100, IncludeAllMetadata: true,
	})
	if err != nil {
		return "", fmt.Errorf("looking for a direct message: %w", err)
	}
	for _, m := range history.Messages {
		if m.Metadata.EventType == event && m.Metadata.EventPayload["id"] == id {
			return m.Timestamp, nil
		}
	}
	return "", nil
}

// ts is where the direct message with the code stands; "" while that is not
// known.
func (n *code) ts() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.TS
}

func (n *code) setTS(ts string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.TS = ts
}

// replacePrompt takes the code out of its message, and says instead what came
// of it.
func (b *Bot) replacePrompt(ctx context.Context, n *code, f form) error {
	n.showing.Lock()
	defer n.showing.Unlock()
	if err := b.findPrompt(ctx, n); err != nil {
		return err
	}
	if ts := n.ts(); ts != "" {
		err := b.update(ctx, n.DM, ts, f)
		if err == nil || passing(err) {
			return err
		}
		b.Log.Warn("taking a code out of its message; the message is deleted", "err", err)
		if _, _, err := b.Slack.DeleteMessageContext(ctx, n.DM, ts); err != nil {
			b.Log.Error("deleting a message with a code", "err", err)
		}
	}
	ts, err := b.say(ctx, n.DM, "", f, slack.SlackMetadata{EventType: codeEvent, EventPayload: map[string]any{"id": n.ID}})
	n.tried = true
	n.setTS(ts)
	return err
}

// prompt is the direct message with the code. Whoever reads it is to be able to
// tell it from a stranger's: it says what it is for, what signing in lets whom
// do, and how to get rid of it. The text for notifications has no code, since
// Slack shows it on locked screens and sends it by e-mail.
func (n *code) prompt() form {
	tenant := mrkdwn(n.instance.Tenant)
	f := section(fmt.Sprintf("🔑 *Sign in to %s*, for %s", tenant, n.For.by("your")))
	f.text = "Sign in to " + tenant + ": open this message"
	add := func(text string) { f.blocks = append(f.blocks, section(text).blocks...) }
	add(fmt.Sprintf("Enter the code `%s` at `%s`\n⏳ %s left, until %s UTC",
		mrkdwn(string(n.device.UserCode)), mrkdwn(n.device.URL), minutesLeft(time.Until(n.device.Expires)), n.until()))
	add(n.about())
	if n.instance.Shared {
		add("⚠️ This one sign-in serves everybody whom this bot answers: they all search with this account's rights, " +
			"and the audit log will name this account, not who searched.")
	}
	add("_I never send a code unasked. If that is not your command, do not enter the code, press Cancel, and tell your security team: " +
		"whoever enters it lets this bot search the audit log in their name._")
	f.blocks = append(f.blocks, codeCancelButton(n.ID))
	return f
}

// about is who asks for what, as Microsoft's page should say it, too.
func (n *code) about() string {
	account := n.instance.Account
	application, id, permissions := account.Entra.Served()
	var asked []string
	for _, p := range permissions {
		asked = append(asked, "`"+mrkdwn(p)+"` ("+whatItAllows(p)+")")
	}
	return fmt.Sprintf("*Application* %s (`%s`)\n*Tenant* %s\n*Account* %s; any other is discarded\n*It asks for* %s",
		mrkdwn(cmp.Or(application, "an application of your organisation")), mrkdwn(id), n.tenant(), mrkdwn(account.Expect), strings.Join(asked, ", "))
}

// tenant is the tenant with its id, in Slack's markup.
func (n *code) tenant() string {
	name := mrkdwn(n.instance.Tenant)
	if n.TenantID == "" || strings.EqualFold(n.TenantID, n.instance.Tenant) {
		return name
	}
	return name + " (`" + mrkdwn(n.TenantID) + "`)"
}

// whatItAllows is what a permission is for.
// https://learn.microsoft.com/entra/identity-platform/scopes-oidc
func whatItAllows(permission string) string {
	switch permission {
	case "offline_access":
		return "stay signed in"
	case "openid":
		return "learn who signs in"
	case "profile":
		return "and their name"
	}
	return "all that the application may do there; this bot searches the audit log with it"
}

// minutesLeft rounds up, so that a new code has all of its minutes.
func minutesLeft(left time.Duration) string {
	return counted(max(1, int((left+time.Minute-1)/time.Minute)), "minute")
}

// resend is how long it takes until a direct message that has not arrived is
// sent again.
const resend = 10 * time.Second

// countDown edits the direct message whenever another minute of the code is
// over, up to the last one. After a restart it does so at once. A message that
// has not arrived is sent again until it does.
func (b *Bot) countDown(ctx context.Context, n *code, over <-chan struct{}) {
	if n.resumed {
		b.editPrompt(ctx, n)
	}
	for {
		left := time.Until(n.device.Expires)
		pause := cmp.Or(left%time.Minute, time.Minute)
		if n.ts() == "" {
			pause = min(pause, resend)
		} else if left <= time.Minute {
			return
		}
		select {
		case <-time.After(pause):
		case <-over:
			return
		}
		if !time.Now().Before(n.device.Expires) {
			return
		}
		b.editPrompt(ctx, n)
	}
}

func (b *Bot) editPrompt(ctx context.Context, n *code) {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	if err := b.showPrompt(ctx, n); err != nil {
		b.Log.Warn("showing how long a code is valid", "err", err)
	}
}

// An origin is the command that a code was asked for with, so that people can
// tell whether it was theirs.
type origin struct {
	Link    string `json:"link,omitempty"`    // "" if Slack gives none
	Channel string `json:"channel,omitempty"` // "" for direct messages
	At      string `json:"at"`                // "15:04", UTC
}

// origin is where and when m was written.
func (b *Bot) origin(ctx context.Context, m Message) origin {
	o := origin{At: m.Sent().Format("15:04"), Link: b.linkTo(ctx, m.Channel, cmp.Or(m.Clicked, m.TS))}
	if !m.Direct() {
		o.Channel = m.Channel
	}
	return o
}

// by names the command in Slack's markup, as "your" or "their" command.
func (o origin) by(whose string) string {
	switch {
	case o.Link != "":
		return "<" + mrkdwn(o.Link) + "|" + whose + " command of " + o.At + " UTC>"
	case o.Channel != "":
		return whose + " command in <#" + o.Channel + "> at " + o.At + " UTC"
	}
	return whose + " command in a direct message at " + o.At + " UTC"
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
// there. A message that has not arrived is sent again, by the replica that looks
// after the code.
func (b *Bot) pointTo(ctx context.Context, m Message, n *code) string {
	if n.ts() == "" && !n.elsewhere {
		b.editPrompt(ctx, n)
	}
	ts := n.ts()
	if ts == "" {
		return "Slack has not taken the direct message with the code yet: it comes as soon as Slack does. Only you can see it."
	}
	if asked := b.origin(ctx, m); asked != n.For { // not the same command, at another try
		if _, err := b.say(ctx, n.DM, ts, section("🔑 The code above is for "+asked.by("your")+", too."), slack.SlackMetadata{}); err != nil {
			b.Log.Warn("pointing to a code", "err", err)
		}
	}
	where := ""
	if link := b.linkTo(ctx, n.DM, ts); link != "" {
		where = " (" + link + ")"
	}
	return fmt.Sprintf("The code that I sent you in a direct message at %s UTC%s is still valid, until %s UTC.", n.Sent.Format("15:04"), where, n.until())
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

// signInFirst tells in the thread that a command waits for a sign-in, which may
// be its author's own or another's. Said is how it goes on.
func signInFirst(instance commands.Instance, own bool, why reason, said string) commands.Reply {
	first := "Sign in to " + instance.Tenant + " first"
	text := said + " This command runs by itself as soon as you have signed in."
	if !own {
		first = "A sign-in to " + instance.Tenant + " is needed first"
		text = said + " This command runs by itself as soon as somebody has signed in, within " + counted(int(waitsAtMost/time.Hour), "hour") + "; a sign-in that fails does not end it."
	}
	if why.problem == "" {
		return commands.Reply{Title: "🔑 " + first, Text: text}
	}
	text = first + ". " + text
	if why.advice != "" {
		text = commands.Sentence(why.advice) + "\n" + text
	}
	return commands.Reply{Title: "🔑 " + commands.Sentence(why.problem), Text: text}
}
