package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

const onlyNow = "it reached me only now"

// echo is a command whose answer has its line.
func echo(_ context.Context, _ commands.Env, line string) (commands.Reply, error) {
	return commands.Reply{Title: "ran " + line}, nil
}

// once makes a workspace send each event once only: what the bot does not hear,
// it can only read.
func once(s *slacksim.Server) { s.RetryAfter = []time.Duration{} }

func (s *stage) sayIn(user, channel, thread, text string) slacksim.Message {
	s.t.Helper()
	m, err := s.slack.Say(user, channel, thread, text)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// wrote is a message of a while ago, of which the bot was told nothing.
func (s *stage) wrote(ago time.Duration, channel, thread, text string) slacksim.Message {
	m := slacksim.Message{Channel: channel, TS: tsOf(time.Now().Add(-ago)), ThreadTS: thread, User: "U0ADA", Text: text}
	s.slack.Add(m)
	return m
}

// awayFor makes it so that the bot, which is stopped, was for this long.
func (s *stage) awayFor(d time.Duration) {
	s.t.Helper()
	value, err := json.Marshal(listened{At: time.Now().Add(-d), By: "before"})
	if err == nil {
		_, err = s.engine.Bucket(engine.Heard).Put(s.t.Context(), markKey, value)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// answers are what the bot has said to a message, file notes and the like aside.
func (s *stage) answers(to slacksim.Message) (all []string) {
	for _, m := range s.slack.History(to.Channel) {
		if m.User == slacksim.BotUserID && strings.Contains(string(m.Metadata), "."+to.TS+`"`) {
			all = append(all, shownIn(m))
		}
	}
	return all
}

// answered waits until a message has an answer with this text.
func (s *stage) answered(to slacksim.Message, text string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.slack.Until(ctx, func() bool { return len(s.answers(to)) > 0 }); err != nil {
		s.t.Fatalf("%q is not answered", to.Text)
	}
	all := s.answers(to)
	if len(all) != 1 || !strings.Contains(all[0], text) {
		s.t.Errorf("%q was answered with %q", to.Text, all)
	}
	return all[0]
}

// untilRead waits until the bot listens, and what was missed is read.
func (s *stage) untilRead() {
	s.t.Helper()
	for range 3000 {
		var m listened
		var g gap
		_, err := s.bot.readHeard(s.t.Context(), markKey, &m)
		revision, gapErr := s.bot.readHeard(s.t.Context(), gapKey, &g)
		if errors.Join(err, gapErr) == nil && revision == 0 && m.By == s.bot.heard.by {
			return
		}
		time.Sleep(10 * time.Millisecond) // nothing tells of the bucket's changes
	}
	s.t.Fatal("what was missed is not read")
}

func TestThreadsWithNothingButOurAnswersAreNotRead(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, once)
	alone, talked := s.say("U0ADA", search+" one"), s.say("U0ADA", search+" two")
	s.answered(alone, "ran")
	s.answered(talked, "ran")
	s.stop()
	missed := s.sayIn("U0GRACE", incidents, talked.TS, search+" three")
	s.start()
	s.answered(missed, "ran")
	s.untilRead()
	for _, r := range s.slack.Requests() {
		if r.Method == "conversations.replies" && r.Values.Get("ts") == alone.TS {
			t.Error("a thread in which nobody but us replied is read")
		}
	}
}

func TestWhatWasWrittenInAnOutageIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, once)
	dm := s.slack.OpenDM("U0GRACE")
	old := s.slack.History(incidents)[0]
	before := s.say("U0ADA", search+" before")
	s.answered(before, "ran")
	s.stop()

	inChannel := s.say("U0ADA", search+" in the channel")
	inThread := s.sayIn("U0GRACE", incidents, old.TS, search+" in a thread")
	inAnswered := s.sayIn("U0ADA", incidents, before.TS, search+" under an answer")
	inDM := s.sayIn("U0GRACE", dm, "", "o365-auditlog-search in a direct message")
	mentioned := s.say("U0ADA", "@auditbot o365-auditlog-search mentioned")
	edited := s.say("U0ADA", search+" edited")
	if err := s.slack.Edit("U0ADA", incidents, edited.TS, search+" edited now"); err != nil {
		t.Fatal(err)
	}
	deleted := s.say("U0ADA", search+" deleted")
	if err := s.slack.Delete("U0ADA", incidents, deleted.TS); err != nil {
		t.Fatal(err)
	}
	s.say("U0ADA", "just a word")
	s.sayIn("U0ADA", "G0INSIDER", "", search+" where it does not answer")
	s.say("U0GUS", search+" by a guest who is not on the list")

	s.start()
	for _, m := range []slacksim.Message{inChannel, inThread, inAnswered, inDM, mentioned} {
		if text := s.answered(m, onlyNow); !strings.HasPrefix(text, "<@"+m.User+"> Written at "+Message{TS: m.TS}.Sent().Format("15:04")+" UTC; ") || !strings.Contains(text, "ran !o365") {
			t.Errorf("the answer is %q", text)
		}
	}
	s.untilRead()
	s.slack.Redeliver(incidents, inChannel.TS)
	after := s.say("U0ADA", search+" after")
	if text := s.answered(after, "ran"); strings.Contains(text, onlyNow) {
		t.Errorf("a command that is heard is late: %q", text)
	}
	if n := s.performed.Load(); n != 7 {
		t.Errorf("%d commands ran", n)
	}
	s.stop()
	s.start() // reads the last minute again
	s.untilRead()
	if n := s.performed.Load(); n != 7 || len(s.answers(inChannel)) != 1 {
		t.Errorf("%d commands ran", n)
	}
}

