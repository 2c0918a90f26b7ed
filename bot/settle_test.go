package bot

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// begin is a command that begins a sign-in, as auth-start does.
func begin(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
	said, err := env.Instances[0].SignIn(ctx)
	return commands.Reply{Title: "beginning", Text: said}, err
}

// open waits for the code that Ada is sent.
func (s *stage) open() (n *code) {
	s.t.Helper()
	s.until(func() bool {
		n = s.bot.codes.find("contoso/U0ADA")
		return n != nil
	})
	return n
}

// store puts a code into the bucket as it is.
func (s *stage) store(n *code) {
	s.t.Helper()
	value, err := json.Marshal(n)
	if err == nil {
		_, err = s.engine.Bucket(engine.SignIns).Put(s.t.Context(), n.place, value)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// settleIn waits until the bot answers.
func (s *stage) settleIn() {
	s.t.Helper()
	s.reply(s.say("U0ADA", "!help"), "What you can ask")
}

// allSettled stops the bot, which brings what it has begun to its end, and looks
// that no sign-in is left for the next start.
func (s *stage) allSettled() {
	s.t.Helper()
	s.stop()
	if keys, err := s.engine.Bucket(engine.SignIns).Keys(s.t.Context()); len(keys) > 0 || err != nil {
		s.t.Errorf("sign-ins are left: %q, %v", keys, err)
	}
}

func (s *stage) wantSignedIn(want bool) {
	s.t.Helper()
	if _, _, ok, err := s.instance.Account.SignedIn(s.t.Context()); ok != want || err != nil {
		s.t.Errorf("signed in: %v, %v", ok, err)
	}
}

// told are the direct messages to somebody that contain text.
func (s *stage) told(user, text string) (n int) {
	for _, m := range s.slack.History(s.slack.OpenDM(user)) {
		if strings.Contains(shownIn(m), text) {
			n++
		}
	}
	return n
}

// A yes is Microsoft's to a code, which is held back on its way.
type yes struct {
	said chan struct{} // closed when it is on its way
	pass chan struct{} // closed by the test to let it arrive
}

func holdYes(s *stage) yes {
	y := yes{make(chan struct{}), make(chan struct{})}
	s.instance.Account.Entra.HTTP = &http.Client{Transport: y}
	return y
}

func (y yes) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK && strings.HasSuffix(r.URL.Path, "/token") {
		close(y.said)
		<-y.pass
	}
	return resp, err
}

func TestASignInThatCrossesAStopOfTheBotCounts(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, signInOnce())
	yes := holdYes(s)
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.signIn(tenant)
	<-yes.said
	context.AfterFunc(s.bot.life, func() { close(yes.pass) })
	s.stop()
	s.instance.Account.Entra.HTTP = nil
	s.wantSignedIn(true)
	if s.direct("Signed in to").TS != prompt.TS {
		t.Error("the code is still in its message")
	}
	s.start()
	s.reply(asked, "all of it")
}

func TestACancelThatCrossesMicrosoftsYesWins(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, begin)
	yes := holdYes(s)
	var refusals atomic.Int32
	reset := s.instance.Account.Store.Delete
	s.instance.Account.Store.Delete = func(ctx context.Context, key string) error {
		if refusals.Add(1) < 3 {
			return errors.New("no leader")
		}
		return reset(ctx, key)
	}
	s.say("U0ADA", search)
	s.direct("Enter the code")
	s.signIn(tenant)
	<-yes.said
	if ended, err := s.bot.cancelCode(t.Context(), s.open()); !ended || err != nil {
		t.Fatal(ended, err)
	}
	close(yes.pass)
	s.direct("Do not enter the code any more")
	s.wantSignedIn(false)
	if n := refusals.Load(); n != 3 {
		t.Errorf("it was deleted with %d tries", n)
	}
}

func TestASignInAfterACancelWaitsForItsEnd(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, begin)
	yes := holdYes(s)
	s.say("U0ADA", search)
	s.direct("Enter the code")
	first := s.open()
	s.signIn(tenant)
	<-yes.said
	if ended, err := s.bot.cancelCode(t.Context(), first); !ended || err != nil {
		t.Fatal(ended, err)
	}
	again := s.say("U0ADA", search)
	s.reply(again, isRunning)
	close(yes.pass)
	s.reply(again, "I have sent you a direct message with a code")
	if s.open() == first {
		t.Error("the code is the cancelled one")
	}
	s.wantSignedIn(false)
}

