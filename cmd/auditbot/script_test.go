package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot"
	"auditbot/bot/slacksim"
)

var update = flag.Bool("update", false, "rewrite what scripts expect")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"auditbot": profiled, "auditbot-spread": spreadOut, "servetenant": serveTenant, "replica": replica, "nats-server": natsServer})
}

// TestScripts plays the scripts in testdata/script: what people type, in Slack
// and on a terminal, and what they get. Everything goes over the wire, to a
// simulated workspace and a simulated tenant.
func TestScripts(t *testing.T) {
	samples, err := filepath.Abs("../../../shared/data/samples")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Condition: func(name string) (bool, error) {
			if name == "samples" {
				_, err := os.Stat(samples)
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("SAMPLES", samples)
			e.Setenv("HOME", e.WorkDir)
			e.Values[stageKey{}] = &stage{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"tenant":   func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).startTenant(ts, args) },
			"bot":      func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).bot(ts, args) },
			"say":      func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).say(ts, neg, args) },
			"missed":   func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).missed(ts, args) },
			"await":    func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).await(ts, args) },
			"file":     func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).file(ts) },
			"press":    func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).press(ts, args) },
			"code":     func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).code(ts, args) },
			"doctor":   func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).doctor(ts, args) },
			"settings": func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).settings(ts, args) },
			"scrape":   func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).scrape(ts, neg, args) },
			"slack":    func(ts *testscript.TestScript, neg bool, args []string) { stageOf(ts).slackFault(ts, args) },
		},
	})
}

type stageKey struct{}

// A stage is what a script plays on.
type stage struct {
	tenant *tenantsim.Server
	slack  *slacksim.Server
	stop   func() int // the bot; returns its exit status
	ended  chan int   // has that once the bot has ended
	log    *lockedBuffer
	shown  map[string]bool // messages that the script has seen, as they were
}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startTenant is "tenant [FILE...]": a simulated tenant with the records in
// the files, or contoso's; "tenant many N": with N records of one day; "tenant
// down" ends it, and "tenant throttle" makes it refuse a request. "tenant revoke
// UPN" and "tenant block UPN AADSTS" end somebody's sign-in, which shows at their
// next search, and "tenant end-soon UPN" in the middle of it; "tenant allow UPN"
// ends the block.
func (s *stage) startTenant(ts *testscript.TestScript, args []string) {
	switch {
	case slices.Equal(args, []string{"down"}):
		s.tenant.Close()
		return
	case slices.Equal(args, []string{"throttle"}):
		s.tenant.Fail(tenantsim.Throttled(time.Second))
		return
	case len(args) == 2 && args[0] == "revoke":
		s.tenant.Revoke(args[1])
		s.tenant.Fail(tenantsim.Unauthorized)
		return
	case len(args) == 2 && args[0] == "end-soon":
		endSoon(s.tenant, args[1])
		return
	case len(args) == 2 && args[0] == "allow":
		s.tenant.Change(args[1], func(a *tenantsim.Account) { a.Blocked = 0 })
		return
	case len(args) == 3 && args[0] == "block":
		number, err := strconv.Atoi(args[2])
		ts.Check(err)
		s.tenant.Change(args[1], func(a *tenantsim.Account) { a.Blocked = number })
		s.tenant.Fail(tenantsim.Unauthorized)
		return
	}
	s.tenant = &tenantsim.Server{Interval: time.Second}
	if len(args) == 2 && args[0] == "many" {
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		s.tenant.Tenant.Records, _ = manyRecords(n)
	} else if len(args) > 0 {
		var all strings.Builder
		for _, name := range args {
			all.WriteString(strings.TrimSpace(ts.ReadFile(name)) + "\n")
		}
		records, err := tenantsim.LoadNDJSON(strings.NewReader(all.String()))
		ts.Check(err)
		s.tenant.Tenant.Records = records
	}
	ts.Check(s.tenant.Start())
	ts.Defer(s.tenant.Close)
	ts.Setenv("TENANT", s.tenant.URL)
}

const botSettings = `
access:
  channels: [C0INCIDENTS, G0INSIDER]
  analysts: {users: [U0ADA], groups: [S0LEADS]}
  admins: {users: [U0LEA]}
instances:
  - name: contoso
    tenant: contoso.onmicrosoft.com
    login_url: %[1]s
    exchange_url: %[1]s
    accounts: {U0GRACE: mallory@contoso.com}
`

