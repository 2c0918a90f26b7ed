package signin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

func TestAPersonSignsInWithACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := account(tenant)
		if _, err := a.Token(t.Context(), ""); !errors.Is(err, signin.ErrNotSignedIn) || err.Error() != "not signed in" {
			t.Errorf("before: %v", err)
		}
		code := start(t, a)
		if open := tenant.UserCodes(); len(open) != 1 || open[0] != string(code.UserCode) || code.URL != login+"/devicelogin" {
			t.Errorf("code %s at %s, open are %v", string(code.UserCode), code.URL, open)
		}
		if code.Interval != 5*time.Second || time.Until(code.Expires) != 15*time.Minute {
			t.Errorf("interval %v, expires in %v", code.Interval, time.Until(code.Expires))
		}
		time.AfterFunc(20*time.Second, func() { tenant.Approve(string(code.UserCode), ada) })
		upn, err := a.Wait(t.Context(), code)
		if err != nil || upn != ada {
			t.Fatalf("Wait = %q, %v", upn, err)
		}
		if want := []time.Duration{6 * time.Second, 12 * time.Second, 18 * time.Second, 24 * time.Second}; !slices.Equal(polls(tenant), want) {
			t.Errorf("polled after %v", polls(tenant))
		}
		token, err := a.Token(t.Context(), "")
		if err != nil || token.Account != ada || string(token.Access) != shelf.field("access") || len(token.Access) < 100 {
			t.Errorf("Token = %v, %v", token, err)
		}
		if upn, _, ok, err := a.SignedIn(t.Context()); upn != ada || !ok || err != nil {
			t.Errorf("SignedIn = %q, %v, %v", upn, ok, err)
		}
		for name, want := range map[string]string{"v": "1", "upn": ada, "tid": tenantID, "client_id": clientID, "resource": exchange} {
			if got := shelf.field(name); got != want {
				t.Errorf("stored %s is %q, want %q", name, got, want)
			}
		}
	})
}

func TestOnlyTheTenantIsAskedForWhatIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		code := start(t, a)
		tenant.Approve(string(code.UserCode), ada)
		if _, err := a.Wait(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		var asked []string
		for _, r := range tenant.Requests() {
			asked = append(asked, r.Method+" "+r.URL)
			if r.Header.Get("Authorization") != "" {
				t.Errorf("%s has an Authorization", r.URL)
			}
			if r.Name == "devicecode" {
				says(t, string(r.Body), "client_id="+clientID, "scope=https%3A%2F%2Foutlook.office365.com%2F.default+offline_access+openid+profile")
			}
		}
		want := []string{
			"GET /contoso.com/v2.0/.well-known/openid-configuration",
			"POST /contoso.com/oauth2/v2.0/devicecode",
			"POST /contoso.com/oauth2/v2.0/token",
			"GET /" + tenantID + "/discovery/v2.0/keys",
		}
		if !slices.Equal(asked, want) {
			t.Errorf("asked %s", strings.Join(asked, "\n"))
		}
	})
}

// Each way that a person or a policy ends a code, and the words for it.
func TestASignInThatMicrosoftRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		settle  func(tenant *tenantsim.Server, code string)
		problem string
		advice  string
	}{
		{"declined", func(s *tenantsim.Server, code string) { s.Deny(code) }, "the sign-in was declined on Microsoft's page (AADSTS70017)", "auth-start"},
		{"expired", func(s *tenantsim.Server, code string) { s.Expire(code) }, "the code has expired: nobody signed in with it in time", "auth-start"},
		{"of another organisation", func(s *tenantsim.Server, code string) { s.Approve(code, "eve@fabrikam.com") }, "of another organisation and no guest", "AADSTS50020"},
		{"blocked by a policy", func(s *tenantsim.Server, code string) { s.Approve(code, "trudy@contoso.com") }, "a Conditional Access policy blocks the sign-in (AADSTS53003)", "administrator"},
		{"device codes blocked", func(s *tenantsim.Server, code string) { s.Approve(code, "ivan@contoso.com") }, "blocks device codes (AADSTS530036)", "authentication flows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := account(tenant)
				code := start(t, a)
				c.settle(tenant, string(code.UserCode))
				_, err := a.Wait(t.Context(), code)
				r := refused(t, err)
				says(t, r.Problem, c.problem)
				says(t, r.Problem+r.Advice, c.advice)
				if !shelf.empty() || errors.Is(err, signin.ErrSomebodyElse) {
					t.Error("something was stored")
				}
				if n := len(polls(tenant)); n != 1 {
					t.Errorf("%d polls", n)
				}
			})
		})
	}
}

