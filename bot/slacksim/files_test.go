package slacksim_test

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"auditbot/bot/slacksim"
)

// announceFile is the first step of an upload.
func announceFile(t *testing.T, s *slacksim.Server, fields ...string) (address, id string) {
	t.Helper()
	a := call(t, s, "files.getUploadURLExternal", fields...).must(t)
	return a.text("upload_url"), a.text("file_id")
}

// sendFile is the second.
func sendFile(t *testing.T, address, kind, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	return do(t, r)
}

const raw = "application/octet-stream"

func TestUploadURLRefuses(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{[]string{"filename", "x.json", "length", "0"}, "missing_argument"},
		{[]string{"filename", "x.json"}, "invalid_arguments"},
		{[]string{"length", "1"}, "invalid_arguments"},
		{[]string{"filename", "x.json", "length", "many"}, "invalid_arguments"},
		{[]string{"filename", "x.json", "length", "1048577", "snippet_type", "json"}, "snippet_too_large"},
		{[]string{"filename", "x.json", "length", "1048577"}, "ok"},
		{[]string{"filename", "x.json", "length", "1073741825"}, "file_upload_size_restricted"},
		{[]string{"filename", "x.png", "length", "1", "alt_txt", strings.Repeat("x", 1001)}, "alt_txt_too_large"},
	} {
		if a := call(t, s, "files.getUploadURLExternal", test.fields...); a.outcome() != test.want {
			t.Errorf("%.80q: %s", test.fields, a["body"])
		}
	}
}

func TestUploadsMustHaveTheirLength(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct {
		body   string
		status float64
	}{{"abc", 400}, {"abcde", 400}, {"", 400}, {strings.Repeat("x", 1<<20), 400}, {"abcd", 200}} {
		address, _ := announceFile(t, s, "filename", "a.txt", "length", "4")
		if a := sendFile(t, address, raw, test.body); a["status"] != test.status {
			t.Errorf("%.10q: %v %s", test.body, a["status"], a["body"])
		}
	}
	address, _ := announceFile(t, s, "filename", "a.txt", "length", "4")
	if a := sendFile(t, address, raw, "abcd"); a["body"] != "OK - 4" {
		t.Errorf("%s", a["body"])
	}
	if a := sendFile(t, address, raw, "abcd"); a["status"] != 404.0 {
		t.Errorf("it is taken twice: %s", a["body"])
	}
	if a := sendFile(t, address+"x", raw, "abcd"); a["status"] != 404.0 {
		t.Errorf("%s", a["body"])
	}
}

func TestUploadsAsAForm(t *testing.T) {
	s := start(t, nil)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	w.WriteField("token", "x")
	part, err := w.CreateFormFile("file", "a.csv")
	if err != nil {
		t.Fatal(err)
	}
	part.Write([]byte("a,b\n"))
	w.Close()
	address, id := announceFile(t, s, "filename", "dir/a.csv", "length", "4")
	if a := sendFile(t, address, w.FormDataContentType(), body.String()); a["status"] != 200.0 {
		t.Fatalf("%s", a["body"])
	}
	if _, ok := s.File(id); ok {
		t.Error("the file is there before it is complete")
	}
	call(t, s, "files.completeUploadExternal", "files", `[{"id":"`+id+`"}]`, "channel_id", incidents).must(t)
	if f, ok := s.File(id); !ok || f.Name != "a.csv" || f.Title != "a.csv" || f.Type != "csv" || string(f.Content) != "a,b\n" {
		t.Errorf("%+v", f)
	}
	empty, _ := announceFile(t, s, "filename", "a.csv", "length", "4")
	if a := sendFile(t, empty, "multipart/form-data; boundary=x", "--x--"); a["status"] != 400.0 {
		t.Errorf("%s", a["body"])
	}
}

// uploaded is a file after the second step.
func uploaded(t *testing.T, s *slacksim.Server) string {
	t.Helper()
	address, id := announceFile(t, s, "filename", "a.json", "length", "2")
	if a := sendFile(t, address, raw, "{}"); a["status"] != 200.0 {
		t.Fatalf("%s", a["body"])
	}
	return id
}

