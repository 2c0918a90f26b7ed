package bot

import (
	"context"
	"fmt"
	"time"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// callAfter is how long a command may take before its answer calls whoever
// asked.
const callAfter = time.Minute

// answerEvent marks our answers, with the id of the command in the payload.
const answerEvent = "auditbot_answer"

// post puts the answer into the thread, in the best form that the workspace
// takes. An error means that it may or may not stand there: the next try looks.
func (b *Bot) post(ctx context.Context, t *task, r commands.Reply) error {
	t.state.Step, t.state.Uploads = posting, newUploads(r)
	if err := b.save(ctx, t); err != nil {
		return err
	}
	err := b.postForms(ctx, t, r)
	if passing(err) {
		return fmt.Errorf("posting the answer: %w", err)
	}
	if err != nil {
		t.log.Error("the answer cannot be posted", "err", err)
		t.state.Uploads = nil
		if err := b.tellApart(ctx, t, err); err != nil {
			return err
		}
	}
	t.state.Step = posted
	b.settleProgress(ctx, t)
	return b.save(ctx, t)
}

// postForms tries the forms of a reply, plainer and plainer, and the last one
// without anything but its text.
func (b *Bot) postForms(ctx context.Context, t *task, r commands.Reply) error {
	all := forms(r, openingOf(t))
	mark := answerMark(t.id)
	for i, f := range append(all, all[len(all)-1]) {
		if i == len(all) {
			mark = slack.SlackMetadata{}
		}
		_, err := b.say(ctx, t.Channel, t.Place(), f, mark)
		if err == nil || passing(err) || misplaced(err) || i == len(all) {
			return err
		}
		t.log.Warn("Slack refused a form of the answer; the next is plainer", "form", i, "err", err)
	}
	return nil
}

// openingOf is what stands before the answer to t. It calls whoever asked if
// they have turned to something else meanwhile.
func openingOf(t *task) opening {
	switch {
	case t.Clicked != "":
		return opening{user: t.User, line: t.line}
	case t.Late:
		return opening{user: t.User, late: t.late()}
	case time.Since(t.Sent()) > callAfter:
		return opening{user: t.User}
	}
	return opening{}
}

func answerMark(id string) slack.SlackMetadata {
	return slack.SlackMetadata{EventType: answerEvent, EventPayload: map[string]any{"command": id}}
}

// say posts a message. Nothing in it is unfurled, and no name or address in
// its text becomes a link.
func (b *Bot) say(ctx context.Context, channel, thread string, f form, mark slack.SlackMetadata) (ts string, err error) {
	options := append(f.options(), slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
	if thread != "" {
		options = append(options, slack.MsgOptionTS(thread))
	}
	if mark.EventType != "" {
		options = append(options, slack.MsgOptionMetadata(mark))
	}
	_, ts, err = b.Slack.PostMessageContext(ctx, channel, options...)
	return ts, err
}

// options are the form as chat.postMessage and chat.update take it. Blocks are
// sent even if there are none, since an update keeps those that it does not
// name.
func (f form) options() []slack.MsgOption {
	options := []slack.MsgOption{slack.MsgOptionText(f.text, false), slack.MsgOptionParse(false)}
	if len(f.blocks) == 0 {
		return append(options, slack.MsgOptionDisableMarkdown())
	}
	return append(options, slack.MsgOptionBlocks(f.blocks...))
}

// update replaces a message of ours.
func (b *Bot) update(ctx context.Context, channel, ts string, f form) error {
	_, _, _, err := b.Slack.UpdateMessageContext(ctx, channel, ts, f.options()...)
	return err
}

// answered looks whether the thread has the answer to t. It is asked only
// where an earlier try may have posted it.
func (b *Bot) answered(ctx context.Context, t *task) (bool, error) {
	q := slack.GetConversationRepliesParameters{ChannelID: t.Channel, Timestamp: t.Place(), Oldest: t.since(), Limit: 200, IncludeAllMetadata: true}
	for {
		messages, more, next, err := b.Slack.GetConversationRepliesContext(ctx, &q)
		if passing(err) {
			return false, fmt.Errorf("looking for the answer in the thread: %w", err)
		}
		if err != nil {
			t.log.Warn("looking for the answer in the thread; taking it for missing", "err", err)
			return false, nil
		}
		for _, m := range messages {
			if m.Metadata.EventType == answerEvent && m.Metadata.EventPayload["command"] == t.id {
				return true, nil
			}
		}
		if !more || next == "" {
			return false, nil
		}
		q.Cursor = next
	}
}

// tellApart tells the person in a direct message that the answer to their
// command cannot be posted where they asked.
func (b *Bot) tellApart(ctx context.Context, t *task, why error) error {
	if t.Direct() {
		return nil // there is no other place
	}
	dm, err := b.openDM(ctx, t.User)
	if err == nil {
		text := fmt.Sprintf("Your command in <#%s> could not be answered there: Slack says %q. Invite me to the channel, or ask here.", t.Channel, why)
		_, err = b.say(ctx, dm, "", section(text), slack.SlackMetadata{})
	}
	if passing(err) {
		return fmt.Errorf("telling somebody that their command cannot be answered: %w", err)
	}
	if err != nil {
		t.log.Error("telling somebody that their command cannot be answered", "err", err)
	}
	return nil
}

// section is a form with text of our own in Slack's markup.
func section(text string) form {
	block := slack.NewSectionBlock(&slack.TextBlockObject{Type: slack.MarkdownType, Text: text, Verbatim: true}, nil, nil)
	return form{text: text, blocks: []slack.Block{block}}
}

// refuse tells somebody that they are not served, where only they see it. To
// strangers it says nothing.
func (b *Bot) refuse(ctx context.Context, t *task, r *refusal) error {
	if r.tell == "" {
		return nil
	}
	var err error
	if t.Direct() {
		_, err = b.say(ctx, t.Channel, t.Place(), section(r.tell), slack.SlackMetadata{})
	} else {
		options := section(r.tell).options()
		if t.Thread != "" {
			options = append(options, slack.MsgOptionTS(t.Thread))
		}
		_, err = b.Slack.PostEphemeralContext(ctx, t.Channel, t.User, options...)
	}
	if passing(err) {
		return fmt.Errorf("telling somebody that they are not served: %w", err)
	}
	if err != nil {
		t.log.Warn("telling somebody that they are not served", "err", err)
	}
	return nil
}

// openDM is the channel of direct messages with somebody. It tries for 20
// seconds.
func (b *Bot) openDM(ctx context.Context, user string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = insist(ctx, func() error {
		channel, _, _, err := b.Slack.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{user}})
		if err == nil {
			id = channel.ID
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("opening a direct message: %w", err)
	}
	return id, nil
}
