package bot

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
	"auditbot/bot/engine/clustertest"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// newReplicas is a stage with two bots that share its engine, where nobody is
// signed in.
func newReplicas(t *testing.T, lease time.Duration, perform performance) (one, two *stage, tenant *tenantsim.Server) {
	t.Helper()
	one, tenant = newSignInStage(t, perform)
	one.stop()
	one.lease = lease
	one.begin()
	return one, one.another(), tenant
}

// another starts one more bot on the stage.
func (s *stage) another() *stage {
	s.t.Helper()
	a := &stage{t: s.t, slack: s.slack, engine: s.engine, dir: s.dir, lease: s.lease, sockets: s.sockets, perform: s.perform, instance: s.instance, admins: s.admins}
	a.begin()
	return a
}

// begin starts the bot and waits until it asks for a connection, which is the
// last thing that it begins with.
func (s *stage) begin() {
	s.t.Helper()
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	s.sockets.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		begin()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	s.start()
	<-begun
}

// comesTo waits for what Slack knows nothing of.
func (s *stage) comesTo(ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	for !ok() {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			s.t.Fatal("it did not come to that")
		}
	}
}

// ofAda is a command of Ada's as the stage's bot works on it.
func (s *stage) ofAda(ts string) *task {
	task := s.bot.newTask(engine.Item{ID: "T0CONTOSO." + incidents + "." + ts, Tries: 1})
	task.Message = Message{Team: "T0CONTOSO", Channel: incidents, User: "U0ADA", TS: ts}
	task.asks = Person{ID: "U0ADA", Email: "ada@contoso.com"}
	return task
}

// sendsCode makes the stage's bot send Ada a code, and look after it.
func (s *stage) sendsCode() *code {
	s.t.Helper()
	n, fresh, err := s.bot.oneCode(s.t.Context(), s.ofAda("1795803011.983066"), s.instance)
	if err != nil || !fresh {
		s.t.Fatalf("a code that is fresh: %v, %v", fresh, err)
	}
	return n
}

// long is a lease that does not end in a test.
const longLease = time.Hour

func TestTwoReplicasSendOneCode(t *testing.T) {
	t.Parallel()
	one, two, tenant := newReplicas(t, longLease, needsSignInAlways)
	var all sync.WaitGroup
	for _, s := range []*stage{one, two, one, two} {
		all.Go(func() {
			if said, err := s.bot.signIn(t.Context(), s.ofAda("1795803011.983066"), s.instance); err != nil || !strings.Contains(said, "direct message") {
				t.Errorf("%q, %v", said, err)
			}
		})
	}
	all.Wait()
	if asked, told := tenant.Asked("devicecode"), one.told("U0ADA", "Enter the code"); asked != 1 || told != 1 {
		t.Errorf("Microsoft was asked for %d codes, and Ada has %d", asked, told)
	}
}

func TestACodeIsKnownToEveryReplica(t *testing.T) {
	t.Parallel()
	one, two, tenant := newReplicas(t, longLease, needsSignInAlways)
	n := one.sendsCode()
	again := one.say("U0ADA", "what is this?")
	if said, err := two.bot.signIn(t.Context(), two.ofAda(again.TS), two.instance); err != nil || !strings.Contains(said, "is still valid, until "+n.until()) {
		t.Errorf("asked for another, it says %q, %v", said, err)
	}
	if said := two.bot.whoSignsIn(t.Context(), n.key, two.instance); !strings.Contains(said, "ada was sent a code") {
		t.Errorf("asked who signs in, it says %q", said)
	}
	one.signIn(tenant)
	if said, err := two.bot.checkSignIn(t.Context(), two.ofAda(again.TS), two.instance); err != nil || !strings.Contains(said, "as ada@contoso.com.") {
		t.Errorf("once it was entered, it says %q, %v", said, err)
	}
	one.direct("Signed in to")
	one.allSettled()
}

