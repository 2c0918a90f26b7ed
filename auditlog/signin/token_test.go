package signin_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

func TestATokenIsUsedUntilAMinuteBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		tenant.TokenLifetime = time.Hour
		a, _ := signedIn(t, tenant)
		first, err := a.Token(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(59*time.Minute - time.Second)
		if token, err := a.Token(t.Context(), "something else"); err != nil || token != first || tenant.Refreshes() != 0 {
			t.Errorf("before: %v, %v, %d refreshes", token, err, tenant.Refreshes())
		}
		time.Sleep(time.Second)
		if token, err := a.Token(t.Context(), ""); err != nil || token == first || token.Account != ada || tenant.Refreshes() != 1 {
			t.Errorf("after: %v, %v, %d refreshes", token, err, tenant.Refreshes())
		}
	})
}

func TestARejectedTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		second, err := a.Token(t.Context(), first.Access)
		if err != nil || second.Access == first.Access || shelf.field("access") != string(second.Access) || tenant.Refreshes() != 1 {
			t.Errorf("%v, %v, %d refreshes", second, err, tenant.Refreshes())
		}
		// Whoever is late with the same rejection is given what is there by now.
		if third, err := a.Token(t.Context(), first.Access); err != nil || third != second || tenant.Refreshes() != 1 {
			t.Errorf("%v, %v, %d refreshes", third, err, tenant.Refreshes())
		}
	})
}

func TestFiftyWhoWaitRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		tenant.TokenLifetime = time.Hour
		a, _ := signedIn(t, tenant)
		time.Sleep(time.Hour)
		tenant.Fail(tenantsim.Late(2 * time.Second).On("token"))
		tokens := make([]auditlog.Token, 50)
		var callers sync.WaitGroup
		for i := range tokens {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				token, err := a.Token(t.Context(), "")
				if err != nil {
					t.Error(err)
				}
				tokens[i] = token
			})
		}
		callers.Wait()
		for i, token := range tokens {
			if token != tokens[0] || token.Access == "" {
				t.Errorf("caller %d has another token", i)
			}
		}
		if n := tenant.Refreshes(); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
}

func TestARefreshOutlivesWhoeverBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		tenant.Fail(tenantsim.Late(5 * time.Second).On("token"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := a.Token(ctx, first.Access); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who began it: %v", err)
			}
		})
		both.Go(func() {
			time.Sleep(500 * time.Millisecond)
			if token, err := a.Token(t.Context(), first.Access); err != nil || string(token.Access) != shelf.field("access") || token == first {
				t.Errorf("who joined: %v, %v", token, err)
			}
		})
		both.Wait()
		if tenant.Refreshes() != 1 {
			t.Errorf("%d refreshes", tenant.Refreshes())
		}
	})
}

// Somebody whose token was rejected joins a renewal that comes back with just
// that token.
func TestWhoJoinsARenewalThatDoesNotHelpGetsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		elsewhere := &signin.Account{Entra: entra(tenant), Store: shelf.store(), Key: a.Key, Expect: ada}
		var theirs auditlog.Token
		var joined sync.WaitGroup
		shelf.beforePut = func() {
			var err error
			if theirs, err = elsewhere.Token(t.Context(), first.Access); err != nil {
				t.Error(err)
			}
			joined.Go(func() { // while the renewal of the one below is still on
				if token, err := a.Token(t.Context(), theirs.Access); err != nil || token == theirs || token == first {
					t.Errorf("who joined: %v, %v", token, err)
				}
			})
			time.Sleep(time.Second)
		}
		if token, err := a.Token(t.Context(), first.Access); err != nil || token != theirs {
			t.Errorf("%v, %v", token, err)
		}
		joined.Wait()
		if tenant.Refreshes() != 2 { // theirs, and that of who joined
			t.Errorf("%d refreshes", tenant.Refreshes())
		}
	})
}

