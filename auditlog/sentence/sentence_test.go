package sentence

import (
	"bufio"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"auditbot/auditlog"
)

var update = flag.Bool("update", false, "write the sentences of this program into testdata/sentences.txt")

// table is testdata/sentences.txt: a record on one line, its sentence on the
// next, and so on.
const table = "testdata/sentences.txt"

func TestRecordsAreSaidInASentence(t *testing.T) {
	lines := readLines(t, table)
	var now []string
	for i := 0; i+1 < len(lines); i += 2 {
		r := auditlog.NewRecord(lines[i])
		if r.Unreadable {
			t.Fatalf("%s:%d is no record", table, i+1)
		}
		got := Of(r)
		if got != lines[i+1] && !*update {
			t.Errorf("%s:%d\n got: %s\nwant: %s", table, i+2, got, lines[i+1])
		}
		now = append(now, lines[i], got)
	}
	if *update {
		if err := os.WriteFile(table, []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEveryPhraseIsTried is about the table of this test: an operation with a
// phrase of its own that no record tries may say anything.
func TestEveryPhraseIsTried(t *testing.T) {
	tried := map[string]bool{}
	for i, line := range readLines(t, table) {
		if i%2 == 0 {
			tried[auditlog.OperationKey(auditlog.NewRecord(line).Text("Operation"))] = true
		}
	}
	for _, operation := range Operations() {
		if !tried[auditlog.OperationKey(operation)] {
			t.Errorf("%s has no record of %q", table, operation)
		}
	}
}

func TestNoOperationIsInTwoFamilies(t *testing.T) {
	seen := map[string]string{}
	for _, operation := range Operations() {
		key := auditlog.OperationKey(operation)
		if before, ok := seen[key]; ok {
			t.Errorf("%q and %q are the same operation", before, operation)
		}
		seen[key] = operation
	}
}

func TestPublishedSamplesAreSaidInASentence(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/data/samples/*.ndjson")
	if len(files) == 0 {
		t.Skip("no sample records in ../shared/data/samples beside the repository")
	}
	for _, file := range files {
		for _, line := range readLines(t, file) {
			r := auditlog.NewRecord(line)
			got := Of(r)
			t.Logf("%s", got)
			if strings.Contains(got, " did ") || strings.Contains(got, "''") || strings.Contains(got, "does not name") || strings.Contains(got, "gives no name") {
				t.Errorf("%s says little: %s", line, got)
			}
			mustBeFit(t, r)
		}
	}
}

func TestASentenceIsFitForALine(t *testing.T) {
	for what, record := range map[string]string{
		"nothing":         `{}`,
		"no operation":    `{"UserId":"ada@contoso.com"}`,
		"unreadable":      `not JSON ` + strings.Repeat("x", 5000),
		"a line break":    `{"Operation":"New-InboxRule","UserId":"ada@contoso.com","Parameters":[{"Name":"Name","Value":"a\r\nb\u2028c"}]}`,
		"long values":     `{"Operation":"Send","UserId":"` + strings.Repeat("ä", 5000) + `","Item":{"Subject":"` + strings.Repeat("日本", 5000) + `"}}`,
		"a long rule":     `{"Operation":"New-InboxRule","Parameters":[` + long("From") + `,` + long("SubjectContainsWords") + `,` + long("BodyContainsWords") + `,` + long("ForwardTo") + `]}`,
		"wrong types":     `{"Operation":["Send"],"UserId":{"a":[1]},"Parameters":7,"ModifiedProperties":"x","Target":[[]],"Members":{"UPN":1}}`,
		"many parameters": `{"Operation":"Set-Mailbox","Parameters":[` + strings.TrimSuffix(strings.Repeat(`{"Name":"A b","Value":"`+strings.Repeat("v", 300)+`"},`, 300), ",") + `]}`,
	} {
		t.Run(what, func(t *testing.T) { mustBeFit(t, auditlog.NewRecord(record)) })
	}
}

// long is a parameter with several values, each of which has to be cut.
func long(parameter string) string {
	return `{"Name":"` + parameter + `","Value":"` + strings.Repeat(strings.Repeat("v", 300)+";", 9) + `"}`
}

func TestAValueCannotEndItsQuotes(t *testing.T) {
	for value, want := range map[string]string{
		`plain`:        `'plain'`,
		`it's`:         `"it's"`,
		`' and "all`:   `'\' and "all'`,
		`x' deleted "`: `'x\' deleted "'`,
	} {
		if got := quote(value); got != want {
			t.Errorf("quote(%s) = %s, want %s", value, got, want)
		}
	}
}

// mustBeFit checks what holds for every record.
func mustBeFit(t *testing.T, r auditlog.Record) {
	t.Helper()
	got := Of(r)
	switch {
	case strings.TrimSpace(got) == "":
		t.Errorf("%q has an empty sentence", r.Raw)
	case utf8.RuneCountInString(got) > MaxLength:
		t.Errorf("%q has a sentence of %d characters", r.Raw, utf8.RuneCountInString(got))
	case strings.ContainsAny(got, "\n\r\v\f\u0085\u2028\u2029"):
		t.Errorf("%q has a sentence of several lines: %q", r.Raw, got)
	case !utf8.ValidString(got):
		t.Errorf("%q has a sentence that is no text: %q", r.Raw, got)
	}
	for range 3 {
		if again := Of(auditlog.NewRecord(string(r.Raw))); !r.Unreadable && again != got {
			t.Errorf("%q has two sentences:\n%s\n%s", r.Raw, got, again)
		}
	}
	if !slices.Equal(Changes(r), Changes(r)) {
		t.Errorf("%q has changes in different orders", r.Raw)
	}
}

func FuzzSentence(f *testing.F) {
	content, err := os.ReadFile(table)
	if err != nil {
		f.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		if i%2 == 0 {
			f.Add(line, "")
		}
	}
	for _, operation := range Operations() {
		f.Add(`{"UserId":"ada@contoso.com","Parameters":[{"Name":"Name","Value":"x"}],"Target":[{"ID":"x","Type":1}]}`, operation)
	}
	f.Fuzz(func(t *testing.T, record, operation string) {
		mustBeFit(t, auditlog.NewRecord(record))
		var fields map[string]json.RawMessage
		if operation == "" || json.Unmarshal([]byte(record), &fields) != nil || fields == nil {
			return
		}
		fields["Operation"], _ = json.Marshal(operation)
		whole, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		mustBeFit(t, auditlog.RecordOf(whole))
	})
}

// readLines is the lines of a file.
func readLines(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if scanner.Text() != "" {
			lines = append(lines, scanner.Text())
		}
	}
	if scanner.Err() != nil {
		t.Fatal(scanner.Err())
	}
	return lines
}
