package slacksim_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/bot/slacksim"
)

// post posts as the bot into #soc-incidents.
func post(t testing.TB, s *slacksim.Server, fields ...string) answer {
	t.Helper()
	return call(t, s, "chat.postMessage", append([]string{"channel", incidents}, fields...)...)
}

// last is the newest message of a channel.
func last(s *slacksim.Server, channel string) slacksim.Message {
	all := s.History(channel)
	return all[len(all)-1]
}

func TestPostMessageRefuses(t *testing.T) {
	s := start(t, nil)
	s.ChangeChannel("G0INSIDER", func(c *slacksim.Channel) { c.Archived = true })
	parent := say(t, s, ada, incidents, "", "parent")
	reply := say(t, s, ada, incidents, parent.TS, "reply")
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{[]string{"channel", ""}, "invalid_arguments"},
		{[]string{"channel", "C0NOWHERE", "text", "x"}, "channel_not_found"},
		{[]string{"channel", "#soc-incidents", "text", "x"}, "channel_not_found"},
		{[]string{"channel", ada, "text", "x"}, "channel_not_found"},
		{[]string{"channel", "C0RANDOM", "text", "x"}, "not_in_channel"},
		{[]string{"channel", "G0INSIDER", "text", "x"}, "is_archived"},
		{[]string{}, "no_text"},
		{[]string{"text", " \n"}, "no_text"},
		{[]string{"blocks", "[]"}, "no_text"},
		{[]string{"text", "x", "blocks", "{"}, "invalid_blocks_format"},
		{[]string{"text", "x", "blocks", `{"type":"divider"}`}, "invalid_blocks_format"},
		{[]string{"text", "x", "markdown_text", "y"}, "markdown_text_conflict"},
		{[]string{"blocks", `[{"type":"divider"}]`, "markdown_text", "y"}, "markdown_text_conflict"},
		{[]string{"markdown_text", strings.Repeat("x", 12001)}, "msg_too_long"},
		{[]string{"text", "x", "metadata", "["}, "invalid_metadata_format"},
		{[]string{"text", "x", "metadata", `{"event_type":"x"}`}, "invalid_metadata_schema"},
		{[]string{"text", "x", "metadata", `{"event_type":"x","event_payload":{"x":"` + strings.Repeat("x", 8000) + `"}}`}, "metadata_too_large"},
		{[]string{"text", "x", "attachments", "{}"}, "invalid_attachments"},
		{[]string{"text", "x", "attachments", "[" + strings.Repeat("{},", 100) + "{}]"}, "too_many_attachments"},
		{[]string{"text", "x", "attachments", `[{"blocks":[{"type":"section"}]}]`}, "invalid_attachments"},
		{[]string{"text", "x", "thread_ts", reply.TS}, "cannot_reply_to_message"},
		{[]string{"text", "x", "thread_ts", "yesterday"}, "invalid_thread_ts"},
	} {
		if a := post(t, s, test.fields...); a.outcome() != test.want {
			t.Errorf("%.100q: %s, want %s", test.fields, a["body"], test.want)
		}
	}
	if last(s, incidents).TS != reply.TS {
		t.Error("something was posted")
	}
}

func TestAForeignPrivateChannelIsNotFound(t *testing.T) {
	s := start(t, nil)
	s.ChangeChannel("G0INSIDER", func(c *slacksim.Channel) { c.Members = []string{ada} })
	for _, method := range []string{"chat.postMessage", "conversations.info", "conversations.history"} {
		if got := call(t, s, method, "channel", "G0INSIDER", "text", "x").outcome(); got != "channel_not_found" {
			t.Errorf("%s: %s", method, got)
		}
	}
}