// Slack sends an event again as it was, also after an edit.
func TestWhatWasTakenBackInAnOutageDoesNotRunWhenSlackSendsItAgain(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, func(s *slacksim.Server) {
		s.AckTimeout, s.RetryAfter = 2*time.Second, []time.Duration{time.Second}
	})
	s.untilRead()
	old := s.slack.History(incidents)[0]
	s.stop()
	for _, thread := range []string{"", old.TS} {
		edited := s.sayIn("U0ADA", incidents, thread, search)
		deleted := s.sayIn("U0ADA", incidents, thread, search)
		if err := errors.Join(s.slack.Edit("U0ADA", incidents, edited.TS, search+" now"), s.slack.Delete("U0ADA", incidents, deleted.TS)); err != nil {
			t.Fatal(err)
		}
	}
	var log lockedLog
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	s.slack.Fail(slacksim.APIError("users.conversations", "internal_error")) // so that it is not read before
	kept := s.sayIn("U0ADA", incidents, old.TS, search)
	s.start()
	s.answered(kept, "ran")
	s.until(func() bool { return s.slack.Unacknowledged() == 0 })
	s.answered(s.say("U0ADA", search+" after"), "ran")
	if n := s.performed.Load(); n != 2 {
		t.Errorf("%d commands ran", n)
	}
	s.stop()
	if n := strings.Count(log.String(), "outcome=taken_back"); n != 4 {
		t.Errorf("the log has %d outcomes that are taken back:\n%s", n, log.String())
	}
}

func TestWhatIsWrittenBetweenTwoConnectionsIsAnswered(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, once)
	s.answered(s.say("U0ADA", search), "ran") // the only connection so far is good
	s.slack.Fail(slacksim.HTTPError("apps.connections.open", 503))
	s.slack.CutSockets()
	s.answered(s.say("U0ADA", search), onlyNow)
}

func TestAFirstStartAnswersNothingOld(t *testing.T) {
	t.Parallel()
	var old slacksim.Message
	s := newStageOn(t, echo, func(s *slacksim.Server) {
		once(s)
		old = slacksim.Message{Channel: incidents, TS: tsOf(time.Now().Add(-time.Minute)), User: "U0ADA", Text: search}
		s.Workspace.Messages = append(s.Workspace.Messages, old)
	})
	s.answered(s.say("U0ADA", search), "ran")
	s.stop()
	s.start()
	s.untilRead()
	if n := s.performed.Load(); n != 1 || s.slack.Calls("conversations.history") == 0 {
		t.Errorf("%d commands ran; there were %d requests for history", n, s.slack.Calls("conversations.history"))
	}
}

