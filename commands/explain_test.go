package commands

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"auditbot/auditlog"
)

func TestExplainTellsPeopleWhatIsTheirs(t *testing.T) {
	mistake := mistakef("result_size is 0").hintf("give a number")
	refusal := &auditlog.Refusal{Problem: "the role is missing", Advice: "an administrator gives it", Err: errors.New("403 from server X")}
	for _, c := range []struct {
		err         error
		title, text string
	}{
		{mistake, "⚠️ result_size is 0", "Give a number"},
		{fmt.Errorf("running: %w", mistake), "⚠️ result_size is 0", "Give a number"},
		{&Mistake{Problem: "no"}, "⚠️ No", ""},
		{fmt.Errorf("searching: %w", refusal), "❌ The role is missing", "An administrator gives it\nThe log has more under ID7."},
		{&auditlog.Refusal{Problem: "no"}, "❌ No", "The log has more under ID7."},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), "❌ This took too long and was stopped", "Ask for less: a shorter range, user_ids or operations. The log has more under ID7."},
		{errors.New("disk 7 of server X is full"), "❌ That did not work", "This is a failure of the bot, not of yours. The log has the reason under ID7."},
	} {
		if got := Explain("!", c.err, "ID7"); got.Title != c.title || got.Text != c.text {
			t.Errorf("%v:\n%q\n%q\nwant\n%q\n%q", c.err, got.Title, got.Text, c.title, c.text)
		}
	}
	if !IsMistake(fmt.Errorf("running: %w", mistake)) || IsMistake(refusal) || IsMistake(nil) || mistake.Error() != "result_size is 0" {
		t.Error("mistakes are not told from failures")
	}
}

func TestVisibleShowsWhatHides(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"Ärger & <b>":              "Ärger & <b>",
		"a\tb\r\nc\x7f":            "a␉b␍␊c␡",
		"gnp.\u202eexe":            "gnp.‹U+202E›exe",
		"ad\u200ba":                "ad‹U+200B›a",
		"bad\xffbyte":              "bad\ufffdbyte",
		"⚠\ufe0f sign, a\ufe0f":    "⚠\ufe0f sign, a‹U+FE0F›",
		"\u0085\u2028\ue000\u3164": "‹U+0085›‹U+2028›‹U+E000›‹U+3164›",
	} {
		if got := Visible(text); got != want {
			t.Errorf("Visible(%q) = %q, want %q", text, got, want)
		}
	}
	if got := VisibleLines("one\ttwo\r\nthree\n\u202efour"); got != "one␉two\nthree\n‹U+202E›four" {
		t.Errorf("%q", got)
	}
}