func TestPostMessage(t *testing.T) {
	s := start(t, nil)
	parent := say(t, s, ada, incidents, "", "parent")
	a := post(t, s, "thread_ts", parent.TS, "text", "a & b <!channel> &lt;x&gt; < y", "metadata", `{"event_type":"job","event_payload":{"id":"1"}}`).must(t)
	m := last(s, incidents)
	if m.TS != a.text("ts") || m.ThreadTS != parent.TS || m.User != s.BotUser() || m.BotID == "" || m.Text != "a &amp; b <!channel> &lt;x&gt; &lt; y" || m.Metadata == nil {
		t.Errorf("%+v", m)
	}
	if a.text("channel") != incidents || a.text("message", "thread_ts") != parent.TS || a.text("message", "bot_id") != m.BotID || a["warning"] != nil {
		t.Errorf("%s", a["body"])
	}
	if a := post(t, s, "blocks", `[{"type":"divider"}]`).must(t); a.text("warning") != "missing_text_in_message" {
		t.Errorf("%s", a["body"])
	}
	post(t, s, "markdown_text", "**x**").must(t)
	if m := last(s, incidents); !strings.Contains(string(m.Blocks), `"markdown"`) || m.Text != "**x**" {
		t.Errorf("%+v", m)
	}
	post(t, s, "text", strings.Repeat("ü", 40001)).must(t)
	if n := len([]rune(last(s, incidents).Text)); n != 40000 {
		t.Errorf("%d characters", n)
	}
}

func TestLinksInTheBotsText(t *testing.T) {
	s := start(t, nil)
	const text = "see contoso.com or https://contoso.com/a of ada@contoso.com, +1 555 123 4567 @ada <https://contoso.com/b|b>"
	post(t, s, "text", text).must(t)
	const want = "see <http://contoso.com|contoso.com> or <https://contoso.com/a> of <mailto:ada@contoso.com|ada@contoso.com>, <tel:+15551234567|+1 555 123 4567> @ada <https://contoso.com/b|b>"
	if got := last(s, incidents).Text; got != want {
		t.Errorf("%q", got)
	}
	post(t, s, "text", text, "parse", "none").must(t)
	if got := last(s, incidents).Text; got != text {
		t.Errorf("%q", got)
	}
}

func TestAReplyToWhatIsGoneIsNoReply(t *testing.T) {
	s := start(t, nil)
	parent := say(t, s, ada, incidents, "", "parent")
	if err := s.Delete(ada, incidents, parent.TS); err != nil {
		t.Fatal(err)
	}
	for _, ts := range []string{parent.TS, "1700000000.000000"} {
		if a := post(t, s, "text", "x", "thread_ts", ts).must(t); a.text("message", "thread_ts") != "" || last(s, incidents).ThreadTS != "" {
			t.Errorf("%s", a["body"])
		}
	}
	full := say(t, s, ada, incidents, "", "parent")
	say(t, s, ada, incidents, full.TS, "reply")
	s.Delete(ada, incidents, full.TS)
	if a := post(t, s, "text", "x", "thread_ts", full.TS).must(t); a.text("message", "thread_ts") != full.TS {
		t.Errorf("%s", a["body"])
	}
}

func TestUpdate(t *testing.T) {
	s := start(t, nil)
	const blocks = `[{"type":"divider","block_id":"b"}]`
	theirs := say(t, s, ada, incidents, "", "mine")
	ts := post(t, s, "text", "one", "blocks", blocks, "metadata", `{"event_type":"a","event_payload":{}}`).must(t).text("ts")
	update := func(fields ...string) (answer, slacksim.Message) {
		t.Helper()
		a := call(t, s, "chat.update", append([]string{"channel", incidents, "ts", ts}, fields...)...)
		return a, last(s, incidents)
	}
	if a, m := update("text", "two", "blocks", blocks); a.outcome() != "ok" || m.Text != "two" || m.Blocks == nil || m.Edited || m.Metadata == nil {
		t.Errorf("%s %+v", a["body"], m)
	}
	if a, m := update("text", "three"); a.outcome() != "ok" || m.Text != "three" || m.Blocks != nil || !m.Edited {
		t.Errorf("blocks stay under a new text: %s %+v", a["body"], m)
	}
	if a, m := update("blocks", blocks, "metadata", "{}"); a.outcome() != "ok" || m.Text != "three" || m.Blocks == nil || m.Metadata != nil {
		t.Errorf("%s %+v", a["body"], m)
	}
	if a, m := update("blocks", "[]"); a.outcome() != "ok" || m.Blocks != nil {
		t.Errorf("%s %+v", a["body"], m)
	}
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{[]string{}, "no_text"},
		{[]string{"text", strings.Repeat("x", 4001)}, "msg_too_long"},
		{[]string{"text", "x", "ts", theirs.TS}, "cant_update_message"},
		{[]string{"text", "x", "ts", "1700000000.000000"}, "message_not_found"},
		{[]string{"text", "x", "ts", ""}, "invalid_arguments"},
		{[]string{"text", "x", "channel", "C0NOWHERE"}, "channel_not_found"},
		{[]string{"blocks", `[{"type":"section"}]`}, "invalid_blocks"},
	} {
		if a, _ := update(test.fields...); a.outcome() != test.want {
			t.Errorf("%.80q: %s, want %s", test.fields, a["body"], test.want)
		}
	}
}