// sent are the values of a field in the requests for tokens.
func sent(tenant *tenantsim.Server, field string) []string {
	var all []string
	for _, r := range tenant.Requests() {
		if r.Name == "token" {
			form, _ := url.ParseQuery(string(r.Body))
			all = append(all, form.Get(field))
		}
	}
	return all
}

func TestARotatedRefreshTokenIsTheNextOneUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		rejected := auditlog.Secret("")
		for range 3 {
			before := shelf.field("refresh")
			token, err := a.Token(t.Context(), rejected)
			if err != nil {
				t.Fatal(err)
			}
			if all := sent(tenant, "refresh_token"); rejected != "" && (all[len(all)-1] != before || shelf.field("refresh") == before) {
				t.Errorf("another refresh token was sent than stored, or the new one was not stored")
			}
			rejected = token.Access
		}
		if scopes := sent(tenant, "scope"); scopes[1] != exchange+"/.default offline_access openid profile" {
			t.Errorf("scope %q", scopes[1])
		}
	})
}

func TestARefreshTokenIsKeptIfMicrosoftSendsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t)}
		a, shelf := account(tenant)
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			t.Fatal(err)
		}
		tenant.lie = func(_ string, answer map[string]any) { delete(answer, "refresh_token") }
		refresh := shelf.field("refresh")
		token, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access")))
		if err != nil || shelf.field("refresh") != refresh || refresh == "" || shelf.field("access") != string(token.Access) {
			t.Errorf("%v, %v", token, err)
		}
	})
}

func TestATokenThatCannotBeStoredIsNotReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		full := errors.New("the disk is full")
		shelf.fail = func(doing string) error {
			if doing == "put" {
				return full
			}
			return nil
		}
		if token, err := a.Token(t.Context(), first.Access); !errors.Is(err, full) || token != (auditlog.Token{}) {
			t.Errorf("%v, %v", token, err)
		}
		shelf.fail = nil
		if token, err := a.Token(t.Context(), first.Access); err != nil || string(token.Access) != shelf.field("access") {
			t.Errorf("afterwards: %v, %v", token, err)
		}
	})
}

func TestWhoeverClaimsFirstWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		elsewhere := &signin.Account{Entra: entra(tenant), Store: shelf.store(), Key: a.Key, Expect: ada} // another replica
		var theirs auditlog.Token
		shelf.beforePut = func() {
			var err error
			if theirs, err = elsewhere.Token(t.Context(), first.Access); err != nil {
				t.Error(err)
			}
		}
		token, err := a.Token(t.Context(), first.Access)
		if err != nil || token != theirs || shelf.field("access") != string(token.Access) || tenant.Refreshes() != 1 {
			t.Errorf("%v, %v; theirs is %v; %d refreshes", token, err, theirs, tenant.Refreshes())
		}
	})
}

func TestAStoreThatNeverTakesAnythingIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shelf := signedIn(t, contoso(t))
		a.Store.Put = func(context.Context, string, []byte, uint64) (bool, error) { return false, nil }
		if token, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access"))); err == nil || token != (auditlog.Token{}) || errors.Is(err, signin.ErrNotSignedIn) {
			t.Errorf("Token: %v, %v", token, err)
		}
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err == nil {
			t.Error("SignIn succeeded")
		}
	})
}

func TestAResetDuringARefreshHolds(t *testing.T) {
	for _, when := range []string{"before it is claimed", "on its way"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &liar{Server: contoso(t)}
				a, shelf := account(tenant)
				if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
					t.Fatal(err)
				}
				first, _ := a.Token(t.Context(), "")
				reset := func() {
					if err := a.Reset(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if when == "on its way" {
					tenant.before = func(*http.Request) { reset() }
				} else {
					shelf.beforePut = reset
				}
				if token, err := a.Token(t.Context(), first.Access); !errors.Is(err, signin.ErrNotSignedIn) || !shelf.empty() {
					t.Errorf("%v, %v", token, err)
				}
				reset() // a second time
			})
		})
	}
}