// The bot died before it was known whether the cancelled code had brought
// something.
func TestACancelledSignInIsDeletedAfterARestartIfThatHasNotHappened(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, begin)
	s.say("U0ADA", search)
	s.direct("Enter the code")
	s.stop()
	if err := s.instance.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	if ended, err := s.bot.cancelCode(t.Context(), s.open()); !ended || err != nil {
		t.Fatalf("%v, %v", ended, err)
	}
	s.start()
	s.direct("Do not enter the code any more")
	s.wantSignedIn(false)
}

func TestACancelledSignInLeavesALaterOneAlone(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, begin)
	s.say("U0ADA", search)
	s.direct("Enter the code")
	s.stop()
	n := s.open()
	n.Sent, n.Cancelled = n.Sent.Add(-10*time.Minute), time.Now().Add(-5*time.Minute)
	s.store(n)
	if err := s.instance.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.direct("Do not enter the code any more")
	s.wantSignedIn(true)
}

func TestACancelledSignInThatCannotBeDeletedIsLeftForTheNextStart(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, begin)
	s.say("U0ADA", search)
	s.direct("Enter the code")
	s.stop()
	n := s.open()
	n.Cancelled = time.Now()
	n.instance.Account.Store.Delete = func(context.Context, string) error { return errors.New("no leader") }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.bot.whatCameOf(ctx, n, "ada@contoso.com", nil); !errors.Is(err, errNotForgotten) {
		t.Errorf("it came to %v", err)
	}
}

// The code works once, and the bot died right after that.
func TestASignInWhoseCodeWasUsedRightBeforeARestartCounts(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, signInOnce())
	asked := s.say("U0ADA", search)
	s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.stop()
	s.signIn(tenant)
	if _, err := s.instance.Account.Wait(t.Context(), s.open().device); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.direct("Signed in to contoso.onmicrosoft.com as ada@contoso.com")
	s.reply(asked, "all of it")
}

// What came of it was known, and the bot died before it had told anybody.
func TestWhatCameOfASignInIsToldAfterARestart(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.stop()
	n := s.open()
	n.Came = n.failed(&auditlog.Refusal{Problem: "the cat ate it"}, "ID")
	s.store(n)
	polls := tenant.Asked("token")
	s.start()
	if s.direct("the cat ate it").TS != prompt.TS {
		t.Error("the code is still in its message")
	}
	s.reply(asked, "the cat ate it")
	s.allSettled()
	if tenant.Asked("token") != polls {
		t.Error("the code was polled again")
	}
}

func TestACodeThatTheSettingsHaveNoUseForEnds(t *testing.T) {
	for name, change := range map[string]func(*commands.Instance){
		"one sign-in for all": func(i *commands.Instance) { i.Shared = true },
		"another application": func(i *commands.Instance) {
			e := i.Account.Entra
			i.Account.Entra = &signin.Entra{HTTP: e.HTTP, LoginURL: e.LoginURL, Tenant: e.Tenant, Resource: e.Resource, ClientID: "9d4f7b12-6a3c-4e58-b0c1-2e7f85a91d64"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, tenant := newSignInStage(t, needsSignInAlways)
			asked := s.say("U0ADA", search)
			prompt := s.direct("Enter the code")
			s.reply(asked, "Sign in to contoso")
			s.stop()
			polls := tenant.Asked("token")
			change(&s.instance)
			s.start()
			if s.direct("the settings of this bot have changed. Do not enter the code").TS != prompt.TS {
				t.Error("the code is still in its message")
			}
			s.reply(asked, "the settings of this bot have changed")
			s.allSettled()
			if tenant.Asked("token") != polls {
				t.Error("the code was polled")
			}
		})
	}
}

func TestTheCodeForAllOfWhoIsNoAdminAnyMoreEnds(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, begin)
	s.settleIn()
	s.stop()
	s.instance.Shared = true
	s.admins = []string{"U0GRACE"}
	s.start()
	s.reply(s.say("U0GRACE", search), "I have sent you")
	s.stop()
	polls := tenant.Asked("token")
	s.admins = []string{"U0LEA"}
	s.start()
	s.until(func() bool { return s.told("U0GRACE", "the settings of this bot have changed") > 0 })
	s.allSettled()
	if s.told("U0GRACE", "Enter the code") > 0 || tenant.Asked("token") != polls {
		t.Error("the code is still shown, or was polled")
	}
}

