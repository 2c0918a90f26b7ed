package slacksim_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever somebody types, what is stored says the same: each token is a
// label or a target that was typed, and all else is escaped.
func FuzzTypedText(f *testing.F) {
	for _, seed := range []string{
		`!x user_ids=ada@contoso.com a="b & c" <d> https://contoso.com/?a=1&b=2`, "@ada @here #random contoso.com +1 555-123-4567",
		"&lt;mailto:a@b.com|a@b.com&gt;", "<@U0ADA>", "a@b.com.c@d.org", "x\u00a0“y”", "`http://localhost`", "((https://contoso.com).)",
	} {
		f.Add(seed)
	}
	s := start(f, nil)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := s.Say(ada, incidents, "", text)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		if strings.ContainsAny(strings.NewReplacer("&lt;", "", "&gt;", "", "&amp;", "").Replace(tokenPattern.ReplaceAllString(m.Text, "")), "<>&") {
			t.Errorf("%q has something unescaped in it", m.Text)
		}
		typed := strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
		if got := retyped(m.Text); got != typed && !strings.Contains(m.Text, ":") { // names of emoji
			t.Errorf("%q is stored as %q, which says %q", typed, m.Text, got)
		}
		if m.Blocks == nil {
			t.Errorf("%q has no blocks", m.Text)
		}
	})
}

var tokenPattern = regexp.MustCompile(`<([^<>|]+)(\|([^<>|]*))?>`)

// retyped is what somebody would type to get this.
func retyped(stored string) string {
	names := map[string]string{"@U0ADA": "@ada", "@U0GRACE": "@grace", "@U0MALLORY": "@mallory", "@U0GUS": "@gus", "@U0FRIDA": "@frida", "@U0AUDITBOT": "@auditbot"}
	text := tokenPattern.ReplaceAllStringFunc(stored, func(token string) string {
		m := tokenPattern.FindStringSubmatch(token)
		switch target, label := m[1], m[3]; {
		case names[target] != "":
			return names[target]
		case target[0] == '!':
			return "@" + target[1:]
		case target[0] == '#':
			return "#" + label
		case label != "":
			return label
		default:
			return target
		}
	})
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
}

// Whatever a bot sends as blocks, it is answered, and what is taken can be
// read again.
func FuzzBlocks(f *testing.F) {
	for _, seed := range []string{
		`[{"type":"section","text":{"type":"mrkdwn","text":"x"}}]`, `[{"type":"table","rows":[[null,{"type":"raw_text"}]],"column_settings":[null]}]`,
		`[{"type":"data_table","caption":"c","rows":[[],[{"type":"raw_text","text":"x"}]]}]`, `[null,1,"x",[]]`, `[{"type":"markdown","text":"a|b\n-|-"}]`,
		`[{"type":"data_visualization","title":"t","chart":{"type":"bar","axis_config":{"categories":[{}]},"series":[{"data":[1]}]}}]`,
	} {
		f.Add(seed)
	}
	s := start(f, nil)
	f.Fuzz(func(t *testing.T, blocks string) {
		a := call(t, s, "chat.postMessage", "channel", incidents, "text", "x", "blocks", blocks)
		if a["status"] != 200.0 || a.outcome() == "" {
			t.Errorf("%s: %v", blocks, a["body"])
		}
		if m := last(s, incidents); a["ok"] == true && m.Blocks != nil && !strings.HasPrefix(string(m.Blocks), "[{") {
			t.Errorf("%s became %s", blocks, m.Blocks)
		}
	})
}
