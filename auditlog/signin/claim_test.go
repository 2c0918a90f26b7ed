package signin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// replica is an account as another process with the same Store has it.
func replica(tenant *tenantsim.Server, a *signin.Account) *signin.Account {
	return &signin.Account{Entra: entra(tenant), Store: a.Store, Key: a.Key, Expect: a.Expect}
}

// At a provider that ends a sign-in whose refresh token comes a second time.
func TestTwoProcessesRefreshOncePerRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds = 200
		tenant := contoso(t)
		tenant.Rotation = true
		a, shelf := signedIn(t, tenant)
		both := []*signin.Account{a, replica(tenant, a)}
		var rejected auditlog.Secret
		for round := range rounds {
			tenant.Fail(tenantsim.Late(time.Duration(round%7) * 100 * time.Millisecond).On("token"))
			rejected = auditlog.Secret(shelf.field("access"))
			tokens := make([]auditlog.Token, len(both))
			var callers sync.WaitGroup
			for i, account := range both {
				callers.Go(func() {
					time.Sleep(time.Duration(i*(round%5)) * 50 * time.Millisecond)
					var err error
					if tokens[i], err = account.Token(t.Context(), rejected); err != nil {
						t.Errorf("round %d: %v", round, err)
					}
				})
			}
			callers.Wait()
			if tokens[0] != tokens[1] || tokens[0].Access == rejected || string(tokens[0].Access) != shelf.field("access") {
				t.Fatalf("round %d: the tokens differ", round)
			}
		}
		if n := tenant.Refreshes(); n != rounds || shelf.field("claim") != "<nil>" {
			t.Errorf("%d refreshes in %d rounds; claim %s", n, rounds, shelf.field("claim"))
		}
	})
}

// claimed writes a claim beside what is stored, as a process does that dies then.
func claimed(s *shelf, end time.Time) { s.change(map[string]any{"claim": "DEAD", "claim_until": end}) }

func TestWhoDiesOverARenewalHoldsNobodyLongerThanTheClaim(t *testing.T) {
	for name, c := range map[string]struct{ ends, took time.Duration }{
		"just begun":              {70 * time.Second, 70 * time.Second},
		"nearly over":             {3 * time.Second, 3 * time.Second},
		"over":                    {-time.Second, 0},
		"with a clock that leads": {time.Hour, 70 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := signedIn(t, tenant)
				first, _ := a.Token(t.Context(), "")
				claimed(shelf, time.Now().Add(c.ends))
				began := time.Now()
				token, err := a.Token(t.Context(), first.Access)
				if took := time.Since(began); err != nil || token == first || took != c.took || tenant.Refreshes() != 1 {
					t.Errorf("%v, %v after %v, %d refreshes", token, err, took, tenant.Refreshes())
				}
				if shelf.field("claim") != "<nil>" {
					t.Error("the claim is still there")
				}
			})
		})
	}
}

func TestAValidTokenIsUsedWhileSomebodyRenewsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, shelf := signedIn(t, contoso(t))
		first, _ := a.Token(t.Context(), "")
		claimed(shelf, time.Now().Add(time.Minute))
		began := time.Now()
		if token, err := a.Token(t.Context(), ""); err != nil || token != first || time.Since(began) != 0 {
			t.Errorf("%v, %v after %v", token, err, time.Since(began))
		}
		if upn, _, ok, err := a.SignedIn(t.Context()); upn != ada || !ok || err != nil {
			t.Errorf("SignedIn = %q, %v, %v", upn, ok, err)
		}
	})
}

func TestARenewalThatFailedHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		for range 10 {
			tenant.Fail(tenantsim.Unavailable.On("token"))
		}
		began := time.Now()
		_, err := a.Token(t.Context(), first.Access)
		refused(t, err)
		if took := time.Since(began); took > 15*time.Second || shelf.field("claim") != "<nil>" {
			t.Errorf("took %v; claim %s", took, shelf.field("claim"))
		}
		for tenant.Unspent() > 0 {
			_, _ = a.Token(t.Context(), first.Access)
		}
		began = time.Now()
		if token, err := replica(tenant, a).Token(t.Context(), first.Access); err != nil || token == first || time.Since(began) != 0 {
			t.Errorf("%v, %v after %v", token, err, time.Since(began))
		}
	})
}

// Whoever waits for the renewal of another process is told how it ended.
func TestASignInThatEndsElsewhereHasEndedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		tenant.Revoke(ada)
		tenant.Fail(tenantsim.Late(5 * time.Second).On("token"))
		var both sync.WaitGroup
		for _, account := range []*signin.Account{a, replica(tenant, a)} {
			both.Go(func() {
				if _, err := account.Token(t.Context(), first.Access); !errors.Is(err, signin.ErrNotSignedIn) {
					t.Errorf("%v", err)
				}
			})
		}
		both.Wait()
		if !shelf.empty() || len(sent(tenant, "grant_type")) != 2 {
			t.Errorf("requests: %v", sent(tenant, "grant_type"))
		}
	})
}

