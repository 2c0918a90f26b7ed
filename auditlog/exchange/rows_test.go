package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"auditbot/auditlog"
)

// signInData is the AuditData of a sign-in, 1.4 kB, as the service sends it.
func signInData(n int) string {
	return fmt.Sprintf(`{"CreationTime":"2026-11-05T12:%02d:%02d","Id":"5c5c8de6-0c1d-4a5f-9d3e-%012d","Operation":"UserLoggedIn","OrganizationId":"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d",`+
		`"RecordType":15,"ResultStatus":"Success","UserKey":"0f4f8de6-1c1d-4a5f-9d3e-2f0e8a1b7c4d","UserType":0,"Version":1,"Workload":"AzureActiveDirectory","ClientIP":"203.0.113.9",`+
		`"ObjectId":"00000003-0000-0ff1-ce00-000000000000","UserId":"ada@contoso.com","AzureActiveDirectoryEventType":1,"ExtendedProperties":[{"Name":"ResultStatusDetail","Value":"Success"},`+
		`{"Name":"UserAgent","Value":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},{"Name":"UserAuthenticationMethod","Value":"1"},`+
		`{"Name":"RequestType","Value":"OAuth2:Authorize"},{"Name":"additionalDetails","Value":"{\"User-Agent\":\"x\"}"}],"ModifiedProperties":[],"Actor":[{"ID":"0f4f8de6-1c1d-4a5f-9d3e-2f0e8a1b7c4d","Type":0},`+
		`{"ID":"ada@contoso.com","Type":5}],"ActorContextId":"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d","ActorIpAddress":"203.0.113.9","InterSystemsId":"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d",`+
		`"IntraSystemId":"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d","SupportTicketId":"","Target":[{"ID":"00000003-0000-0ff1-ce00-000000000000","Type":0}],"ApplicationId":"4765445b-32c6-49b0-83e6-1d93765276ca",`+
		`"DeviceProperties":[{"Name":"OS","Value":"Windows10"},{"Name":"BrowserType","Value":"Chrome"},{"Name":"SessionId","Value":"a6f0b5f5-0a1f-4f2e-8d0b-2f0e8a1b7c4d"}],"ErrorNumber":"0"}`, n/60%60, n%60, n)
}

// signInRow is its row, 2.1 kB.
func signInRow(n int) string {
	data := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(signInData(n))
	return fmt.Sprintf(`{"RunspaceId@data.type":"System.Guid","RunspaceId":"5c5c8de6-0c1d-4a5f-9d3e-2f0e8a1b7c4d","RecordType":"AzureActiveDirectoryStsLogon",`+
		`"CreationDate@data.type":"System.DateTime","CreationDate":"2026-11-05T12:00:00Z","UserIds":"ada@contoso.com","Operations":"UserLoggedIn","AuditData":"%s",`+
		`"ResultIndex@odata.type":"#Int32","ResultIndex":%d,"ResultCount@odata.type":"#Int32","ResultCount":5000,"Identity":"5c5c8de6-0c1d-4a5f-9d3e-%012d","IsValid":true,"ObjectState":"Unchanged"}`, data, n+1, n)
}

// signIns is the body of an answer with n rows.
func signIns(n int) []byte {
	var rows []string
	for i := range n {
		rows = append(rows, signInRow(i))
	}
	return []byte(`{"@odata.context":"https://outlook.office365.com/adminapi/beta/$metadata#Collection(Exchange.GenericHashTable)","adminapi.warnings@odata.type":"#Collection(String)",` +
		`"@adminapi.warnings":[],"value":[` + strings.Join(rows, ",") + `]}`)
}

func readRows(t testing.TB, body io.Reader) []row {
	t.Helper()
	a, err := readAnswer(body, http.Header{}, "call", true)
	if err != nil {
		t.Fatal(err)
	}
	return a.rows
}