func TestWhatIsOlderThanTwoHoursIsNotAnswered(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, func(s *slacksim.Server) {
		once(s)
		for _, days := range []int{2, 3, 6} {
			s.Workspace.Messages = append(s.Workspace.Messages, slacksim.Message{Channel: "G0INSIDER", TS: daysAgo(days), User: "U0ADA", Text: "an incident"})
		}
	})
	s.stop()
	s.change = func(b *Bot) { b.Access.Channels = []string{incidents, "G0INSIDER"} }
	s.start()
	s.untilRead()
	s.answered(s.sayIn("U0ADA", "G0INSIDER", daysAgo(6), search+" before"), "ran")
	s.stop()
	s.awayFor(5 * time.Hour)
	s.wrote(3*time.Hour, incidents, "", search+" too old")
	s.wrote(121*time.Minute, "G0INSIDER", daysAgo(6), search+" too old")
	s.wrote(time.Hour, "G0INSIDER", daysAgo(3), search+" where it never answered")
	good := s.wrote(119*time.Minute, incidents, "", search+" not too old")
	inOld := s.wrote(time.Hour, "G0INSIDER", daysAgo(6), search+" in a thread of last week")
	inYoung := s.wrote(90*time.Minute, incidents, s.slack.History(incidents)[0].TS, search+" in a thread of today")
	s.start()
	s.answered(good, onlyNow)
	s.answered(inOld, onlyNow)
	s.answered(inYoung, onlyNow)
	s.untilRead()
	if n := s.performed.Load(); n != 4 {
		t.Errorf("%d commands ran", n)
	}
}

// daysAgo is the ts of something that was said at a moment of some day.
func daysAgo(days int) string { return tsOf(began.Add(-time.Duration(days) * 24 * time.Hour)) }

var began = time.Now()

func TestAReadingThatIsCutOffGoesOnAtTheNextStart(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, once)
	s.untilRead()
	s.stop()
	missed := s.say("U0ADA", search)
	s.slack.Fail(slacksim.Hang("conversations.history"))
	s.start()
	s.until(func() bool { return s.slack.Calls("conversations.history") == 1 })
	heard := s.say("U0ADA", search+" meanwhile")
	s.answered(heard, "ran") // nobody waits for the reading
	s.stop()
	s.awayFor(0)
	s.start()
	s.answered(missed, onlyNow)
	s.untilRead()
}

func TestALateCommandThatNeedsASignInIsSentNoCode(t *testing.T) {
	t.Parallel()
	signedIn := make(chan struct{})
	s := newStageOn(t, func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
		if strings.Contains(line, "auth-start") {
			said, err := env.Instances[0].SignIn(ctx)
			return commands.Reply{Title: said}, err
		}
		select {
		case <-signedIn:
			return echo(ctx, env, line)
		default:
			return commands.Reply{}, &commands.NeedSignIn{Instance: "contoso", Err: signin.ErrNotSignedIn}
		}
	}, once)
	s.untilRead()
	s.stop()
	s.instance.Tenant = "contoso.onmicrosoft.com"
	var log lockedLog
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	missed := s.say("U0ADA", search)
	start := s.say("U0GRACE", "!o365-auditlog-auth-start")
	s.start()
	for ts, label := range map[string]string{missed.TS: "Sign in and run it", start.TS: "Sign in"} {
		text := s.answered(slacksim.Message{Channel: incidents, TS: ts}, "🔑 Sign in to contoso.onmicrosoft.com first")
		if !strings.Contains(text, onlyNow) || !strings.Contains(text, "I send no code for a command that reached me late") || !strings.Contains(text, label+", or type: ") {
			t.Errorf("the answer is %q", text)
		}
	}
	if n := s.slack.Calls("conversations.open"); n != 0 {
		t.Error("somebody was sent a direct message")
	}
	if keys, err := s.engine.Bucket(engine.Waiting).Keys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("there waits %q, %v", keys, err)
	}
	close(signedIn)
	s.press("U0ADA", s.reply(missed, "Sign in and run it"), "Sign in and run it")
	if text := shownIn(s.reply(missed, "ran "+search)); strings.Contains(text, onlyNow) {
		t.Errorf("a press of a button is late: %q", text)
	}
	s.stop() // which waits until all is in the log
	if n := strings.Count(log.String(), "outcome=offered"); n != 2 {
		t.Errorf("the log has %d outcomes that are late:\n%s", n, log.String())
	}
}