// bot is "bot start" and "bot stop": auditbot run, on the settings in
// auditbot.yml or, if there are none, the usual ones. With "bot ended TEXT" it
// ends by itself, with this reason.
func (s *stage) bot(ts *testscript.TestScript, args []string) {
	if len(args) == 2 && args[0] == "ended" {
		s.mustEnd(ts, args[1])
		return
	}
	if slices.Equal(args, []string{"stop"}) {
		if status := s.stop(); status != 0 {
			ts.Fatalf("auditbot run ended with %d", status)
		}
		return
	}
	if s.slack == nil {
		s.slack = &slacksim.Server{Workspace: withLea(slacksim.Demo()), EnforceRate: true, RetryAfter: []time.Duration{0, time.Second, 5 * time.Second}}
		s.slack.Workspace.Manifest = []byte(bot.Manifest())
		ts.Check(s.slack.Start())
		ts.Defer(s.slack.Close)
		s.see(s.slack.History("C0INCIDENTS"))
	}
	path := ts.MkAbs("auditbot.yml")
	if _, err := os.Stat(path); err != nil {
		ts.Check(os.WriteFile(path, fmt.Appendf(nil, botSettings+"engine: {data_dir: %[2]q}\n", s.tenant.URL, ts.MkAbs("data")), 0o666))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	s.log = new(lockedBuffer)
	p := &program{ctx: ctx, getenv: s.getenv(ts), stdin: strings.NewReader(""), stdout: s.log, stderr: s.log}
	go func() { ended <- p.run([]string{"run", "--config", path}) }()
	s.ended = ended
	s.stop = sync.OnceValue(func() int { cancel(); return <-ended })
	ts.Defer(func() {
		s.stop()
		ts.Logf("the bot's log:\n%s", s.log)
		if strings.Contains(s.log.String(), "panic") {
			ts.Logf("PANIC in the bot")
		}
	})
	s.waitConnected(ts, ended)
}

// withLea is the workspace with somebody who is an admin of the bot.
func withLea(w slacksim.Workspace) slacksim.Workspace {
	w.Users = append(w.Users, slacksim.User{ID: "U0LEA", Name: "lea", RealName: "Lea Lead", Email: "lea@contoso.com"})
	for i := range w.Channels {
		if w.Channels[i].ID == "C0INCIDENTS" {
			w.Channels[i].Members = append(w.Channels[i].Members, "U0LEA")
		}
	}
	return w
}

func (s *stage) mustEnd(ts *testscript.TestScript, reason string) {
	select {
	case status := <-s.ended:
		s.ended <- status
		if log := s.log.String(); status != ourFailure || !strings.Contains(log, reason) {
			ts.Fatalf("auditbot run ended with %d:\n%s", status, log)
		}
	case <-time.After(30 * time.Second):
		ts.Fatalf("auditbot run goes on; its log:\n%s", s.log)
	}
}

func (s *stage) waitConnected(ts *testscript.TestScript, ended chan int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connected := make(chan error, 1)
	go func() { connected <- s.slack.WaitConnected(ctx) }()
	select {
	case err := <-connected:
		ts.Check(err)
	case status := <-ended:
		ended <- status
		ts.Fatalf("auditbot run ended with %d:\n%s", status, s.log)
	}
}

// getenv has the secrets of the bot; the script's own variables come first.
func (s *stage) getenv(ts *testscript.TestScript) func(string) string {
	known := map[string]string{
		"SLACK_API_URL":   s.slack.APIURL(),
		"SLACK_BOT_TOKEN": s.slack.BotToken(),
		"SLACK_APP_TOKEN": s.slack.AppToken(),
		"AUDITBOT_KEY":    "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
	}
	for _, name := range []string{"AUDITBOT_KEY", "AUDITBOT_PASSWORD_CONTOSO", "AUDITBOT_CLIENT_SECRET_CONTOSO"} {
		if v := ts.Getenv(name); v != "" {
			known[name] = v
		}
	}
	return func(name string) string { return known[name] }
}

var people = map[string]string{"lea": "U0LEA", "ada": "U0ADA", "grace": "U0GRACE", "mallory": "U0MALLORY", "gus": "U0GUS", "frida": "U0FRIDA"}

// say is "say USER [-in CHANNEL] TEXT": somebody types in the incident thread,
// or in a channel, or with "-in dm" to the bot. Standard output is what the bot
// said then, up to its answer; with "! say" it is to say nothing, which shows
// in that the next output begins with the next answer.
func (s *stage) say(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || people[args[0]] == "" {
		ts.Fatalf("usage: say USER [-in CHANNEL] TEXT")
	}
	user, channel, thread, text := people[args[0]], "C0INCIDENTS", s.slack.History("C0INCIDENTS")[0].TS, args[len(args)-1]
	if args[1] == "-in" {
		channel, thread = args[2], ""
		if channel == "dm" {
			channel = s.slack.OpenDM(user)
		}
	}
	s.breathe(ts)
	said, err := s.slack.Say(user, channel, thread, text)
	ts.Check(err)
	if neg {
		return
	}
	answers := func(m slacksim.Message) bool {
		mark := string(m.Metadata)
		return strings.Contains(mark, `"auditbot_answer"`) && strings.Contains(mark, "."+said.TS+`"`) || m.EphemeralTo == user
	}
	s.show(ts, func() func(slacksim.Message) bool { return answers })
}

// missed is "missed USER [-in CHANNEL] [edit|delete] TEXT": somebody types as in
// say, and Slack has given up telling the bot of it. They edit or delete it
// right after.
func (s *stage) missed(ts *testscript.TestScript, args []string) {
	user, text := people[args[0]], args[len(args)-1]
	m := slacksim.Message{Channel: "C0INCIDENTS", ThreadTS: s.slack.History("C0INCIDENTS")[0].TS, User: user, Text: text}
	if args[1] == "-in" {
		m.Channel, m.ThreadTS = args[2], ""
		if args[2] == "dm" {
			m.Channel = s.slack.OpenDM(user)
		}
	}
	m.TS = fmt.Sprintf("%d.%06d", time.Now().Unix(), time.Now().Nanosecond()/1000)
	s.slack.Add(m)
	switch args[len(args)-2] {
	case "edit":
		ts.Check(s.slack.Edit(user, m.Channel, m.TS, text+" x"))
	case "delete":
		ts.Check(s.slack.Delete(user, m.Channel, m.TS))
	}
}

// breathe waits until a second has passed since the bot said something. Before,
// it would have to wait with what it says next, and might say that it does.
func (s *stage) breathe(ts *testscript.TestScript) {
	newest := "0"
	for _, c := range s.slack.Channels() {
		for _, m := range s.slack.History(c.ID) {
			if m.BotID != "" {
				newest = max(newest, m.TS)
			}
		}
	}
	seconds, err := strconv.ParseFloat(newest, 64)
	ts.Check(err)
	time.Sleep(time.Until(time.UnixMilli(int64(seconds * 1000)).Add(1100 * time.Millisecond)))
}

// press is "press USER BUTTON": somebody presses a button in their direct
// messages with the bot, the newest that is called so.
func (s *stage) press(ts *testscript.TestScript, args []string) {
	channel := s.slack.OpenDM(people[args[0]])
	for _, m := range slices.Backward(s.slack.History(channel)) {
		if strings.Contains(string(m.Blocks), `"`+args[1]+`"`) {
			ts.Check(s.slack.Press(people[args[0]], channel, m.TS, args[1]))
			return
		}
	}
	ts.Fatalf("there is no button %q", args[1])
}

// await is "await TEXT...": the bot says all of this, in any order. Standard
// output is what it said up to the last.
func (s *stage) await(ts *testscript.TestScript, args []string) {
	s.show(ts, func() func(slacksim.Message) bool {
		missing := slices.Clone(args)
		return func(m slacksim.Message) bool {
			missing = slices.DeleteFunc(missing, func(text string) bool { return strings.Contains(s.drawn(m), text) })
			return len(missing) == 0
		}
	})
}

// show waits for a message that is ok and prints all new ones up to it. Newly
// makes an ok that has seen no message.
func (s *stage) show(ts *testscript.TestScript, newly func() func(slacksim.Message) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	events := s.slack.Watch(ctx)
	for {
		if fresh, found := s.fresh(newly()); found {
			s.see(fresh)
			for _, m := range fresh {
				fmt.Fprint(ts.Stdout(), s.drawn(m))
			}
			return
		}
		select {
		case <-events:
		case <-ctx.Done():
			ts.Fatalf("the bot did not say it in time; its log:\n%s", s.log)
		}
	}
}

// fresh are the bot's messages that the script has not seen, up to the first
// that is ok.
func (s *stage) fresh(ok func(slacksim.Message) bool) (all []slacksim.Message, found bool) {
	var messages []slacksim.Message
	for _, c := range s.slack.Channels() {
		messages = append(messages, s.slack.History(c.ID)...)
	}
	slices.SortStableFunc(messages, func(a, b slacksim.Message) int { return strings.Compare(a.TS, b.TS) })
	for _, m := range messages {
		if m.BotID == "" || m.Deleted || s.shown[s.drawn(m)+m.TS] || len(m.Files) > 0 {
			continue
		}
		all = append(all, m)
		if ok(m) {
			return all, true
		}
	}
	return nil, false
}

func (s *stage) see(messages []slacksim.Message) {
	if s.shown == nil {
		s.shown = map[string]bool{}
	}
	for _, m := range messages {
		s.shown[s.drawn(m)+m.TS] = true
	}
}

var (
	clock   = regexp.MustCompile(`(^|[^:;\d])\d\d(:|&#58;)\d\d UTC`)
	kept    = regexp.MustCompile(`before \d{4}-\d\d-\d\d may`) // 180 days ago
	codeRun = regexp.MustCompile("code `([A-Z0-9]+)`")
	logID   = regexp.MustCompile(`under [A-Z2-7]{8}\b`)
	link    = regexp.MustCompile(`http(:|&#58;)//127\.0\.0\.1(:|&#58;)\d+/archives/(\w)\w*/p\d+(\?[^|\s)]*)?`)
	local   = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// drawn is a message as the script compares it: where it stands and its
// blocks' text, with what differs between runs made equal.
func (s *stage) drawn(m slacksim.Message) string {
	text := m.Text
	if shown := blockText(m.Blocks); shown != "" {
		text = shown
	}
	text = clock.ReplaceAllString(text, "${1}HH:MM UTC")
	text = kept.ReplaceAllString(text, "before DATE may")
	text = codeRun.ReplaceAllString(text, "code `CODE`")
	text = logID.ReplaceAllString(text, "under LOGID")
	text = link.ReplaceAllString(text, "LINK-TO-A-MESSAGE-IN-$3")
	text = local.ReplaceAllString(text, "127.0.0.1:PORT")
	where := m.Channel
	for _, c := range s.slack.Channels() {
		if c.ID != m.Channel {
			continue
		}
		if where = "#" + c.Name; c.Kind == "im" {
			where = "DM to " + strings.Join(slices.DeleteFunc(slices.Clone(c.Members), func(u string) bool { return u == s.slack.BotUser() }), "")
		}
	}
	if m.ThreadTS != "" {
		where += ", thread"
	}
	if m.EphemeralTo != "" {
		where += ", only to " + m.EphemeralTo
	}
	return "[" + where + "]\n" + strings.TrimSpace(text) + "\n\n"
}

// blockText is the text in blocks, in their order.
func blockText(blocks json.RawMessage) string {
	var tree any
	if json.Unmarshal(blocks, &tree) != nil {
		return ""
	}
	var parts []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if text, ok := v["text"].(string); ok {
				parts = append(parts, text)
				return
			}
			walk(v["text"])
			walk(v["elements"])
		}
	}
	walk(tree)
	return strings.Join(parts, "\n")
}