// Each way that Microsoft ends a sign-in, and the words for it.
func TestASignInThatHasEnded(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(tenant *tenantsim.Server)
		why  string
	}{
		{"revoked", func(s *tenantsim.Server) { s.Revoke(ada) }, "not signed in: the sign-in was revoked, or the password was changed (AADSTS50173)"},
		{"not used for long", func(*tenantsim.Server) { time.Sleep(91 * 24 * time.Hour) }, "not signed in: the sign-in has expired, because it was not used for 90 days (AADSTS700082)"},
		{"policy", block(53003), "not signed in: a Conditional Access policy blocks the sign-in (AADSTS53003)"},
		{"policy against device codes", block(530036), "not signed in: a Conditional Access policy blocks device codes (AADSTS530036)"},
		{"password expired", block(50055), "not signed in: the password has expired (AADSTS50055)"},
		{"disabled", block(50057), "not signed in: the account is disabled (AADSTS50057)"},
		{"unknown reason", block(59999), "not signed in: Microsoft does not take the stored sign-in any more (AADSTS59999)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := signedIn(t, tenant)
				first, _ := a.Token(t.Context(), "")
				c.end(tenant)
				_, err := a.Token(t.Context(), first.Access)
				if !errors.Is(err, signin.ErrNotSignedIn) || err.Error() != c.why {
					t.Errorf("%v, want %q", err, c.why)
				}
				if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || r.Problem != c.why || r.Advice == "" || r.Err == nil {
					t.Errorf("those who can only show it are not told what to do: %+v", r)
				}
				if !shelf.empty() {
					t.Error("it is still stored")
				}
				if _, err := a.Token(t.Context(), first.Access); !errors.Is(err, signin.ErrNotSignedIn) || err.Error() != c.why {
					t.Errorf("who comes second is told %v, want %q", err, c.why)
				}
				if upn, _, ok, err := a.SignedIn(t.Context()); upn != "" || ok || err != nil {
					t.Errorf("SignedIn = %q, %v, %v", upn, ok, err)
				}
				if err := a.Reset(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := a.Token(t.Context(), ""); err != signin.ErrNotSignedIn {
					t.Errorf("after a reset: %v", err)
				}
			})
		})
	}
}

func block(code int) func(*tenantsim.Server) {
	return func(s *tenantsim.Server) { s.Change(ada, func(a *tenantsim.Account) { a.Blocked = code }) }
}

func TestANewSignInSurvivesTheEndOfTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t)}
		a, shelf := account(tenant)
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			t.Fatal(err)
		}
		first, _ := a.Token(t.Context(), "")
		elsewhere := &signin.Account{Entra: entra(tenant.Server), Store: shelf.store(), Key: a.Key, Expect: ada}
		tenant.before = func(*http.Request) {
			tenant.before = nil
			tenant.Revoke(ada)
			time.Sleep(time.Second)
			if err := elsewhere.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
				t.Error(err)
			}
		}
		token, err := a.Token(t.Context(), first.Access)
		if err != nil || string(token.Access) != shelf.field("access") || shelf.empty() {
			t.Errorf("%v, %v", token, err)
		}
	})
}

func TestWhatEndedIsSaidEvenIfItCannotBeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		tenant.Revoke(ada)
		stuck := errors.New("stuck")
		shelf.fail = func(doing string) error {
			if doing == "forget" || doing == "delete" {
				return stuck
			}
			return nil
		}
		if _, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access"))); !errors.Is(err, signin.ErrNotSignedIn) || !errors.Is(err, stuck) {
			t.Errorf("%v", err)
		}
		if err := a.Reset(t.Context()); !errors.Is(err, stuck) {
			t.Errorf("reset: %v", err)
		}
	})
}

