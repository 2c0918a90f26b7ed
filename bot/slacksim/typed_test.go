package slacksim_test

import (
	"encoding/json"
	"strings"
	"testing"

	"auditbot/bot/slacksim"
)

func TestTypedTextIsStoredAsSlackStoresIt(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct{ typed, want string }{
		{"  hello\r\nthere \n", "hello\nthere"},
		{`a<b & c>d "q"`, `a&lt;b &amp; c&gt;d "q"`},
		{"&lt;!here&gt; <!here>", "&amp;lt;!here&amp;gt; &lt;!here&gt;"}, // nobody can type a token

		{"user_ids=ada@contoso.com", "user_ids=<mailto:ada@contoso.com|ada@contoso.com>"},
		{`user_ids="ada@contoso.com,erin@contoso.com"`, `user_ids="<mailto:ada@contoso.com|ada@contoso.com>,<mailto:erin@contoso.com|erin@contoso.com>"`},
		{"'ada@contoso.com'", "'<mailto:ada@contoso.com|ada@contoso.com>'"},
		{"o'brien@contoso.com", "<mailto:o'brien@contoso.com|o'brien@contoso.com>"},
		{"ada@contoso.com.", "<mailto:ada@contoso.com|ada@contoso.com>."},
		{"SVC_x.y+z@Mail.contoso.com", "<mailto:SVC_x.y+z@Mail.contoso.com|SVC_x.y+z@Mail.contoso.com>"},
		{`CONTOSO\ada@contoso.com`, `CONTOSO\ada@contoso.com`},
		{"gus_fabrikam.com#EXT#@contoso.com", "gus_fabrikam.com#EXT#@contoso.com"},
		{"ada@contoso", "ada@contoso"},

		{"https://contoso.com/y?a=1&b=2", "<https://contoso.com/y?a=1&amp;b=2>"},
		{"http://localhost", "<http://localhost>"},
		{"(see https://contoso.com/a.)", "(see <https://contoso.com/a>.)"},
		{"indexes = [\"https://u:p@contoso.com/\"]", "indexes = [\"<https://u:p@contoso.com/>\"]"},
		{"https://", "https://"},
		{"`wget www.contoso.com`", "`wget <http://www.contoso.com|www.contoso.com>`"},
		{"```https://contoso.com/x```", "```<https://contoso.com/x>```"},
		{"contoso.com/a?b=1&c=2 x", "<http://contoso.com/a?b=1&amp;c=2|contoso.com/a?b=1&amp;c=2> x"},
		{"Contoso.COM:8080, fine", "<http://Contoso.COM:8080|Contoso.COM:8080>, fine"},
		{"-contoso.com a_contoso.com *@contoso.com", "-contoso.com a_contoso.com *@contoso.com"},
		{"contoso.company report.pdf evil.sh", "contoso.company report.pdf <http://evil.sh|evil.sh>"},
		{"ip_addresses=10.0.0.1,203.0.113.66", "ip_addresses=10.0.0.1,203.0.113.66"},
		{"http://203.0.113.66/x", "<http://203.0.113.66/x>"},

		{"call +1 555-123-4567 now", "call <tel:+15551234567|+1 555-123-4567> now"},
		{"start_date=2026-11-05T10:00:00+02:00", "start_date=2026-11-05T10:00:00+02:00"},
		{"+12", "+12"},

		{"@grace look", "<@U0GRACE> look"},
		{"hi @grace.", "hi <@U0GRACE>."},
		{"@nobody @graceful ada@grace", "@nobody @graceful ada@grace"},
		{"@here @channel @everyone @heretic", "<!here> <!channel> <!everyone> @heretic"},
		{"#random, #nowhere", "<#C0RANDOM|random>, #nowhere"},
		{"tag=#random", "tag=<#C0RANDOM|random>"},
		{"done 🎉", "done :tada:"},
		{`path="C:\Users\ada" and "it's" -- x`, `path="C:\Users\ada" and "it's" -- x`},
		{"ümlaut ada@contoso.com", "ümlaut <mailto:ada@contoso.com|ada@contoso.com>"},
	} {
		if got := say(t, s, ada, incidents, "", test.typed).Text; got != test.want {
			t.Errorf("%q\n     is %q\nwant    %q", test.typed, got, test.want)
		}
	}
}

func TestCurlyKeyboard(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct{ typed, want string }{
		{`!search start_date="3 days" x='a b'`, `!search start_date=“3 days” x=‘a b’`},
		{`it's O'Brien "quoted"`, `it’s O’Brien “quoted”`},
		{`!test --option1="q"`, `!test —option1=“q”`},
		{`("a", "b")`, `(“a”, “b”)`},
		{"mail ada@contoso.com or x=ada@contoso.com", "mail\u00a0<mailto:ada@contoso.com|ada@contoso.com> or x=<mailto:ada@contoso.com|ada@contoso.com>"},
		{"see http://localhost", "see\u00a0<http://localhost/>"},
		{"see http://localhost/x", "see\u00a0<http://localhost/x>"},
		{`url="https://contoso.com/a"`, `url=“<https://contoso.com/a>”`},
		{"ping @ada", "ping <@U0ADA>"},
	} {
		if got := say(t, s, grace, incidents, "", test.typed).Text; got != test.want {
			t.Errorf("%q\n     is %q\nwant    %q", test.typed, got, test.want)
		}
	}
}

