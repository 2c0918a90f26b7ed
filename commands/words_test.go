package commands

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/shlex"
)

func TestWords(t *testing.T) {
	table(t, "words.txt", func(typed string) string {
		found, err := words(typed)
		if err != nil {
			return mistake(t, err)
		}
		var lines []string
		for _, w := range found {
			shown := "<" + w.value + ">"
			if w.quoted {
				shown = `"` + w.value + `"`
			}
			lines = append(lines, strings.TrimSpace(w.name+" "+shown))
		}
		return strings.Join(lines, "\n")
	})
}

func TestWordsKnowWhereTheyBegan(t *testing.T) {
	found, err := words(" \u200B!cmd  a=“é ü” \tb=2")
	if err != nil {
		t.Fatal(err)
	}
	var columns []int
	for _, w := range found {
		columns = append(columns, w.column)
	}
	if want := []int{3, 9, 18}; !slices.Equal(columns, want) {
		t.Errorf("the words begin at %v, want %v", columns, want)
	}
}

func TestWordsRefuseWhatIsNotText(t *testing.T) {
	for line, problem := range map[string]string{
		"a=\xff":                              "not UTF-8",
		"a='\x00'":                            "NUL",
		"a=" + strings.Repeat("ü", maxLine-1): "40001 characters",
	} {
		_, err := words(line)
		if m, ok := err.(*Mistake); !ok || !strings.Contains(m.Problem, problem) || m.Hint == "" {
			t.Errorf("words(%.20q) = %v, want a mistake about %q", line, err, problem)
		}
	}
	if _, err := words("a=" + strings.Repeat("ü", maxLine-2)); err != nil {
		t.Errorf("a line of %d characters: %v", maxLine, err)
	}
}

func TestQuoteWritesOnlyTheQuotesThatAreNeeded(t *testing.T) {
	for value, want := range map[string]string{
		"":                  `""`,
		"ada@contoso.com":   `ada@contoso.com`,
		`CONTOSO\ada`:       `CONTOSO\ada`,
		"3 days":            `"3 days"`,
		`say "hi"`:          `"say \"hi\""`,
		`O'Brien`:           `"O'Brien"`,
		`C:\Program Files\`: `'C:\Program Files\'`,
		`it's C:\ \`:        "`it's C:\\ \\`",
		"a=b":               `"a=b"`,
		"a\u200Bb":          "\"a\u200Bb\"",
		"[x]":               `"[x]"`,
	} {
		if got := quote(value); got != want {
			t.Errorf("quote(%q) = %s, want %s", value, got, want)
		}
	}
}

// What words finds is what was written, whatever the value and the quotes
// around it; without the characters that shlex reads differently, the words
// are those of shlex; and what cannot be read is a mistake that says what to
// do.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{
		`!o365-auditlog-search start_date="3 days" result_size=1`,
		`!o365-auditlog-search start_date=“3 days”`,
		`user=CONTOSO\ada path="C:\Users\bob" x=\\server\share`,
		`O'Brien o'brien@contoso.com #1 ada#EXT#@contoso.com`,
		"a=`it's` b='\"' c=\"\\\"\" d=\\",
		`operations=["Update group.", "Add \" user."]`,
		`operations=["`, `a="x"y`, `a="`, "\u200B=\u00A0", "a\x00", "\xff", `""`, `= a = b`, "a\n\"\"\n'",
		`x ends with \`, "both ' and ` and \\",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, written := range quotations(line) {
			checkOneWord(t, written, line)
		}
		found, err := words(line)
		if err != nil {
			if m, ok := err.(*Mistake); !ok || m.Problem == "" || m.Hint == "" {
				t.Errorf("words(%q) = %v, which is not a Mistake with a hint", line, err)
			}
			return
		}
		checkShlex(t, line, found)
		typed := []string{"!cmd"}
		for _, w := range found {
			typed = append(typed, w.String())
		}
		again, err := words(strings.Join(typed, " "))
		same := func(a, b word) bool { return a.name == b.name && a.value == b.value }
		if err != nil || !slices.EqualFunc(again[1:], found, same) {
			t.Errorf("%q became %v, which became %v, %v", line, found, again, err)
		}
	})
}

// quotations are the ways in which a value can be written in quotes.
func quotations(value string) []string {
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) || utf8.RuneCountInString(value) > maxLine/2-10 {
		return nil
	}
	var written []string
	for _, q := range []string{"'", "`"} {
		if !strings.Contains(value, q) {
			written = append(written, q+value+q)
		}
	}
	if !strings.HasSuffix(value, `\`) {
		escaped := strings.ReplaceAll(value, `"`, `\"`)
		written = append(written, `"`+escaped+`"`)
		if !strings.ContainsFunc(value, func(r rune) bool { return isDouble(r) && r != '"' }) {
			written = append(written, `“`+escaped+`”`, `„`+escaped+`"`)
		}
	}
	if len(written) > 0 {
		written = append(written, quote(value))
	}
	return written
}

func checkOneWord(t *testing.T, written, value string) {
	t.Helper()
	for _, line := range []string{"!cmd a=" + written + " b=c", "!cmd " + written} {
		found, err := words(line)
		if err != nil || len(found) < 2 || found[1].value != value {
			t.Errorf("words(%q) = %+v, %v; the value is %q", line, found, err, value)
		}
	}
}

// checkShlex compares with shlex alone, on the lines that it reads as we do.
func checkShlex(t *testing.T, line string, found []word) {
	t.Helper()
	ours := func(r rune) bool {
		return strings.ContainsRune("\\'`#[", r) || r > '~' || r < ' ' && !strings.ContainsRune("\t\r\n", r)
	}
	if strings.ContainsFunc(line, ours) {
		return
	}
	want, err := shlex.Split(line)
	if err != nil || len(want) != len(found) {
		t.Fatalf("words(%q) = %v, but shlex has %q, %v", line, found, want, err)
	}
	for i, w := range found {
		got := w.value
		if w.name != "" {
			got = want[i][:len(w.name)] + "=" + w.value
		}
		if got != want[i] {
			t.Errorf("words(%q): word %d is %v, but shlex has %q", line, i, w, want[i])
		}
	}
}