func TestACodeThatCannotBeReadHidesNoOther(t *testing.T) {
	t.Parallel()
	s := newStage(t, echo)
	codes := s.engine.Bucket(engine.SignIns)
	for _, code := range [][2]string{{"contoso/U00", "{"}, {"contoso/U0ADA", `{"id":"ADA"}`}, {"contoso/U0ZOE", "{"}} {
		if _, err := codes.Put(t.Context(), code[0], []byte(code[1])); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.bot.codeByID(t.Context(), "ADA"); n == nil || err != nil {
		t.Errorf("the code is %v, %v", n, err)
	}
	if n, err := s.bot.codeByID(t.Context(), "another"); n != nil || err == nil {
		t.Errorf("one that may be any of those is %v, and that is no error", n)
	}
}

func TestACodeIsCancelledInAnotherReplica(t *testing.T) {
	for name, cancel := range map[string]func(s *stage, id string) error{
		"auth-reset": func(s *stage, _ string) error {
			if ended, err := s.bot.withdraw(s.t.Context(), Message{User: "U0ADA"}, s.instance); err != nil || !ended {
				return errors.Join(err, errors.New("no sign-in was under way"))
			}
			return nil
		},
		"the button": func(s *stage, id string) error {
			return s.bot.codeCancelPressed(s.t.Context(), s.ofAda("1795803011.983066"), id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, two, tenant := newReplicas(t, 3*time.Second, needsSignInAlways)
			n := one.sendsCode()
			prompt := one.direct("Enter the code")
			if err := cancel(two, n.ID); err != nil {
				t.Fatal(err)
			}
			if open, err := two.bot.current(t.Context(), n.key); open != nil || err != nil { // it waits
				t.Errorf("it is still open: %v", err)
			}
			if one.direct("Do not enter the code any more").TS != prompt.TS {
				t.Error("the code is still in its message")
			}
			one.signIn(tenant) // nobody collects it
			one.allSettled()
			one.wantSignedIn(false)
		})
	}
}

// The owner has not noticed yet when Microsoft says yes.
func TestACancelInAnotherReplicaThatCrossesMicrosoftsYesWins(t *testing.T) {
	t.Parallel()
	one, two, tenant := newReplicas(t, longLease, begin)
	yes := holdYes(one)
	n := one.sendsCode()
	one.signIn(tenant)
	<-yes.said
	open, err := two.bot.openCode(t.Context(), n.key)
	if err != nil || open == nil || open == n {
		t.Fatalf("the other replica does not see the code as it is in the bucket: %v", err)
	}
	if ended, err := two.bot.cancelCode(t.Context(), open); !ended || err != nil {
		t.Fatal(ended, err)
	}
	if n.isCancelled() {
		t.Fatal("the owner has noticed")
	}
	close(yes.pass)
	one.direct("Do not enter the code any more")
	one.wantSignedIn(false)
	if ended, err := two.bot.cancelCode(t.Context(), open); ended || err != nil {
		t.Errorf("it can be cancelled when it is over: %v, %v", ended, err)
	}
}

// longAgo makes all that a bot has seen of others' codes as old as a lease.
func (s *stage) longAgo() {
	for place, seen := range s.bot.codes.seen {
		seen.since = seen.since.Add(-s.lease)
		s.bot.codes.seen[place] = seen
	}
}

func (s *stage) adopt() {
	s.t.Helper()
	if err := s.bot.adoptOnce(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func TestACodeHasOneOwner(t *testing.T) {
	t.Parallel()
	one, two, tenant := newReplicas(t, longLease, needsSignInAlways)
	n := one.sendsCode()
	two.adopt()
	two.adopt()
	if two.bot.codes.find(n.key) != nil {
		t.Fatal("the code was adopted at once")
	}
	two.longAgo()
	if err := one.bot.keepCode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	two.adopt()
	if two.bot.codes.find(n.key) != nil {
		t.Fatal("a code whose owner lives was adopted")
	}
	two.longAgo()
	two.adopt()
	if two.bot.codes.find(n.key) == nil {
		t.Fatal("the code was not adopted")
	}
	one.bot.renew(t.Context(), n, time.Now())
	if !one.bot.isLost(n, time.Now()) {
		t.Fatal("the owner before has not noticed")
	}
	one.comesTo(func() bool { return one.bot.codes.byID(n.ID) == nil })
	one.signIn(tenant)
	one.direct("Signed in to contoso.onmicrosoft.com as ada@contoso.com")
	two.allSettled()
	if n.Came != nil {
		t.Error("the owner before has settled it, too")
	}
}

func TestAnOwnerThatCannotWriteGivesACodeUp(t *testing.T) {
	t.Parallel()
	one, _, _ := newReplicas(t, longLease, needsSignInAlways)
	n := one.sendsCode()
	if one.bot.isLost(n, time.Now().Add(-longLease*3/4)) {
		t.Fatal("it was given up too soon")
	}
	if !one.bot.isLost(n, time.Now().Add(-longLease*9/10)) {
		t.Fatal("it was not given up, though others may adopt it soon")
	}
	one.comesTo(func() bool { return one.bot.codes.find(n.key) == nil })
	if n.Came != nil {
		t.Error("it was settled")
	}
}

func TestAStopHandsACodeOverAtOnce(t *testing.T) {
	t.Parallel()
	one, two, tenant := newReplicas(t, longLease, needsSignInAlways)
	n := one.sendsCode()
	prompt := one.direct("Enter the code")
	one.stop()
	two.adopt()
	if two.bot.codes.find(n.key) == nil {
		t.Fatal("the code was not adopted")
	}
	two.signIn(tenant)
	if two.direct("Signed in to").TS != prompt.TS {
		t.Error("the code is still in its message")
	}
	two.allSettled()
}

// Whoever asked Microsoft for a code died over that.
func TestAClaimOfADeadReplicaIsInNobodysWay(t *testing.T) {
	t.Parallel()
	one, two, _ := newReplicas(t, longLease, needsSignInAlways)
	dead := &code{ID: "x", User: "U0ADA", Instance: "contoso", Owner: "dead", key: "contoso/U0ADA", place: "contoso/U0ADA"}
	one.store(dead)
	two.adopt()
	two.longAgo()
	sent := make(chan error, 1)
	go func() {
		_, fresh, err := one.bot.oneCode(t.Context(), one.ofAda("1795803011.983066"), one.instance)
		if err == nil && !fresh {
			err = errors.New("another code was there")
		}
		sent <- err
	}()
	two.adopt()
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// stageEnv tells a replica that is a process of its own where its stage is.
const stageEnv = "AUDITBOT_TEST_STAGE"

// A place where a replica is to work.
type theatre struct{ Dir, Cluster, API, BotToken, AppToken, Tenant string }

// TestReplicaProcess is no test, but a replica that is to be killed: what it
// performs needs a sign-in, or ends when it is cancelled.
func TestReplicaProcess(t *testing.T) {
	var at theatre
	if err := json.Unmarshal([]byte(os.Getenv(stageEnv)), &at); err != nil {
		return // it is one for other tests
	}
	e, err := engine.Open(t.Context(), engine.Config{Dir: at.Dir, Key: make([]byte, engine.KeySize), Cluster: engine.Cluster{URL: at.Cluster}})
	if err != nil {
		t.Fatal(err)
	}
	instance := commands.Instance{Name: "contoso", Tenant: "contoso.onmicrosoft.com", Account: adaAt(e, at.Tenant)}
	b := &Bot{
		Slack:     slack.New(at.BotToken, slack.OptionAPIURL(at.API), slack.OptionHTTPClient(&http.Client{Timeout: time.Minute})),
		Engine:    e,
		Log:       slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Prefix:    "!",
		Access:    Access{Everyone: true},
		Instances: func(Person) []commands.Instance { return []commands.Instance{instance} },
		codeLease: 2 * time.Second,
		perform: func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
			if strings.HasPrefix(line, search) {
				return needsSignIn(ctx, env)
			}
			return untilCancelled(ctx, env, line)
		},
	}
	t.Error(b.Run(t.Context(), Sockets{APIURL: at.API, AppToken: auditlog.Secret(at.AppToken)}))
}

// process starts a replica as a process of its own, which kill kills.
func (s *stage) process(tenant *tenantsim.Server) (kill func()) {
	s.t.Helper()
	at, err := json.Marshal(theatre{s.dir, s.cluster, s.slack.APIURL(), s.slack.BotToken(), s.slack.AppToken(), tenant.URL})
	if err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "-test.run=^TestReplicaProcess$")
	c.Env = append(os.Environ(), stageEnv+"="+string(at))
	c.Stderr = s.t.Output()
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() { c.Process.Kill(); c.Wait() })
	s.t.Cleanup(kill)
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	if err := s.slack.WaitConnected(ctx); err != nil {
		s.t.Fatal(err)
	}
	return kill
}

func TestASignInOutlastsTheReplicaThatBeganIt(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "all of it"}, nil
	})
	s.stop()
	s.outlast(tenant, func() {})
}

