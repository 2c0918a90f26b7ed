package slacksim_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"auditbot/bot/slacksim"
)

// least is a manifest with the fewest scopes and events that make sense.
const least = `
display_information: {name: Audit log}
features:
  bot_user: {display_name: auditbot}
  app_home: {messages_tab_enabled: true, messages_tab_read_only_enabled: false}
oauth_config:
  scopes: {bot: [chat:write, channels:history, im:history, im:write]}
settings:
  event_subscriptions: {bot_events: [message.channels, message.groups, message.im]}
  socket_mode_enabled: true
`

func withManifest(text string) func(*slacksim.Server) {
	return func(s *slacksim.Server) {
		w := slacksim.Demo()
		w.Manifest = []byte(text)
		s.Workspace = w
	}
}

func TestMessageEventOfAPerson(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	m := say(t, s, ada, incidents, "", "hello")
	e := c.event()
	for key, want := range map[string]any{
		"type": "message", "user": ada, "text": "hello", "channel": incidents, "channel_type": "channel", "team": "T0CONTOSO",
		"ts": m.TS, "event_ts": m.TS, "thread_ts": nil, "subtype": nil, "bot_id": nil, "user_team": nil,
	} {
		if e.Payload.Event[key] != want {
			t.Errorf("%s is %v, want %v", key, e.Payload.Event[key], want)
		}
	}
	if e.text("client_msg_id") == "" || e.Payload.Event["blocks"] == nil {
		t.Errorf("%v", e.Payload.Event)
	}
	say(t, s, grace, incidents, m.TS, "reply")
	if e := c.event(); e.text("thread_ts") != m.TS || e.text("parent_user_id") != ada || e.text("ts") == m.TS {
		t.Errorf("%v", e.Payload.Event)
	}
}

func TestTheBotHearsWhereItIsAMember(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	dm := s.OpenDM(ada)
	say(t, s, ada, "C0RANDOM", "", "unheard")
	for channel, kind := range map[string]string{incidents: "channel", "G0INSIDER": "group", dm: "im"} {
		say(t, s, ada, channel, "", "heard @auditbot")
		if e := c.event(); e.text("channel") != channel || e.text("channel_type") != kind || e.text("type") != "message" {
			t.Errorf("%v", e.Payload.Event)
		}
		if kind == "im" {
			continue // nobody is mentioned there
		}
		if e := c.event(); e.text("type") != "app_mention" || e.text("channel") != channel || !strings.Contains(e.text("text"), "<@U0AUDITBOT>") {
			t.Errorf("%v", e.Payload.Event)
		}
	}
}

func TestEventsNeedTheirSubscriptionAndScope(t *testing.T) {
	s := start(t, withManifest(least))
	c := connect(t, s)
	say(t, s, ada, "G0INSIDER", "", "no scope")
	say(t, s, ada, incidents, "", "hello @auditbot, heard but no mention")
	if e := c.event(); e.text("channel") != incidents || e.text("type") != "message" {
		t.Errorf("%v", e.Payload.Event)
	}
	say(t, s, ada, s.OpenDM(ada), "", "heard")
	if e := c.event(); e.text("channel_type") != "im" {
		t.Errorf("%v", e.Payload.Event)
	}
	only := start(t, withManifest("oauth_config: {scopes: {bot: [app_mentions:read]}}\nsettings: {socket_mode_enabled: true, event_subscriptions: {bot_events: [app_mention]}}"))
	c = connect(t, only)
	say(t, only, ada, incidents, "", "unheard")
	say(t, only, ada, incidents, "", "@auditbot !help")
	if e := c.event(); e.text("type") != "app_mention" || e.text("text") != "<@U0AUDITBOT> !help" {
		t.Errorf("%v", e.Payload.Event)
	}
}

func TestSharedChannelsAreMarked(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	say(t, s, "U0FRIDA", "C0FABRIKAM", "", "hello")
	e := c.event()
	if !e.Payload.Shared || e.Payload.TeamID != "T0CONTOSO" || e.text("team") != "T0FABRIKAM" || e.text("user_team") != "T0FABRIKAM" || e.text("source_team") != "T0FABRIKAM" {
		t.Errorf("%+v", e.Payload)
	}
	say(t, s, ada, "C0FABRIKAM", "", "hello")
	if e := c.event(); !e.Payload.Shared || e.text("user_team") != "T0CONTOSO" {
		t.Errorf("%+v", e.Payload)
	}
}