// What was found before the sign-in ended is shown, over the button.
func TestALateCommandWaitsForNobodysSignIn(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, func(_ context.Context, env commands.Env, line string) (commands.Reply, error) {
		select {
		case <-env.Cancelled:
			if strings.HasSuffix(line, "long") {
				return commands.Reply{Title: "a part", Verdict: &auditlog.Verdict{Fetched: 5}, Offers: []commands.Offer{{Label: "Another", Line: "!help"}}}, nil
			}
		default:
		}
		return commands.Reply{}, &commands.NeedSignIn{Instance: "contoso", Err: signin.ErrNotSignedIn}
	}, once)
	s.untilRead()
	s.stop()
	s.instance.Tenant, s.instance.Shared = "contoso.onmicrosoft.com", true
	searched, long := s.say("U0ADA", search), s.say("U0ADA", search+" long")
	s.start()
	text := s.answered(searched, "🔑 A sign-in to contoso.onmicrosoft.com is needed first")
	if !strings.Contains(text, "only the admins of this bot begin it: ask lea") || !strings.Contains(text, "Run it, or type: ") {
		t.Errorf("the answer is %q", text)
	}
	text = s.answered(long, "a part")
	if !strings.Contains(text, "What it had found until then is here") || !strings.Contains(text, "Run it, or type: ") || !strings.Contains(text, "Another, or type: ") {
		t.Errorf("the answer is %q", text)
	}
	if keys, err := s.engine.Bucket(engine.Waiting).Keys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("there waits %q, %v", keys, err)
	}
}

func TestAnEventThatComesLateIsAnsweredLate(t *testing.T) {
	t.Parallel()
	s := newStage(t, echo)
	for ago, late := range map[time.Duration]bool{lateAfter - 30*time.Second: false, lateAfter + time.Second: true} {
		m := s.wrote(ago, incidents, "", search)
		s.slack.PostEvent(map[string]any{"channel": incidents, "user": "U0ADA", "ts": m.TS, "text": m.Text})
		if text := s.answered(m, "ran"); strings.Contains(text, onlyNow) != late {
			t.Errorf("after %v the answer is %q", ago, text)
		}
	}
}