func TestASignInOutlastsItsReplicaAndAServerOfTheCluster(t *testing.T) {
	t.Parallel()
	servers := clustertest.Start(t)
	s, tenant := newSignInStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "all of it"}, nil
	})
	s.stop()
	s.engine.Close()
	s.dir, s.cluster = t.TempDir(), servers.URL()
	var err error
	s.engine, err = engine.Open(t.Context(), engine.Config{Dir: s.dir, Key: make([]byte, engine.KeySize), Cluster: engine.Cluster{URL: s.cluster}})
	if err != nil {
		t.Fatal(err)
	}
	s.instance.Account = adaAt(s.engine, tenant.URL)
	s.outlast(tenant, func() { servers.Kill(0) })
}

// outlast lets Ada sign in after the replica that sent her the code was killed,
// and whatever else goes wrong then.
func (s *stage) outlast(tenant *tenantsim.Server, trouble func()) {
	s.t.Helper()
	s.lease = 2 * time.Second
	kill := s.process(tenant)
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	kill()
	trouble()
	s.until(func() bool { return s.slack.Sockets() == 0 })
	s.begin()
	s.comesTo(func() bool { return s.bot.codes.find("contoso/U0ADA") != nil })
	s.signIn(tenant)
	s.reply(asked, "all of it")
	if s.direct("Signed in to").TS != prompt.TS {
		s.t.Error("the code is still in its message")
	}
	if n := tenant.Asked("devicecode"); n != 1 {
		s.t.Errorf("Microsoft was asked for %d codes", n)
	}
	s.allSettled()
}

