package bot

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/commands"
)

var update = flag.Bool("update", false, "rewrite golden files")

// hostile is what an attacker may write into a subject, a file name or a rule.
var hostile = []string{
	"<!channel> <!here> <@U123> <#C1|x>",
	"<https://fabrikam.com|https://contoso.com>",
	"*bold* _it_ ~no~ `code` ```fence``` **b** __u__",
	"a | b \\| c \\",
	"[link](https://fabrikam.com) ![img](https://fabrikam.com/x.png)",
	"https://fabrikam.com www.fabrikam.com mailto:eve@fabrikam.com",
	":tada: &lt;!channel&gt; &amp; &#60;",
	"line\nbreak\r\ttab \x00 \x1b[31m red",
	"\u202Egpj.exe\u202C zero\u200Bwidth \uFEFF",
	"# heading", "- list", "1. list", "> quote", "    code", "---", "=== ",
	"<script>alert(1)</script>",
	"",
}

func records(cells ...string) commands.Reply {
	t := commands.Table{Columns: []string{"Time (UTC)", "User", "Object"}}
	for _, c := range cells {
		t.Rows = append(t.Rows, []string{"2026-11-05 09:15:00", "ada@contoso.com", c})
	}
	t.Total = len(t.Rows)
	v := auditlog.Verdict{Records: t.Total, Asked: []string{"newest 10; more exist"}}
	return commands.Reply{
		Title: "Audit log from 2026-11-05 00:00:00 to 2026-11-06 00:00:00 UTC: some records", Verdict: &v, Table: t,
		Context: &commands.File{Name: "auditlog.json", Type: "json", Size: 1},
	}
}

var replies = map[string]commands.Reply{
	"one":     records("https://contoso.sharepoint.com/sites/finance/Shared Documents/budget.xlsx"),
	"hostile": records(hostile...),
	"none": {Title: "Audit log from 2026-11-05 00:00:00 to 2026-11-06 00:00:00 UTC: no records found",
		Verdict: &auditlog.Verdict{Lost: []string{"auditing is switched off in this tenant, so nothing is recorded"}}},
	"mistake": commands.Explain("!", &commands.Mistake{Problem: `there is no argument "user"`, Hint: "did you mean user_ids=ada@contoso.com?\nThe arguments are: user_ids, ip_addresses"}, ""),
	"refusal": commands.Explain("!", &auditlog.Refusal{Problem: "this account may not run Search-UnifiedAuditLog", Advice: "an Exchange administrator gives it the role"}, "ABCD1234"),
	"failure": commands.Explain("!", errors.New("secret internals"), "ABCD1234"),
	"code":    {Title: "1 record", Code: "{\"O365AuditLog\": [\n{\"Id\":\"```<!channel>\"}\n]}\n", Context: &commands.File{Name: "a.json", Size: 3}},
}

func TestForms(t *testing.T) {
	for name, reply := range replies {
		for i, f := range forms(reply, opening{}) {
			kind := []string{"markdown", "code", "text"}[i]
			t.Run(name+"/"+kind, func(t *testing.T) {
				golden(t, filepath.Join("testdata", "forms", name+"."+kind+".json"), struct {
					Text   string
					Blocks []slack.Block `json:",omitempty"`
				}{f.text, f.blocks})
			})
		}
	}
}

// golden compares v, as JSON, with the file, or rewrites it under -update.
func golden(t *testing.T, file string, v any) {
	t.Helper()
	var got strings.Builder
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	if err == nil && *update {
		err = errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(got.String()), 0o666))
	}
	want, readErr := os.ReadFile(file)
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant %s; if what we got is right, run go test ./bot -update", got.String(), file)
	}
}

func TestHiddenCharactersShow(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb":       "a␊b",
		"\x1b[31m":   "␛[31m",
		"x\u202Egpj": "x‹U+202E›gpj",
		"a\u200Bb":   "a‹U+200B›b",
		"a\xffb":     "a\uFFFDb",
		"plain ü 日本": "plain ü 日本",
	} {
		if got := commands.Visible(text); got != want {
			t.Errorf("Visible(%q) = %q, want %q", text, got, want)
		}
	}
}

