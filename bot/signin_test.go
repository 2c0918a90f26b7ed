package bot

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
	"auditbot/bot/engine"
	"auditbot/commands"
)

// newSignInStage is a stage at a tenant where nobody is signed in.
func newSignInStage(t *testing.T, perform performance) (*stage, *tenantsim.Server) {
	t.Helper()
	tenant := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: new(tenantsim.Records)}, Interval: time.Second}
	if err := tenant.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tenant.Close)
	s := newStage(t, perform)
	s.stop()
	s.instance.Tenant = "contoso.onmicrosoft.com"
	s.instance.Account = adaAt(s.engine, tenant.URL)
	s.start()
	return s, tenant
}

// adaAt is Ada's sign-in at the tenant with this address.
func adaAt(e *engine.Engine, tenant string) *signin.Account {
	tokens := e.Bucket(engine.Tokens)
	return &signin.Account{
		Entra:  &signin.Entra{LoginURL: tenant, Tenant: "contoso.com", ClientID: "fb78d390-0c51-40cd-8e17-fdbfab77341b", Resource: "https://outlook.office365.com"},
		Key:    "contoso/U0ADA",
		Expect: "ada@contoso.com",
		Store: signin.Store{
			Get: func(ctx context.Context, key string) ([]byte, uint64, error) {
				value, revision, err := tokens.Get(ctx, key)
				if errors.Is(err, engine.ErrNotFound) {
					err = nil
				}
				return value, revision, err
			},
			Put: func(ctx context.Context, key string, value []byte, _ uint64) (bool, error) {
				_, err := tokens.Put(ctx, key, value)
				return err == nil, err
			},
			Delete: tokens.Delete,
		},
	}
}

// needsSignIn is a command whose sign-in has just ended.
func needsSignIn(ctx context.Context, env commands.Env) (commands.Reply, error) {
	if err := env.Instances[0].Account.Reset(ctx); err != nil {
		return commands.Reply{}, err
	}
	return commands.Reply{}, &commands.NeedSignIn{Instance: "contoso", Err: signin.ErrNotSignedIn}
}

// soFar is what a command answers that is given up after it had found records.
func soFar() (commands.Reply, error) {
	return commands.Reply{Title: "partial result", Verdict: &auditlog.Verdict{Fetched: 1200}}, nil
}

func isOver(env commands.Env) bool {
	select {
	case <-env.Cancelled:
		return true
	default:
		return false
	}
}

// awaitCode waits for a code that Ada can enter.
func (s *stage) awaitCode(tenant *tenantsim.Server) (code string) {
	s.t.Helper()
	s.until(func() bool {
		codes := tenant.UserCodes()
		if len(codes) == 1 {
			code = codes[0]
		}
		return len(codes) == 1
	})
	return code
}

func (s *stage) signIn(tenant *tenantsim.Server) {
	s.t.Helper()
	if err := tenant.Approve(s.awaitCode(tenant), "ada@contoso.com"); err != nil {
		s.t.Fatal(err)
	}
}

func TestASearchThatGetsFurtherWaitsForEverySignIn(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if runs.Add(1) == 4 {
			return commands.Reply{Title: "all of it"}, nil
		}
		env.Progress(auditlog.Progress{Windows: 1})
		return needsSignIn(ctx, env)
	})
	asked := s.say("U0ADA", search)
	for range 3 {
		s.signIn(tenant)
	}
	s.reply(asked, "all of it")
	if got := s.thread(asked); strings.Count(got, "Sign in to contoso.onmicrosoft.com first") == 0 || strings.Contains(got, "❌") || runs.Load() != 4 {
		t.Errorf("%d runs, and the thread has\n%s", runs.Load(), got)
	}
}

func TestASignInThatBringsASearchNowhereIsItsEnd(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if isOver(env) {
			return soFar()
		}
		return needsSignIn(ctx, env)
	})
	asked := s.say("U0ADA", search)
	s.signIn(tenant)
	answer := shownIn(s.reply(asked, "partial result"))
	for _, words := range []string{"sign-in did not last", "until then is here", "begins anew"} {
		if !strings.Contains(answer, words) {
			t.Errorf("the answer does not say %q:\n%s", words, answer)
		}
	}
	if runs := s.performed.Load(); runs != 3 {
		t.Errorf("%d runs, want one before the sign-in and two after", runs)
	}
}

func TestAQuickCommandThatASignInDoesNotHelpIsNotRunAgain(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		return needsSignIn(ctx, env)
	})
	asked := s.say("U0ADA", "!o365-auditlog-auth-test")
	s.signIn(tenant)
	s.reply(asked, "sign-in did not last")
	if runs := s.performed.Load(); runs != 2 {
		t.Errorf("%d runs", runs)
	}
}

func TestWhatWasFoundIsAnsweredIfTheSignInDoesNotCome(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if isOver(env) {
			return soFar()
		}
		env.Progress(auditlog.Progress{Windows: 1})
		return needsSignIn(ctx, env)
	})
	asked := s.say("U0ADA", search)
	s.signIn(tenant)
	if err := tenant.Deny(s.awaitCode(tenant)); err != nil {
		t.Fatal(err)
	}
	answer := shownIn(s.reply(asked, "partial result"))
	for _, words := range []string{"declined", "does not go on", "until then is here"} {
		if !strings.Contains(answer, words) {
			t.Errorf("the answer does not say %q:\n%s", words, answer)
		}
	}
}

func TestWhatWasFoundIsAnsweredIfNoCodeCanBeSent(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if isOver(env) {
			return soFar()
		}
		return needsSignIn(ctx, env)
	})
	tenant.Close()
	answer := shownIn(s.reply(s.say("U0ADA", search), "partial result"))
	if !strings.Contains(answer, "could not be reached") {
		t.Errorf("the answer is\n%s", answer)
	}
}

func TestWhereOneSignInServesAllACommandThatWaitsIsItsAuthors(t *testing.T) {
	t.Parallel()
	s, tenant := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if isOver(env) {
			return soFar()
		}
		return needsSignIn(ctx, env)
	})
	s.settleIn()
	s.stop()
	s.instance.Shared = true
	s.start()
	asked := s.say("U0ADA", search)
	s.reply(asked, "only the admins of this bot begin it: ask lea to type !o365-auditlog-auth-start using=contoso.")
	handle := Message{Team: "T0CONTOSO", Channel: incidents, TS: asked.TS}.handle()
	s.reply(s.say("U0GRACE", "!cancel"), "None of your commands")
	s.reply(s.say("U0GRACE", "!cancel "+handle), "No command "+handle)
	s.reply(s.say("U0LEA", "!cancel"), "None of your commands")
	s.reply(s.say("U0LEA", "!cancel "+handle), "1 command that waited for a sign-in is cancelled")
	s.reply(asked, "Cancelled while it waited")
	if n := len(tenant.UserCodes()); n != 0 {
		t.Errorf("%d codes", n)
	}
}

func TestCancelAnswersWithWhatASearchHadFoundThatWaitsForASignIn(t *testing.T) {
	t.Parallel()
	s, _ := newSignInStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		if isOver(env) {
			return soFar()
		}
		return needsSignIn(ctx, env)
	})
	asked := s.say("U0ADA", search)
	s.reply(asked, "Sign in to contoso")
	s.reply(s.say("U0ADA", "!cancel"), "1 command that waited for a sign-in is cancelled")
	if answer := shownIn(s.reply(asked, "partial result")); !strings.Contains(answer, "Cancelled while it waited") {
		t.Errorf("the answer is\n%s", answer)
	}
	s.reply(s.say("U0ADA", "!cancel"), "None of your commands")
}