func TestSomebodyElseThanExpectedIsDiscarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := account(tenant)
		code := start(t, a)
		tenant.Approve(string(code.UserCode), "grace@contoso.com")
		_, err := a.Wait(t.Context(), code)
		r := refused(t, err)
		says(t, r.Problem, "grace@contoso.com signed in, but ada@contoso.com was expected")
		says(t, r.Advice, "sign in as ada@contoso.com")
		if !shelf.empty() || !errors.Is(err, signin.ErrSomebodyElse) {
			t.Error("something was stored")
		}
	})
}

func TestNobodySignsInWhereNobodyIsExpected(t *testing.T) {
	for name, signIn := range map[string]func(context.Context, *signin.Account) error{
		"start":   func(ctx context.Context, a *signin.Account) error { _, err := a.Start(ctx); return err },
		"wait":    func(ctx context.Context, a *signin.Account) error { _, err := a.Wait(ctx, &signin.Code{}); return err },
		"sign in": func(ctx context.Context, a *signin.Account) error { return a.SignIn(ctx, tenantsim.ContosoPassword) },
		"password": func(ctx context.Context, a *signin.Account) error {
			a.Password = tenantsim.ContosoPassword
			_, err := a.Token(ctx, "")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := account(tenant)
				a.Expect = ""
				r := refused(t, signIn(t.Context(), a))
				says(t, r.Problem, "it is not known which Microsoft account has to sign in")
				says(t, r.Advice, "whoever runs this bot", "accounts:", "upn:")
				if n := len(tenant.Requests()); n != 0 || !shelf.empty() {
					t.Errorf("%d requests; stored %v", n, !shelf.empty())
				}
			})
		})
	}
}

func TestACodeThatNobodyUsesExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		code := start(t, a)
		began := time.Now()
		_, err := a.Wait(t.Context(), code)
		if took := time.Since(began); took != 15*time.Minute {
			t.Errorf("took %v", took)
		}
		says(t, refused(t, err).Problem, "the code has expired: nobody signed in with it in time")
		if _, err = a.Wait(t.Context(), code); time.Since(began) != 15*time.Minute {
			t.Errorf("waiting again took until %v", time.Since(began))
		}
		says(t, refused(t, err).Problem, "the code has expired")
	})
}

func TestPollsSlowDownWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t), lie: func(path string, answer map[string]any) {
			if path == "devicecode" {
				answer["interval"] = 3
			}
		}}
		a, _ := account(tenant)
		code := start(t, a)
		time.AfterFunc(10*time.Second, func() { tenant.Approve(string(code.UserCode), ada) })
		if _, err := a.Wait(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		// The second one comes too soon. (4 s + 5 s) * 1.4 later is the next.
		if want := []time.Duration{4 * time.Second, 8 * time.Second, 20600 * time.Millisecond}; !slices.Equal(polls(tenant.Server), want) {
			t.Errorf("polled after %v", polls(tenant.Server))
		}
	})
}

// A slowClock is a tenant whose clock is slow. As RFC 8628 has it, it wants five
// of its seconds more between polls after each that came too soon.
type slowClock struct {
	*tenantsim.Server
	slow     float64 // how many of our seconds are one of its
	interval time.Duration
	polled   time.Time
	hasty    int // polls that came too soon
}

