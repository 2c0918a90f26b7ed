package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot"
	"auditbot/bot/slacksim"
)

// A surroundings is a workspace and a tenant, which outlive the bot between
// them, and the bot's folder.
type surroundings struct {
	t      *testing.T
	slack  *slacksim.Server
	tenant *tenantsim.Server
	dir    string
	binary string // this test, which is auditbot under that name
	kill   func() // the bot, where signedIn started it
}

func newSurroundings(t *testing.T) *surroundings {
	t.Helper()
	return newSurroundingsWith(t, &tenantsim.Server{Interval: time.Second})
}

func newSurroundingsWith(t *testing.T, tenant *tenantsim.Server) *surroundings {
	t.Helper()
	s := &surroundings{t: t, dir: t.TempDir(), slack: &slacksim.Server{Workspace: slacksim.Demo(), RetryAfter: []time.Duration{0, time.Second, 5 * time.Second}}, tenant: tenant}
	s.slack.Workspace.Manifest = []byte(bot.Manifest())
	for _, start := range []func() error{s.slack.Start, s.tenant.Start} {
		if err := start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.slack.Close)
	t.Cleanup(s.tenant.Close)
	s.binary = filepath.Join(s.dir, "auditbot")
	if err := os.Symlink(os.Args[0], s.binary); err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf(botSettings+"engine: {data_dir: %[2]q}\n", s.tenant.URL, filepath.Join(s.dir, "data"))
	if err := os.WriteFile(filepath.Join(s.dir, "auditbot.yml"), []byte(settings), 0o666); err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	rightKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	wrongKey = "MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

// process is auditbot run as a process of its own.
func (s *surroundings) process(key string) *exec.Cmd {
	c := exec.Command(s.binary, "run")
	c.Dir = s.dir
	c.Env = append(os.Environ(), "SLACK_API_URL="+s.slack.APIURL(), "SLACK_BOT_TOKEN="+s.slack.BotToken(), "SLACK_APP_TOKEN="+s.slack.AppToken(), "AUDITBOT_KEY="+key)
	return c
}

// start starts the bot and waits until it is connected. The function that it
// returns kills it.
func (s *surroundings) start() (kill func()) {
	s.t.Helper()
	c := s.process(rightKey)
	var log bytes.Buffer
	c.Stderr = &log
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	kill = func() {
		c.Process.Kill()
		c.Wait()
		noticed, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the test's own may be over
		defer cancel()
		if err := s.slack.Until(noticed, func() bool { return s.slack.Sockets() == 0 }); err != nil { // else the next start seems to be connected
			s.t.Error("Slack does not notice that the bot is dead: ", err)
		}
		s.t.Logf("the bot's log:\n%s", log.String())
	}
	s.t.Cleanup(func() { c.Process.Kill() })
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.slack.WaitConnected(ctx); err != nil {
		kill()
		s.t.Fatal("the bot did not connect: ", err)
	}
	return kill
}

// ask types a command into the channel and waits for its answer, or for that
// of a later life if the message waited.
func (s *surroundings) ask(text string) (asked, answer slacksim.Message) {
	s.t.Helper()
	asked, err := s.slack.Say("U0ADA", "C0INCIDENTS", "", text)
	if err != nil {
		s.t.Fatal(err)
	}
	return asked, s.answer(asked, "")
}

// answer waits for an answer to a message that contains text.
func (s *surroundings) answer(to slacksim.Message, text string) slacksim.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	m, err := s.slack.Wait(ctx, to.Channel, func(m slacksim.Message) bool {
		return isAnswer(m, to) && strings.Contains(blockText(m.Blocks), text)
	})
	if err != nil {
		s.t.Fatalf("no answer to %q: %v", to.Text, err)
	}
	return m
}

func isAnswer(m, to slacksim.Message) bool {
	return m.ThreadTS == to.TS && strings.Contains(string(m.Metadata), `"auditbot_answer"`) && strings.Contains(string(m.Metadata), "."+to.TS)
}

// answers counts the answers to a message.
func (s *surroundings) answers(to slacksim.Message) int {
	n := 0
	for _, m := range s.slack.History(to.Channel) {
		if isAnswer(m, to) && !m.Deleted {
			n++
		}
	}
	return n
}