func BenchmarkAnswer(b *testing.B) {
	const n = 2500
	body := signIns(n)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if rows := readRows(b, bytes.NewReader(body)); len(rows) != n {
			b.Fatalf("%d rows", len(rows))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
}

// What an answer takes is what its records take, not what its body has.
func TestABodyIsNotHeldAsAWhole(t *testing.T) {
	body := signIns(2500)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rows := readRows(t, bytes.NewReader(body))
	runtime.ReadMemStats(&after)
	records := 0
	for _, r := range rows {
		records += len(r.record.Raw)
	}
	if taken := int(after.TotalAlloc - before.TotalAlloc); taken > 2*records {
		t.Errorf("a body of %d bytes with records of %d bytes took %d bytes", len(body), records, taken)
	}
}

// readByParts reads a body as [readAnswer] does, but with encoding/json, part
// by part.
func readByParts(body []byte) (*answer, error) {
	var parts struct {
		Value    []json.RawMessage `json:"value"`
		Next     string            `json:"@odata.nextLink"`
		Warnings json.RawMessage   `json:"@adminapi.warnings"`
		Errors   json.RawMessage   `json:"@adminapi.errors"`
	}
	if err := json.Unmarshal(bytes.Trim(body, padding), &parts); err != nil {
		return nil, err
	}
	if parts.Value == nil {
		return nil, errors.New("no value")
	}
	a := &answer{Value: parts.Value, Next: parts.Next, warnings: texts(parts.Warnings), errors: texts(parts.Errors)}
	for _, raw := range a.Value {
		a.rows = append(a.rows, rowByParts(raw))
	}
	return a, nil
}

func rowByParts(raw json.RawMessage) row {
	var parts struct{ AuditData, ResultIndex, Identity, AuditSearchRequestMetadata json.RawMessage }
	_ = json.Unmarshal(raw, &parts) // a row that is no object has no columns
	r := row{
		unsure: strings.Trim(string(parts.ResultIndex), `"`) == "-1",
		more:   moreFlag.Match(parts.AuditSearchRequestMetadata),
	}
	var text string
	switch {
	case len(parts.AuditData) == 0 || string(parts.AuditData) == "null":
		r.record = auditlog.UnreadableRecord(string(raw))
		_ = json.Unmarshal(parts.Identity, &r.record.ID)
	case json.Unmarshal(parts.AuditData, &text) == nil:
		r.record = auditlog.NewRecord(text)
	default:
		r.record = auditlog.NewRecord(string(parts.AuditData))
	}
	return r
}

// bodies are answers, and nearly.
var bodies = []string{
	`{"value":[]}`, ` { "@odata.nextLink" : "/next" , "value" : [ ] } `, `{"value":null}`, `{}`, ``, `null`, `[]`, `7`, `"value"`, `{"value":7}`, `{"value":"x"}`, `{"value":{}}`,
	`{"value":[],"value":null}`, `{"value":[1,2,3],"VALUE":[4]}`, `{"value":{},"value":[]}`, `{"val\u0075e":[1]}`, `{"value":[1],"value ":[2]}`,
	`{"value":[],"@odata.nextLink":7}`, `{"@odata.nextLink":"a","@odata.nextLink":null,"value":[]}`, `{"@odata.nextLin\u212a":"k","value":[]}`, `{"value":[],"@odata.nextLink":"\ud800/\u00e9"}`,
	`{"@adminapi.warnings":["a",{"b":1},null,""],"@adminapi.errors":"one","value":[],"@adminapi.warnings":["last"]}`, `{"@adminapi.warnings":5,"value":[]}`,
	`{"value":[{"AuditData":"{\"Id\":\"x\",\"CreationTime\":\"2026-11-05T12:00:00\"}","ResultIndex":-1,"Identity":"x"}]}`,
	`{"value":[{"AuditData":"{\"Id\":\"\\ud83d\\ude00\",\"n\":\"\ud83d\ude00\ud800\"}","ResultIndex":"-1"},{"auditdata":{"Id": "y"},"AuditSearchRequestMetadata":{"moreRecordsAvailable":true}}]}`,
	`{"value":[{"Identity":"i"},{"Identity":7},null,[],7,"x",{},{"AuditData":null,"Identity":"\u0041"},{"AuditData":""},{"AuditData":[1, 2]},{"AuditData":"x","AuditData":null},{"AuditData":null,"AuditData":"{}"}]}`,
	`{"value":[{"Audit\u0044ata":"{}","Re\u017fultIndex":-1,"AuditSearchRequestMetadata":"{\"MoreRecordsAvailable\": true}"}]}`, "{\"value\":[{\"AuditData\":\"{\\\"Id\\\":\\\"a\xffb\xed\xa0\x80\\\"}\"}]}",
	"\x00\ufeff{\"value\":[]}\ufeff\x00", "\x00 {\"value\":[]} \x00", " \x00{\"value\":[]}", "{\"value\":[]}\x00 ", "\xef\xbb{\"value\":[]}", "{\"value\":[]}\xef\xbb",
	`{"value":[]}{"value":[]}`, `{"value":[]}]`, `{"value":[1,]}`, `{"value":[1}`, `{"value":[1 2]}`, `{"value":[1],}`, `{"value" [1]}`, `{value:[1]}`, `{"value":[{"AuditData":"\x"}]}`, `{"value":[{"AuditData":"x}]}`,
	`{"x":[1,{"a":1.5e3}],"value":[]}`, `{"x":01,"value":[]}`, `{"x":tru,"value":[]}`, "{\"x\":\"\x01\",\"value\":[]}", `<html>`,
}

// FuzzAnswer: an answer says what encoding/json says that it does, in however
// many pieces it comes.
func FuzzAnswer(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	f.Add(signIns(2))
	whole := pieceSize
	f.Fuzz(func(t *testing.T, body []byte) {
		defer func() { pieceSize = whole }()
		if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
			return // it would be unpacked
		}
		want, wantErr := readByParts(body)
		for _, pieceSize = range []int{whole, 16} {
			got, err := readAnswer(bytes.NewReader(body), http.Header{}, "", true)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%q in pieces of %d: %v, and in encoding/json %v", body, pieceSize, err, wantErr)
			}
			if err != nil {
				continue
			}
			if got.Next != want.Next || !slices.Equal(got.warnings, want.warnings) || !slices.Equal(got.errors, want.errors) {
				t.Errorf("%q in pieces of %d says\n%+v, want\n%+v", body, pieceSize, got, want)
			}
			if !slices.EqualFunc(got.rows, want.rows, func(a, b row) bool {
				return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) && a.record.Sum() == b.record.Sum()
			}) {
				t.Errorf("%q in pieces of %d has\n%+v, want\n%+v", body, pieceSize, got.rows, want.rows)
			}
			values, err := readAnswer(bytes.NewReader(body), http.Header{}, "", false)
			if err != nil || !slices.EqualFunc(values.Value, want.Value, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
				t.Errorf("%q in pieces of %d has %q, want %q; %v", body, pieceSize, values.Value, want.Value, err)
			}
		}
	})
}