// whoRuns tells which of two stages has the bot that runs a command.
func whoRuns(asked slacksim.Message, one, two *stage) (runs, other *stage) {
	if one.bot.tasks.find("T0CONTOSO."+incidents+"."+asked.TS) != nil {
		return one, two
	}
	return two, one
}

// isListed waits until every replica can know of a command.
func (s *stage) isListed(asked slacksim.Message) {
	s.t.Helper()
	s.comesTo(func() bool {
		_, _, err := s.engine.Bucket(engine.Running).Get(s.t.Context(), "T0CONTOSO."+incidents+"."+asked.TS)
		return err == nil
	})
}

func (s *stage) wantNothingListed() {
	s.t.Helper()
	if ids, err := s.engine.Bucket(engine.Running).Keys(s.t.Context()); len(ids) > 0 || err != nil {
		s.t.Errorf("still listed: %q, %v", ids, err)
	}
}

func TestCancelReachesACommandThatAnotherReplicaRuns(t *testing.T) {
	t.Parallel()
	one, two, _ := newReplicas(t, longLease, untilCancelled)
	first, second := one.say("U0ADA", search), one.say("U0ADA", search)
	one.isListed(first)
	one.isListed(second)
	one.reply(second, isRunning)
	_, other := whoRuns(second, one, two)
	handle := Message{Team: "T0CONTOSO", Channel: incidents, TS: second.TS}.handle()
	grace := other.ofAda("1795803011.983066")
	grace.User, grace.asks = "U0GRACE", Person{ID: "U0GRACE"}
	if said, err := other.bot.cancelTyped(t.Context(), grace, handle); err == nil || !strings.Contains(err.Error(), "somebody else's") {
		t.Errorf("somebody else cancels it: %q, %v", said, err)
	}
	if said, err := other.bot.cancelTyped(t.Context(), other.ofAda("1795803011.983066"), handle); err != nil || !strings.Contains(said, "1 command is being cancelled: !o365-auditlog-search of "+writtenAt(second)) {
		t.Errorf("%q, %v", said, err)
	}
	one.reply(second, "partial result")
	one.reply(second, "was cancelled after")
	if strings.Contains(one.thread(first), "partial") {
		t.Error("the other one was cancelled, too")
	}

	_, other = whoRuns(first, one, two)
	if asker, ran, err := other.bot.cancelByID(t.Context(), "T0CONTOSO."+incidents+"."+first.TS, "U0LEA"); asker != "U0ADA" || !ran || err != nil {
		t.Errorf("with the button: %q, %v, %v", asker, ran, err)
	}
	one.reply(first, "partial result")
	one.reply(one.say("U0ADA", "!cancel"), "None of your commands is running")
	one.wantNothingListed()
}