// A list that cannot be read is not an empty one.
func TestCommandsThatWaitAreNotForgottenIfTheyCannotBeRead(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	s.reply(s.say("U0ADA", search), "Sign in to contoso")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := s.bot.release(ctx, "contoso/U0ADA", func(Message) bool { return true }, ""); err == nil {
		t.Errorf("%d were released", n)
	}
	if n, err := s.bot.endWaiting(ctx, Person{ID: "U0ADA"}, func(Message) bool { return true }); err == nil {
		t.Errorf("%d were cancelled", n)
	}
	if waiting, err := s.bot.waiting(t.Context(), "contoso/U0ADA"); len(waiting) != 1 || err != nil {
		t.Errorf("%d wait, %v", len(waiting), err)
	}
}

// It might be run, too.
func TestACommandThatMayWaitIsNotAnswered(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	task := s.bot.newTask(engine.Item{ID: "T0CONTOSO." + incidents + ".1795803011.983066"})
	task.Message = Message{Team: "T0CONTOSO", Channel: incidents, User: "U0ADA", TS: "1795803011.983066"}
	task.asks = Person{ID: "U0ADA", Email: "ada@contoso.com"}
	need := &commands.NeedSignIn{Instance: "contoso", Err: signin.ErrNotSignedIn}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if reply, err := s.bot.waitForSignIn(ctx, task, need); err == nil {
		t.Errorf("it is answered with %+v", reply)
	}

	later := task.Message
	later.Resumed++
	if _, err := s.engine.Bucket(engine.Commands).Create(t.Context(), later.ID(), nil); err != nil {
		t.Fatal(err)
	}
	reply, err := s.bot.waitForSignIn(t.Context(), task, need)
	if err != nil || !strings.Contains(reply.Text, "how this command went on stands below") || s.bot.codes.find("contoso/U0ADA") != nil {
		t.Errorf("after it was released: %+v, %v", reply, err)
	}
}

