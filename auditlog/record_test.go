package auditlog_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
)

func TestARecordKeepsItsBytes(t *testing.T) {
	const odd = ` { "Id":"x" ,"CreationTime":"2026-11-05T12:00:00","n":1.10, "big":12345678901234567890,"u":"\u00e9\/","half":"\ud800","Id2":null}`
	r := auditlog.NewRecord(odd)
	if string(r.Raw) != odd || r.ID != "x" || !r.Time.Equal(noon) || r.Unreadable {
		t.Errorf("%+v", r)
	}
	for field, want := range map[string]string{"n": "1.10", "big": "12345678901234567890", "u": "é/", "Id2": "", "none": "", "id": ""} {
		if got := r.Text(field); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
}

func TestTimesOfRecordsAreUTC(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-05T12:00:00":        noon,
		"2026-11-05T12:00:00.25":     noon.Add(250 * time.Millisecond),
		"2026-11-05T12:00:00Z":       noon,
		"2026-11-05T14:00:00+02:00":  noon,
		"2026-11-05 12:00:00":        noon,
		"2026-11-05 12:00:00.000000": noon,
		"5/18/2021 9:13:33 PM":       {},
		"":                           {},
	} {
		quoted, _ := json.Marshal(text)
		if r := auditlog.NewRecord(`{"CreationTime":` + string(quoted) + `}`); r.Time != want || r.Unreadable {
			t.Errorf("%q is %v, want %v", text, r.Time, want)
		}
	}
	if r := auditlog.NewRecord(`{"CreationTime":5,"Id":6}`); !r.Time.IsZero() || r.ID != "" || r.Unreadable {
		t.Errorf("numbers: %+v", r)
	}
}

func TestTextThatIsNoObjectIsKeptAsAJSONString(t *testing.T) {
	for _, text := range []string{"", "x", `"x"`, "7", "null", "[{}]", `{"Id":`, `{} {}`, "\x00", `a "quote"`, "<b>&"} {
		r := auditlog.NewRecord(text)
		var back string
		if err := json.Unmarshal(r.Raw, &back); err != nil || back != text || !r.Unreadable {
			t.Errorf("%q became %s, %v", text, r.Raw, err)
		}
		if r.Text("Id") != "" || r.Row().Object != text || r.Row().Operation != "(unreadable record)" {
			t.Errorf("%q shows as %+v", text, r.Row())
		}
	}
	if r := auditlog.NewRecord("a\xffb"); string(r.Raw) != `"a\ufffdb"` {
		t.Errorf("not UTF-8: %s", r.Raw)
	}
}