// What was filed right before an outage was acknowledged, so it is neither sent
// again nor missed.
func TestWhatLayInTheInboxForLongIsSentNoCode(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
		if line == search {
			return commands.Reply{}, &commands.NeedSignIn{Instance: "contoso", Err: signin.ErrNotSignedIn}
		}
		return echo(ctx, env, line)
	}, once)
	s.untilRead()
	s.stop()
	s.instance.Tenant = "contoso.onmicrosoft.com"
	filed := func(ago time.Duration, text string) slacksim.Message {
		m := s.wrote(ago, incidents, "", text)
		if err := s.bot.fileAllowed(t.Context(), Message{Team: s.bot.self.team, Channel: incidents, User: m.User, TS: m.TS, Text: text}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	fresh, old, edited := filed(time.Minute, search+" soon"), filed(5*time.Hour, search), filed(4*time.Hour, search+" edited")
	if err := s.slack.Edit(edited.User, incidents, edited.TS, "never mind"); err != nil {
		t.Fatal(err)
	}
	s.start()
	if text := s.answered(old, onlyNow); !strings.Contains(text, "I send no code for a command that reached me late") {
		t.Errorf("the answer is %q", text)
	}
	if text := s.answered(fresh, "ran"); strings.Contains(text, onlyNow) {
		t.Errorf("after a minute the answer is %q", text)
	}
	s.answered(s.say("U0ADA", search+" after"), "ran")
	if all := s.answers(edited); len(all) != 0 {
		t.Errorf("what was edited was answered with %q", all)
	}
}

func TestWithoutTheScopesDirectMessagesAreReadAndChannelsAreNot(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, func(s *slacksim.Server) {
		once(s)
		for _, kind := range kindsOf {
			s.Workspace.Manifest = []byte(strings.Replace(string(s.Workspace.Manifest), "- "+kind.scope+" ", "- files:read ", 1))
		}
	})
	var log lockedLog
	dm := s.slack.OpenDM("U0GRACE")
	s.answered(s.sayIn("U0GRACE", dm, "", search), "ran")
	s.stop()
	s.say("U0ADA", search)
	inDM := s.sayIn("U0GRACE", dm, "", search)
	s.change = func(b *Bot) { b.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	s.start()
	s.answered(inDM, onlyNow)
	s.untilRead()
	if n := s.performed.Load(); n != 2 {
		t.Errorf("%d commands ran", n)
	}
	for _, scope := range []string{"im:read", "channels:read", "groups:read"} {
		if !strings.Contains(log.String(), "scope="+scope) || !strings.Contains(log.String(), "reinstall the app") {
			t.Errorf("of %s, the log has\n%s", scope, log.String())
		}
	}
}

func TestAChannelThatWasSharedMeanwhileIsNotRead(t *testing.T) {
	t.Parallel()
	s := newStageOn(t, echo, once)
	s.untilRead()
	s.stop()
	s.say("U0ADA", search)
	s.slack.ChangeChannel(incidents, func(c *slacksim.Channel) { c.Shared = true })
	dm := s.sayIn("U0GRACE", s.slack.OpenDM("U0GRACE"), "", search)
	s.start()
	s.answered(dm, onlyNow)
	s.untilRead()
	if n := s.performed.Load(); n != 1 {
		t.Errorf("%d commands ran", n)
	}
}

// Of 100 threads, a request each, while three answers are looked for every ten
// seconds.
func TestReadingIsWithinTheLimitsAndDelaysNoAnswer(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		var h heap
		s.inbox, s.Access.Everyone, s.self.team = h.take, true, "T0CONTOSO"
		threads := []string{}
		for i := range 100 {
			parent := slacksim.Message{Channel: incidents, TS: tsOf(s.began.Add(-48*time.Hour + time.Duration(i)*time.Second)), User: "U0ADA", Text: "an incident"}
			s.slack.Add(parent)
			s.slack.Add(slacksim.Message{Channel: incidents, ThreadTS: parent.TS, TS: tsOf(s.began.Add(-time.Hour + time.Duration(i)*time.Second)), User: "U0ADA", Text: fmt.Sprintf("!help %d", i)})
			threads = append(threads, incidents+"/"+parent.TS)
		}
		s.all.Go(func() {
			for range 12 {
				time.Sleep(10 * time.Second)
				asked := time.Now()
				for range 3 {
					_, err := s.Bot.answered(t.Context(), &task{Message: Message{Channel: incidents, TS: s.slack.History(incidents)[0].TS}})
					if err != nil || time.Since(asked) > 0 {
						t.Errorf("after %v, looking for an answer took %v: %v", s.took(), time.Since(asked), err)
					}
				}
			}
		})
		if err := s.readGap(t.Context(), gap{s.began.Add(-90 * time.Minute), s.began}, answers{Threads: threads}); err != nil {
			t.Error(err)
		}
		if n := len(h.filed()); n != 100 || s.refusals() > 0 || s.took() > 5*time.Minute {
			t.Errorf("%d commands in %v, %d refusals", n, s.took(), s.refusals())
		}
	})
}

func TestWhatIsReadIsFiledInTheOrderInWhichItWasWritten(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		var h heap
		s.inbox, s.Access.Everyone, s.self.team = h.take, true, "T0CONTOSO"
		parent := tsOf(s.began.Add(-5 * time.Hour))
		s.slack.Add(slacksim.Message{Channel: incidents, TS: parent, User: "U0ADA", Text: "an incident"})
		var want, inThread []string
		for i := range 500 { // three pages, and three of replies
			m := slacksim.Message{Channel: incidents, TS: tsOf(s.began.Add(-time.Hour + time.Duration(i)*time.Second)), User: "U0ADA", Text: fmt.Sprintf("!help %03d", i)}
			into := &want
			if i%2 == 0 {
				m.ThreadTS, into = parent, &inThread
			}
			if i == 7 { // package slack refuses the list that this is in
				m.Blocks = json.RawMessage(`[{"type":"table","rows":[[{"type":"hologram"}]]}]`)
			}
			s.slack.Add(m)
			*into = append(*into, m.Text)
		}
		want = append(want, inThread...)
		s.slack.Fail(slacksim.HTTPError("users.conversations", 500), slacksim.HTTPError("conversations.history", 503),
			slacksim.Nothing("conversations.replies"), slacksim.HTTPError("conversations.replies", 500),
			slacksim.Nothing("conversations.history"), slacksim.RateLimited("conversations.history", 10*time.Second))
		if err := insist(t.Context(), func() error {
			return s.readGap(t.Context(), gap{s.began.Add(-90 * time.Minute), s.began}, answers{})
		}); err != nil {
			t.Error(err)
		}
		filed := h.filed()
		if !slices.Equal(filed, want) || s.slack.Unspent() > 0 {
			t.Errorf("%d are filed, %d faults are left", len(filed), s.slack.Unspent())
		}
	})
}