func TestANetworkFailureLeavesTheSignInAlone(t *testing.T) {
	for name, c := range map[string]struct {
		fault   tenantsim.Fault
		problem string
	}{
		"broken":   {tenantsim.Reset, "could not be reached"},
		"gateway":  {tenantsim.Unavailable, "has a failure of its own (503)"},
		"hung":     {tenantsim.Hung, "did not answer in time"},
		"web page": {tenantsim.NotJSON, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := signedIn(t, tenant)
				rejected := shelf.field("access")
				began := time.Now()
				for range 10 {
					tenant.Fail(c.fault.On("token"))
				}
				_, err := a.Token(t.Context(), auditlog.Secret(rejected))
				says(t, refused(t, err).Problem, c.problem)
				if took := time.Since(began); took > time.Minute {
					t.Errorf("took %v", took)
				}
				if shelf.field("access") != rejected {
					t.Error("what is stored has changed")
				}
			})
		})
	}
}

func TestAShortFailureIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		tenant.Fail(tenantsim.Unavailable.On("token"), tenantsim.NotJSON.On("token"))
		if token, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access"))); err != nil || string(token.Access) != shelf.field("access") {
			t.Errorf("%v, %v", token, err)
		}
	})
}

func TestWhatIsStoredForSomethingElseIsNoSignIn(t *testing.T) {
	for name, c := range map[string]struct {
		change func(a *signin.Account, shelf *shelf)
		why    string
	}{
		"tenant": {func(_ *signin.Account, s *shelf) {
			s.change(map[string]any{"tid": "b7a1c6f3-90d2-4e1b-9c55-e43a7f0d8821"})
		}, "for another tenant"},
		"application":  {func(a *signin.Account, _ *shelf) { a.Entra.ClientID = tenantsim.ContosoApp }, "for another application"},
		"resource":     {func(a *signin.Account, _ *shelf) { a.Entra.Resource = "https://graph.microsoft.com" }, "for another service"},
		"person":       {func(a *signin.Account, _ *shelf) { a.Expect = "grace@contoso.com" }, "grace@contoso.com is expected"},
		"nobody":       {func(a *signin.Account, _ *shelf) { a.Expect = "" }, "the stored sign-in is that of ada@contoso.com, and nobody is expected"},
		"version":      {func(_ *signin.Account, s *shelf) { s.change(map[string]any{"v": 2}) }, "another version"},
		"not readable": {func(_ *signin.Account, s *shelf) { s.change(map[string]any{"expires": "soon"}) }, "another version"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, shelf := signedIn(t, contoso(t))
				c.change(a, shelf)
				_, err := a.Token(t.Context(), "")
				if !errors.Is(err, signin.ErrNotSignedIn) {
					t.Fatalf("%v", err)
				}
				says(t, err.Error(), c.why)
				if _, _, ok, err := a.SignedIn(t.Context()); ok || err != nil {
					t.Errorf("SignedIn: %v, %v", ok, err)
				}
			})
		})
	}
}

func TestATenantGivenByGUIDIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := signedIn(t, tenant)
		for _, name := range []string{strings.ToUpper(tenantID), "contoso.onmicrosoft.com"} {
			other := entra(tenant)
			other.Tenant = name
			a.Entra = other
			if _, err := a.Token(t.Context(), ""); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestAStoreThatFailsIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shelf := signedIn(t, contoso(t))
		broken := errors.New("broken")
		shelf.fail = func(string) error { return broken }
		if _, err := a.Token(t.Context(), ""); !errors.Is(err, broken) || errors.Is(err, signin.ErrNotSignedIn) {
			t.Errorf("Token: %v", err)
		}
		if _, _, ok, err := a.SignedIn(t.Context()); !errors.Is(err, broken) || ok {
			t.Errorf("SignedIn: %v, %v", ok, err)
		}
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); !errors.Is(err, broken) {
			t.Errorf("SignIn: %v", err)
		}
	})
}

func TestASignInWithoutARefreshTokenEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shelf := account(&liar{Server: contoso(t), lie: func(_ string, answer map[string]any) { delete(answer, "refresh_token") }})
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		_, err := a.Token(t.Context(), "")
		if !errors.Is(err, signin.ErrNotSignedIn) || !shelf.empty() {
			t.Errorf("%v", err)
		}
		says(t, err.Error(), "no refresh token")
	})
}
