package bot

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// What our buttons are called in Slack. An offer's has its number after it.
const (
	offerAction  = "auditbot_offer_"
	cancelAction = "auditbot_cancel"
)

// The limits of buttons, in characters.
// https://docs.slack.dev/reference/block-kit/block-elements/button-element
const (
	maxLabel = 75
	maxValue = 2000

	maxOffers = 5   // that a message shows
	maxLine   = 500 // of a command line that is shown to be typed: in bytes
)

// offered are the offers of a reply that are shown.
func offered(r commands.Reply) []commands.Offer {
	return r.Offers[:min(len(r.Offers), maxOffers)]
}

// typable tells whether the line of an offer is shown: one that is cut, or has
// what does not show, could not be typed.
func typable(o commands.Offer) bool {
	return len(o.Line) <= maxLine && commands.Visible(o.Line) == o.Line
}

// offerBlocks are a button for each offer, and the lines that one can type
// instead.
func offerBlocks(r commands.Reply) []slack.Block {
	var buttons []slack.BlockElement
	var lines []slack.RichTextElement
	for i, o := range offered(r) {
		if utf8.RuneCountInString(o.Line) <= maxValue {
			buttons = append(buttons, button(offerAction+strconv.Itoa(i), o.Label, o.Line))
		}
		if typable(o) {
			lines = append(lines, slack.NewRichTextSection(
				slack.NewRichTextSectionTextElement(labelOf(o)+", or type: ", nil),
				slack.NewRichTextSectionTextElement(o.Line, &slack.RichTextSectionTextStyle{Code: true})))
		}
	}
	var blocks []slack.Block
	if len(buttons) > 0 {
		blocks = append(blocks, slack.NewActionBlock("auditbot_offers", buttons...))
	}
	if len(lines) > 0 {
		blocks = append(blocks, slack.NewRichTextBlock("", lines...))
	}
	return blocks
}

// offersSize is how many bytes the texts in offerBlocks have at most.
func offersSize(r commands.Reply) int {
	n := 0
	for _, o := range offered(r) {
		n += 2*len(labelOf(o)) + len(", or type: ")
		if typable(o) {
			n += len(o.Line)
		}
	}
	return n
}

// offerLines are the offers that one can type, as many as fit into room bytes.
func offerLines(r commands.Reply, room int, encode func(string) string) string {
	var b strings.Builder
	for _, o := range offered(r) {
		line := "\n" + encode(labelOf(o)) + ", or type: `" + encode(o.Line) + "`"
		if typable(o) && b.Len()+len(line) <= room {
			b.WriteString(line)
		}
	}
	return b.String()
}

func labelOf(o commands.Offer) string { return commands.Shorten(commands.Visible(o.Label), maxLabel) }

func cancelButton(id string) slack.Block {
	return slack.NewActionBlock("auditbot_progress", button(cancelAction, "Cancel", id))
}

// codeCancel stands before the id of a code in the value of its Cancel button,
// in the place of a command's.
const codeCancel = "code/"

func codeCancelButton(id string) slack.Block {
	return slack.NewActionBlock("auditbot_code", button(cancelAction, "Cancel", codeCancel+id))
}

// button is a button whose label is no markup.
func button(action, label, value string) *slack.ButtonBlockElement {
	text := &slack.TextBlockObject{Type: slack.PlainTextType, Text: commands.Shorten(commands.Visible(label), maxLabel), Emoji: new(false)}
	return slack.NewButtonBlockElement(action, value, text)
}

// A click is what we read of a payload about something in a message that was
// pressed.
// https://docs.slack.dev/reference/interaction-payloads/block_actions-payload
type click struct {
	Type string `json:"type"`
	Team struct {
		ID string `json:"id"`
	} `json:"team"`
	User struct {
		ID     string `json:"id"`
		TeamID string `json:"team_id"`
	} `json:"user"`
	Channel struct {
		ID string `json:"id"`
	} `json:"channel"`
	Container struct {
		MessageTS string `json:"message_ts"`
		ThreadTS  string `json:"thread_ts"`
	} `json:"container"`
	Message struct {
		ThreadTS string `json:"thread_ts"`
	} `json:"message"`
	Actions []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
		TS       string `json:"action_ts"`
	} `json:"actions"`
}

// readClick reads which of our buttons a person of the given team has pressed.
// It is a message of theirs from then on, with the line that the button stands
// for: who may type that may press it. Slack does not say whether the channel
// is shared by now; whoever is of another organisation is out by their team.
func readClick(payload []byte, team, prefix string) (m Message, ok bool, err error) {
	var c click
	if err := json.Unmarshal(payload, &c); err != nil {
		return Message{}, false, fmt.Errorf("reading an interaction: %w", err)
	}
	if c.Type != "block_actions" || len(c.Actions) != 1 || c.User.ID == "" || c.Channel.ID == "" || c.Container.MessageTS == "" || c.Actions[0].TS == "" {
		return Message{}, false, nil
	}
	for _, of := range []string{c.Team.ID, c.User.TeamID} {
		if of != "" && of != team {
			return Message{}, false, nil
		}
	}
	pressed := c.Actions[0]
	m = Message{Team: team, Channel: c.Channel.ID, User: c.User.ID, TS: pressed.TS, Clicked: c.Container.MessageTS, Text: pressed.Value}
	if strings.HasPrefix(c.Channel.ID, "D") {
		m.Kind = "im"
	}
	for _, thread := range []string{c.Container.ThreadTS, c.Message.ThreadTS, c.Container.MessageTS} {
		if m.Thread == "" {
			m.Thread = thread
		}
	}
	if pressed.ActionID == cancelAction {
		m.Cancels, m.Text = pressed.Value, prefix+"cancel"
		return m, pressed.Value != "", nil
	}
	_, isCommand := commands.Name(prefix, m.Text)
	return m, isCommand && strings.HasPrefix(pressed.ActionID, offerAction), nil
}