func TestLinksAreLookedAt(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	m := say(t, s, ada, incidents, "", "see https://contoso.com/?a=1&b=2")
	original, echo := c.event(), c.event()
	if original.text("subtype") != "" || echo.text("subtype") != "message_changed" || echo.text("ts") == m.TS || echo.Payload.Event["hidden"] != true {
		t.Errorf("%v\n%v", original.Payload.Event, echo.Payload.Event)
	}
	inner := echo.Payload.Event["message"].(map[string]any)
	if inner["ts"] != m.TS || inner["text"] != m.Text || !strings.Contains(fmt.Sprint(inner["attachments"]), "https://contoso.com/?a=1&b=2") {
		t.Errorf("%v", inner)
	}
	for _, test := range []struct {
		fields []string
		echo   bool
	}{
		{[]string{"text", "https://contoso.com"}, true},
		{[]string{"text", "https://contoso.com", "unfurl_links", "false"}, true},
		{[]string{"text", "https://contoso.com", "unfurl_links", "false", "unfurl_media", "false"}, false},
		{[]string{"text", "https://contoso.com", "parse", "none"}, false},
		{[]string{"text", "x", "blocks", `[{"type":"markdown","text":"https://contoso.com"}]`}, true},
		{[]string{"text", "x", "blocks", `[{"type":"context","elements":[{"type":"mrkdwn","text":"https://contoso.com","verbatim":true}]}]`}, false},
		{[]string{"text", "x", "blocks", `[{"type":"context","elements":[{"type":"mrkdwn","text":"<https://contoso.com>","verbatim":true}]}]`}, true},
		{[]string{"text", "x", "blocks", `[{"type":"table","rows":[[{"type":"raw_text","text":"https://contoso.com"}]]}]`}, false},
		{[]string{"text", "mailto:x"}, false},
	} {
		call(t, s, "chat.postMessage", append(test.fields, "channel", incidents)...).must(t)
		say(t, s, ada, incidents, "", "end")
		c.event()
		e := c.event()
		if (e.text("subtype") == "message_changed") != test.echo {
			t.Errorf("%v: %v", test.fields, e.Payload.Event)
		}
		if test.echo {
			c.event()
		}
	}
}

func TestEditsAndDeletionsAreEvents(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	m := say(t, s, ada, incidents, "", "one")
	c.event()
	if err := s.Edit(ada, incidents, m.TS, "ada@contoso.com"); err != nil {
		t.Fatal(err)
	}
	e := c.event()
	after, before := e.Payload.Event["message"].(map[string]any), e.Payload.Event["previous_message"].(map[string]any)
	if e.text("subtype") != "message_changed" || before["text"] != "one" || after["text"] != "<mailto:ada@contoso.com|ada@contoso.com>" || after["edited"] == nil || after["ts"] != m.TS {
		t.Errorf("%v", e.Payload.Event)
	}
	if s.Edit(grace, incidents, m.TS, "not mine") == nil || s.Delete(grace, incidents, m.TS) == nil {
		t.Error("somebody else's message was changed")
	}
	if err := s.Delete(ada, incidents, m.TS); err != nil {
		t.Fatal(err)
	}
	if e := c.event(); e.text("subtype") != "message_deleted" || e.text("deleted_ts") != m.TS || e.text("ts") == m.TS {
		t.Errorf("%v", e.Payload.Event)
	}
	all := s.History(incidents)
	if last := all[len(all)-1]; !last.Deleted || !last.Edited {
		t.Errorf("%+v", last)
	}
	if s.Edit(ada, incidents, m.TS, "too late") == nil {
		t.Error("a deleted message was changed")
	}
}

func TestPostEvent(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	s.PostEvent(map[string]any{"subtype": "channel_join", "channel": incidents, "user": ada, "text": "<@U0ADA> has joined the channel"})
	if e := c.event(); e.text("type") != "message" || e.text("subtype") != "channel_join" || e.text("channel_type") != "channel" || e.text("ts") == "" || e.text("ts") != e.text("event_ts") {
		t.Errorf("%v", e.Payload.Event)
	}
	s.PostEvent(map[string]any{"type": "app_mention", "channel": "C0FABRIKAM", "user": "U0FRIDA", "text": "<@U0AUDITBOT> !help", "ts": "1700000000.000100"})
	if e := c.event(); e.text("type") != "app_mention" || e.text("ts") != "1700000000.000100" || !e.Payload.Shared {
		t.Errorf("%v", e.Payload)
	}
}

