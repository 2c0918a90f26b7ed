package bot

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// payload is an Events API body with this event in it.
func payload(event string) []byte {
	return fmt.Appendf(nil, `{"type":"event_callback","team_id":"T1","event_id":"Ev1","event":%s}`, event)
}

const plainEvent = `{"type":"message","user":"U1","text":"!help","channel":"C1","channel_type":"channel","ts":"1700000000.000100","team":"T1"}`

func TestOnlyWhatPeopleJustWroteIsAMessage(t *testing.T) {
	with := func(more string) string { return plainEvent[:len(plainEvent)-1] + "," + more + "}" }
	for name, c := range map[string]struct {
		event string
		ok    bool
	}{
		"a message":                  {plainEvent, true},
		"a reply":                    {with(`"thread_ts":"1699999999.000100"`), true},
		"also sent to the channel":   {with(`"subtype":"thread_broadcast"`), true},
		"with a file":                {with(`"subtype":"file_share"`), true},
		"a mention":                  {strings.Replace(plainEvent, `"message"`, `"app_mention"`, 1), true},
		"blocks newer than we":       {with(`"blocks":[{"type":"hologram"}]`), true},
		"an edit":                    {`{"type":"message","subtype":"message_changed","hidden":true,"channel":"C1","ts":"1700000001.000200","message":` + plainEvent + `}`, false},
		"an edited mention":          {strings.Replace(with(`"edited":{"user":"U1","ts":"1"}`), `"message"`, `"app_mention"`, 1), false},
		"deleted":                    {with(`"subtype":"message_deleted","hidden":true`), false},
		"a bot's":                    {with(`"bot_id":"B1"`), false},
		"an old bot's":               {with(`"subtype":"bot_message"`), false},
		"a bot's file":               {with(`"subtype":"file_share","bot_id":"B1"`), false},
		"somebody joins":             {with(`"subtype":"channel_join"`), false},
		"somebody does something":    {with(`"subtype":"me_message"`), false},
		"a subtype of the future":    {with(`"subtype":"hologram"`), false},
		"another event":              {`{"type":"reaction_added","user":"U1"}`, false},
		"somebody of another team":   {with(`"user_team":"T2"`), false},
		"sent from another team":     {with(`"source_team":"T2"`), false},
		"of another team altogether": {strings.Replace(plainEvent, `"team":"T1"`, `"team":"T2"`, 1), false},
		"nobody's":                   {strings.Replace(plainEvent, `"user":"U1",`, ``, 1), false},
	} {
		m, ok, err := readMessage(payload(c.event), "T1")
		if ok != c.ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
		if ok && (m.ID() != "T1.C1.1700000000.000100" || m.User != "U1" || m.Text != "!help") {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, _, err := readMessage([]byte(`{"event":[]}`), "T1"); err == nil {
		t.Error("an event of another shape is no error")
	}
	if _, ok, _ := readMessage([]byte(strings.Replace(string(payload(plainEvent)), `"team_id":"T1"`, `"team_id":"T2"`, 1)), "T1"); ok {
		t.Error("an event for another team is taken")
	}
}

func TestMessageAndMentionAreOneCommand(t *testing.T) {
	a, _, _ := readMessage(payload(plainEvent), "T1")
	b, _, _ := readMessage(payload(strings.Replace(plainEvent, `"type":"message"`, `"type":"app_mention"`, 1)), "T1")
	if a.ID() != b.ID() {
		t.Errorf("%s and %s", a.ID(), b.ID())
	}
}

func TestWhenAndWhereAMessageIs(t *testing.T) {
	m := Message{TS: "1700000000.123456"}
	if want := time.Date(2023, 11, 14, 22, 13, 20, 123456000, time.UTC); !m.Sent().Equal(want) || m.Place() != m.TS {
		t.Errorf("sent %v in %s", m.Sent(), m.Place())
	}
	m.Thread = "1699999999.000100"
	if m.Place() != m.Thread {
		t.Errorf("a reply is answered in %s", m.Place())
	}
}

func TestWhichLinesAreForTheBot(t *testing.T) {
	b := &Bot{Prefix: "!"}
	b.self.user = "UBOT"
	for _, c := range []struct {
		kind, text, line string // line "": not for us
	}{
		{"channel", "!help", "!help"},
		{"channel", "!o365-auditlog-serach x=1", "!o365-auditlog-serach x=1"}, // to be told the right name
		{"channel", "!o365-auditlog-nothing-like-it", "!o365-auditlog-nothing-like-it"},
		{"channel", "!case-anything", "!case-anything"},
		{"channel", "!halp", "!halp"},
		{"channel", "!deploy now", ""},
		{"channel", "!deploy <@U1>", ""},
		{"channel", "! help", ""},
		{"channel", "!!help", ""},
		{"channel", "!123", ""},
		{"channel", "that is great! help", ""},
		{"channel", "please !help", ""},
		{"channel", "&gt; !help", ""},
		{"channel", "help", ""},
		{"channel", "<@UBOT> !deploy", "!deploy"},
		{"channel", "<@UBOT> help", "!help"},
		{"channel", "<@UBOT> thanks!", "thanks!"}, // is told that this is no command
		{"channel", "<@UBOT>: help", "!help"},
		{"channel", "<@UOTHER> !help", ""},
		{"", "<@UBOT> !help", "!help"},
		{"im", "!deploy", "!deploy"},
		{"im", "help o365-auditlog-search", "!help o365-auditlog-search"},
		{"im", "hello", "hello"},
		{"im", "! help", "! help"},
		{"im", "help\nme", "!help\nme"},
		{"im", " ", ""},
		{"mpim", "!deploy", ""},
	} {
		line, ok, err := b.command(Message{Kind: c.kind, Text: c.text})
		if line != c.line || ok != (c.line != "") || err != nil {
			t.Errorf("in a %s, %q is %q, %v, %v", c.kind, c.text, line, ok, err)
		}
	}
}
