package commands

import (
	"encoding/csv"
	"errors"
	"io"
	"iter"
	"reflect"
	"strings"
	"testing"

	"auditbot/auditlog"
)

func recordsOf(texts ...string) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		for _, text := range texts {
			if !yield(auditlog.NewRecord(text), nil) {
				return
			}
		}
	}
}

// written is what a CSV file says to one who reads it.
func written(t *testing.T, columns []string, records ...string) [][]string {
	t.Helper()
	var b strings.Builder
	if err := writeCSV(&b, recordsOf(records...), columns); err != nil {
		t.Fatal(err)
	}
	text, marked := strings.CutPrefix(b.String(), "\uFEFF")
	if !marked {
		t.Errorf("Excel does not see that this is UTF-8: %.20q", b.String())
	}
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v: %s", err, b.String())
	}
	return rows
}

func TestARecordIsARow(t *testing.T) {
	const record = `{"CreationTime":"2026-11-24T09:00:00","Id":"1","Operation":"UserLoginFailed","UserId":"ada@contoso.com","Workload":"AzureActiveDirectory","RecordType":15,` +
		`"ClientIP":"203.0.113.9:4711","ResultStatus":"Success","ErrorNumber":"50126","ObjectId":"a, \"b\"\n c"}`
	got := written(t, nil, record, "not JSON")
	want := [][]string{
		{"CreationTime", "UserId", "Operation", "Workload", "RecordType", "ip", "result", "ObjectId", "Id", "AuditData"},
		{"2026-11-24T09:00:00Z", "ada@contoso.com", "UserLoginFailed", "AzureActiveDirectory", "15", "203.0.113.9", "failure: InvalidUserNameOrPassword (50126)", "a, \"b\"\n c", "1", record},
		{"", "", "", "", "", "", "", "", "", `"not JSON"`},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := written(t, []string{"time", "Parameters.ForwardTo", "creationtime"}, inboxRule)[1]; !reflect.DeepEqual(got, []string{"2026-11-24T09:00:00Z", "eve@fabrikam.com", "2026-11-24T09:00:00Z"}) {
		t.Errorf("%q", got)
	}
	if got := written(t, nil); len(got) != 1 {
		t.Errorf("without records: %q", got)
	}
}

func TestNoCellIsAFormula(t *testing.T) {
	for _, text := range []string{
		`=cmd|' /C calc'!A0`, "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "\u200b=1", "\u00a0 +1", "＝1", "＋1", "－1", "＠x", "−1", "\t", "\rx",
		"\x00=1", "\xff=1", `=HYPERLINK("https://fabrikam.com","x")`,
	} {
		if got := unarmed(text); got != "'"+text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
	for _, text := range []string{"", " ", "a=1", "1-1", "ada@contoso.com", `{"a":1}`, `[1]`, `"=1"`, "'=1", "https://contoso.com/?a=b"} {
		if got := unarmed(text); got != text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
	got := written(t, []string{"=x", "UserId"}, `{"UserId":"=1+1","=x":"@y"}`)
	if want := [][]string{{"'=x", "UserId"}, {"'@y", "'=1+1"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAFailureWhileWritingCSVIsPassedOn(t *testing.T) {
	broken := errors.New("broken")
	failing := func(yield func(auditlog.Record, error) bool) { yield(auditlog.Record{}, broken) }
	if err := writeCSV(io.Discard, failing, nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	r, w := io.Pipe()
	r.CloseWithError(broken)
	if err := writeCSV(w, recordsOf(strings.Repeat(inboxRule, 1)), nil); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// FuzzUnarmed: a spreadsheet that drops what shows nothing sees no formula.
func FuzzUnarmed(f *testing.F) {
	f.Add("=1")
	f.Add(" \t\u200b@x")
	f.Fuzz(func(t *testing.T, text string) {
		got := unarmed(text)
		if got != text && got != "'"+text {
			t.Errorf("%q became %q", text, got)
		}
		bare := strings.TrimFunc(got, IsBlank)
		if bare != "" && strings.ContainsRune("=+-@＝＋－＠", firstRune(bare)) {
			t.Errorf("%q is a formula", got)
		}
	})
}
