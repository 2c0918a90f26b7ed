package tenantsim_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
)

// generated is a file of n records of the day before noon.
func generated(t testing.TB, n int, bursts ...tenantsim.Burst) string {
	t.Helper()
	var lines bytes.Buffer
	if err := tenantsim.Generate(&lines, n, noon.AddDate(0, 0, -1), noon, 1, bursts...); err != nil {
		t.Fatal(err)
	}
	return written(t, lines.Bytes())
}

func written(t testing.TB, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "records.ndjson")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *tenantsim.Records {
	t.Helper()
	records, err := tenantsim.OpenNDJSON(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { records.Close() })
	return records
}

// both is the same records in memory and in a file.
func both(t testing.TB, path string) map[string]*tenantsim.Records {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*tenantsim.Records{"memory": load(t, string(content)), "file": open(t, path)}
}

func TestRecordsInAFileAnswerLikeThoseInMemory(t *testing.T) {
	t.Parallel()
	servers := map[string]*tenantsim.Server{}
	for where, records := range both(t, generated(t, 2000, tenantsim.Burst{At: noon.Add(-time.Hour), N: 300})) {
		servers[where] = start(t, records)
	}
	for _, filter := range []params{
		{},
		{"StartDate": "2026-11-05T10:00:00Z", "EndDate": "2026-11-05T11:00:01Z"},
		{"UserIds": []string{"ERIN@contoso.com", "bob@contoso.com"}},
		{"Operations": []string{"MailItemsAccessed", "UserLoginFailed"}},
		{"RecordType": "SharePointFileOperation"},
		{"RecordType": 15, "UserIds": []string{"ada@contoso.com"}},
		{"IPAddresses": []string{"203.0.113.10"}},
		{"ObjectIds": []string{"https://contoso.sharepoint.com/sites/Finance/*"}},
		{"FreeText": "coffee MACHINE"},
		{"Formatted": true, "Operations": []string{"FileDownloaded"}},
	} {
		for _, command := range []string{"ReturnLargeSet", "ReturnNextPreviewPage"} {
			call := params{"SessionId": command + fmt.Sprint(filter), "SessionCommand": command, "StartDate": "2026-11-04", "ResultSize": 700}
			maps.Copy(call, filter)
			memory, file := rows(t, search(t, servers["memory"], call)), rows(t, search(t, servers["file"], call))
			if len(memory) == 0 || len(memory) != len(file) {
				t.Fatalf("%v: %d rows in memory, %d in the file", call, len(memory), len(file))
			}
			for i := range memory {
				memory[i].RunspaceId = file[i].RunspaceId
				if memory[i] != file[i] {
					t.Fatalf("%v: row %d is\n%+v in memory,\n%+v in the file", call, i, memory[i], file[i])
				}
			}
		}
	}
}

func TestFindFindsWhatASearchMust(t *testing.T) {
	t.Parallel()
	for where, records := range both(t, generated(t, 3000)) {
		t.Run(where, func(t *testing.T) {
			w := tenantsim.Wanted{From: noon.Add(-3 * time.Hour), To: noon.Add(-time.Hour), Users: []string{"Erin@contoso.com"}, Operations: []string{"UserLoggedIn", "FileAccessed"}}
			var want, got []string
			for raw := range records.All() {
				var r struct{ ID, CreationTime, UserID, Operation string }
				if err := json.Unmarshal(raw, &r); err != nil {
					t.Fatal(err)
				}
				if r.CreationTime >= "2026-11-05T09:00:00" && r.CreationTime < "2026-11-05T11:00:00" && r.UserID == "erin@contoso.com" &&
					(r.Operation == "UserLoggedIn" || r.Operation == "FileAccessed") {
					want = append(want, r.ID)
				}
			}
			for id, raw := range records.Find(w) {
				if !bytes.Contains(raw, []byte(id)) {
					t.Errorf("%s is not the id of %s", id, raw)
				}
				got = append(got, id)
			}
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestLinesOfAFileMayHaveBlanksAroundThem(t *testing.T) {
	t.Parallel()
	long := `{"CreationTime":"2026-11-05 08:00:00","Id":"long","More":"` + strings.Repeat("x", 3<<20) + `"}`
	content := "\xef\xbb\xbf" + mixed[2] + "\r\n\n  " + mixed[0] + "\t\r\n" + long + "\n" + mixed[1]
	for where, records := range both(t, written(t, []byte(content))) {
		var got []string
		for raw := range records.All() {
			got = append(got, string(raw))
		}
		if !slices.Equal(got, []string{long, mixed[0], mixed[1], mixed[2]}) {
			t.Errorf("%s: %.200q", where, got)
		}
	}
}

func TestALineThatIsNoRecordIsNamed(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"Id":"x"}`:                    "reading line 2 of the records: it has no CreationTime",
		`{"CreationTime":"now"}`:        `reading line 2 of the records: its CreationTime "now" cannot be read`,
		"{\"CreationTime\":\"\xff\"}":   "reading line 2 of the records: it is not UTF-8",
		`{"A":{"CreationTime":"inner"}`: "reading line 2 of the records: ",
		`[`:                             "reading line 2 of the records: ",
		`\\\\"`:                         "reading line 2 of the records: ",
	} {
		content := mixed[0] + "\n" + line
		if _, err := tenantsim.LoadNDJSON(strings.NewReader(content)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("in memory: %v, want %s", err, want)
		}
		if _, err := tenantsim.OpenNDJSON(written(t, []byte(content))); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("in a file: %v, want %s", err, want)
		}
	}
}

// The file is closed, so whoever reads it fails.
func TestASearchByTimeAndTypeDoesNotReadTheFile(t *testing.T) {
	t.Parallel()
	records := open(t, generated(t, 100))
	s := start(t, records)
	records.Close()
	if got := rows(t, search(t, s, params{"RecordType": "Yammer"})); len(got) != 0 {
		t.Errorf("%d rows", len(got))
	}
	if _, err := http.DefaultClient.Do(invocation(t, s, "Search-UnifiedAuditLog", params{"StartDate": "2026-11-04", "EndDate": "2026-11-06"}, nil)); err == nil {
		t.Error("a file that cannot be read gives an answer")
	}
}

// Not parallel, for it looks at the memory of all.
func TestRecordsInAFileTakeLittleMemory(t *testing.T) {
	const n = 200_000
	var lines bytes.Buffer
	for i := range n {
		fmt.Fprintf(&lines, `{"CreationTime":"2026-11-05T%02d:%02d:%02d","Id":"%d","RecordType":15,"UserId":"ada@contoso.com"}`+"\n", i/3600%24, i/60%60, i%60, i)
	}
	path := written(t, lines.Bytes())
	lines = bytes.Buffer{}
	before := heap()
	records := open(t, path)
	if grown := int64(heap()) - int64(before); grown > 12<<20 || records.Len() != n {
		t.Errorf("%d records take %d bytes", records.Len(), grown)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