var (
	liveToken = regexp.MustCompile(`<[^>]*>`)
	escape    = regexp.MustCompile(`\\([!-/:-@\[-` + "`" + `{-~])`)
)

// shownAs is what a reader of Markdown sees of escaped text.
func shownAs(text string) string {
	return strings.ReplaceAll(html.UnescapeString(escape.ReplaceAllString(text, "$1")), "\u00A0", " ")
}

// Whatever stands in a record, its cell shows just that, and nothing in the
// message is a token, a mark of Markdown, an emoji or a link.
func FuzzMarkdown(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := markdown(s)
		if liveToken.MatchString(got) || strings.ContainsAny(got, "<>\n\r") {
			t.Errorf("markdown(%q) = %q has a token or a line break", s, got)
		}
		if strings.Contains(got, ":") || strings.Contains(strings.ToLower(got), "www.") {
			t.Errorf("markdown(%q) = %q may become an emoji or a link", s, got)
		}
		if bare := escape.ReplaceAllString(got, ""); strings.ContainsAny(bare, "\\`*_[]~|") {
			t.Errorf("markdown(%q) = %q has a mark that is not escaped", s, got)
		}
		if want := commands.Visible(s); shownAs(got) != strings.ReplaceAll(want, "\u00A0", " ") {
			t.Errorf("markdown(%q) shows %q, want %q", s, shownAs(got), want)
		}
		if strings.ContainsAny(mrkdwn(s), "<>") {
			t.Errorf("mrkdwn(%q) = %q has a token", s, mrkdwn(s))
		}
	})
}

func TestEveryFormStaysWithinSlacksLimits(t *testing.T) {
	for _, cell := range []string{"x", strings.Repeat("word ", 100), strings.Repeat("<&|*", 100), strings.Repeat("日本", 200), strings.Repeat("\u202E", 300)} {
		var cells []string
		for range 50 {
			cells = append(cells, cell)
		}
		reply := records(cells...)
		reply.Table.Total = 5000
		reply.Text = strings.Repeat(cell, 100)
		reply.Code = strings.Repeat(cell+"\n", 10000)
		for i, f := range forms(reply, opening{}) {
			blocks, err := json.Marshal(f.blocks)
			if err != nil {
				t.Fatal(err)
			}
			var shown []struct{ Type, Text string }
			if err := json.Unmarshal(blocks, &shown); err != nil {
				t.Fatal(err)
			}
			if i == 0 && len(shown[0].Text) > 12000 {
				t.Errorf("a markdown block of %d bytes", len(shown[0].Text))
			}
			if n := utf8.RuneCountInString(f.text); n > 4000 || n == 0 {
				t.Errorf("a text of %d characters", n)
			}
			if !strings.Contains(string(blocks)+f.text, "of 5,000") {
				t.Errorf("form %d of a table of %.10q does not say what it leaves out", i, cell)
			}
		}
	}
}

func TestCodeThatIsCutSaysSo(t *testing.T) {
	code := strings.Repeat("x", 2*maxCode)
	for want, r := range map[string]commands.Reply{
		"the file has all":       {Title: "t", Code: code, Context: &commands.File{}},
		"without ignore-outputs": {Title: "t", Code: code},
	} {
		for i, f := range []form{markdownForm(r, opening{}), codeForm(r, opening{})} {
			blocks, err := json.Marshal(f.blocks)
			if err != nil || !strings.Contains(string(blocks), "cut here; ") || !strings.Contains(string(blocks), want) {
				t.Errorf("form %d does not say %q", i, want)
			}
		}
	}
}

func TestTheTableHasAllRowsThatFit(t *testing.T) {
	var cells []string
	for i := range 50 {
		cells = append(cells, fmt.Sprintf("file-%d.xlsx", i))
	}
	text, rows := markdownTable(records(cells...).Table, maxMarkdown)
	if rows != 50 || strings.Count(text, "\n") != 52 {
		t.Errorf("%d rows of 50 in %d lines", rows, strings.Count(text, "\n"))
	}
}
