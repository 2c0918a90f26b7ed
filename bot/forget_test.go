package bot

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// threeSides are instances as cmd makes them: at contoso and its Graph side each
// person signs in, at one somebody does for all.
func threeSides(p Person) []commands.Instance {
	return []commands.Instance{
		{Name: "contoso", Account: &signin.Account{Key: "contoso/" + p.ID}},
		{Name: "one", Shared: true, Account: &signin.Account{Key: "one"}},
		{Name: "contoso-graph", GraphOf: "contoso", Account: &signin.Account{Key: "contoso-graph/" + p.ID}},
	}
}

// forgetful is a bot that runs nothing, and the bucket in which it has tokens.
func forgetful(t *testing.T, a Access) (*Bot, *slacksim.Server, *engine.Bucket) {
	t.Helper()
	b, server := member(t, a)
	var err error
	b.Engine, err = engine.Open(t.Context(), engine.Config{Dir: t.TempDir(), Key: make([]byte, engine.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Engine.Close() })
	b.Instances = threeSides
	return b, server, b.Engine.Bucket(engine.Tokens)
}

func keep(t *testing.T, tokens *engine.Bucket, value string, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := tokens.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
}

// wantKeys complains unless these keys have tokens, and no others.
func wantKeys(t *testing.T, tokens *engine.Bucket, when string, want ...string) {
	t.Helper()
	got, err := tokens.Keys(t.Context())
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s there are tokens of\n%q, want\n%q; %v", when, got, want, err)
	}
}

func TestTheTokensOfPeopleWhoLeftAreDeleted(t *testing.T) {
	t.Parallel()
	everybody := []string{"U0ADA", "U0GRACE", "U0MALLORY", "U0GUS", "U0ULTRA", "U0GONE", "U0FRIDA", "U0STRANGER", "U0ROBOT", "W0NOBODY"}
	for name, c := range map[string]struct {
		access Access
		stay   []string
	}{
		"by lists": {Access{Users: []string{"U0ADA", "U0GUS", "U0GONE", "W0NOBODY"}, Groups: []string{"S0LEADS"}}, []string{"U0ADA", "U0GRACE"}},
		"admins":   {Access{Admins: []string{"U0MALLORY", "U0FRIDA"}}, []string{"U0MALLORY"}},
		"everyone": {Access{Everyone: true}, []string{"U0ADA", "U0GRACE", "U0MALLORY"}},
	} {
		b, server, tokens := forgetful(t, c.access)
		var log bytes.Buffer
		b.Log = slog.New(slog.NewTextHandler(&log, nil))
		want := []string{"one", "contoso/local:ada", "contoso-graph/local:U0GONE"} // nobody's in Slack
		keep(t, tokens, "token", want...)
		for _, user := range everybody {
			keep(t, tokens, "token", "contoso/"+user, "contoso-graph/"+user)
			if slices.Contains(c.stay, user) {
				want = append(want, "contoso/"+user, "contoso-graph/"+user)
			}
		}
		b.forgetOnce(t.Context())
		wantKeys(t, tokens, name+",", want...)
		if n := server.Calls("users.info"); n != len(everybody) {
			t.Errorf("%s: asked about %d people %d times", name, len(everybody), n)
		}
		if line := `msg="the sign-in of somebody who left is deleted" instance=contoso-graph user=U0GONE reason="the account is deactivated"`; strings.Count(log.String(), line) != 1 {
			t.Errorf("%s: the log is\n%s", name, &log)
		}
	}
}

func TestWhoLeavesIsForgottenAtTheNextTick(t *testing.T) {
	t.Parallel()
	b, server, tokens := forgetful(t, Access{Users: []string{"U0MALLORY"}, Groups: []string{"S0SOC", "S0LEADS"}, Admins: []string{"U0LEA"}})
	ctx, cancel := context.WithCancel(t.Context())
	ticks, ended := make(chan time.Time), make(chan struct{})
	go func() { defer close(ended); b.forgetThoseWhoLeft(ctx, ticks) }()
	tick := func() {
		ticks <- time.Now()
		ticks <- time.Now() // is taken when the one before has been dealt with
	}
	keep(t, tokens, "token", "contoso/U0MALLORY", "contoso/U0ADA", "contoso/U0GRACE", "contoso/local:ada")
	tick()
	wantKeys(t, tokens, "while all are listed,", "contoso/U0MALLORY", "contoso/U0ADA", "contoso/U0GRACE", "contoso/local:ada")

	server.ChangeUser("U0ADA", func(u *slacksim.User) { u.Groups = nil })
	tick()
	wantKeys(t, tokens, "after Ada left her group,", "contoso/U0MALLORY", "contoso/U0GRACE", "contoso/local:ada")

	server.ChangeUser("U0GRACE", func(u *slacksim.User) { u.Deleted = true })
	server.ChangeUser("U0MALLORY", func(u *slacksim.User) { u.Restricted = true })
	tick()
	wantKeys(t, tokens, "after Grace was deactivated and Mallory became a guest,", "contoso/local:ada")
	cancel()
	<-ended
}