func TestDelete(t *testing.T) {
	s := start(t, nil)
	theirs := say(t, s, ada, incidents, "", "mine")
	ts := post(t, s, "text", "one").must(t).text("ts")
	for _, test := range []struct{ ts, want string }{
		{theirs.TS, "cant_delete_message"}, {ts, "ok"}, {ts, "message_not_found"},
	} {
		if got := call(t, s, "chat.delete", "channel", incidents, "ts", test.ts).outcome(); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
	if got := call(t, s, "chat.update", "channel", incidents, "ts", ts, "text", "x").outcome(); got != "message_not_found" {
		t.Error(got)
	}
	if !last(s, incidents).Deleted {
		t.Error("it is still there")
	}
}

func TestEphemeral(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	ts := call(t, s, "chat.postEphemeral", "channel", incidents, "user", ada, "text", "only you").must(t).text("message_ts")
	m := last(s, incidents)
	if m.TS != ts || m.EphemeralTo != ada || m.Text != "only you" {
		t.Errorf("%+v", m)
	}
	for method, want := range map[string]string{"chat.update": "message_not_found", "chat.delete": "message_not_found"} {
		if got := call(t, s, method, "channel", incidents, "ts", ts, "text", "x").outcome(); got != want {
			t.Errorf("%s: %s", method, got)
		}
	}
	if got := call(t, s, "chat.postEphemeral", "channel", incidents, "user", "U0FRIDA", "text", "x").outcome(); got != "user_not_in_channel" {
		t.Error(got)
	}
	if got := call(t, s, "chat.postEphemeral", "channel", incidents, "user", ada, "text", strings.Repeat("x", 40001)).outcome(); got != "msg_too_long" {
		t.Error(got)
	}
	if a := call(t, s, "conversations.history", "channel", incidents).must(t); strings.Contains(a["body"].(string), "only you") {
		t.Error("it is in the history")
	}
	say(t, s, ada, incidents, "", "next")
	if e := c.event(); e.text("text") != "next" {
		t.Errorf("%v", e.Payload.Event)
	}
}

func TestReactions(t *testing.T) {
	s := start(t, nil)
	m := say(t, s, ada, incidents, "", "!search")
	react := func(method, channel, ts, name string) string {
		return call(t, s, "reactions."+method, "channel", channel, "timestamp", ts, "name", name).outcome()
	}
	for _, test := range []struct{ method, channel, ts, name, want string }{
		{"add", incidents, m.TS, "hourglass_flowing_sand", "ok"},
		{"add", incidents, m.TS, "hourglass_flowing_sand", "already_reacted"},
		{"add", incidents, m.TS, "eyes", "ok"},
		{"add", incidents, m.TS, ":eyes:", "invalid_name"},
		{"add", incidents, m.TS, "", "invalid_name"},
		{"add", incidents, "", "eyes", "no_item_specified"},
		{"add", incidents, "1", "eyes", "bad_timestamp"},
		{"add", incidents, "1700000000.000000", "eyes", "message_not_found"},
		{"add", "C0RANDOM", m.TS, "eyes", "channel_not_found"},
		{"remove", incidents, m.TS, "eyes", "ok"},
		{"remove", incidents, m.TS, "eyes", "no_reaction"},
	} {
		if got := react(test.method, test.channel, test.ts, test.name); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
	if got := fmt.Sprint(last(s, incidents).Reactions); got != "[hourglass_flowing_sand]" {
		t.Error(got)
	}
}

func TestEnforceRate(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.EnforceRate = true })
	post(t, s, "text", "x").must(t)
	if a := post(t, s, "text", "x"); a["status"] != 429.0 || a.outcome() != "ratelimited" {
		t.Errorf("%s", a["body"])
	}
	call(t, s, "chat.postMessage", "channel", "G0INSIDER", "text", "x").must(t)
}