func TestWhatIsNotReadWithinTwoHoursIsGivenUp(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		s.Access.Everyone, s.self.team = true, "T0CONTOSO"
		s.slack.ChangeChannel("G0INSIDER", func(c *slacksim.Channel) { c.Members = []string{slacksim.BotUserID} })
		s.slack.Fail(slices.Repeat([]slacksim.Fault{slacksim.HTTPError("conversations.history", 500)}, 20_000)...)
		if err := s.readGap(t.Context(), gap{s.began.Add(-time.Hour), s.began}, answers{}); err != nil || s.took() != missedAtMost {
			t.Errorf("after %v: %v", s.took(), err)
		}
	})
}

// A lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// listener is a bot that listens to nothing but what its test says.
func listener(t *testing.T, e *engine.Engine) *Bot {
	b := &Bot{Engine: e, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), heard: newHearing()}
	return b
}

// opened is the gap that is to be read, zero if there is none.
func (b *Bot) opened(t *testing.T) (g gap) {
	t.Helper()
	if err := b.writeHearing(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.readHeard(t.Context(), gapKey, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// marked is the time in the mark.
func (b *Bot) marked(t *testing.T) time.Time {
	t.Helper()
	var m listened
	if _, err := b.readHeard(t.Context(), markKey, &m); err != nil {
		t.Fatal(err)
	}
	return m.At
}

func TestTheGapIsFromTheLastSignOfSlackToTheGreeting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openEngine(t, dir)
	b := listener(t, e)
	if g := b.opened(t); g != (gap{}) || !b.marked(t).IsZero() {
		t.Errorf("before it connects: %v", g)
	}
	b.heard.connected()
	b.heard.connected()
	if g := b.opened(t); g != (gap{}) || !b.marked(t).Equal(b.heard.last) {
		t.Errorf("on a first start: %v, %v", g, b.marked(t))
	}
	b.heard.ended()
	b.heard.something()
	b.heard.connected()
	if g := b.opened(t); g != (gap{}) {
		t.Errorf("after one of two was renewed: %v", g)
	}
	last := b.heard.last
	b.heard.ended()
	b.heard.ended()
	b.heard.something() // is of no connection that counts
	b.heard.connected()
	if g := b.opened(t); !g.From.Equal(last.Add(-overlap)) || !g.Until.Equal(b.heard.greeted) {
		t.Errorf("after both were lost: %v", g)
	}
	next := listener(t, e)
	next.heard.connected()
	if g := next.opened(t); !g.From.Equal(last.Add(-overlap)) || !g.Until.Equal(next.heard.greeted) {
		t.Errorf("a gap that was not read is %v after a restart", g)
	}
}

func TestWhatTheInboxDidNotTakeIsReadLater(t *testing.T) {
	t.Parallel()
	b := listener(t, openEngine(t, t.TempDir()))
	b.heard.connected()
	b.opened(t)
	failed := time.Now()
	b.heard.notFiled()
	if g := b.opened(t); g.From.After(failed) || g.From.Before(failed.Add(-2*overlap)) || g.Until.Before(failed) {
		t.Errorf("the gap is %v", g)
	}
	if g := b.opened(t); g.Until.After(time.Now()) || len(b.heard.read) != 1 {
		t.Errorf("the gap is %v", g)
	}
}

// Another replica listens if it goes on saying so.
func TestOnlyOneReplicaReadsWhatAnotherDidNotHear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openEngine(t, dir)
	shared := openEngine(t, dir) // is not the only one
	a, b := listener(t, shared), listener(t, shared)
	a.heard.connected()
	a.opened(t)
	b.heard.connected()
	if g := b.opened(t); g != (gap{}) || b.marked(t).Equal(b.heard.last) {
		t.Errorf("before it is known whether the other listens: %v", g)
	}
	a.heard.something()
	a.opened(t)
	if g := b.opened(t); g != (gap{}) || !b.marked(t).Equal(b.heard.last) {
		t.Errorf("while the other listens: %v, %v", g, b.marked(t))
	}
	c := listener(t, shared)
	c.heard.connected()
	c.opened(t)
	c.heard.greeted = c.heard.greeted.Add(-2 * markEvery)
	if g := c.opened(t); g.From.IsZero() {
		t.Error("of the others nothing is heard, and nothing is read")
	}
}

func TestAThreadIsNotedOnceADay(t *testing.T) {
	t.Parallel()
	b := listener(t, openEngine(t, t.TempDir()))
	for range 2 {
		b.heard.came(Message{Channel: "D1", Kind: "im"})
		for i := range 2 * maxNoted {
			b.heard.answered(Message{Channel: "C1", TS: fmt.Sprintf("17%08d.000000", i)})
		}
		b.heard.answered(Message{Channel: "C1", TS: "1800000000.000000", Thread: "1600000000.000000"})
		b.opened(t)
	}
	all, err := b.answersNoted(t.Context())
	if err != nil || len(all.Threads) != 2*maxNoted+1 || all.Threads[0] != fmt.Sprintf("C1/17%08d.000000", 2*maxNoted-1) || all.Places["D1"] != "im" {
		t.Errorf("%d threads, %v, %v", len(all.Threads), all.Places, err)
	}
	if keys, err := b.Engine.Bucket(engine.Heard).Keys(t.Context()); err != nil || len(keys) != 3 {
		t.Errorf("%q, %v", keys, err)
	}
	if len(b.heard.wake) != 1 {
		t.Error("an old thread waits for the next mark")
	}
}

func openEngine(t *testing.T, dir string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{Dir: dir, Key: make([]byte, engine.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestSlimmedKeepsWhatIsNoList(t *testing.T) {
	for _, text := range []string{`{"ok":false,"error":"not_in_channel"}`, `<html>`, ``} {
		if got := string(slimmedList([]byte(text))); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestAReadingThatIsCutOffGoesOnWhereItWas(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		var h heap
		s.inbox, s.Access.Everyone, s.self.team, s.heard = h.take, true, "T0CONTOSO", newHearing()
		missed := gap{s.began.Add(-90 * time.Minute), s.began.Add(-time.Minute)}
		for i := range 3 {
			for _, channel := range []string{incidents, "G0INSIDER"} {
				s.slack.Add(slacksim.Message{Channel: channel, TS: tsOf(missed.From.Add(time.Duration(i) * 10 * time.Minute)), User: "U0ADA", Text: "!help " + channel})
			}
		}
		if err := s.readGap(t.Context(), missed, answers{}); err != nil {
			t.Fatal(err)
		}
		if len(h.filed()) != 6 || !s.heard.answers.Read[incidents+"/"].Equal(missed.Until) {
			t.Fatalf("%q are filed, and read are %v", h.filed(), s.heard.answers.Read)
		}
		delete(s.heard.answers.Read, "G0INSIDER/") // as if the next start had come before
		again := heap{}
		s.inbox = again.take
		if err := s.readGap(t.Context(), missed, s.heard.answers); err != nil {
			t.Fatal(err)
		}
		if want := slices.Repeat([]string{"!help G0INSIDER"}, 3); !slices.Equal(again.filed(), want) {
			t.Errorf("filed again are %q, want %q", again.filed(), want)
		}
	})
}

func TestNoConversationWaitsForTheThreadsOfAnother(t *testing.T) {
	atPace(t, func(t *testing.T, s *strict) {
		var h heap
		s.inbox, s.Access.Everyone, s.self.team = h.take, true, "T0CONTOSO"
		at := func(minutes int) string { return tsOf(s.began.Add(time.Duration(minutes) * time.Minute)) }
		for _, channel := range []string{incidents, "G0INSIDER"} {
			s.slack.Add(slacksim.Message{Channel: channel, TS: at(-30), User: "U0ADA", Text: "!help in " + channel})
			s.slack.Add(slacksim.Message{Channel: channel, TS: at(-20), ThreadTS: at(-30), User: "U0ADA", Text: "!help in a thread"})
		}
		if err := s.readGap(t.Context(), gap{s.began.Add(-time.Hour), s.began}, answers{}); err != nil {
			t.Fatal(err)
		}
		if filed := h.filed(); len(filed) != 4 || filed[2] != "!help in a thread" || filed[3] != filed[2] {
			t.Errorf("filed are, one after the other, %q", filed)
		}
	})
}
