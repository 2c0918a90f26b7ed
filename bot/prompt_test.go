package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// signInOnce is a command that needs a sign-in when it runs for the first time.
func signInOnce() performance {
	var runs atomic.Int32
	return func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if runs.Add(1) == 1 {
			return needsSignIn(ctx, env)
		}
		return commands.Reply{Title: "all of it"}, nil
	}
}

// direct waits for something that contains text in Ada's direct messages.
func (s *stage) direct(text string) slacksim.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	m, err := s.slack.Wait(ctx, s.slack.OpenDM("U0ADA"), func(m slacksim.Message) bool { return strings.Contains(shownIn(m), text) })
	if err != nil {
		s.t.Fatalf("Ada was not told %q: %v", text, err)
	}
	return m
}

// pressAs files a press of the Cancel button of a code, wherever it stands.
func (s *stage) pressAs(user, value string, under slacksim.Message) {
	s.t.Helper()
	payload, err := json.Marshal(map[string]any{
		"type": "block_actions", "user": map[string]any{"id": user}, "channel": map[string]any{"id": incidents},
		"container": map[string]any{"message_ts": under.TS},
		"actions":   []any{map[string]any{"action_id": cancelAction, "value": value, "action_ts": "1764000000.000001"}},
	})
	if err == nil {
		_, err = s.bot.fileClick(s.t.Context(), payload)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

var codeValue = regexp.MustCompile(`"(code/[A-Z2-7]{26})"`)

func TestTheDirectMessageSaysWhatACodeIsFor(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, signInOnce())
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	code := s.awaitCode(tenant)
	shown := shownIn(prompt)
	for _, words := range []string{
		"Enter the code `" + code + "` at `" + tenant.URL + "/devicelogin`",
		"/archives/" + incidents + "/p" + strings.ReplaceAll(asked.TS, ".", "") + "|your command of ",
		"15 minutes left, until ",
		"*Application* Microsoft Exchange REST API Based Powershell (`fb78d390-0c51-40cd-8e17-fdbfab77341b`)",
		"*Tenant* contoso.onmicrosoft.com (`" + tenant.Tenant.ID + "`)\n",
		"*Account* ada@contoso.com; any other is discarded",
		"`https://outlook.office365.com/.default` (all that the application may do there; this bot searches the audit log with it)", "`offline_access`", "`openid`", "`profile`",
		"I never send a code unasked",
	} {
		if !strings.Contains(shown, words) {
			t.Errorf("the direct message does not say %q:\n%s", words, shown)
		}
	}
	if prompt.Text != "Sign in to contoso.onmicrosoft.com: open this message" {
		t.Errorf("the notification says %q", prompt.Text)
	}
	s.reply(asked, "Sign in to contoso.onmicrosoft.com first")
	for _, c := range s.slack.Channels() {
		if c.ID == prompt.Channel && (c.Kind != "im" || !slices.Equal(c.Members, []string{"U0ADA", s.slack.BotUser()})) {
			t.Errorf("the code stands where %q read it", c.Members)
		}
		for _, m := range s.slack.History(c.ID) {
			if m.TS != prompt.TS && strings.Contains(shownIn(m), code) {
				t.Errorf("the code stands in %s, too: %s", c.Name, shownIn(m))
			}
		}
	}
	s.signIn(tenant)
	s.reply(asked, "all of it")
	if s.direct("Signed in to").TS != prompt.TS {
		t.Error("the code is still in its message")
	}
}

func TestACommandThatSlackGivesNoLinkToIsNamedByItsPlace(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	s.slack.Fail(slacksim.APIError("chat.getPermalink", "message_not_found"))
	s.say("U0ADA", search)
	if shown := shownIn(s.direct("Enter the code")); !strings.Contains(shown, "for your command in <#C0INCIDENTS> at ") {
		t.Errorf("the direct message says\n%s", shown)
	}
}

func TestAnApplicationOfOnesOwnHasNoName(t *testing.T) {
	n := &code{device: &signin.Code{Expires: time.Now()}}
	n.instance.Account = &signin.Account{Entra: &signin.Entra{ClientID: "7c1e2f4a-0000-4000-8000-00000000abcd"}}
	blocks, err := json.Marshal(n.prompt().blocks)
	if err != nil || !strings.Contains(string(blocks), "*Application* an application of your organisation (`7c1e2f4a-0000-4000-8000-00000000abcd`)") {
		t.Errorf("%s, %v", blocks, err)
	}
}

func needsSignInAlways(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
	return needsSignIn(ctx, env)
}

func TestTheCodeCountsDownOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, server, n := bubbled(t)
		defer server.Close()
		if err := b.deliver(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		ended := make(chan struct{})
		go func() { defer close(ended); b.countDown(t.Context(), n, over) }()
		for _, want := range []string{"5 minutes left", "4 minutes left", "3 minutes left", "2 minutes left", "1 minute left"} {
			synctest.Wait()
			if m := server.History(n.DM)[0]; !strings.Contains(shownIn(m), "⏳ "+want+", until 09:17 UTC") || strings.Contains(m.Text, "ABCD2345") {
				t.Errorf("the message says %s, not %s", shownIn(m), want)
			}
			time.Sleep(time.Minute)
		}
		<-ended
		edits := 0
		for _, r := range server.Requests() {
			if r.Method == "chat.update" {
				edits++
			}
		}
		if edits != 4 {
			t.Errorf("%d edits in five minutes", edits)
		}
		n.device.Expires = time.Now().Add(time.Hour)
		go b.countDown(t.Context(), n, over)
		close(over)
		synctest.Wait() // it has ended, or the bubble would not
		server.Close()
		synctest.Wait()
	})
}