func TestOtherBots(t *testing.T) {
	w := slacksim.Demo()
	w.Users = append(w.Users, slacksim.User{ID: "U0OTHER", Name: "other", Bot: true})
	w.Channels[0].Members = append(w.Channels[0].Members, "U0OTHER")
	s := start(t, func(s *slacksim.Server) { s.Workspace = w })
	c := connect(t, s)
	say(t, s, "U0OTHER", incidents, "", "!help")
	if e := c.event(); e.text("bot_id") != "B0OTHER" || e.text("client_msg_id") != "" || e.text("user") != "U0OTHER" {
		t.Errorf("%v", e.Payload.Event)
	}
}

func TestPressingAButton(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	m := call(t, s, "chat.postMessage", "channel", incidents, "text", "x", "blocks",
		`[{"type":"actions","block_id":"b1","elements":[{"type":"button","action_id":"all","value":"42","text":{"type":"plain_text","text":"All"}}]}]`).must(t)
	c.event()
	if err := s.Press(ada, incidents, m.text("ts"), "all"); err != nil {
		t.Fatal(err)
	}
	e := c.event()
	if e.Type != "interactive" || e.Payload.Type != "block_actions" || len(e.Payload.Actions) != 1 || e.Payload.Actions[0]["value"] != "42" || e.Payload.Actions[0]["block_id"] != "b1" {
		t.Errorf("%+v", e)
	}
	if err := s.Press(ada, incidents, m.text("ts"), "All"); err != nil {
		t.Errorf("by its label: %v", err)
	}
	if e := c.event(); e.Payload.Actions[0]["action_id"] != "all" {
		t.Errorf("by its label: %+v", e)
	}
	for _, err := range []error{
		s.Press(ada, incidents, m.text("ts"), "none"), s.Press(ada, incidents, "1700000000.000000", "all"), s.Press("U0FRIDA", incidents, m.text("ts"), "all"),
	} {
		if err == nil {
			t.Error("it was pressed")
		}
	}
	off := start(t, withManifest(least))
	m = call(t, off, "chat.postMessage", "channel", incidents, "text", "x", "blocks",
		`[{"type":"actions","elements":[{"type":"button","action_id":"all","text":{"type":"plain_text","text":"All"}}]}]`).must(t)
	if err := off.Press(ada, incidents, m.text("ts"), "all"); err == nil || !strings.Contains(err.Error(), "interactivity") {
		t.Errorf("%v", err)
	}
}

func TestMessagesTab(t *testing.T) {
	readOnly := start(t, withManifest(strings.Replace(least, "read_only_enabled: false", "read_only_enabled: true", 1)))
	if _, err := readOnly.Say(ada, readOnly.OpenDM(ada), "", "hello"); err == nil {
		t.Error("somebody wrote to a bot that only writes")
	}
	call(t, readOnly, "chat.postMessage", "channel", readOnly.OpenDM(ada), "text", "hello").must(t)
	off := start(t, withManifest(strings.Replace(least, "messages_tab_enabled: true", "messages_tab_enabled: false", 1)))
	if got := call(t, off, "chat.postMessage", "channel", off.OpenDM(ada), "text", "hello").outcome(); got != "messages_tab_disabled" {
		t.Error(got)
	}
}

func TestABadManifestIsRefused(t *testing.T) {
	s := &slacksim.Server{Workspace: slacksim.Workspace{Manifest: []byte("a: [")}}
	if err := s.Start(); err == nil || !strings.Contains(err.Error(), "reading the manifest") {
		t.Errorf("%v", err)
	}
}

func TestABadWorkspaceIsRefused(t *testing.T) {
	for _, spoil := range []func(*slacksim.Workspace){
		func(w *slacksim.Workspace) { w.Channels[0].Members = []string{"U0NOBODY"} },
		func(w *slacksim.Workspace) { w.Channels[0].Kind = "room" },
		func(w *slacksim.Workspace) { w.Messages[0].User = "U0NOBODY" },
		func(w *slacksim.Workspace) { w.Messages[0].Channel = "C0NOWHERE" },
	} {
		w := slacksim.Demo()
		spoil(&w)
		s := &slacksim.Server{Workspace: w}
		if err := s.Start(); err == nil {
			s.Close()
			t.Error("it started")
		}
	}
}

func TestDemo(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	all := s.History(incidents)
	if len(all) != 2 || all[1].ThreadTS != all[0].TS || !strings.Contains(all[0].Text, "erin@contoso.com") {
		t.Errorf("%+v", all)
	}
	var names []string
	for _, u := range s.Users() {
		names = append(names, u.Name)
	}
	if want := []string{"ada", "grace", "mallory", "gus", "frida", "auditbot"}; !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	say(t, s, ada, incidents, all[0].TS, "first")
	if e := c.event(); e.text("text") != "first" || e.text("parent_user_id") != grace { // nothing of the seed before
		t.Errorf("%v", e.Payload.Event)
	}
}