// FuzzNewRecord: whatever comes, it is JSON afterwards and nothing is lost; and
// what is read of it is what encoding/json reads.
func FuzzNewRecord(f *testing.F) {
	for _, text := range []string{
		`{"Id":"x","CreationTime":"2026-11-05T12:00:00"}`, `{"Item":{"Subject":7},"Id":null}`, "\xff{", "", "{", " \t\r\n{ } \n", `{}{}`, "{}\x00", "\ufeff{}", `[{}]`, `{"a":[}`,
		`{"Id":"a","id":"b","ID":"c","Id":null}`, `{"id":"b","Id":7}`, `{"creationtime":"2026-11-05 12:00:00","CreationTime":["x"]}`, `{"Item":{"Id":"inner"}}`,
		`{"\u0049d":"\ud83d\ude00\ud800\/","C\u0072eationTime":"2026-11-05T12:00:00\u005a"}`, "{\"Id\":\"a\xffb\",\"I\xff\":1}", `{"Id":1e999,"n":-0.0E+5}`, `{"Id":"x","n":01}`, `{"Id":"x",}`, `{"a":"\x"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := auditlog.NewRecord(text)
		r.Row()
		if !json.Valid(r.Raw) {
			t.Errorf("%q became %s, which is not JSON", text, r.Raw)
		}
		if !r.Unreadable && string(r.Raw) != text {
			t.Errorf("%q became %s", text, r.Raw)
		}
		var back string
		if r.Unreadable && (json.Unmarshal(r.Raw, &back) != nil || strings.ToValidUTF8(back, "\ufffd") != back) {
			t.Errorf("%q became %s", text, r.Raw)
		}
		id, created, readable := readByParts(text)
		if r.Unreadable == readable || r.ID != id {
			t.Errorf("%q is %+v, want Id %q, readable %v", text, r, id, readable)
		}
		if quoted, _ := json.Marshal(created); r.Time != auditlog.NewRecord(`{"CreationTime":`+string(quoted)+`}`).Time {
			t.Errorf("%q is of %v, want %s", text, r.Time, created)
		}
		if r.Sum() != sha256.Sum256(r.Raw) {
			t.Errorf("%q has another sum", text)
		}
	})
}

// readByParts reads a record with encoding/json.
func readByParts(text string) (id, created string, readable bool) {
	var parts struct {
		ID           json.RawMessage `json:"Id"`
		CreationTime json.RawMessage
	}
	if json.Unmarshal([]byte(text), &parts) != nil || !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") {
		return "", "", false
	}
	_ = json.Unmarshal(parts.ID, &id) // what is no string is not read
	_ = json.Unmarshal(parts.CreationTime, &created)
	return id, created, true
}

func TestARecordsSumIsOfItsBytes(t *testing.T) {
	for _, r := range []auditlog.Record{auditlog.NewRecord(`{"Id":"x"}`), auditlog.RecordOf([]byte(`{"Id":"x"}`)), auditlog.NewRecord("no JSON"), {Raw: []byte(`{"Id":"x"}`)}, {}} {
		if r.Sum() != sha256.Sum256(r.Raw) {
			t.Errorf("%s has another sum", r.Raw)
		}
	}
}

func TestARowReadsWhatWorkloadsScatter(t *testing.T) {
	for text, want := range map[string]auditlog.Row{
		`{"CreationTime":"2026-11-05T12:00:00","UserId":"ada@contoso.com","Operation":"UserLoggedIn","Workload":"AzureActiveDirectory","ActorIpAddress":"203.0.113.9","ResultStatus":"Succeeded","LogonError":"InvalidUserNameOrPassword","ObjectId":"app"}`: {
			Time: noon, User: "ada@contoso.com", Operation: "UserLoggedIn", Workload: "AzureActiveDirectory", ClientIP: "203.0.113.9", Result: "InvalidUserNameOrPassword", Object: "app"},
		`{"UserKey":"10030","ClientIP":"","ClientIPAddress":"[2001:db8::1]:443","ResultStatus":"True","SourceFileName":"a.docx"}`: {
			User: "10030", ClientIP: "[2001:db8::1]:443", Result: "True", Object: "a.docx"},
		`{"Item":{"Subject":"Invoice"},"MailboxOwnerUPN":"bob@contoso.com"}`:    {Object: "Invoice"},
		`{"Item":"odd","MailboxOwnerUPN":"bob@contoso.com","Operation":7}`:      {Object: "bob@contoso.com", Operation: "7"},
		`{"operation":"Set-Mailbox","Operation":"","userid":"bob@contoso.com"}`: {User: "bob@contoso.com"}, // as other tools export
		`{}`: {},
	} {
		if got := auditlog.NewRecord(text).Row(); got != want {
			t.Errorf("%s\ngot  %+v\nwant %+v", text, got, want)
		}
	}
}

// The folder of real records is not part of the repository.
func TestRowsOfRealRecords(t *testing.T) {
	files, err := filepath.Glob("../../shared/data/samples/*.ndjson")
	if err != nil || len(files) == 0 {
		t.Skip("no sample records in ../shared/data/samples beside the repository")
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			r := auditlog.NewRecord(lines.Text())
			row := r.Row()
			if r.Unreadable || string(r.Raw) != lines.Text() || r.Time.IsZero() || row.Operation == "" || row.User == "" {
				t.Errorf("%s:%d: %+v of %+v", file, n, row, r.Time)
			}
		}
	}
}
