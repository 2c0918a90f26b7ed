package slacksim_test

import (
	"strings"
	"testing"

	"auditbot/bot/slacksim"
)

// texts are those of the messages in an answer, joined.
func texts(a answer) string {
	var all []string
	messages, _ := a["messages"].([]any)
	for _, m := range messages {
		all = append(all, m.(map[string]any)["text"].(string))
	}
	return strings.Join(all, " ")
}

func TestConversationsOpen(t *testing.T) {
	s := start(t, nil)
	s.ChangeUser("U0MALLORY", func(u *slacksim.User) { u.Deleted = true })
	a := call(t, s, "conversations.open", "users", ada).must(t)
	id := a.text("channel", "id")
	if !strings.HasPrefix(id, "D") || a["already_open"] != nil || id != s.OpenDM(ada) {
		t.Errorf("%s", a["body"])
	}
	if a := call(t, s, "conversations.open", "users", ada, "return_im", "true").must(t); a["already_open"] != true || a.text("channel", "user") != ada {
		t.Errorf("%s", a["body"])
	}
	call(t, s, "conversations.open", "channel", id).must(t)
	call(t, s, "chat.postMessage", "channel", id, "text", "hello").must(t)
	group := call(t, s, "conversations.open", "users", "U0ADA,U0GRACE").must(t).text("channel", "id")
	if again := call(t, s, "conversations.open", "users", "U0GRACE,U0ADA").must(t).text("channel", "id"); again != group {
		t.Errorf("%s and %s", group, again)
	}
	for _, test := range []struct{ field, value, want string }{
		{"users", "", "users_list_not_supplied"},
		{"users", "U0NOBODY", "user_not_found"},
		{"users", "U0MALLORY", "user_disabled"},
		{"users", s.BotUser(), "cannot_dm_bot"},
		{"users", strings.Repeat("U0ADA,", 9), "too_many_users"},
		{"channel", "D0NOWHERE", "channel_not_found"},
		{"channel", incidents, "method_not_supported_for_channel_type"},
	} {
		if got := call(t, s, "conversations.open", test.field, test.value).outcome(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
	if s.OpenDM("U0NOBODY") != "" || s.OpenDM(s.BotUser()) != "" {
		t.Error("a conversation with nobody")
	}
}

func TestConversationsInfo(t *testing.T) {
	s := start(t, nil)
	info := func(id string) map[string]any {
		return call(t, s, "conversations.info", "channel", id).must(t)["channel"].(map[string]any)
	}
	if c := info(incidents); c["is_channel"] != true || c["is_private"] != false || c["is_member"] != true || c["is_ext_shared"] != false || c["name"] != "soc-incidents" {
		t.Errorf("%v", c)
	}
	if c := info("C0RANDOM"); c["is_member"] != false {
		t.Errorf("%v", c)
	}
	if c := info("C0FABRIKAM"); c["is_ext_shared"] != true {
		t.Errorf("%v", c)
	}
	if c := info(s.OpenDM(grace)); c["is_im"] != true || c["user"] != grace {
		t.Errorf("%v", c)
	}
}

func TestUsersConversations(t *testing.T) {
	s := start(t, nil)
	s.OpenDM(ada)
	s.ChangeChannel("G0INSIDER", func(c *slacksim.Channel) { c.Archived = true })
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{nil, "C0INCIDENTS C0FABRIKAM"},
		{[]string{"types", "private_channel,im"}, "G0INSIDER D0ADA"},
		{[]string{"types", "private_channel,im", "exclude_archived", "true"}, "D0ADA"},
		{[]string{"types", "mpim"}, ""},
		{[]string{"limit", "1"}, "C0INCIDENTS"},
		{[]string{"limit", "1", "cursor", call(t, s, "users.conversations", "limit", "1").text("response_metadata", "next_cursor")}, "C0FABRIKAM"},
	} {
		var ids []string
		for _, c := range call(t, s, "users.conversations", test.fields...).must(t)["channels"].([]any) {
			c := c.(map[string]any)
			ids = append(ids, c["id"].(string))
			if c["is_ext_shared"] != (c["id"] == "C0FABRIKAM") || c["is_member"] != nil {
				t.Errorf("%v", c)
			}
		}
		if got := strings.Join(ids, " "); got != test.want {
			t.Errorf("%v: %s", test.fields, got)
		}
	}
	for _, test := range []struct{ field, value, want string }{{"types", "x", "invalid_types"}, {"cursor", "x", "invalid_cursor"}} {
		if got := call(t, s, "users.conversations", test.field, test.value).outcome(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestAMessageOfBefore(t *testing.T) {
	s := start(t, nil)
	s.Add(slacksim.Message{Channel: incidents, TS: "1700000000.000100", User: ada, Text: "long ago"})
	if all := s.History(incidents); all[0].Text != "long ago" || len(all) != 3 || len(s.Deliveries()) > 0 {
		t.Errorf("%+v", all)
	}
	if all := texts(call(t, s, "conversations.history", "channel", incidents).must(t)); !strings.HasSuffix(all, "long ago") {
		t.Error(all)
	}
}

func TestHistoryAndReplies(t *testing.T) {
	s := start(t, nil)
	s.ChangeChannel("C0RANDOM", func(c *slacksim.Channel) { c.Members = append(c.Members, slacksim.BotUserID) })
	one := say(t, s, ada, "C0RANDOM", "", "one")
	two := say(t, s, ada, "C0RANDOM", "", "two")
	say(t, s, ada, "C0RANDOM", one.TS, "1a")
	b := call(t, s, "chat.postMessage", "channel", "C0RANDOM", "thread_ts", one.TS, "text", "1b", "metadata", `{"event_type":"e","event_payload":{}}`).must(t).text("ts")
	call(t, s, "chat.postMessage", "channel", "C0RANDOM", "thread_ts", one.TS, "text", "1c", "reply_broadcast", "true").must(t)

	get := func(method string, fields ...string) answer {
		t.Helper()
		return call(t, s, "conversations."+method, append([]string{"channel", "C0RANDOM"}, fields...)...).must(t)
	}
	const cake = "There is cake in the kitchen."
	if got := texts(get("history")); got != "1c two one "+cake {
		t.Error(got)
	}
	if got := texts(get("history", "oldest", one.TS)); got != "1c two" {
		t.Error(got)
	}
	if got := texts(get("history", "oldest", one.TS, "latest", two.TS, "inclusive", "1")); got != "two one" {
		t.Error(got)
	}
	if got := texts(get("replies", "ts", one.TS)); got != "one 1a 1b 1c" {
		t.Error(got)
	}
	if got := texts(get("replies", "ts", b)); got != "1b" {
		t.Error(got)
	}
	if a := get("replies", "ts", one.TS); strings.Contains(a["body"].(string), "event_payload") {
		t.Error("metadata that nobody asked for")
	}
	if a := get("replies", "ts", one.TS, "include_all_metadata", "1"); !strings.Contains(a["body"].(string), "event_payload") {
		t.Error("no metadata")
	}
	parent := get("history")["messages"].([]any)[2].(map[string]any)
	if parent["reply_count"] != 3.0 || parent["thread_ts"] != one.TS {
		t.Errorf("%v", parent)
	}
	s.Delete(ada, "C0RANDOM", one.TS)
	s.Delete(ada, "C0RANDOM", two.TS)
	if got := texts(get("history")); got != "1c This message was deleted. "+cake {
		t.Error(got)
	}
	for _, test := range []struct{ method, channel, ts, want string }{
		{"replies", "C0RANDOM", "1700000000.000000", "thread_not_found"},
		{"replies", "C0RANDOM", "", "thread_not_found"},
		{"history", "C0NOWHERE", "", "channel_not_found"},
		{"history", "", "", "invalid_arguments"},
	} {
		if got := call(t, s, "conversations."+test.method, "channel", test.channel, "ts", test.ts).outcome(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
	s.ChangeChannel("C0RANDOM", func(c *slacksim.Channel) { c.Members = []string{ada} })
	if got := call(t, s, "conversations.history", "channel", "C0RANDOM").outcome(); got != "not_in_channel" {
		t.Error(got)
	}
}

func TestPages(t *testing.T) {
	s := start(t, nil)
	parent := say(t, s, ada, incidents, "", "p")
	for _, text := range []string{"a", "b", "c", "d"} {
		say(t, s, ada, incidents, parent.TS, text)
	}
	var all []string
	cursor := ""
	for {
		a := call(t, s, "conversations.replies", "channel", incidents, "ts", parent.TS, "limit", "2", "cursor", cursor).must(t)
		all = append(all, texts(a))
		cursor = a.text("response_metadata", "next_cursor")
		if (cursor != "") != (a["has_more"] == true) {
			t.Errorf("%s", a["body"])
		}
		if cursor == "" {
			break
		}
	}
	if got := strings.Join(all, "|"); got != "p a|b c|d" {
		t.Error(got)
	}
	if got := call(t, s, "conversations.replies", "channel", incidents, "ts", parent.TS, "cursor", "x").outcome(); got != "invalid_cursor" {
		t.Error(got)
	}
}