func TestCommandsThatWaitAreStartedInTheirOrder(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	s.settleIn()
	s.stop()
	for channel, ts := range map[string]string{"C0A": "1795803013.000000", "C0B": "1795803011.000000", "C0C": "1795803012.000000"} { // the bucket lists them by channel
		m := Message{Team: "T0CONTOSO", Channel: channel, User: "U0ADA", TS: ts, Text: search}
		place := "contoso/U0ADA/" + m.ID()
		m.Resumed++
		value, err := json.Marshal(m)
		if err == nil {
			_, err = s.engine.Bucket(engine.Waiting).Put(t.Context(), place, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.bot.release(t.Context(), "contoso/U0ADA", func(Message) bool { return true }, ""); n != 3 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	var order []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.engine.Work(ctx, 1, func(_ context.Context, item engine.Item) error {
		var m Message
		err := json.Unmarshal(item.Data, &m)
		if order = append(order, m.TS[:10]); len(order) == 3 {
			cancel()
		}
		return err
	})
	if got := strings.Join(order, " "); got != "1795803011 1795803012 1795803013" || err != nil {
		t.Errorf("they were started as %s, %v", got, err)
	}
}

// wait puts a search of Ada's among those that wait for everybody's sign-in.
func (s *stage) wait(asked slacksim.Message, since time.Time) {
	s.t.Helper()
	m := Message{Team: "T0CONTOSO", Channel: incidents, User: "U0ADA", TS: asked.TS, Text: search, Resumed: 1, Waits: since}
	value, err := json.Marshal(m)
	if err == nil {
		_, err = s.engine.Bucket(engine.Waiting).Put(s.t.Context(), "contoso/all/"+m.Origin(), value)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestACommandForWhichNobodySignsInIsGivenUpWithinADay(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	s.settleIn()
	s.stop()
	s.instance.Shared = true
	long, short := s.say("U0LEA", "one"), s.say("U0LEA", "two")
	s.wait(long, time.Now().Add(-waitsAtMost-time.Minute))
	s.wait(short, time.Now().Add(-waitsAtMost+time.Hour))
	s.start()
	s.reply(long, "Nobody has signed in for this command for 22 hours")
	s.stop()
	if waiting, err := s.bot.waiting(t.Context(), "contoso/all"); len(waiting) != 1 || waiting[0].TS != short.TS || err != nil {
		t.Errorf("%+v, %v", waiting, err)
	}
}

func TestTwoReplicasGiveACommandUpOnce(t *testing.T) {
	t.Parallel()
	one, two, _ := newReplicas(t, longLease, needsSignInAlways)
	one.stop()
	two.stop()
	one.instance.Shared, two.instance.Shared = true, true
	asked := one.say("U0LEA", "one")
	one.wait(asked, time.Now().Add(-waitsAtMost-time.Minute))
	var both sync.WaitGroup
	for _, s := range []*stage{one, two} {
		both.Go(func() {
			if err := s.bot.endLongWaitsOnce(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	one.begin()
	one.reply(asked, "Nobody has signed in")
	one.settleIn()
	if got := one.thread(asked); strings.Count(got, "U0AUDITBOT:") != 1 {
		t.Errorf("the thread has\n%s", got)
	}
}

// Two replicas' clocks did not agree about what was first, the end of a code or
// that the command began to wait.
func TestACommandThatNobodysCodeIsForIsGivenUp(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	s.reply(asked, "Sign in to contoso")
	id := "T0CONTOSO." + incidents + "." + asked.TS
	place := "contoso/U0ADA/" + id
	waiting, err := s.bot.waiting(t.Context(), "contoso/U0ADA")
	if len(waiting) != 1 || err != nil {
		t.Fatalf("%d wait, %v", len(waiting), err)
	}
	waiting[0].Waits = time.Now().Add(-stranded - time.Minute)
	value, err := json.Marshal(waiting[0])
	if err == nil {
		_, err = s.engine.Bucket(engine.Waiting).Put(t.Context(), place, value)
	}
	if err == nil {
		err = s.bot.endLongWaitsOnce(t.Context())
	}
	if waiting, _ := s.bot.waiting(t.Context(), "contoso/U0ADA"); len(waiting) != 1 || err != nil {
		t.Fatalf("while there is a code for it, %d wait, %v", len(waiting), err)
	}
	if err := s.engine.Bucket(engine.SignIns).Delete(t.Context(), "contoso/U0ADA"); err != nil {
		t.Fatal(err)
	}
	if err := s.bot.endLongWaitsOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.reply(asked, "The sign-in that this command waited for is over")
}

// On a terminal, whoever has the key is an admin.
func TestASignInOnATerminalRunsWhatWaits(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "all of it"}, nil
	})
	s.settleIn()
	s.stop()
	s.instance.Shared = true
	asked := s.say("U0LEA", "one")
	s.wait(asked, time.Now())
	if err := s.instance.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.reply(asked, "all of it")
}

func TestASignInOnATerminalIsFoundWithAuthComplete(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
		if strings.HasPrefix(line, search) {
			return commands.Reply{Title: "all of it"}, nil
		}
		said, err := env.Instances[0].Check(ctx)
		return commands.Reply{Text: said}, err
	})
	s.settleIn()
	s.stop()
	s.instance.Shared = true
	asked := s.say("U0LEA", "one")
	s.wait(asked, time.Now())
	s.start()
	check := s.say("U0ADA", "!o365-auditlog-auth-complete")
	s.reply(check, "Nobody is signed in")
	if err := s.instance.Account.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	s.reply(s.say("U0ADA", "!o365-auditlog-auth-complete"), "Signed in as ada@contoso.com")
	s.reply(asked, "all of it")
}

// Slack was slow to say that the code is over, and what was asked meanwhile
// waits for a code of its own.
func TestWhatBeganToWaitAfterACodeEndedWaitsOn(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, needsSignInAlways)
	first := s.say("U0ADA", search)
	s.reply(first, "Sign in to contoso")
	s.stop()
	n, ended := s.open(), time.Now()
	n.Came = n.failed(&auditlog.Refusal{Problem: "the cat ate it"}, "ID")
	later := Message{Team: "T0CONTOSO", Channel: incidents, User: "U0ADA", TS: "4102444800.000000", Text: search, Waits: ended.Add(time.Second)}
	place := n.key + "/" + later.ID()
	later.Resumed++
	value, err := json.Marshal(later)
	if err == nil {
		_, err = s.engine.Bucket(engine.Waiting).Put(t.Context(), place, value)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.bot.releaseFor(t.Context(), n, ended); err != nil {
		t.Fatal(err)
	}
	if waiting, err := s.bot.waiting(t.Context(), n.key); len(waiting) != 1 || waiting[0].TS != later.TS || err != nil {
		t.Errorf("%d wait, %v", len(waiting), err)
	}
	n.Came.GivenUp = "" // somebody signed in
	if err := s.bot.releaseFor(t.Context(), n, ended); err != nil {
		t.Fatal(err)
	}
	if waiting, err := s.bot.waiting(t.Context(), n.key); len(waiting) != 0 || err != nil {
		t.Errorf("after a sign-in %d wait, %v", len(waiting), err)
	}
}

// A search may run for hours before it needs a sign-in.
func TestWhoIsNotServedAnyMoreIsSentNoCode(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		<-left
		return needsSignIn(ctx, env)
	})
	asked := s.say("U0ADA", search)
	s.until(func() bool { return s.performed.Load() > 0 })
	s.slack.ChangeUser("U0ADA", func(u *slacksim.User) { u.Restricted = true })
	s.bot.people.forget()
	close(left)
	s.reply(asked, "You are not sent a code to sign in with: you are not served any more")
	if n := tenant.Asked("devicecode"); n != 0 {
		t.Errorf("Microsoft was asked for %d codes", n)
	}
	if waiting, err := s.bot.waiting(t.Context(), "contoso/U0ADA"); len(waiting) != 0 || err != nil {
		t.Errorf("%d wait, %v", len(waiting), err)
	}
}

func TestACodeThatCouldNotBeSentCannotBeCancelled(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, begin)
	s.settleIn()
	n := &code{ID: "x", User: "U0ADA", key: "contoso/U0ADA", instance: s.instance}
	if err := s.bot.claim(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	s.bot.discard(t.Context(), n, errors.New("no direct message"))
	if ended, err := s.bot.cancelCode(t.Context(), n); ended || err != nil {
		t.Errorf("%v, %v", ended, err)
	}
	if keys, err := s.engine.Bucket(engine.SignIns).Keys(t.Context()); len(keys) != 0 || err != nil {
		t.Errorf("left are %q, %v", keys, err)
	}
}

const discardedAlert = "A sign-in to contoso.onmicrosoft.com was discarded"

func TestAdminsAreToldOfASignInOfSomebodyElse(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, begin)
	s.reply(s.say("U0ADA", search), "I have sent you")
	s.slack.Fail(slacksim.HTTPError("chat.postMessage", 503), slacksim.Lost("chat.postMessage"))
	if err := tenant.Approve(s.awaitCode(tenant), "mallory@contoso.com"); err != nil {
		t.Fatal(err)
	}
	s.direct("mallory@contoso.com signed in, but ada@contoso.com was expected")
	s.allSettled()
	if n := s.told("U0LEA", discardedAlert); n != 1 {
		t.Errorf("the admin was told %d times", n)
	}
	s.wantSignedIn(false)
}

// The bot died after it had told the admin, and before it had noted that.
func TestAdminsAreNotToldTwice(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, begin)
	s.reply(s.say("U0ADA", search), "I have sent you")
	n := s.open()
	if err := tenant.Approve(s.awaitCode(tenant), "mallory@contoso.com"); err != nil {
		t.Fatal(err)
	}
	s.direct("mallory@contoso.com signed in")
	s.allSettled()
	n.Came.Untold = []string{"U0LEA", "U0GRACE"}
	s.store(n)
	s.start()
	s.until(func() bool { return s.told("U0GRACE", discardedAlert) > 0 })
	s.allSettled()
	if lea, grace := s.told("U0LEA", discardedAlert), s.told("U0GRACE", discardedAlert); lea != 1 || grace != 1 {
		t.Errorf("Lea was told %d times, and Grace %d times", lea, grace)
	}
}

func TestAnAdminWhoCannotBeToldHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, begin)
	s.settleIn()
	s.stop()
	s.admins = []string{"U0NOBODY", "U0LEA"}
	s.start()
	s.reply(s.say("U0ADA", search), "I have sent you")
	if err := tenant.Approve(s.awaitCode(tenant), "mallory@contoso.com"); err != nil {
		t.Fatal(err)
	}
	s.direct("mallory@contoso.com signed in")
	s.allSettled()
	if n := s.told("U0LEA", discardedAlert); n != 1 {
		t.Errorf("the admin was told %d times", n)
	}
}

func TestWhoseSignInItIs(t *testing.T) {
	own, shared := commands.Instance{Name: "contoso"}, commands.Instance{Name: "contoso", Shared: true}
	if a, b, c := signInKey(own, "U0ADA"), signInKey(own, "U0LEA"), signInKey(shared, "U0ADA"); a == b || a == c || c != signInKey(shared, "U0LEA") {
		t.Errorf("%s, %s, %s", a, b, c)
	}
	if prefix := signInKey(shared, "U0ADA") + "/"; strings.HasPrefix(signInKey(own, "U0ADA")+"/x", prefix) {
		t.Errorf("what waits for Ada's own sign-in waits for %s, too", prefix)
	}
}
