package slacksim_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"auditbot/bot/slacksim"
)

func TestTokens(t *testing.T) {
	s := start(t, nil)
	for _, test := range []struct{ token, want string }{
		{s.BotToken(), "ok"}, {s.AppToken(), "not_allowed_token_type"}, {"xoxb-0-wrong", "invalid_auth"}, {"", "not_authed"},
	} {
		if got := callAs(t, s, test.token, "auth.test").outcome(); got != test.want {
			t.Errorf("%s: %s, want %s", test.token, got, test.want)
		}
	}
	if got := callAs(t, s, "", "auth.test", "token", s.BotToken()).outcome(); got != "ok" {
		t.Errorf("as a field: %s", got)
	}
	if got := callAs(t, s, "", "auth.test?token="+s.BotToken()).outcome(); got != "not_authed" {
		t.Errorf("in the address: %s", got)
	}
	other := start(t, nil)
	if got := callAs(t, other, s.BotToken(), "auth.test").outcome(); got != "invalid_auth" {
		t.Errorf("another server's: %s", got)
	}
}

func TestScopes(t *testing.T) {
	s := start(t, withManifest(least))
	all := s.History(incidents)
	for _, test := range []struct {
		method string
		fields []string
		needed string
	}{
		{"auth.test", nil, ""},
		{"chat.postMessage", []string{"channel", incidents, "text", "x"}, ""},
		{"chat.getPermalink", []string{"channel", incidents, "message_ts", all[0].TS}, ""},
		{"conversations.history", []string{"channel", incidents}, ""},
		{"conversations.history", []string{"channel", "G0INSIDER"}, "groups:history"},
		{"conversations.replies", []string{"channel", "G0INSIDER", "ts", "1700000000.000000"}, "groups:history"},
		{"conversations.info", []string{"channel", incidents}, "channels:read"},
		{"users.conversations", nil, "channels:read"},
		{"users.conversations", []string{"types", "im"}, "im:read"},
		{"conversations.open", []string{"users", ada}, ""},
		{"conversations.open", []string{"users", ada + "," + grace}, "mpim:write"},
		{"users.info", []string{"user", ada}, "users:read"},
		{"usergroups.users.list", []string{"usergroup", "S0SOC"}, "usergroups:read"},
		{"reactions.add", []string{"channel", incidents, "timestamp", all[0].TS, "name", "eyes"}, "reactions:write"},
		{"reactions.remove", nil, "reactions:write"},
		{"files.getUploadURLExternal", []string{"filename", "x", "length", "1"}, "files:write"},
		{"files.completeUploadExternal", nil, "files:write"},
		{"files.info", nil, "files:read"},
	} {
		a := call(t, s, test.method, test.fields...)
		if a.text("needed") != test.needed || (test.needed == "") != (a["ok"] == true) {
			t.Errorf("%s %v: %s", test.method, test.fields, a["body"])
		}
		if test.needed != "" && (a.text("error") != "missing_scope" || a.text("provided") != "channels:history,chat:write,im:history,im:write") {
			t.Errorf("%s: %s", test.method, a["body"])
		}
	}
}