func TestCancelReachesACommandThatWaitsForItsTurnInAnotherReplica(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, untilCancelled)
	s.stop()
	s.lease = longLease
	s.begin()
	for range longLimits.person {
		s.say("U0ADA", search)
	}
	s.comesTo(func() bool { return int(s.performed.Load()) == longLimits.person })
	asked := s.say("U0ADA", search)
	s.reply(asked, "which is as many as one person may")
	s.isListed(asked)
	if asker, ran, err := s.bot.cancelElsewhere(t.Context(), "T0CONTOSO."+incidents+"."+asked.TS, "U0ADA"); asker != "U0ADA" || !ran || err != nil {
		t.Fatalf("%q, %v, %v", asker, ran, err)
	}
	s.reply(asked, "It had not begun yet")
	if n := int(s.performed.Load()); n != longLimits.person {
		t.Errorf("%d commands have run", n)
	}
}

// writtenAt is when a message was written, as cancel says it.
func writtenAt(m slacksim.Message) string { return Message{TS: m.TS}.Sent().Format("15:04:05") }

func TestAStateThatWasCancelledElsewhereIsNoConflict(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	ctx := t.Context()
	first := s.ofAda("1795803011.983066")
	if err := s.bot.note(ctx, first, func(st *state) { st.User = "U0ADA" }); err != nil {
		t.Fatal(err)
	}
	if _, ran, err := s.bot.cancelByID(ctx, first.id, "U0ADA"); !ran || err != nil {
		t.Fatal(ran, err)
	}
	if err := s.bot.note(ctx, first, func(st *state) { st.Progress = "1795803012.000000" }); err != nil || !first.isCancelled() {
		t.Fatalf("cancelled: %v, %v", first.isCancelled(), err)
	}
	second := s.ofAda("1795803011.983066")
	if err := s.bot.load(ctx, second); err != nil || !second.isCancelled() || second.state.Progress == "" {
		t.Fatalf("what is stored is %+v, %v", second.state, err)
	}
	if err := s.bot.note(ctx, second, func(*state) {}); err != nil { // the same, but by another worker
		t.Fatal(err)
	}
	third := s.ofAda("1795803011.983066")
	if err := s.bot.load(ctx, third); err != nil {
		t.Fatal(err)
	}
	if err := s.bot.note(ctx, second, func(st *state) { st.Step = posting }); err != nil {
		t.Fatal(err)
	}
	if err := s.bot.note(ctx, third, func(*state) {}); !errors.Is(err, errTakenOver) {
		t.Errorf("a worker takes over that does not know of an answer: %v", err)
	}
	if err := s.bot.note(ctx, first, func(*state) {}); !errors.Is(err, errTakenOver) || !errors.Is(err, engine.ErrConflict) {
		t.Errorf("a worker that was overtaken goes on: %v", err)
	}
	if err := s.bot.post(ctx, first, commands.Reply{Title: "all of it"}); !errors.Is(err, errTakenOver) || s.slack.Calls("chat.postMessage") > 0 {
		t.Errorf("it posts: %v", err)
	}
}
