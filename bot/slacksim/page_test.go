package slacksim_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"auditbot/bot/slacksim"
)

// browse asks the page for something, as a browser on this machine does.
func browse(s *slacksim.Server, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8065"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// A shown message is what the page is told of one.
type shown struct {
	Channel, TS, User, Text string
	OnlyYou                 bool `json:"only_you"`
	Deleted                 bool
	Files                   []struct{ ID, Name string }
}

// A workspace is what the page is told when it opens.
type workspace struct {
	Workspace, As string
	Users         []struct {
		ID, Name, Badge string
		CanType         bool `json:"can_type"`
	}
	Channels []struct{ ID string }
	Messages []shown
}

func viewAs(t *testing.T, s *slacksim.Server, as string) workspace {
	t.Helper()
	w := browse(s, "GET", "/page/state?as="+as, "")
	var ws workspace
	if err := json.Unmarshal(w.Body.Bytes(), &ws); err != nil || w.Code != http.StatusOK {
		t.Fatalf("state as %q: %d %s (%v)", as, w.Code, w.Body, err)
	}
	return ws
}

func (ws workspace) channels() []string {
	var ids []string
	for _, c := range ws.Channels {
		ids = append(ids, c.ID)
	}
	return ids
}

func (ws workspace) says(text string) bool {
	return slices.ContainsFunc(ws.Messages, func(m shown) bool { return m.Text == text })
}

func TestStateIsWhatAPersonSees(t *testing.T) {
	s := start(t, nil)
	call(t, s, "chat.postEphemeral", "channel", incidents, "user", ada, "text", "for Ada").must(t)
	call(t, s, "chat.postMessage", "channel", s.OpenDM(ada), "text", "the code is ABCD").must(t)
	gone := call(t, s, "chat.postMessage", "channel", incidents, "text", "never mind").must(t)
	call(t, s, "chat.delete", "channel", incidents, "ts", gone.text("ts")).must(t)

	hers, his := viewAs(t, s, ada), viewAs(t, s, "U0GUS")
	if !hers.says("for Ada") || !hers.says("the code is ABCD") {
		t.Errorf("Ada does not see what is for her: %+v", hers.Messages)
	}
	if his.says("for Ada") || his.says("the code is ABCD") {
		t.Errorf("Gus sees what is for Ada: %+v", his.Messages)
	}
	for _, m := range hers.Messages {
		if m.OnlyYou != (m.Text == "for Ada") || m.Deleted {
			t.Errorf("Ada sees %+v", m)
		}
	}
	if got, want := his.channels(), []string{incidents, s.OpenDM("U0GUS")}; !slices.Equal(got, want) {
		t.Errorf("Gus sees the channels %q, want %q", got, want)
	}
	if got := viewAs(t, s, "U0FRIDA").channels(); !slices.Equal(got, []string{"C0FABRIKAM"}) {
		t.Errorf("Frida, of another organisation, sees the channels %q", got)
	}
	if first := viewAs(t, s, ""); first.As != ada || first.Workspace != "Contoso SOC" {
		t.Errorf("without as the state is for %q in %q", first.As, first.Workspace)
	}
	for _, nobody := range []string{"U0NOBODY", s.BotUser()} {
		if w := browse(s, "GET", "/page/state?as="+nobody, ""); w.Code != http.StatusNotFound {
			t.Errorf("state as %s: %d", nobody, w.Code)
		}
	}
}

func TestStateOfNothing(t *testing.T) {
	s := &slacksim.Server{Workspace: slacksim.Workspace{ID: "T1", Users: []slacksim.User{{ID: "U1", Name: "one", TeamID: "T2"}}}}
	const want = `"channels":[],"messages":[]`
	if w := browse(s, "GET", "/page/state?as=U1", ""); !strings.Contains(w.Body.String(), want) {
		t.Errorf("state: %s, want %s in it", w.Body, want)
	}
}

// listenAs opens the stream of events, which has begun when it returns. next is
// the next message in it.
func listenAs(t *testing.T, s *slacksim.Server, as string) (next func() shown) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/page/events?as="+as, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Body.Close() })
	if got := w.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("the events are %q", got)
	}
	lines := bufio.NewScanner(w.Body)
	if !lines.Scan() {
		t.Fatalf("the stream has ended: %v", lines.Err())
	}
	return func() shown {
		t.Helper()
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var m shown
				if err := json.Unmarshal([]byte(data), &m); err != nil {
					t.Fatal(err)
				}
				return m
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
		return shown{}
	}
}