func TestRequestsThatAreNoGood(t *testing.T) {
	s := start(t, nil)
	send := func(method, path, kind, body, host string) answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.APIURL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+s.BotToken())
		if host != "" {
			r.Host = host
		}
		return do(t, r)
	}
	const form, json = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
	for _, test := range []struct {
		method, path, kind, body, host string
		status                         float64
		want                           string
	}{
		{"POST", "views.open", form, "", "", 200, "unknown_method"},
		{"GET", "users.info?user=" + ada, "", "", "", 200, "ok"},
		{"GET", "chat.postMessage?text=x", "", "", "", 405, ""},
		{"GET", "apps.connections.open", "", "", "", 200, "insecure_request"},
		{"POST", "chat.postMessage", json, `{"channel":"C0INCIDENTS","text":"x","unfurl_links":false,"blocks":[{"type":"divider"}]}`, "", 200, "ok"},
		{"POST", "chat.postMessage", json, `{"channel":`, "", 200, "invalid_json"},
		{"POST", "auth.test", json, "", "", 200, "ok"},
		{"POST", "users.info", json, `{"user":"U0ADA"}`, "", 200, "invalid_arguments"}, // takes no JSON
		{"POST", "chat.postMessage", form, "text=" + strings.Repeat("x", 5<<20), "", 200, "invalid_form_data"},
		{"POST", "auth.test", form, "", "localhost:1", 200, "ok"},
		{"POST", "auth.test", form, "", "[::1]", 200, "ok"},
		{"POST", "auth.test", form, "", "contoso.com", 421, ""},
		{"POST", "auth.test", form, "", "127.0.0.1.contoso.com:80", 421, ""},
	} {
		a := send(test.method, test.path, test.kind, test.body, test.host)
		if a["status"] != test.status || a.outcome() != test.want {
			t.Errorf("%s %s %.80s: %v %s", test.method, test.path, test.body, a["status"], a["body"])
		}
	}
}

func TestOnlyThisMachine(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "203.0.113.1:80", "contoso.com:80", "127.0.0.1"} {
		s := &slacksim.Server{Addr: addr}
		if err := s.Start(); err == nil {
			s.Close()
			t.Errorf("it listens on %s", addr)
		}
	}
}

func TestUsers(t *testing.T) {
	s := start(t, nil)
	s.ChangeUser("U0MALLORY", func(u *slacksim.User) { u.Deleted, u.Stranger = true, true })
	user := func(id string) map[string]any {
		return call(t, s, "users.info", "user", id).must(t)["user"].(map[string]any)
	}
	if u := user(ada); u["team_id"] != "T0CONTOSO" || u["is_restricted"] != false || u["profile"].(map[string]any)["email"] != "ada@contoso.com" || u["is_stranger"] != nil {
		t.Errorf("%v", u)
	}
	if u := user("U0GUS"); u["is_restricted"] != true || u["is_ultra_restricted"] != false {
		t.Errorf("%v", u)
	}
	if u := user("U0FRIDA"); u["team_id"] != "T0FABRIKAM" {
		t.Errorf("%v", u)
	}
	if u := user("U0MALLORY"); u["deleted"] != true || u["is_stranger"] != true {
		t.Errorf("%v", u)
	}
	if u := user(s.BotUser()); u["is_bot"] != true {
		t.Errorf("%v", u)
	}
	if got := call(t, s, "users.info", "user", "U0NOBODY").outcome(); got != "user_not_found" {
		t.Error(got)
	}
	if a := call(t, s, "usergroups.users.list", "usergroup", "S0SOC").must(t); len(a["users"].([]any)) != 2 {
		t.Errorf("%v", a)
	}
	if got := call(t, s, "usergroups.users.list", "usergroup", "S0NONE").outcome(); got != "no_such_subteam" {
		t.Error(got)
	}
	less := start(t, withManifest(strings.Replace(least, "im:write]", "im:write, users:read]", 1)))
	if a := call(t, less, "users.info", "user", ada).must(t); strings.Contains(a["body"].(string), "ada@contoso.com") {
		t.Errorf("an e-mail address without its scope: %s", a["body"])
	}
}