func TestCompleteUpload(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	parent := say(t, s, ada, incidents, "", "parent")
	c.event()
	one, two := uploaded(t, s), uploaded(t, s)
	a := call(t, s, "files.completeUploadExternal", "files", `[{"id":"`+one+`","title":"One"},{"id":"`+two+`"}]`, "channel_id", incidents, "thread_ts", parent.TS, "initial_comment", "a & b").must(t)
	m := last(s, incidents)
	if m.ThreadTS != parent.TS || m.User != s.BotUser() || m.Text != "a &amp; b" || len(m.Files) != 2 || m.Files[0].Title != "One" || m.Files[1].Title != "a.json" {
		t.Errorf("%+v", m)
	}
	if strings.Contains(a["body"].(string), `"ts"`) || len(a["files"].([]any)) != 2 {
		t.Errorf("%s", a["body"])
	}
	e := c.event()
	if e.text("subtype") != "file_share" || e.text("bot_id") == "" || e.text("thread_ts") != parent.TS || len(e.Payload.Event["files"].([]any)) != 2 {
		t.Errorf("%v", e.Payload.Event)
	}
	if got := call(t, s, "files.completeUploadExternal", "files", `[{"id":"`+one+`"}]`, "channel_id", incidents).outcome(); got != "file_not_found" {
		t.Errorf("a second time: %s", got)
	}
}

func TestCompleteUploadRefuses(t *testing.T) {
	s := start(t, nil)
	id := uploaded(t, s)
	_, early := announceFile(t, s, "filename", "a.json", "length", "2")
	file := `[{"id":"` + id + `"}]`
	for _, test := range []struct {
		fields []string
		want   string
	}{
		{nil, "invalid_arguments"},
		{[]string{"files", "[]"}, "invalid_arguments"},
		{[]string{"files", `[{"id":"F0"}]`}, "file_not_found"},
		{[]string{"files", `[{"id":"` + early + `"}]`}, "file_not_found"}, // its bytes are not there
		{[]string{"files", `[{"id":"` + id + `"},{"id":"` + id + `"}]`}, "file_not_found"},
		{[]string{"files", file, "channel_id", "C0NOWHERE"}, "channel_not_found"},
		{[]string{"files", file, "channel_id", "C0RANDOM"}, "not_in_channel"},
		{[]string{"files", file, "channels", incidents + ",G0INSIDER", "thread_ts", "1700000000.000000"}, "invalid_arguments"},
		{[]string{"files", file, "channels", strings.Repeat(incidents+",", 101)}, "channels_limit_exceeded"},
		{[]string{"files", file, "channel_id", incidents, "blocks", `[{"type":"section"}]`}, "invalid_blocks"},
		{[]string{"files", file, "channels", incidents + ",G0INSIDER"}, "ok"},
	} {
		if a := call(t, s, "files.completeUploadExternal", test.fields...); a.outcome() != test.want {
			t.Errorf("%.100q: %s", test.fields, a["body"])
		}
	}
	if len(last(s, "G0INSIDER").Files) != 1 || len(last(s, incidents).Files) != 1 {
		t.Error("the file is not in both channels")
	}
	private := uploaded(t, s)
	call(t, s, "files.completeUploadExternal", "files", `[{"id":"`+private+`"}]`).must(t)
	if last(s, incidents).Files[0].ID == private {
		t.Error("a private file was shown")
	}
}

func TestFaultsOfUploads(t *testing.T) {
	s := start(t, nil)
	address, id := announceFile(t, s, "filename", "a.json", "length", "2")
	s.Fail(slacksim.HTTPError("upload", http.StatusInternalServerError))
	if a := sendFile(t, address, raw, "{}"); a["status"] != 500.0 {
		t.Errorf("%s", a["body"])
	}
	if a := sendFile(t, address, raw, "{}"); a["status"] != 200.0 {
		t.Errorf("%s", a["body"])
	}
	s.Fail(slacksim.Lost("files.completeUploadExternal"))
	broken(t, s, false, "files.completeUploadExternal", "channel_id=C0INCIDENTS&files="+`[{"id":"`+id+`"}]`)
	if last(s, incidents).Files[0].ID != id {
		t.Error("the work was not done")
	}
	if s.Calls("upload") != 2 {
		t.Errorf("%d uploads", s.Calls("upload"))
	}
}