func (c *slowClock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasSuffix(r.URL.Path, "/token") {
		c.Server.ServeHTTP(w, r)
		return
	}
	now := time.Now()
	passed := time.Duration(float64(now.Sub(c.polled)) / c.slow)
	tooSoon := !c.polled.IsZero() && passed < c.interval
	c.polled = now
	if !tooSoon {
		c.Server.ServeHTTP(w, r)
		return
	}
	c.hasty++
	c.interval += 5 * time.Second
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	io.WriteString(w, `{"error":"slow_down"}`)
}

func TestPollsFindThePaceOfAServiceWhoseClockIsSlow(t *testing.T) {
	for _, c := range []struct {
		slow  float64
		hasty int           // polls until then
		took  time.Duration // at most, until a sign-in after 20 s is seen
	}{
		{1, 0, 25 * time.Second},
		{1.5, 1, 45 * time.Second},
		{1.7, 2, 90 * time.Second},
		{2, 3, 2 * time.Minute},
	} {
		t.Run(fmt.Sprint(c.slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &slowClock{Server: contoso(t), slow: c.slow, interval: 5 * time.Second}
				a, _ := account(tenant)
				code := start(t, a)
				began := time.Now()
				time.AfterFunc(20*time.Second, func() { tenant.Approve(string(code.UserCode), ada) })
				if upn, err := a.Wait(t.Context(), code); err != nil || upn != ada {
					t.Errorf("Wait = %q, %v", upn, err)
				}
				if took := time.Since(began); took > c.took || tenant.hasty != c.hasty {
					t.Errorf("took %v, with %d polls that came too soon", took, tenant.hasty)
				}
			})
		})
	}
}

func TestASignInShortlyBeforeTheEndOfTheCodeCounts(t *testing.T) {
	for _, interval := range []time.Duration{5 * time.Second, 9 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			tenant := contoso(t)
			a, _ := account(tenant)
			code := start(t, a)
			code.Interval = interval
			time.AfterFunc(15*time.Minute-3*time.Second, func() { tenant.Approve(string(code.UserCode), ada) })
			if upn, err := a.Wait(t.Context(), code); err != nil || upn != ada {
				t.Errorf("every %v: Wait = %q, %v", interval, upn, err)
			}
			at := polls(tenant)
			for i := 1; i < len(at); i++ {
				if at[i]-at[i-1] < interval {
					t.Errorf("every %v: polls at %v and %v", interval, at[i-1], at[i])
				}
			}
		})
	}
}

func TestFailuresWhilePollingAreWaitedOut(t *testing.T) {
	for name, fault := range map[string]tenantsim.Fault{
		"the connection breaks":      tenantsim.Reset,
		"a gateway answers":          tenantsim.Unavailable,
		"a web page answers":         tenantsim.NotJSON,
		"no answer":                  tenantsim.Hung,
		"too much of an answer":      tenantsim.Oversized(2 << 20),
		"throttled":                  tenantsim.Throttled(time.Second),
		"unauthorized without words": tenantsim.Unauthorized,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, _ := account(tenant)
				code := start(t, a)
				tenant.Fail(tenantsim.Nothing.On("token"), fault.On("token"), fault.On("token"))
				time.AfterFunc(time.Minute, func() { tenant.Approve(string(code.UserCode), ada) })
				if upn, err := a.Wait(t.Context(), code); err != nil || upn != ada || tenant.Unspent() > 0 {
					t.Errorf("Wait = %q, %v; %d faults left", upn, err, tenant.Unspent())
				}
			})
		})
	}
}

