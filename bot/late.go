package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slack-go/slack"

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

// seeAge makes t late if it lay in the inbox for long before anybody took it:
// nobody was there, or too much was before it. It may have been edited meanwhile.
func (t *task) seeAge() {
	if t.Resumed == 0 && !t.Late && t.began.Sub(t.Sent()) > lateAfter {
		t.Late, t.Unsure = true, t.Clicked == ""
	}
}

// takenBack tells whether the message of t was edited or deleted before it came.
// It is asked only for one that nothing was done for yet.
func (b *Bot) takenBack(ctx context.Context, t *task) (bool, error) {
	if !t.Unsure || t.state.revision != 0 {
		return false, nil
	}
	stands, err := b.stands(slim(ctx), t.Message)
	if passing(err) {
		return false, fmt.Errorf("looking whether a message was edited or deleted: %w", err)
	}
	if err != nil {
		t.log.Warn("looking whether a message was edited or deleted; taking it for neither", "err", err)
		return false, nil
	}
	if !stands {
		b.record(t, result{Outcome: "taken_back"})
	}
	return !stands, nil
}

// stands tells whether a message is there as it was written. Outside threads it
// is asked for as Slack says a single message is; how in threads, Slack does not
// say, so there it is the first of what has been said since, after the parent.
// https://api.slack.com/messaging/retrieving#individual_messages
func (b *Bot) stands(ctx context.Context, m Message) (bool, error) {
	if m.Thread == "" {
		page, err := b.Slack.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
			ChannelID: m.Channel, Latest: m.TS, Inclusive: true, Limit: 1,
		})
		return err == nil && b.hasAsWritten(page.Messages, m), err
	}
	page, _, _, err := b.Slack.GetConversationRepliesContext(ctx, &slack.GetConversationRepliesParameters{
		ChannelID: m.Channel, Timestamp: m.Thread, Oldest: m.TS, Inclusive: true, Limit: 10,
	})
	if refused(err, "thread_not_found") {
		return false, nil
	}
	return b.hasAsWritten(page, m), err
}

// hasAsWritten tells whether m is among messages, and not edited.
func (b *Bot) hasAsWritten(messages []slack.Message, m Message) bool {
	return slices.ContainsFunc(messages, func(other slack.Message) bool {
		_, ok := b.written(other, m.Channel, m.Kind)
		return ok && other.Timestamp == m.TS
	})
}

// written is what a person has written, in a message that was asked for.
func (b *Bot) written(m slack.Message, channel, kind string) (Message, bool) {
	e := envelope{Event: event{
		Type: m.Type, Subtype: m.SubType, Hidden: m.Hidden, BotID: m.BotID, User: m.User, Team: m.Team,
		Channel: channel, ChannelType: kind, TS: m.Timestamp, ThreadTS: m.ThreadTimestamp, Text: m.Text,
	}}
	if m.Edited != nil {
		e.Event.Edited = json.RawMessage("{}")
	}
	return e.message(b.self.team)
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
	t.outcome = "offered"
	return b.giveUp(ctx, t, commands.Reply{Title: title, Text: text, Offers: []commands.Offer{offer}})
}