func TestEventsAreWhatAPersonSees(t *testing.T) {
	s := start(t, nil)
	hers, his := listenAs(t, s, ada), listenAs(t, s, "U0GUS")

	private := call(t, s, "chat.postEphemeral", "channel", incidents, "user", ada, "text", "for Ada").must(t)
	call(t, s, "chat.postMessage", "channel", s.OpenDM(ada), "text", "the code is ABCD").must(t)
	call(t, s, "chat.postMessage", "channel", "G0INSIDER", "text", "in private").must(t)
	all := call(t, s, "chat.postMessage", "channel", incidents, "text", "for all").must(t)
	call(t, s, "chat.delete", "channel", incidents, "ts", all.text("ts")).must(t)

	for _, want := range []string{"for Ada", "the code is ABCD", "in private", "for all"} {
		if m := hers(); m.Text != want || m.OnlyYou != (want == "for Ada") {
			t.Errorf("Ada is told of %+v, want %q", m, want)
		}
	}
	if m := his(); m.Text != "for all" || private.text("message_ts") == m.TS {
		t.Errorf("the first that Gus is told of is %+v", m)
	}
	for name, next := range map[string]func() shown{"Ada": hers, "Gus": his} {
		if m := next(); !m.Deleted || m.TS != all.text("ts") || m.Text != "" {
			t.Errorf("%s is told of %+v, not that the message is gone", name, m)
		}
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	s := start(t, nil)
	r, err := http.Get(s.URL + "/page/events?as=U0ADA")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	s.Close()
	io.Copy(io.Discard, r.Body) // returns
}

func TestSay(t *testing.T) {
	s := &slacksim.Server{}
	root := s.History(incidents)[0].TS
	w := browse(s, "POST", "/page/say", fmt.Sprintf(`{"as":"U0ADA","channel":"C0INCIDENTS","thread":%q,"text":"!help <now>"}`, root), "Origin", "http://127.0.0.1:8065")
	if w.Code != http.StatusNoContent {
		t.Fatalf("say: %d %s", w.Code, w.Body)
	}
	all := s.History(incidents)
	if m := all[len(all)-1]; m.User != ada || m.ThreadTS != root || m.Text != "!help &lt;now&gt;" {
		t.Errorf("said: %+v", m)
	}
}

func TestPressOnThePage(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	m := call(t, s, "chat.postMessage", "channel", incidents, "text", "x", "blocks",
		`[{"type":"actions","elements":[{"type":"button","action_id":"all","value":"42","text":{"type":"plain_text","text":"All"}}]}]`).must(t)
	c.event()
	press := func(as, button string, header ...string) int {
		body := fmt.Sprintf(`{"as":%q,"channel":"C0INCIDENTS","ts":%q,"button":%q}`, as, m.text("ts"), button)
		return browse(s, "POST", "/page/press", body, header...).Code
	}
	if got := press(ada, "all"); got != http.StatusNoContent {
		t.Errorf("press: %d", got)
	}
	if e := c.event(); e.Type != "interactive" || e.Payload.Actions[0]["value"] != "42" {
		t.Errorf("%+v", e)
	}
	for want, got := range map[int]int{
		http.StatusForbidden:           press(ada, "all", "Origin", "https://evil.example"),
		http.StatusUnprocessableEntity: press(ada, "none"),
		http.StatusNotFound:            press("", "all"),
	} {
		if got != want {
			t.Errorf("press: %d, want %d", got, want)
		}
	}
}

func TestSayRefuses(t *testing.T) {
	const good = `{"as":"U0ADA","channel":"C0INCIDENTS","text":"hello"}`
	tests := []struct {
		name, body string
		header     []string
		want       int
	}{
		{"a foreign origin", good, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{"another port", good, []string{"Origin", "http://127.0.0.1:9999"}, http.StatusForbidden},
		{"a foreign site", good, []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"a form", "as=U0ADA&channel=C0INCIDENTS&text=hello", []string{"Content-Type", "application/x-www-form-urlencoded"}, http.StatusUnsupportedMediaType},
		{"no JSON", "{", nil, http.StatusBadRequest},
		{"too long a body", `{"as":"U0ADA","channel":"C0INCIDENTS","text":"` + strings.Repeat("x", 300<<10) + `"}`, nil, http.StatusRequestEntityTooLarge},
		{"too long a message", `{"as":"U0ADA","channel":"C0INCIDENTS","text":"` + strings.Repeat("x", 13000) + `"}`, nil, http.StatusUnprocessableEntity},
		{"a channel of others", `{"as":"U0GUS","channel":"G0INSIDER","text":"hello"}`, nil, http.StatusUnprocessableEntity},
		{"nobody", `{"channel":"C0INCIDENTS","text":"hello"}`, nil, http.StatusNotFound},
		{"the bot", `{"as":"U0AUDITBOT","channel":"C0INCIDENTS","text":"hello"}`, nil, http.StatusNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &slacksim.Server{}
			before := len(s.History(incidents))
			if w := browse(s, "POST", "/page/say", test.body, test.header...); w.Code != test.want {
				t.Errorf("say: %d %s, want %d", w.Code, w.Body, test.want)
			}
			if got := len(s.History(incidents)); got != before {
				t.Errorf("there are %d messages, want %d", got, before)
			}
		})
	}
}

func TestPageIsForThisMachine(t *testing.T) {
	s := &slacksim.Server{}
	for _, host := range []string{"evil.example", "127.0.0.1.evil.example:8065", "192.168.0.2", ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusMisdirectedRequest {
			t.Errorf("Host %q: %d, want 421", host, w.Code)
		}
	}
}

func TestPageAndItsFiles(t *testing.T) {
	s := &slacksim.Server{}
	types := map[string]string{"/": "text/html", "/page/page.js": "text/javascript", "/page/mrkdwn.js": "text/javascript", "/page/style.css": "text/css"}
	for path, want := range types {
		w := browse(s, "GET", path, "")
		if got, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type")); w.Code != http.StatusOK || got != want {
			t.Errorf("GET %s: %d, %s", path, w.Code, got)
		}
		csp := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("GET %s: the policy %q lacks %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: headers %v", path, w.Header())
		}
	}
	for _, path := range []string{"/page/", "/page/mrkdwn_test.mjs", "/page/package.json", "/page/..%2fpage.go", "/other", "/page/files/F0NONE"} {
		if w := browse(s, "GET", path, ""); w.Code < 400 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
}