func TestTheCountdownOutlastsARestart(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, signInOnce())
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.stop()
	updates := func() (n int) {
		for _, r := range s.slack.Requests() {
			if r.Method == "chat.update" && r.Values.Get("ts") == prompt.TS {
				n++
			}
		}
		return n
	}
	before := updates()
	s.start()
	s.until(func() bool { return updates() == before+1 })
	again := s.direct("Enter the code `" + s.awaitCode(tenant) + "`")
	if !strings.Contains(shownIn(again), "|your command of ") || again.TS != prompt.TS {
		t.Errorf("after the restart the message says\n%s", shownIn(again))
	}
	s.signIn(tenant)
	s.reply(asked, "all of it")
}

func TestASecondSignInPointsToTheSameCode(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	second := s.say("U0ADA", search)
	link := "/archives/" + prompt.Channel + "/p" + strings.ReplaceAll(prompt.TS, ".", "")
	s.reply(second, "is still valid, until")
	if got := s.thread(second); !strings.Contains(got, link) {
		t.Errorf("the thread has no link %s:\n%s", link, got)
	}
	pointer := s.direct("The code above is for <")
	if pointer.ThreadTS != prompt.TS || !strings.Contains(shownIn(pointer), "/p"+strings.ReplaceAll(second.TS, ".", "")+"|your command of") {
		t.Errorf("under the code stands %+v", pointer)
	}
	if n := len(tenant.UserCodes()); n != 1 {
		t.Errorf("%d codes", n)
	}
}

func TestOnlyTheirOwnPressCancelsASignIn(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	value := codeValue.FindStringSubmatch(string(prompt.Blocks))
	if value == nil {
		t.Fatalf("no button: %s", prompt.Blocks)
	}
	for _, user := range []string{"U0GRACE", "U0LEA"} { // somebody else, and an admin
		elsewhere := s.say(user, "what is this?")
		s.pressAs(user, value[1], elsewhere)
		if told := s.reply(elsewhere, "Only whoever was sent a code can cancel it"); told.EphemeralTo != user {
			t.Errorf("told: %+v", told)
		}
	}
	s.direct("Enter the code")

	if err := s.slack.Press("U0ADA", prompt.Channel, prompt.TS, "Cancel"); err != nil {
		t.Fatal(err)
	}
	cancelled := s.direct("⏹ The sign-in to contoso.onmicrosoft.com was cancelled. Do not enter the code any more")
	if code := s.awaitCode(tenant); cancelled.TS != prompt.TS || strings.Contains(shownIn(cancelled), code) || strings.Contains(string(cancelled.Blocks), "button") {
		t.Errorf("the message became %s", cancelled.Blocks)
	}
	s.reply(asked, "The sign-in to contoso.onmicrosoft.com was cancelled")
	if got := s.thread(asked); !strings.Contains(got, "does not go on") {
		t.Errorf("the thread has\n%s", got)
	}
	if s.bot.codes.find("contoso/U0ADA") != nil {
		t.Error("the code is still polled")
	}

	elsewhere := s.say("U0ADA", "once more")
	s.pressAs("U0ADA", value[1], elsewhere)
	s.reply(elsewhere, "this sign-in is over")
	s.signIn(tenant) // Microsoft cannot be told; nobody collects it
	s.reply(s.say("U0ADA", "!help"), "What you can ask")
	if _, _, ok, err := s.instance.Account.SignedIn(t.Context()); ok || err != nil {
		t.Errorf("signed in: %v, %v", ok, err)
	}
}

