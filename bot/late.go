package bot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"auditbot/commands"
)

// lateAfter is how old a message may be when it comes. Slack's second and third
// try to deliver one are within 6 minutes, those of Delayed Events within a day.
const lateAfter = 2 * time.Minute

// late is what the answer to t says of its coming late; "" if it does not.
func (t *task) late() string {
	if !t.Late {
		return ""
	}
	return fmt.Sprintf("Written at %s UTC; it reached me only now.", t.Sent().Format("15:04"))
}

// errLate is why somebody is not sent a code.
var errLate = errors.New("the command came late")

// offerSignIn answers a command that came late and needs a sign-in. Whoever wrote
// it may not expect a code any more, and a code that is not expected teaches
// people to enter anybody's: they press a button first.
func (b *Bot) offerSignIn(ctx context.Context, t *task, instance commands.Instance, why reason) (commands.Reply, error) {
	title := "🔑 Sign in to " + instance.Tenant + " first"
	offer := commands.Offer{Label: "Sign in and run it", Line: t.line}
	text := "I send no code for a command that reached me late: press the button, or type it again."
	switch {
	case t.name == "o365-auditlog-auth-start":
		offer.Label = "Sign in"
	case instance.Shared && !t.asks.Admin:
		title, offer.Label = "🔑 A sign-in to "+instance.Tenant+" is needed first", "Run it"
		text = b.whoSignsIn(ctx, signInKey(instance, t.User), instance) + " A command that reached me late does not wait for that: press the button, or type it again."
	}
	if why.problem != "" {
		text = commands.Sentence(why.problem) + ". " + text
	}
	return b.giveUp(ctx, t, commands.Reply{Title: title, Text: text, Offers: []commands.Offer{offer}})
}
