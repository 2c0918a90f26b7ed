package bot

import (
	"strings"
	"testing"

	"auditbot/commands"
)

// What people type, what Slack makes of it, and what the bot makes of that.
func TestTypedIsWhatThePersonTyped(t *testing.T) {
	for _, c := range []struct{ slack, typed string }{
		{`!help`, `!help`},
		{"  !help \n", `!help`},
		{`<@UBOT> !help`, `!help`},
		{`<@UBOT|auditbot>   !help`, `!help`},
		{"\u00A0<@UBOT>\u00A0!help", `!help`},
		{`<@UBOT>: !help`, `!help`},
		{`<@UBOT>, <@UBOT> !help`, `!help`},
		{"\u202A!help\u202C", `!help`},
		{"`!help`", `!help`},
		{"```\n!help\n```", `!help`},
		{"<@UBOT> ```!a b=1```", `!a b=1`},
		{"`!a b=`x y``", "!a b=`x y`"},
		{"!a b=`x y`", "!a b=`x y`"},
		{`!a user_ids=<mailto:ada@contoso.com|ada@contoso.com>`, `!a user_ids=ada@contoso.com`},
		{`!a user_ids=<mailto:ada@contoso.com>`, `!a user_ids=ada@contoso.com`},
		{`!a <mailto:user_ids=ada@contoso.com|user_ids=ada@contoso.com> x=1`, `!a user_ids=ada@contoso.com x=1`},
		{`!a u="<mailto:a@contoso.com|a@contoso.com>,<mailto:b@contoso.com|b@contoso.com>"`, `!a u="a@contoso.com,b@contoso.com"`},
		{`!a u=<http://contoso.com|contoso.com>`, `!a u=contoso.com`},
		{`!a u=<http://Contoso.com|contoso.com>`, `!a u=contoso.com`},
		{`!a u=<https://contoso.com/x?a=1&amp;b=2>`, `!a u=https://contoso.com/x?a=1&b=2`},
		{`!a u=<https://contoso.com/x?a=1&amp;b=2|contoso.com/x?a=1&amp;b=2>`, `!a u=contoso.com/x?a=1&b=2`},
		{`!a u=<http://localhost/|localhost>`, `!a u=localhost`},
		{`!a phone=<tel:+15551234567|555-123-4567>`, `!a phone=555-123-4567`},
		{`!a phone=<tel:+15551234567>`, `!a phone=+15551234567`},
		{`!a x="a&lt;b &amp; c&gt;d"`, `!a x="a<b & c>d"`},
		{`!a x="&amp;lt;"`, `!a x="&lt;"`},
		{`!a x=&lt;mailto:a@b.c|other&gt;`, `!a x=<mailto:a@b.c|other>`}, // typed so: it is no link
		{`!a c=<#C123|general>`, `!a c=#general`},
		{`!a c="<!here> <!subteam^S1|@soc>"`, `!a c="@here @soc"`},
		{`!a x="3` + "\u00A0" + `days"`, `!a x="3` + "\u00A0" + `days"`},
		{`!a u=CONTOSO\ada`, `!a u=CONTOSO\ada`},
		{`!a x="*bold* _it_ ~no~ :tada:"`, `!a x="*bold* _it_ ~no~ :tada:"`},
	} {
		line, _, err := typed(c.slack, "UBOT", "!")
		if err != nil || line != c.typed {
			t.Errorf("typed(%q) = %q, %v; want %q", c.slack, line, err, c.typed)
		}
	}
}

func TestALinkThatLeadsElsewhereIsRefused(t *testing.T) {
	for _, slack := range []string{
		`!a u=<mailto:eve@fabrikam.com|ada@contoso.com>`,
		`!a u=<https://fabrikam.com/|contoso.com>`,
		`!a u=<https://contoso.com.fabrikam.com|https://contoso.com>`,
		`!a u=<tel:+15551234567|555-999-4567>`,
		`!a u=<tel:+15551234567|call 4567>`,
		`!a u=<tel:+15551234567|>`,
		`!a u=<mailto:a@contoso.com|>`,
		`!a u=<@U123>`,
		`!a u=<@U123|ada>`,
		`!a c=<#C123>`,
		`!a c=<#C123|>`,
		`!a c=<!subteam^S1>`,
	} {
		_, _, err := typed(slack, "UBOT", "!")
		if m, ok := err.(*commands.Mistake); !ok || m.Hint == "" {
			t.Errorf("typed(%q): %v, want a mistake with a hint", slack, err)
		}
	}
}

// Slack writes text in its own way and we undo it: whatever was typed comes
// out as it was, if Slack made nothing of it but entities.
func FuzzTyped(f *testing.F) {
	f.Add(`!a x="a<b & c>d" u=CONTOSO\ada`)
	f.Add("!a `x`")
	f.Fuzz(func(t *testing.T, line string) {
		line = "!" + strings.TrimFunc(line, commands.IsBlank)
		line = strings.TrimFunc(line, commands.IsBlank)
		slack := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(line)
		if got, mentioned, err := typed(slack, "UBOT", "!"); got != line || mentioned || err != nil {
			t.Errorf("typed(%q) = %q, %v, %v", slack, got, mentioned, err)
		}
	})
}