// file waits for the file that belongs to the last answer, writes it into the
// script's folder under its name, and prints its name and where it stands.
func (s *stage) file(ts *testscript.TestScript) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	m, err := s.slack.Wait(ctx, "C0INCIDENTS", func(m slacksim.Message) bool {
		return m.BotID != "" && len(m.Files) > 0 && !s.shown[m.TS]
	})
	if err != nil {
		ts.Fatalf("no file came; the bot's log:\n%s", s.log)
	}
	s.shown[m.TS] = true
	for _, f := range m.Files {
		ts.Check(os.WriteFile(ts.MkAbs(f.Name), f.Content, 0o666))
		where := "outside the thread"
		if m.ThreadTS == s.slack.History("C0INCIDENTS")[0].TS {
			where = "in the thread"
		}
		fmt.Fprintf(ts.Stdout(), "%s %s\n", f.Name, where)
	}
}

// code is "code approve|deny|expire UPN": somebody does so with the code that
// was sent last, on Microsoft's page, and with "code approve-anyway" Microsoft
// does not look at who that is. Standard output is empty. "code none" is that no
// code waits.
func (s *stage) code(ts *testscript.TestScript, args []string) {
	codes := s.tenant.UserCodes()
	if args[0] == "none" {
		if len(codes) > 0 {
			ts.Fatalf("%d codes wait", len(codes))
		}
		return
	}
	if len(codes) == 0 {
		ts.Fatalf("there is no code")
	}
	last := codes[len(codes)-1]
	switch args[0] {
	case "approve":
		ts.Check(s.tenant.Approve(last, args[1]))
	case "approve-anyway":
		ts.Check(s.tenant.ApproveAnyway(last, args[1]))
	case "deny":
		ts.Check(s.tenant.Deny(last))
	case "expire":
		ts.Check(s.tenant.Expire(last))
	}
}

// slackFault is "slack refuse TYPE..." for blocks that the workspace does not
// take, "slack fail METHOD ERROR" for one request, and "slack no-email USER" for
// somebody whose e-mail address is not shown; "slack cut" and "slack disconnect
// REASON" end the connections.
func (s *stage) slackFault(ts *testscript.TestScript, args []string) {
	switch args[0] {
	case "refuse":
		s.slack.Refuse(args[1:]...)
	case "fail":
		s.slack.Fail(slacksim.APIError(args[1], args[2]))
	case "no-email":
		s.slack.ChangeUser(people[args[1]], func(u *slacksim.User) { u.Email = "" })
	case "cut":
		s.slack.CutSockets()
	case "disconnect":
		s.slack.Disconnect(args[1])
	}
}