func TestATokenIsKeptWhileSlackDoesNotSayWhoItsPersonIs(t *testing.T) {
	t.Parallel()
	b, server, tokens := forgetful(t, Access{Groups: []string{"S0LEADS"}})
	all := []string{"contoso/U0ADA", "contoso/U0GONE"}
	keep(t, tokens, "token", all...)
	for name, faults := range map[string][]slacksim.Fault{
		"Slack has an error of its own":  {slacksim.APIError("users.info", "internal_error"), slacksim.APIError("users.info", "internal_error")},
		"the bot's token is not taken":   {slacksim.APIError("users.info", "token_revoked"), slacksim.APIError("users.info", "token_revoked")},
		"there are too many requests":    {slacksim.RateLimited("users.info", time.Minute), slacksim.RateLimited("users.info", time.Minute)},
		"connections break":              {slacksim.Lost("users.info"), slacksim.Lost("users.info")},
		"Slack shows a page of an error": {slacksim.HTTPError("users.info", 503), slacksim.HTTPError("users.info", 503)},
	} {
		server.Fail(faults...)
		b.forgetOnce(t.Context())
		wantKeys(t, tokens, "while "+name+",", all...)
	}
	server.Fail(slacksim.APIError("usergroups.users.list", "internal_error"))
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "while it is not known who is in the group,", "contoso/U0ADA")
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "when Slack answers again,")
}

func TestListsThatWereChangedCount(t *testing.T) {
	t.Parallel()
	b, _, tokens := forgetful(t, Access{Users: []string{"U0ADA", "U0GRACE"}})
	keep(t, tokens, "token", "contoso/U0ADA", "contoso/U0GRACE")
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "with the first lists,", "contoso/U0ADA", "contoso/U0GRACE")
	b.Access.Users = []string{"U0GRACE"}
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "with shorter ones,", "contoso/U0GRACE")
}

// meanwhile does something while Slack is asked who somebody is.
type meanwhile struct{ do func() }

func (m meanwhile) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/users.info") {
		m.do()
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestASignInThatComesMeanwhileIsNotDeleted(t *testing.T) {
	t.Parallel()
	b, server, tokens := forgetful(t, Access{Users: []string{"U0ADA"}})
	keep(t, tokens, "old", "contoso/U0GONE", "contoso-graph/U0GONE")
	b.Slack = slack.New(server.BotToken(), slack.OptionAPIURL(server.APIURL()), slack.OptionHTTPClient(&http.Client{
		Transport: meanwhile{func() { keep(t, tokens, "new", "contoso/U0GONE") }},
	}))
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "after a sign-in at that moment,", "contoso/U0GONE")
}

func TestWhatAnEndedSignInLeavesIsDeleted(t *testing.T) {
	t.Parallel()
	b, server, tokens := forgetful(t, Access{Users: []string{"U0ADA"}})
	keep(t, tokens, "", "gone", "contoso/U0ADA", "contoso/U0GONE", "contoso/local:ada")
	keep(t, tokens, "token", "one", "contoso-graph/local:ada")
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "where there was no token,", "one", "contoso-graph/local:ada")
	if n := server.Calls("users.info"); n != 0 {
		t.Errorf("asked %d times about people who have no token", n)
	}
}

func TestTokensThatNobodyCanUseAreDeleted(t *testing.T) {
	t.Parallel()
	b, server, tokens := forgetful(t, Access{Users: []string{"U0ADA"}})
	var log bytes.Buffer
	b.Log = slog.New(slog.NewTextHandler(&log, nil))
	used := []string{"one", "contoso/U0ADA", "contoso/local:ada", "contoso-graph/U0ADA", "contoso-graph/local:ada"}
	keep(t, tokens, "token", used...)
	const removed, changed = `"the settings have no such instance"`, `"another sign_in is set for the instance"`
	reasons := map[string]string{
		"instance=gone user=\"\"": removed, "instance=gone user=U0ADA": removed, "instance=gone user=local:ada": removed, "instance=one-graph user=\"\"": removed,
		"instance=one user=U0ADA": changed, "instance=one user=local:ada": changed, "instance=contoso user=\"\"": changed, "instance=contoso-graph user=\"\"": changed,
	}
	keep(t, tokens, "token", "gone", "gone/U0ADA", "gone/local:ada", "one-graph", "one/U0ADA", "one/local:ada", "contoso", "contoso-graph")
	server.Fail(slacksim.APIError("users.info", "internal_error"))
	b.forgetOnce(t.Context()) // which Slack has no part in
	wantKeys(t, tokens, "after a look at the settings,", used...)
	for whose, reason := range reasons {
		if line := `msg="a sign-in that nobody can use any more is deleted" ` + whose + " reason=" + reason + "\n"; strings.Count(log.String(), line) != 1 {
			t.Errorf("the log has no\n%s, but\n%s", line, &log)
		}
	}
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "after another look,", used...)
}

