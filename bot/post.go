package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// callAfter is how long a command may take before its answer calls whoever
// asked.
const callAfter = time.Minute

// postTimeout is how long Slack may take over one request, its uploads aside. An
// earlier try may have one under way for as long, from whatever process.
const postTimeout = 10 * time.Second

// A mark tells a message of ours from all others: what it is, and the id of the
// command that it is for. It is in the metadata of the message, which
// workspaces may refuse, and in the block_id of a block. What is ephemeral
// cannot be looked up, marked or not.
type mark struct{ what, id string }

// What there is in a thread for one command.
const (
	answerEvent   = "auditbot_answer"
	progressEvent = "auditbot_progress"
	noteEvent     = "auditbot_note" // what else is said
)

func (m mark) metadata() slack.SlackMetadata {
	return slack.SlackMetadata{EventType: m.what, EventPayload: map[string]any{"command": m.id}}
}

// blockID is below 255 characters: an id has two channels and three ts at most.
// https://docs.slack.dev/reference/block-kit/blocks/section-block
func (m mark) blockID() string { return m.what + "/" + m.id }

// put marks the blocks of f. Markdown blocks lose their block_id, so where there
// are no others a line under them has it.
// https://docs.slack.dev/reference/block-kit/blocks/markdown-block/
func (m mark) put(f form) form {
	for _, b := range f.blocks {
		switch b := b.(type) {
		case *slack.SectionBlock:
			b.BlockID = m.blockID()
			return f
		case *slack.RichTextBlock:
			b.BlockID = m.blockID()
			return f
		}
	}
	if len(f.blocks) > 0 {
		line := slack.NewDividerBlock()
		line.BlockID = m.blockID()
		f.blocks = append(slices.Clip(f.blocks), line)
	}
	return f
}

// on tells whether a message has the mark.
func (m mark) on(posted slack.Message) bool {
	return posted.Metadata.EventType == m.what && posted.Metadata.EventPayload["command"] == m.id ||
		slices.ContainsFunc(posted.Blocks.BlockSet, func(b slack.Block) bool { return b.ID() == m.blockID() })
}

// digest is what a text is known by. Slack may change the white space in it.
func digest(text string) string {
	sum := sha256.Sum256([]byte(strings.Join(strings.Fields(text), " ")))
	return hex.EncodeToString(sum[:])
}

// post puts the answer into the thread, in the best form that the workspace
// takes. An error means that it may or may not stand there: the next try looks.
func (b *Bot) post(ctx context.Context, t *task, r commands.Reply) error {
	t.state.Step, t.state.Uploads = posting, newUploads(r)
	if err := b.save(ctx, t); err != nil {
		return err
	}
	err := b.postAgain(ctx, t, r)
	if err == nil {
		b.Metrics.answered(t)
	}
	if passing(err) {
		if answeredIt(err) {
			t.state.Step = unsure
			if err := b.save(ctx, t); err != nil {
				t.log.Warn("noting that Slack has answered", "err", err)
			}
		}
		return fmt.Errorf("posting the answer: %w", err)
	}
	if err != nil {
		t.log.Error("the answer cannot be posted", "err", err)
		t.state.Result.Outcome = "undelivered"
		t.state.Uploads = nil
		if err := b.tellApart(ctx, t, err); err != nil {
			return err
		}
	}
	t.state.Step = posted
	b.settleProgress(ctx, t)
	return b.save(ctx, t)
}

// postAgain posts the answer once more when Slack says that it was too early,
// unless it stands there all the same.
func (b *Bot) postAgain(ctx context.Context, t *task, r commands.Reply) error {
	for try := 1; ; try++ {
		err := b.postForms(ctx, t, r)
		if _, early := errors.AsType[*slack.RateLimitedError](err); !early || try == sendTries {
			return err
		}
		if found, err := b.answered(ctx, t); found || err != nil {
			return err
		}
	}
}

// answeredIt tells whether err is what Slack answered to a request: it does
// nothing more about it then. What stands between it and us gives up earlier.
func answeredIt(err error) bool {
	if status, ok := errors.AsType[slack.StatusCodeError](err); ok {
		return status.Code != http.StatusBadGateway && status.Code != http.StatusGatewayTimeout
	}
	_, limited := errors.AsType[*slack.RateLimitedError](err)
	return limited || refused(err)
}