func TestOneAnswerAcrossAKill(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	kill := s.start()
	first, _ := s.ask("!help")
	kill()
	kill = s.start()
	s.slack.Redeliver(first.Channel, first.TS)
	s.await(func() bool { return s.slack.Unacknowledged() == 0 })
	for range 10 { // come after the first in every queue, and occupy every worker
		s.ask("!help o365-auditlog-search")
	}
	if n := s.answers(first); n != 1 {
		t.Errorf("%d answers to a message that was answered before the kill", n)
	}
	kill()
}

func TestACommandSentWhileTheBotIsDeadIsAnswered(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	s.start()()
	asked, err := s.slack.Say("U0ADA", "C0INCIDENTS", "", "!help")
	if err != nil {
		t.Fatal(err)
	}
	kill := s.start()
	s.slack.Redeliver(asked.Channel, asked.TS) // as Slack does a minute later
	s.answer(asked, "What you can ask")
	kill()
}

func TestAWrongKeyHarmsNothing(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	kill := s.start()
	first, _ := s.ask("!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=1")
	s.signIn()
	s.answer(first, "UserLoginFailed")
	kill()
	for name, c := range map[string]struct{ key, words string }{
		"wrong": {wrongKey, "not the key that it was made with"},
		"none":  {"", "AUDITBOT_KEY"},
	} {
		output, err := s.process(c.key).CombinedOutput()
		if err == nil || !strings.Contains(string(output), c.words) {
			t.Errorf("with a key that is %s: %v\n%s", name, err, output)
		}
	}
	kill = s.start()
	s.slack.Redeliver(first.Channel, first.TS)
	second, answer := s.ask("!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=1")
	if text := blockText(answer.Blocks); !strings.Contains(text, "UserLoginFailed") {
		t.Errorf("the sign-in is gone:\n%s", text)
	}
	if one, two := s.answers(first), s.answers(second); one != 2 || two != 1 { // the first was answered with "sign in" before
		t.Errorf("%d and %d answers", one, two)
	}
	kill()
}

// signIn approves the code that was sent.
func (s *surroundings) signIn() {
	s.t.Helper()
	codes := s.tenant.UserCodes()
	if len(codes) != 1 {
		s.t.Fatalf("%d codes wait", len(codes))
	}
	if err := s.tenant.Approve(codes[0], "ada@contoso.com"); err != nil {
		s.t.Fatal(err)
	}
}

func TestAnAnswerThatGotLostOnTheWayBackIsNotPostedTwice(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	kill := s.start()
	s.slack.Fail(slacksim.Lost("chat.postMessage"))
	asked, err := s.slack.Say("U0ADA", "C0INCIDENTS", "", "!help")
	if err != nil {
		t.Fatal(err)
	}
	s.answer(asked, "")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	looked := func() bool { return s.slack.Calls("conversations.replies") > 0 } // before it posts again
	if err := s.slack.Until(ctx, looked); err != nil {
		t.Fatal("the bot never looked into the thread: ", err)
	}
	s.ask("!help")
	if n := s.answers(asked); n != 1 {
		t.Errorf("%d answers", n)
	}
	kill()
}

// The thread says what failed when Microsoft goes away in the middle of a
// search, and that does not take for ever.
func TestATenantThatDiesInTheMiddleOfASearch(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	kill := s.start()
	first, _ := s.ask("!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=1")
	s.signIn()
	s.answer(first, "UserLoginFailed")
	s.tenant.Fail(tenantsim.Hung)
	asked, err := s.slack.Say("U0ADA", "C0INCIDENTS", "", `!o365-auditlog-search start_date="14 days" result_size=4000`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := s.slack.Wait(ctx, asked.Channel, func(m slacksim.Message) bool {
		return m.ThreadTS == asked.TS && strings.Contains(blockText(m.Blocks), "is running, since")
	}); err != nil {
		t.Fatal("the thread does not show that the search runs: ", err)
	}
	s.tenant.Close()
	began := time.Now()
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	answer, err := s.slack.Wait(ctx, asked.Channel, func(m slacksim.Message) bool { return isAnswer(m, asked) })
	if err != nil {
		t.Fatal("no answer: ", err)
	}
	text := blockText(answer.Blocks)
	for _, words := range []string{"could not be reached", "try again", "The log has more under"} {
		if !strings.Contains(text, words) {
			t.Errorf("the answer does not say %q:\n%s", words, text)
		}
	}
	t.Logf("answered %v after the tenant had died:\n%s", time.Since(began).Round(time.Second), text)
	kill()
}