// A body that does not come to its end is told as that, whatever is wrong with
// what came of it; and what came is no answer.
func TestABodyThatBreaksOffIsNoAnswer(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, came := range []string{"", " ", `{"value":[1`, `{"value":[1]}`, "{\"value\":[1]}\n\x00", `<html>`, `{"value":7}`, string(signIns(50)), string(signIns(50))[:50_000]} {
		a, err := readAnswer(io.MultiReader(strings.NewReader(came), iotest.ErrReader(broken)), http.Header{}, "", true)
		if a != nil || !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v, %v", len(came), a, err)
		}
	}
	long := bytes.Repeat([]byte(" "), int(maxBody)) // under the race detector, this takes a second each time
	for _, came := range []string{`{"value":[1]}`, `<html>`} {
		if a, err := readAnswer(io.MultiReader(strings.NewReader(came), bytes.NewReader(long)), http.Header{}, "", true); a != nil || err != errTooLong {
			t.Errorf("too long, after %s: %v, %v", came, a, err)
		}
	}
}

// A row of any length is read, and not many times over.
func TestALongRowIsRead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3<<20)
	body := `{"value":[{"AuditData":"{\"Id\":\"1\",\"a\":\"` + long + `\"}"},` + signInRow(2) + `]}`
	rows := readRows(t, iotest.HalfReader(strings.NewReader(body)))
	if len(rows) != 2 || len(rows[0].record.Raw) != len(long)+len(`{"Id":"1","a":""}`) || string(rows[1].record.Raw) != signInData(2) {
		t.Errorf("%d rows", len(rows))
	}
}