func TestFileDownload(t *testing.T) {
	s := start(t, nil)
	const content = `<script>alert(1)</script> {"O365AuditLog": []}`
	got := call(t, s, "files.getUploadURLExternal", "filename", `ev"il ü.html`, "length", fmt.Sprint(len(content))).must(t)
	up, err := http.Post(got.text("upload_url"), "application/octet-stream", strings.NewReader(content))
	if err != nil || up.StatusCode != http.StatusOK {
		t.Fatalf("upload: %v, %v", up, err)
	}
	up.Body.Close()
	call(t, s, "files.completeUploadExternal", "channel_id", incidents, "files", fmt.Sprintf(`[{"id":%q,"title":"all of it"}]`, got.text("file_id"))).must(t)

	all := viewAs(t, s, "U0GUS").Messages
	i := slices.IndexFunc(all, func(m shown) bool { return len(m.Files) > 0 })
	if i < 0 {
		t.Fatalf("no message has a file: %+v", all)
	}
	w := browse(s, "GET", "/page/files/"+all[i].Files[0].ID, "")
	if w.Code != http.StatusOK || w.Body.String() != content {
		t.Errorf("download: %d %q", w.Code, w.Body)
	}
	how, params, err := mime.ParseMediaType(w.Header().Get("Content-Disposition"))
	if err != nil || how != "attachment" || params["filename"] != `ev"il ü.html` {
		t.Errorf("Content-Disposition is %q: %v", w.Header().Get("Content-Disposition"), err)
	}
	if w.Header().Get("Content-Type") != "application/octet-stream" || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("a browser might show the file: %v", w.Header())
	}
	if w := browse(s, "GET", "/page/files/"+all[i].Files[0].ID, "", "Range", "bytes=0-7"); w.Body.String() != "<script>" {
		t.Errorf("its first 8 bytes are %q", w.Body)
	}
}

func TestPageMakesNoMarkupOfData(t *testing.T) {
	names, err := filepath.Glob("page/*.js")
	if err != nil || len(names) == 0 {
		t.Fatalf("page/*.js: %q, %v", names, err)
	}
	dangerous := regexp.MustCompile(`\.(inner|outer)HTML|insertAdjacentHTML|srcdoc|document\.write|DOMParser|\beval\(|Function\(`)
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := dangerous.Find(source); found != nil {
			t.Errorf("%s uses %s", name, found)
		}
	}
}

// TestMarkup runs page/mrkdwn_test.mjs: what the page makes of texts.
func TestMarkup(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: the page's own tests are not run")
	}
	if out, err := exec.CommandContext(t.Context(), node, "page/mrkdwn_test.mjs").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
