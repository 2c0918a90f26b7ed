package bot

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"auditbot/commands"
)

// A Message is what a person wrote in Slack, as it lies in the inbox.
type Message struct {
	Team    string `json:"team"`
	Channel string `json:"channel"`
	Kind    string `json:"kind"` // "channel", "group", "im", "mpim"; "" if Slack did not say, which it does outside DMs
	User    string `json:"user"`
	TS      string `json:"ts"`
	Thread  string `json:"thread,omitempty"` // TS of the thread's parent; "" outside threads
	Text    string `json:"text"`             // as Slack sent it
	Shared  bool   `json:"shared,omitempty"` // the channel is shared with another organisation

	// Late is set if it came long after it was written, or was found when
	// nobody had listened. No code is sent for it.
	Late bool `json:"late,omitempty"`

	// Unsure is set if it may have been edited or deleted since it was written
	// without that being seen here.
	Unsure bool `json:"unsure,omitempty"`

	// Resumed is how many sign-ins the command waited for before this.
	Resumed int `json:"resumed,omitempty"`

	// Waited is the instance of the last of these.
	Waited string `json:"waited,omitempty"`

	// Waits is since when the command waits for a sign-in; zero when it does not.
	Waits time.Time `json:"waits,omitzero"`

	// GivenUp is set if the last one of these did not come: a line that says
	// why. The command is run only to answer with what it had found.
	GivenUp string `json:"given_up,omitempty"`

	// Clicked is the ts of the message of ours under which somebody pressed a
	// button; "" if they typed. TS is that of the press then, and Text the
	// command line that the button stands for.
	Clicked string `json:"clicked,omitempty"`

	// Cancels is the id of the command whose Cancel button was pressed, or, after
	// codeCancel, that of the code.
	Cancels string `json:"cancels,omitempty"`
}

// ID names the message as an item of the inbox: the events message and
// app_mention of one message, and what Slack sends again, have the same. After
// each sign-in that it waited for it is another item.
func (m Message) ID() string {
	if m.Resumed > 0 {
		return m.Origin() + ".resumed" + strconv.Itoa(m.Resumed)
	}
	return m.Origin()
}

// Origin names the command in the message for good: it is the ID before the
// first sign-in.
func (m Message) Origin() string {
	id := m.Team + "." + m.Channel + "."
	if m.Clicked != "" {
		id += m.Clicked + "."
	}
	return id + m.TS
}

// Place is the thread to answer in: the message's, or the one it starts.
func (m Message) Place() string {
	if m.Thread != "" {
		return m.Thread
	}
	return m.TS
}

// since is a ts before which there can be no answer to m.
func (m Message) since() string {
	if m.Clicked != "" {
		return m.Clicked
	}
	return m.TS
}

// Direct tells whether it was written to the bot alone.
func (m Message) Direct() bool { return m.Kind == "im" }

// Sent is when it was written, UTC.
func (m Message) Sent() time.Time {
	seconds, fraction, _ := strings.Cut(m.TS, ".")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Now().UTC()
	}
	micro, _ := strconv.ParseInt((fraction + "000000")[:6], 10, 64) // 0 if there is none
	return time.Unix(n, micro*1000).UTC()
}

// An envelope is what we read of an Events API payload.
// https://docs.slack.dev/apis/events-api/#event-type-structure
type envelope struct {
	TeamID string `json:"team_id"`
	Shared bool   `json:"is_ext_shared_channel"`
	Event  event  `json:"event"`
}

type event struct {
	Type        string          `json:"type"`
	Subtype     string          `json:"subtype"`
	Hidden      bool            `json:"hidden"`
	Edited      json.RawMessage `json:"edited"`
	BotID       string          `json:"bot_id"`
	User        string          `json:"user"`
	Team        string          `json:"team"`
	UserTeam    string          `json:"user_team"`
	SourceTeam  string          `json:"source_team"`
	Channel     string          `json:"channel"`
	ChannelType string          `json:"channel_type"`
	TS          string          `json:"ts"`
	ThreadTS    string          `json:"thread_ts"`
	Text        string          `json:"text"`
}

// readMessage reads what a person of the given team has just written. Edits
// and the echoes of unfurled links, what bots write, joins and the like, and
// people of other teams are not that; the error is for payloads that have
// another shape than Slack documents.
func readMessage(payload []byte, team string) (m Message, ok bool, err error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return Message{}, false, fmt.Errorf("reading an event: %w", err)
	}
	m, ok = e.message(team)
	return m, ok, nil
}

// message is what [readMessage] reads.
func (e envelope) message(team string) (m Message, ok bool) {
	v := e.Event
	if v.Type != "message" && v.Type != "app_mention" {
		return Message{}, false
	}
	switch v.Subtype {
	case "", "thread_broadcast", "file_share": // written by somebody, just now
	default:
		return Message{}, false
	}
	if v.BotID != "" || v.User == "" || v.Hidden || v.TS == "" || v.Channel == "" || len(v.Edited) > 0 && string(v.Edited) != "null" {
		return Message{}, false
	}
	for _, of := range []string{e.TeamID, v.Team, v.UserTeam, v.SourceTeam} {
		if of != "" && of != team {
			return Message{}, false
		}
	}
	m = Message{Team: team, Channel: v.Channel, Kind: v.ChannelType, User: v.User, TS: v.TS, Text: v.Text, Shared: e.Shared}
	if v.ThreadTS != v.TS {
		m.Thread = v.ThreadTS
	}
	return m, true
}

// command is the line that m asks to run. It is false for everything that is
// not for this bot: prose, quoted lines, the commands of other bots. What is
// said to the bot itself, in a direct message or after a mention, always is for
// it, though it may be no command. The error is a mistake in a line that is.
func (b *Bot) command(m Message) (line string, ok bool, err error) {
	if m.Clicked != "" { // our own line, which Slack has not rewritten
		return m.Text, true, nil
	}
	line, mentioned, err := typed(m.Text, b.self.user, b.Prefix)
	name, isCommand := commands.Name(b.Prefix, line)
	if mentioned || m.Direct() {
		fields := strings.FieldsFunc(line, commands.IsBlank)
		if !isCommand && len(fields) > 0 && commands.Known(strings.ToLower(fields[0])) { // "@auditbot help", and "help" in a DM
			line = b.Prefix + line
		}
		return line, mentioned || line != "", err
	}
	if !isCommand || !commands.Addresses(name) {
		return "", false, nil
	}
	return line, true, err
}

// unknown is in the place of a command's name where there is no such command.
const unknown = "unknown"

// nameOf is the command that a line calls, for the log.
func (b *Bot) nameOf(line string) string {
	name, _ := commands.Name(b.Prefix, line)
	if !commands.Known(name) {
		return unknown
	}
	return name
}