// A claim that is stored by mistake would hold everybody up until it ends.
func TestAStoreThatFailsForAMomentHoldsNobody(t *testing.T) {
	for name, c := range map[string]struct {
		doing string
		lost  bool // it is stored all the same
	}{
		"the claim is not stored": {"put", false},
		"the claim is stored":     {"put", true},
		"the claim is not read":   {"get", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := contoso(t)
				a, shelf := signedIn(t, tenant)
				first, _ := a.Token(t.Context(), "")
				noLeader, failed := errors.New("no leader"), false
				a.Store.Put = func(ctx context.Context, key string, value []byte, revision uint64) (bool, error) {
					fails := c.doing == "put" && !failed
					if fails && !c.lost {
						failed = true
						return false, noLeader
					}
					stored, err := shelf.put(ctx, key, value, revision)
					if fails {
						failed = true
						return false, noLeader
					}
					return stored, err
				}
				a.Store.Get = func(ctx context.Context, key string) ([]byte, uint64, error) {
					if c.doing == "get" && !failed && shelf.field("claim") != "<nil>" {
						failed = true
						return nil, 0, noLeader
					}
					return shelf.get(ctx, key)
				}
				began := time.Now()
				token, err := a.Token(t.Context(), first.Access)
				if took := time.Since(began); err != nil || token == first || took > time.Second || !failed || tenant.Refreshes() != 1 {
					t.Errorf("%v, %v after %v, %d refreshes", token, err, took, tenant.Refreshes())
				}
			})
		})
	}
}

func TestAClaimThatCannotBeWrittenIsNoReasonToRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		a, shelf := signedIn(t, tenant)
		full := errors.New("the disk is full")
		shelf.fail = func(doing string) error {
			if doing == "put" {
				return full
			}
			return nil
		}
		if _, err := a.Token(t.Context(), auditlog.Secret(shelf.field("access"))); !errors.Is(err, full) || tenant.Refreshes() != 0 {
			t.Errorf("%v, %d refreshes", err, tenant.Refreshes())
		}
	})
}

// refusing a Store's changes for a while, from the answer to a refresh on.
func failAfterRefresh(tenant *liar, shelf *shelf, broken error, while time.Duration) {
	tenant.before = func(r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/token") {
			return
		}
		tenant.before = nil
		end := time.Now().Add(while)
		shelf.fail = func(doing string) error {
			if doing != "get" && time.Now().Before(end) {
				return broken
			}
			return nil
		}
	}
}

// At a provider that ends a sign-in whose refresh token comes a second time.
func TestARotatedTokenThatCannotBeStoredAtOnceIsStoredLater(t *testing.T) {
	for _, while := range []time.Duration{time.Millisecond, 5 * time.Second, time.Minute} {
		t.Run(while.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tenant := &liar{Server: contoso(t)}
				tenant.Rotation = true
				a, shelf := account(tenant)
				if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
					t.Fatal(err)
				}
				first, _ := a.Token(t.Context(), "")
				failAfterRefresh(tenant, shelf, errors.New("no leader"), while)
				began := time.Now()
				second, err := a.Token(t.Context(), first.Access)
				if err != nil || second == first || shelf.field("access") != string(second.Access) || shelf.field("claim") != "<nil>" {
					t.Fatalf("%v, %v", second, err)
				}
				if late := time.Since(began) - while; late > 5*time.Second {
					t.Errorf("stored %v after that was possible", late)
				}
				if third, err := replica(tenant.Server, a).Token(t.Context(), second.Access); err != nil || third == second || tenant.Refreshes() != 2 {
					t.Errorf("the next: %v, %v, %d refreshes", third, err, tenant.Refreshes())
				}
			})
		})
	}
}

// The token that was renewed is no longer the stored one, but nothing says that
// a provider does not take it.
func TestARotatedTokenThatCannotBeStoredIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t)}
		a, shelf := account(tenant)
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			t.Fatal(err)
		}
		first, _ := a.Token(t.Context(), "")
		full := errors.New("the disk is full")
		failAfterRefresh(tenant, shelf, full, time.Hour)
		began := time.Now()
		_, err := a.Token(t.Context(), first.Access)
		if _, theirs := errors.AsType[*auditlog.Refusal](err); !errors.Is(err, full) || theirs || errors.Is(err, signin.ErrNotSignedIn) || time.Since(began) > 70*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		says(t, err.Error(), "losing a renewed sign-in: ")
		writes := 0
		shelf.fail = func(doing string) error {
			if doing == "put" {
				writes++
			}
			return nil
		}
		if token, err := replica(tenant.Server, a).Token(t.Context(), first.Access); err != nil || token == first || shelf.field("access") != string(token.Access) || writes != 2 {
			t.Errorf("afterwards: %v, %v, %d writes", token, err, writes)
		}
	})
}

// A Store may have stored what it says that it has not.
func TestARenewalThatWasStoredIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := contoso(t)
		tenant.Rotation = true
		a, shelf := signedIn(t, tenant)
		first, _ := a.Token(t.Context(), "")
		puts := 0
		a.Store.Put = func(ctx context.Context, key string, value []byte, revision uint64) (bool, error) {
			stored, err := shelf.put(ctx, key, value, revision)
			if puts++; puts == 2 { // the first is the claim
				return false, errors.New("the answer got lost")
			}
			return stored, err
		}
		second, err := a.Token(t.Context(), first.Access)
		if err != nil || second == first || shelf.field("access") != string(second.Access) || tenant.Refreshes() != 1 {
			t.Errorf("%v, %v, %d refreshes", second, err, tenant.Refreshes())
		}
	})
}

// Whatever becomes of a renewal, a sign-in that took the place of the old one
// meanwhile stays.
func TestARenewalThatFailsPutsNothingOverANewSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := &liar{Server: contoso(t)}
		a, shelf := account(tenant)
		if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
			t.Fatal(err)
		}
		first, _ := a.Token(t.Context(), "")
		var newer string
		tenant.before = func(*http.Request) {
			tenant.before = nil
			if err := replica(tenant.Server, a).SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
				t.Error(err)
			}
			newer = shelf.field("refresh")
			for range 10 {
				tenant.Fail(tenantsim.Unavailable.On("token"))
			}
		}
		_, err := a.Token(t.Context(), first.Access)
		refused(t, err)
		if shelf.field("refresh") != newer || newer == "" {
			t.Error("the new sign-in is gone")
		}
	})
}