func TestEnforceRateKnowsTheTiers(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.EnforceRate = true })
	for range 20 {
		call(t, s, "usergroups.users.list", "usergroup", "S0SOC").must(t)
	}
	if a := call(t, s, "usergroups.users.list", "usergroup", "S0SOC"); a["status"] != 429.0 || a.outcome() != "ratelimited" {
		t.Errorf("%s", a["body"])
	}
	call(t, s, "auth.test").must(t)
}

func TestPermalink(t *testing.T) {
	s := start(t, nil)
	m := say(t, s, ada, incidents, "", "parent")
	want := s.URL + "/archives/C0INCIDENTS/p" + strings.ReplaceAll(m.TS, ".", "")
	if got := call(t, s, "chat.getPermalink", "channel", incidents, "message_ts", m.TS).must(t).text("permalink"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := call(t, s, "chat.getPermalink", "channel", incidents, "message_ts", "1").outcome(); got != "message_not_found" {
		t.Error(got)
	}
}

func TestTimestampsAreUnique(t *testing.T) {
	s := start(t, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if _, err := s.Say(ada, incidents, "", "x"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	before := ""
	for _, m := range s.History(incidents) {
		if seen[m.TS] || m.TS <= before {
			t.Fatalf("%s after %s", m.TS, before)
		}
		seen[m.TS], before = true, m.TS
	}
}

func TestWatch(t *testing.T) {
	s := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	watched := s.Watch(ctx)
	m := say(t, s, ada, incidents, "", "one")
	if got := <-watched; got.TS != m.TS || got.Text != "one" {
		t.Errorf("%+v", got)
	}
	s.Edit(ada, incidents, m.TS, "two")
	if got := <-watched; got.TS != m.TS || got.Text != "two" || !got.Edited {
		t.Errorf("%+v", got)
	}
	for i := range 300 { // more than a watcher has room for
		say(t, s, ada, incidents, "", fmt.Sprint(i))
	}
	if first := <-watched; first.Text == "0" {
		t.Error("nothing was lost")
	}
	cancel()
	newest := ""
	for m := range watched {
		newest = m.Text
	}
	if newest != "299" {
		t.Errorf("the newest is %s", newest)
	}
}

func TestWait(t *testing.T) {
	s := start(t, nil)
	found := make(chan slacksim.Message)
	go func() {
		m, err := s.Wait(limit(t), incidents, func(m slacksim.Message) bool { return m.Text == "now" })
		if err != nil {
			t.Error(err)
		}
		found <- m
	}()
	say(t, s, ada, incidents, "", "not yet")
	m := say(t, s, ada, incidents, "", "now")
	if got := <-found; got.TS != m.TS {
		t.Errorf("%+v", got)
	}
	if got, err := s.Wait(t.Context(), incidents, func(m slacksim.Message) bool { return m.Text == "now" }); err != nil || got.TS != m.TS {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Wait(ctx, incidents, func(slacksim.Message) bool { return false }); err == nil || !strings.Contains(err.Error(), "deadline exceeded") {
		t.Errorf("%v", err)
	}
}