func TestANetworkThatStaysAwayIsSaidWhenTheCodeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		down := false
		a, _ := account(&liar{Server: tenant, before: func(*http.Request) {
			if down {
				panic(errors.New("no route to host"))
			}
		}})
		code := start(t, a)
		down = true
		_, err := a.Wait(t.Context(), code)
		r := refused(t, err)
		says(t, r.Problem, "the code has expired", "Microsoft did not always answer")
		says(t, err.Error(), "no route to host")
	})
}

func TestAnAnswerThatGotLostIsExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		code := start(t, a)
		tenant.Approve(string(code.UserCode), ada)
		tenant.Fail(tenantsim.Reset.On("token"))
		_, err := a.Wait(t.Context(), code)
		says(t, refused(t, err).Problem, "the code was used already, and Microsoft's answer got lost (AADSTS54005)")
	})
}

func TestKeysThatCannotBeFetchedAreAskedForAgain(t *testing.T) {
	for name, fault := range map[string]tenantsim.Fault{
		"the connection breaks": tenantsim.Reset,
		"a gateway answers":     tenantsim.Unavailable,
		"a web page answers":    tenantsim.NotJSON,
		"no answer":             tenantsim.Hung,
		"too much of an answer": tenantsim.Oversized(2 << 20),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, _ := account(tenant)
				code := start(t, a)
				tenant.Approve(string(code.UserCode), ada)
				tenant.Fail(fault.On("keys"), fault.On("keys"))
				if upn, err := a.Wait(t.Context(), code); err != nil || upn != ada || tenant.Unspent() > 0 {
					t.Errorf("Wait = %q, %v; %d faults left", upn, err, tenant.Unspent())
				}
			})
		})
	}
}

func TestARestartInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := account(tenant)
		code := start(t, a)
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		if _, err := a.Wait(ctx, code); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("stopped: %v", err)
		}
		sealed := code.Seal()

		tenant.Approve(string(code.UserCode), ada)
		tenant.Fail(tenantsim.Unavailable.On("openid-configuration"), tenantsim.Reset.On("openid-configuration"))
		later := &signin.Account{Entra: entra(tenant), Store: shelf.store(), Key: a.Key, Expect: ada}
		opened, err := signin.OpenCode(sealed)
		if err != nil || *opened != (signin.Code{UserCode: code.UserCode, DeviceCode: code.DeviceCode, URL: code.URL, Expires: opened.Expires, Interval: code.Interval}) || !opened.Expires.Equal(code.Expires) {
			t.Fatalf("OpenCode: %v", err)
		}
		if upn, err := later.Wait(t.Context(), opened); err != nil || upn != ada {
			t.Errorf("Wait = %q, %v", upn, err)
		}
	})
}

// The bot comes back when there is no time left for a poll.
func TestARestartShortlyBeforeTheEndOfTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, left := range []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 14 * time.Second} {
			tenant := contoso(t)
			a, _ := account(tenant)
			code := start(t, a)
			if err := tenant.Approve(string(code.UserCode), "ada@contoso.com"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(code.Expires) - left)
			if upn, err := a.Wait(t.Context(), code); upn != "ada@contoso.com" || err != nil {
				t.Errorf("with %v left: %q, %v", left, upn, err)
			}
			code = start(t, a)
			time.Sleep(time.Until(code.Expires) - left)
			if _, err := a.Wait(t.Context(), code); !strings.Contains(refused(t, err).Problem, "expired") {
				t.Errorf("nobody has signed in with %v left: %v", left, err)
			}
		}
	})
}