func TestATokenThatChangesAsItIsFoundUselessIsNotDeleted(t *testing.T) {
	t.Parallel()
	b, _, tokens := forgetful(t, Access{Users: []string{"U0ADA"}})
	keep(t, tokens, "old", "gone", "contoso")
	b.Instances = func(p Person) []commands.Instance {
		keep(t, tokens, "new", "gone")
		return threeSides(p)
	}
	b.forgetOnce(t.Context())
	wantKeys(t, tokens, "after a sign-in at that moment,", "gone")
}

func TestTokensOfPeopleWhoLeftAreDeletedAtTheStart(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	s.stop()
	tokens := s.engine.Bucket(engine.Tokens)
	keep(t, tokens, "token", "contoso/U0ADA", "contoso/U0GUS", "contoso/U0LEA")
	s.start()
	s.until(func() bool { return s.slack.Calls("users.info") == 3 }) // the last is about Lea
	wantKeys(t, tokens, "after the start,", "contoso/U0ADA", "contoso/U0LEA")
}

func TestTheCodeOfSomebodyWhoLeftIsCancelled(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	prompt := s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.bot.forgetOnce(t.Context())
	open := s.bot.codes.all()
	if len(open) != 1 || open[0].isCancelled() {
		t.Fatal("the code of somebody who is served is cancelled")
	}
	s.slack.ChangeUser("U0ADA", func(u *slacksim.User) { u.Restricted = true })
	s.bot.forgetOnce(t.Context())
	if s.direct("Do not enter the code any more").TS != prompt.TS {
		t.Error("the code is still in its message")
	}
	s.signIn(tenant) // nobody collects it
	s.stop()         // once all of it is settled
	wantKeys(t, s.engine.Bucket(engine.SignIns), "among the sign-ins under way")
	wantKeys(t, s.engine.Bucket(engine.Tokens), "after the code was entered,")
}

func TestAfterARestartNobodyCollectsTheSignInOfSomebodyWhoLeft(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	s.stop()
	s.signIn(tenant)
	s.slack.ChangeUser("U0ADA", func(u *slacksim.User) { u.Deleted = true })
	polls := tenant.Asked("token")
	s.start()
	s.direct("Do not enter the code any more")
	s.stop() // once all of it is settled
	wantKeys(t, s.engine.Bucket(engine.SignIns), "among the sign-ins under way")
	if n := tenant.Asked("token") - polls; n != 0 {
		t.Errorf("polled %d times", n)
	}
	wantKeys(t, s.engine.Bucket(engine.Tokens), "after the restart,")
}

// The look through all sign-ins at a start may come later than the first poll.
func TestACodeIsNotPolledAgainBeforeSlackSaysWhoHasIt(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, needsSignInAlways)
	asked := s.say("U0ADA", search)
	s.direct("Enter the code")
	s.reply(asked, "Sign in to contoso")
	n := s.bot.codes.all()[0]
	s.stop()
	s.signIn(tenant)
	s.slack.ChangeUser("U0ADA", func(u *slacksim.User) { u.Deleted = true })
	s.bot.people.forget()
	n.resumed = true
	if upn, err := s.bot.awaitSignIn(t.Context(), n); !errors.Is(err, errSignInCancelled) {
		t.Errorf("awaitSignIn = %q, %v", upn, err)
	}
}

func TestTwoReplicasForgetTheSameWithoutHarm(t *testing.T) {
	t.Parallel()
	one, _, tokens := forgetful(t, Access{Users: []string{"U0ADA"}})
	two, _ := member(t, one.Access)
	two.Engine, two.Instances = one.Engine, one.Instances
	var log bytes.Buffer
	one.Log = slog.New(slog.NewTextHandler(&log, nil)) // which locks its writer
	two.Log = one.Log
	keep(t, tokens, "token", "contoso/U0ADA", "contoso/U0GONE", "contoso/U0GUS", "contoso-graph/U0GUS", "gone")
	keep(t, tokens, "", "one", "contoso-graph/U0ADA")
	var both sync.WaitGroup
	for _, b := range []*Bot{one, two} {
		both.Go(func() { b.forgetOnce(t.Context()) })
	}
	both.Wait()
	wantKeys(t, tokens, "after both,", "contoso/U0ADA")
	if n := strings.Count(log.String(), "is deleted"); n != 4 || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("%d deletions in the log:\n%s", n, &log)
	}
}