func TestFaults(t *testing.T) {
	s := start(t, nil)
	post := []string{"channel", incidents, "text", "x"}
	s.Fail(
		slacksim.RateLimited("chat.postMessage", 1500*time.Millisecond),
		slacksim.APIError("chat.postMessage", "fatal_error"),
		slacksim.Nothing("chat.postMessage"),
		slacksim.HTTPError("chat.postMessage", http.StatusBadGateway),
		slacksim.APIError("auth.test", "token_revoked"),
	)
	for _, want := range []struct {
		status  float64
		outcome string
	}{{429, "ratelimited"}, {200, "fatal_error"}, {200, "ok"}, {502, ""}, {200, "ok"}} {
		if a := call(t, s, "chat.postMessage", post...); a["status"] != want.status || a.outcome() != want.outcome {
			t.Errorf("%v %s, want %v", a["status"], a["body"], want)
		}
	}
	if s.Unspent() != 1 {
		t.Errorf("%d faults are left", s.Unspent())
	}
	if got := call(t, s, "auth.test").outcome(); got != "token_revoked" {
		t.Error(got)
	}
	s.Fail(slacksim.APIError("", "internal_error"))
	if got := call(t, s, "users.info", "user", ada).outcome(); got != "internal_error" {
		t.Error(got)
	}
}

// broken sends a request whose answer does not come. It gives up when the
// server has taken it if hangs is set.
func broken(t *testing.T, s *slacksim.Server, hangs bool, method, body string) {
	t.Helper()
	ctx, cancel := context.WithCancel(limit(t))
	defer cancel()
	if n := s.Calls(method); hangs {
		go func() {
			s.Until(ctx, func() bool { return s.Calls(method) > n })
			cancel()
		}()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.APIURL()+method, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+s.BotToken())
	if resp, err := http.DefaultClient.Do(r); err == nil {
		resp.Body.Close()
		t.Errorf("%s was answered: %s", method, resp.Status)
	}
}

func TestLostAndHungAnswers(t *testing.T) {
	s := start(t, nil)
	before := len(s.History(incidents))
	s.Fail(slacksim.Hang("chat.postMessage"), slacksim.Lost("chat.postMessage"))
	broken(t, s, true, "chat.postMessage", "channel=C0INCIDENTS&text=hung")
	broken(t, s, false, "chat.postMessage", "channel=C0INCIDENTS&text=lost")
	all := s.History(incidents)
	if len(all) != before+1 || all[before].Text != "lost" {
		t.Errorf("%+v", all[before:])
	}
	r := s.Requests()
	if s.Calls("chat.postMessage") != 2 || r[0].Values.Get("text") != "hung" || r[0].Status != 0 || r[1].Status != 0 || r[0].Values.Has("token") {
		t.Errorf("%+v", r)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	s.FreezeSockets(true)
	s.Fail(slacksim.Hang("auth.test"))
	done := make(chan error)
	go func() {
		resp, err := http.Post(s.APIURL()+"auth.test", "application/x-www-form-urlencoded", nil)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	waitUntil(t, s, func() bool { return s.Calls("auth.test") == 1 })
	s.Close()
	s.Close()
	if err := <-done; err == nil {
		t.Error("it was answered")
	}
	if _, _, err := c.conn.ReadMessage(); err == nil {
		t.Error("the connection stays open")
	}
	if _, err := s.Wait(t.Context(), incidents, func(slacksim.Message) bool { return false }); err == nil {
		t.Error("it goes on waiting")
	}
}

func TestRefuse(t *testing.T) {
	s := start(t, nil)
	post := func(kind string) string {
		return call(t, s, "chat.postMessage", "channel", incidents, "text", "x", "blocks", `[{"type":"markdown","text":"x"},{"type":"`+kind+`"}]`).outcome()
	}
	s.Refuse("markdown", "rich_text")
	if got := post("divider"); got != "invalid_blocks" {
		t.Error(got)
	}
	a := call(t, s, "chat.postMessage", "channel", incidents, "text", "x", "blocks",
		`[{"type":"table","rows":[[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[]}]}]]}]`)
	if a.outcome() != "invalid_blocks" || !strings.Contains(a["body"].(string), "unsupported type: rich_text [json-pointer:/blocks/0/rows/0/0/type]") {
		t.Errorf("%s", a["body"])
	}
	s.Refuse()
	if got := post("divider"); got != "ok" {
		t.Error(got)
	}
}