func TestWhatIsNoCodeIsNotOpened(t *testing.T) {
	for _, data := range []string{"", "null", "{}", `{"v":1}`, `{"v":2,"device_code":"SECRET"}`, `{"v":1,"device_code":"SECRET","expires":"SECRET"}`, "SECRET"} {
		if code, err := signin.OpenCode([]byte(data)); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("OpenCode(%q) = %v, %v", data, code, err)
		}
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	for _, c := range []struct {
		name    string
		poll    tenantsim.Fault // what happens to the first, which is sent after 6 s
		cancel  time.Duration
		returns time.Duration
	}{
		{"between two polls", tenantsim.Nothing, 10 * time.Second, 10 * time.Second},
		{"while one is answered", tenantsim.Late(9 * time.Second), 10 * time.Second, 15 * time.Second},
		{"while one hangs", tenantsim.Hung, 10 * time.Second, 36 * time.Second},
		{"before", tenantsim.Nothing, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := account(tenant)
				code := start(t, a)
				tenant.Fail(c.poll.On("token"))
				why := errors.New("the person cancelled")
				ctx, cancel := context.WithCancelCause(t.Context())
				began := time.Now()
				if time.AfterFunc(c.cancel, func() { cancel(why) }); c.cancel == 0 {
					cancel(why)
				}
				if upn, err := a.Wait(ctx, code); upn != "" || !errors.Is(err, why) || time.Since(began) != c.returns || !shelf.empty() {
					t.Errorf("after %v: %q, %v", time.Since(began), upn, err)
				}
			})
		})
	}
}

// Microsoft gives the token for a code once. Whoever stops waiting then finds
// the sign-in stored.
func TestASignInThatSucceedsWhileTheWaitingEndsIsKept(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults []tenantsim.Fault
		cancel time.Duration // the poll is sent after 6 s
		took   time.Duration
	}{
		{"the answer is on its way", []tenantsim.Fault{tenantsim.Late(20 * time.Second).On("token")}, 7 * time.Second, 26 * time.Second},
		{"the keys are fetched", []tenantsim.Fault{tenantsim.Late(5 * time.Second).On("keys")}, 7 * time.Second, 11 * time.Second},
		{"the keys fail", []tenantsim.Fault{tenantsim.Unavailable.On("keys"), tenantsim.Reset.On("keys")}, 6500 * time.Millisecond, 9 * time.Second},
		{"both", []tenantsim.Fault{tenantsim.Late(20 * time.Second).On("token"), tenantsim.Late(5 * time.Second).On("keys")}, 7 * time.Second, 31 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := account(tenant)
				code := start(t, a)
				tenant.Approve(string(code.UserCode), ada)
				tenant.Fail(c.faults...)
				ctx, cancel := context.WithTimeout(t.Context(), c.cancel)
				defer cancel()
				began := time.Now()
				if upn, err := a.Wait(ctx, code); err != nil || upn != ada || ctx.Err() == nil || time.Since(began) != c.took {
					t.Errorf("after %v: %q, %v", time.Since(began), upn, err)
				}
				if shelf.field("upn") != ada {
					t.Error("nothing is stored")
				}
			})
		})
	}
}

func TestKeysThatStayAwayHoldNobodyWhoStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := account(tenant)
		code := start(t, a)
		tenant.Approve(string(code.UserCode), ada)
		for range 20 {
			tenant.Fail(tenantsim.Unavailable.On("keys"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		began := time.Now()
		if upn, err := a.Wait(ctx, code); !errors.Is(err, context.DeadlineExceeded) || upn != "" || time.Since(began) != 17*time.Second || !shelf.empty() {
			t.Errorf("after %v: %q, %v", time.Since(began), upn, err)
		}
	})
}

func TestASignInThatCannotBeStoredAtOnceIsStoredLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := account(tenant)
		code := start(t, a)
		tenant.Approve(string(code.UserCode), ada)
		began := time.Now()
		shelf.fail = func(string) error {
			if time.Since(began) < 10*time.Second { // the token is there after 6
				return errors.New("no leader")
			}
			return nil
		}
		if upn, err := a.Wait(t.Context(), code); err != nil || upn != ada || shelf.field("upn") != ada {
			t.Errorf("%q, %v", upn, err)
		}
	})
}