// The code stands there, but Slack has not told the bot so.
func TestACodeCanBeCancelledAsSoonAsItIsThere(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	s.slack.Fail(slacksim.Lost("chat.postMessage"))
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	if err := s.slack.Press("U0ADA", prompt.Channel, prompt.TS, "Cancel"); err != nil {
		t.Fatal(err)
	}
	s.reply(asked, "The sign-in to contoso.onmicrosoft.com was cancelled")
	if cancelled := s.direct("⏹ The sign-in to contoso.onmicrosoft.com was cancelled. Do not enter the code any more"); cancelled.TS != prompt.TS {
		t.Error("the code still stands in its own message")
	}
}

// A workspace may not let bots edit what is a while old.
func TestAMessageWhoseCodeCannotBeTakenOutIsDeleted(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.slack.Fail(slacksim.APIError("chat.update", "edit_window_closed"))
	if err := s.slack.Press("U0ADA", prompt.Channel, prompt.TS, "Cancel"); err != nil {
		t.Fatal(err)
	}
	if told := s.direct("was cancelled. Do not enter the code any more"); told.TS == prompt.TS {
		t.Error("it was edited all the same")
	}
	code := s.awaitCode(tenant)
	for _, m := range s.slack.History(prompt.Channel) {
		if !m.Deleted && strings.Contains(shownIn(m), code) {
			t.Errorf("the code still stands in %s", m.Blocks)
		}
	}
}

// Microsoft's yes and the press can be under way at the same time.
func TestACancelThatCrossesTheSignInWins(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, signInOnce())
	before := time.Now().Add(-time.Minute)
	asked := s.say("U0ADA", search)
	s.signIn(tenant)
	s.reply(asked, "all of it")
	n := &code{User: "U0ADA", Instance: "contoso", instance: s.instance, Sent: time.Now().Add(time.Minute), Cancelled: time.Now().Add(time.Minute)}
	if _, err := s.bot.whatCameOf(t.Context(), n, "", context.Canceled); !errors.Is(err, errSignInCancelled) {
		t.Errorf("it came to %v", err)
	}
	if _, _, ok, _ := s.instance.Account.SignedIn(t.Context()); !ok {
		t.Error("the sign-in from before the code is forgotten")
	}
	n = &code{User: "U0ADA", Instance: "contoso", instance: s.instance, Sent: before, Cancelled: time.Now()}
	if _, err := s.bot.whatCameOf(t.Context(), n, "ada@contoso.com", nil); !errors.Is(err, errSignInCancelled) {
		t.Errorf("it came to %v", err)
	}
	if _, _, ok, _ := s.instance.Account.SignedIn(t.Context()); ok {
		t.Error("the sign-in was kept")
	}
	if ended, err := s.bot.cancelCode(t.Context(), n); ended || err != nil {
		t.Errorf("it can be cancelled when it is over: %v, %v", ended, err)
	}
}

// The bot dies right after it has noted that the button was pressed.
func TestACancelOutlastsARestart(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.stop()
	n := s.bot.codes.find("contoso/U0ADA")
	if ended, err := s.bot.cancelCode(t.Context(), n); !ended || err != nil {
		t.Fatalf("%v, %v", ended, err)
	}
	s.start()
	if s.direct("Do not enter the code any more").TS != prompt.TS {
		t.Error("the code is still in its message")
	}
	s.reply(asked, "was cancelled")
	s.until(func() bool {
		keys, err := s.engine.Bucket(engine.SignIns).Keys(t.Context())
		return err == nil && len(keys) == 0
	})
}