// postForms tries the forms of a reply, plainer and plainer, and the last one
// without anything but its text, by which it is known then: nothing else of ours
// in a thread has the same text as an answer, but for the answer to the same
// command when it was typed there twice.
func (b *Bot) postForms(ctx context.Context, t *task, r commands.Reply) error {
	is := answerMark(t.id)
	var plainest form
	for i, f := range forms(r, openingOf(t)) {
		_, err := b.say(ctx, t.Channel, t.Place(), is.put(f), is.metadata())
		if err == nil || passing(err) || misplaced(err) {
			return err
		}
		t.log.Warn("Slack refused a form of the answer; the next is plainer", "form", i, "err", err)
		plainest = is.put(f)
	}
	t.state.Plain = digest(plainest.text)
	if err := b.save(ctx, t); err != nil {
		return err
	}
	_, err := b.say(ctx, t.Channel, t.Place(), plainest, slack.SlackMetadata{})
	return err
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

func answerMark(id string) mark { return mark{answerEvent, id} }

// sayOnce posts a message with a mark, unless an earlier try has.
func (b *Bot) sayOnce(ctx context.Context, t *task, f form, m mark) (ts string, err error) {
	if t.again {
		if ts, err = b.find(ctx, t, m.on); ts != "" || err != nil {
			return ts, err
		}
	}
	return b.say(ctx, t.Channel, t.Place(), m.put(f), m.metadata())
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
	ts, err := b.find(ctx, t, func(m slack.Message) bool {
		return answerMark(t.id).on(m) || t.state.Plain != "" && m.User == b.self.user && digest(m.Text) == t.state.Plain
	})
	return ts != "", err
}

// find looks for a message in the thread of t, and returns its ts, or "". If
// Slack does not let us look, it is taken for missing.
func (b *Bot) find(ctx context.Context, t *task, is func(slack.Message) bool) (ts string, err error) {
	q := slack.GetConversationRepliesParameters{ChannelID: t.Channel, Timestamp: t.Place(), Oldest: t.since(), Limit: 200, IncludeAllMetadata: true}
	for {
		messages, more, next, err := b.Slack.GetConversationRepliesContext(ctx, &q)
		if passing(err) {
			return "", fmt.Errorf("looking into the thread: %w", err)
		}
		if err != nil {
			t.log.Warn("looking into the thread; taking what is looked for for missing", "err", err)
			return "", nil
		}
		if i := slices.IndexFunc(messages, is); i >= 0 {
			return messages[i].Timestamp, nil
		}
		if !more || next == "" {
			return "", nil
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
	told := false
	if err == nil && t.again {
		told, err = b.wasTold(ctx, t, dm)
	}
	if err == nil && !told {
		text := fmt.Sprintf("Your command in <#%s> could not be answered there: Slack says %q. Invite me to the channel, or ask here.", t.Channel, why)
		m := mark{noteEvent, t.id}
		_, err = b.say(ctx, dm, "", m.put(section(text)), m.metadata())
	}
	if passing(err) {
		return fmt.Errorf("telling somebody that their command cannot be answered: %w", err)
	}
	if err != nil {
		t.log.Error("telling somebody that their command cannot be answered", "err", err)
	}
	return nil
}

// wasTold looks whether an earlier try has told the author of t in their direct
// messages that it is not answered. The last ones there are enough.
func (b *Bot) wasTold(ctx context.Context, t *task, dm string) (bool, error) {
	q := slack.GetConversationHistoryParameters{ChannelID: dm, Oldest: t.since(), Limit: 200, IncludeAllMetadata: true}
	found, err := b.Slack.GetConversationHistoryContext(ctx, &q)
	if passing(err) {
		return false, err
	}
	if err != nil {
		t.log.Warn("looking into direct messages; taking what is looked for for missing", "err", err)
		return false, nil
	}
	return slices.ContainsFunc(found.Messages, mark{noteEvent, t.id}.on), nil
}

// section is a form with text of our own in Slack's markup.
func section(text string) form {
	block := slack.NewSectionBlock(&slack.TextBlockObject{Type: slack.MarkdownType, Text: text, Verbatim: true}, nil, nil)
	return form{text: text, blocks: []slack.Block{block}}
}

// refuse tells somebody that they are not served, where only they see it. To
// strangers it says nothing. What is ephemeral may come twice if the bot dies
// right after it: nobody can look whether it was said.
func (b *Bot) refuse(ctx context.Context, t *task, r *refusal) error {
	t.refused = r.reason
	if r.tell == "" {
		return nil
	}
	var err error
	if t.Direct() {
		_, err = b.sayOnce(ctx, t, section(r.tell), mark{noteEvent, t.id})
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