// x/oauth2 by itself would go on waiting here.
func TestAskingForACodeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, _ := account(tenant)
		tenant.Fail(tenantsim.Hung.On("devicecode"))
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		time.AfterFunc(10*time.Second, cancel)
		if _, err := a.Start(ctx); !errors.Is(err, context.Canceled) || time.Since(began) != 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		tenant.Fail(tenantsim.Hung.On("devicecode"))
		began = time.Now()
		_, err := a.Start(t.Context())
		if r := refused(t, err); time.Since(began) != 30*time.Second || !strings.Contains(r.Problem, "did not answer in time") {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestACodeThatCannotBeUsedIsNotShown(t *testing.T) {
	for name, lie := range map[string]func(answer map[string]any){
		"no user code":     func(answer map[string]any) { delete(answer, "user_code") },
		"no device code":   func(answer map[string]any) { delete(answer, "device_code") },
		"no page":          func(answer map[string]any) { delete(answer, "verification_uri") },
		"page without TLS": func(answer map[string]any) { answer["verification_uri"] = "http://login.example.com/device" },
		"page of a script": func(answer map[string]any) { answer["verification_uri"] = "javascript:alert(1)" },
		"page for a user":  func(answer map[string]any) { answer["verification_uri"] = "https://microsoft.com@example.com/" },
		"expiry is a text": func(answer map[string]any) { answer["expires_in"] = "soon" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := account(&liar{Server: contoso(t), lie: func(path string, answer map[string]any) {
					if path == "devicecode" {
						lie(answer)
					}
				}})
				code, err := a.Start(t.Context())
				if r := refused(t, err); code != nil || !strings.Contains(r.Problem, "cannot be read") {
					t.Errorf("%v, %v", code, err)
				}
			})
		})
	}
}

func TestACodeWithoutTimesHasMicrosoftsUsualOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t), lie: func(path string, answer map[string]any) {
			delete(answer, "interval")
			if path == "devicecode" {
				delete(answer, "expires_in")
			}
		}}
		a, _ := account(tenant)
		code := start(t, a)
		if time.Until(code.Expires) != 15*time.Minute {
			t.Errorf("expires in %v", time.Until(code.Expires))
		}
		tenant.Approve(string(code.UserCode), ada)
		if _, err := a.Wait(t.Context(), code); err != nil {
			t.Error(err)
		}
		if want := []time.Duration{6 * time.Second}; !slices.Equal(polls(tenant.Server), want) {
			t.Errorf("polled after %v", polls(tenant.Server))
		}
	})
}

func TestWhatCannotBeStoredIsNotASignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := account(tenant)
		code := start(t, a)
		tenant.Approve(string(code.UserCode), ada)
		full := errors.New("the disk is full")
		shelf.fail = func(doing string) error {
			if doing == "put" {
				return full
			}
			return nil
		}
		if _, err := a.Wait(t.Context(), code); !errors.Is(err, full) {
			t.Errorf("%v", err)
		}
	})
}

func TestANewSignInTakesThePlaceOfWhateverIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		other := &signin.Account{Entra: entra(tenant), Store: shelf.store(), Key: a.Key, Expect: "grace@contoso.com"}
		shelf.beforePut = func() { // crosses ours
			if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
				t.Error(err)
			}
		}
		code := start(t, other)
		tenant.Approve(string(code.UserCode), "grace@contoso.com")
		if _, err := other.Wait(t.Context(), code); err != nil || shelf.field("upn") != "grace@contoso.com" {
			t.Errorf("%v; stored is %s", err, shelf.field("upn"))
		}
		if _, err := a.Token(t.Context(), ""); !errors.Is(err, signin.ErrNotSignedIn) || !strings.Contains(err.Error(), "that of grace@contoso.com, and ada@contoso.com is expected") {
			t.Errorf("as Ada: %v", err)
		}
	})
}

var _ func(context.Context, auditlog.Secret) (auditlog.Token, error) = (*signin.Account)(nil).Token // what exchange.Source wants