func TestAnAddressMayTakeTheEqualsSign(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.EmailTakesEquals = true })
	const want = "!x <mailto:user_ids=ada@contoso.com|user_ids=ada@contoso.com>"
	if got := say(t, s, ada, incidents, "", "!x user_ids=ada@contoso.com").Text; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTypedTextHasRichTextBlocks(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct{ typed, want string }{
		{"a *b c* <d>", `[{"elements":[{"text":"a ","type":"text"},{"style":{"bold":true},"text":"b c","type":"text"},{"text":" <d>","type":"text"}],"type":"rich_text_section"}]`},
		{"2*3*4 snake_case_name ~ x", `[{"elements":[{"text":"2*3*4 snake_case_name ~ x","type":"text"}],"type":"rich_text_section"}]`},
		{"_a *b*_", `[{"elements":[{"style":{"italic":true},"text":"a ","type":"text"},{"style":{"bold":true,"italic":true},"text":"b","type":"text"}],"type":"rich_text_section"}]`},
		{"`*x*` ~y~", `[{"elements":[{"style":{"code":true},"text":"*x*","type":"text"},{"text":" ","type":"text"},{"style":{"strike":true},"text":"y","type":"text"}],"type":"rich_text_section"}]`},
		{"@grace #random @here", `[{"elements":[{"type":"user","user_id":"U0GRACE"},{"text":" ","type":"text"},{"channel_id":"C0RANDOM","type":"channel"},{"text":" ","type":"text"},{"range":"here","type":"broadcast"}],"type":"rich_text_section"}]`},
		{"ada@contoso.com https://x.com/?a&b", `[{"elements":[{"text":"ada@contoso.com","type":"link","url":"mailto:ada@contoso.com"},{"text":" ","type":"text"},{"type":"link","url":"https://x.com/?a&b"}],"type":"rich_text_section"}]`},
		{"> q\n> r\nafter", `[{"elements":[{"text":"q\nr","type":"text"}],"type":"rich_text_quote"},{"elements":[{"text":"after","type":"text"}],"type":"rich_text_section"}]`},
		{"see\n```\nx\n```", `[{"elements":[{"text":"see","type":"text"}],"type":"rich_text_section"},{"border":0,"elements":[{"text":"x","type":"text"}],"type":"rich_text_preformatted"}]`},
	} {
		var blocks []struct {
			Type     string
			Elements json.RawMessage
		}
		m := say(t, s, ada, incidents, "", test.typed)
		if err := json.Unmarshal(m.Blocks, &blocks); err != nil || len(blocks) != 1 || blocks[0].Type != "rich_text" {
			t.Fatalf("%s, %v", m.Blocks, err)
		}
		got := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(blocks[0].Elements))
		if want := strings.ReplaceAll(test.want, "\n", `\n`); got != want {
			t.Errorf("%q\n     is %s\nwant    %s", test.typed, got, want)
		}
		call(t, s, "chat.postMessage", "channel", incidents, "blocks", string(m.Blocks)).must(t) // they are good blocks
	}
}

func TestWhatPeopleCannotSay(t *testing.T) {
	s := start(t, nil)
	s.ChangeUser("U0GUS", func(u *slacksim.User) { u.Deleted = true })
	s.ChangeChannel("G0INSIDER", func(c *slacksim.Channel) { c.Archived = true })
	for _, test := range []struct{ user, channel, thread, text, want string }{
		{ada, incidents, "", " \n", "nothing to send"},
		{ada, incidents, "", "/help me", "/help is not a valid command"},
		{ada, incidents, "", strings.Repeat("x", 12001), "more than 12000 characters"},
		{ada, incidents, "1700000000.000001", "x", "no message 1700000000.000001"},
		{ada, "C0NOWHERE", "", "x", "no channel"},
		{"U0NOBODY", incidents, "", "x", "no user"},
		{"U0MALLORY", "C0FABRIKAM", "", "x", "mallory is not in C0FABRIKAM"},
		{"U0GUS", incidents, "", "x", "deactivated"},
		{ada, "G0INSIDER", "", "x", "archived"},
	} {
		if _, err := s.Say(test.user, test.channel, test.thread, test.text); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

func TestAReplyToAReplyIsInTheSameThread(t *testing.T) {
	s := start(t, nil)
	parent := say(t, s, ada, incidents, "", "parent")
	first := say(t, s, grace, incidents, parent.TS, "first")
	second := say(t, s, ada, incidents, first.TS, "second")
	if first.ThreadTS != parent.TS || second.ThreadTS != parent.TS {
		t.Errorf("%+v\n%+v", first, second)
	}
}