func TestTheThreadSaysWhyASessionHasEnded(t *testing.T) {
	t.Parallel()
	var why error
	s, _ := newSignInStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{}, &commands.NeedSignIn{Instance: "contoso", Err: why}
	})
	why = fmt.Errorf("searching: %w", errors.Join(signin.ErrNotSignedIn, &auditlog.Refusal{
		Problem: "not signed in: the password was changed (AADSTS50173)", Advice: startAgain + "; if it was not you, tell somebody",
	}))
	asked := s.say("U0ADA", search)
	answer := shownIn(s.reply(asked, "Sign in to contoso.onmicrosoft.com first. I have sent you"))
	reason, first := strings.Index(answer, "the password was changed"), strings.Index(answer, "Sign in to contoso")
	if reason < 0 || reason > first || !strings.Contains(answer, "If it was not you, tell somebody") || strings.Contains(answer, "auth-start") {
		t.Errorf("the thread says\n%s", answer)
	}
}

func TestReasonOf(t *testing.T) {
	for _, c := range []struct {
		advice, want string
	}{
		{startAgain, ""},
		{startAgain + "; if neither was meant to happen, tell the administrators", "if neither was meant to happen, tell the administrators"},
		{"an Entra administrator exempts this account", "an Entra administrator exempts this account"},
	} {
		if r := reasonOf(&auditlog.Refusal{Problem: "x", Advice: c.advice}); r != (reason{"x", c.want}) {
			t.Errorf("%q: %+v", c.advice, r)
		}
	}
	if r := reasonOf(signin.ErrNotSignedIn); r != (reason{}) {
		t.Errorf("who was never signed in has a reason: %+v", r)
	}
}

// bubbled is a bot and a workspace in a synctest bubble, and a code that is about
// to be sent to Ada.
func bubbled(t *testing.T) (*Bot, *slacksim.Server, *code) {
	t.Helper()
	time.Sleep(time.Until(time.Date(2026, 11, 24, 9, 12, 3, 0, time.UTC))) // a bubble begins before there was Slack
	server := &slacksim.Server{}
	b := &Bot{
		Slack: slack.New(server.BotToken(), slack.OptionAPIURL("http://127.0.0.1/api/"), slack.OptionHTTPClient(&http.Client{Transport: direct{server}})),
		Log:   slog.New(slog.DiscardHandler),
	}
	n := &code{ID: "x", User: "U0ADA", DM: server.OpenDM("U0ADA"), device: &signin.Code{UserCode: "ABCD2345", URL: "https://contoso.com/devicelogin", Expires: time.Now().Add(5*time.Minute - time.Second)}}
	n.instance.Account = &signin.Account{Entra: &signin.Entra{}}
	return b, server, n
}

// Slack does not take it for half a minute, and then takes it without saying so.
func TestADirectMessageThatDoesNotArriveIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, server, n := bubbled(t)
		defer server.Close()
		for range 7 {
			server.Fail(slacksim.HTTPError("chat.postMessage", 503))
		}
		server.Fail(slacksim.Lost("chat.postMessage"))
		if err := b.deliver(t.Context(), n); !passing(err) {
			t.Fatal(err)
		}
		if text := b.pointTo(t.Context(), Message{}, n); !strings.Contains(text, "Slack has not taken the direct message with the code yet") {
			t.Error(text)
		}
		over, ended := make(chan struct{}), make(chan struct{})
		go func() { defer close(ended); b.countDown(t.Context(), n, over) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if all := server.History(n.DM); len(all) != 1 || n.ts() != all[0].TS || !strings.Contains(shownIn(all[0]), "4 minutes left") {
			t.Errorf("after %d tries Ada has %d messages", server.Calls("chat.postMessage"), len(all))
		}
		if server.Unspent() > 0 {
			t.Errorf("%d faults are left", server.Unspent())
		}
		close(over)
		<-ended
		server.Close()
		synctest.Wait()
	})
}

func TestAskingAgainSendsADirectMessageThatHasNotArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, server, n := bubbled(t)
		defer server.Close()
		n.tried = true
		if text := b.pointTo(t.Context(), Message{TS: "1795803011.983066", Kind: "im"}, n); !strings.Contains(text, "is still valid") {
			t.Error(text)
		}
		if all := server.History(n.DM); len(all) != 2 || n.ts() != all[0].TS {
			t.Errorf("Ada has %d messages", len(all))
		}
		server.Close()
		synctest.Wait()
	})
}
