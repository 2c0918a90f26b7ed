package tenantsim_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog/tenantsim"
)

// drawn is what n searches of a server with these odds meet, a letter each.
func drawn(t *testing.T, n int, seed uint64, odds ...tenantsim.Odds) string {
	t.Helper()
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, 3)}, URL: "https://outlook.example", Odds: odds, Seed: seed}
	asked := invocation(t, s, "Search-UnifiedAuditLog", params{"StartDate": "2026-11-05", "EndDate": "2026-11-06"}, nil)
	var met strings.Builder
	for range n {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, again(asked))
		switch {
		case w.Code == http.StatusTooManyRequests:
			met.WriteByte('t')
		case strings.Contains(w.Body.String(), "A task was canceled"):
			met.WriteByte('g')
		default:
			met.WriteByte('.')
		}
	}
	return met.String()
}

func TestOddsAreHonoured(t *testing.T) {
	t.Parallel()
	odds := []tenantsim.Odds{{Share: 0.1, Fault: tenantsim.Throttled(0)}, {Share: 0.05, Fault: tenantsim.GaveUp}, {Share: 1, Fault: tenantsim.Hung.On("token")}}
	met := drawn(t, 1000, 1, odds...)
	if throttled, gaveUp := strings.Count(met, "t"), strings.Count(met, "g"); throttled < 70 || throttled > 130 || gaveUp < 30 || gaveUp > 70 {
		t.Errorf("of 1,000, %d were throttled and %d given up", throttled, gaveUp)
	}
	if again := drawn(t, 200, 1, odds...); again != met[:200] {
		t.Error("the same seed draws something else")
	}
	if other := drawn(t, 200, 2, odds...); other == met[:200] {
		t.Error("another seed draws the same")
	}
}

func TestAQueuedFaultComesBeforeTheOddsAndNoneAfterThem(t *testing.T) {
	t.Parallel()
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, 3)}, URL: "https://outlook.example", Odds: []tenantsim.Odds{{Share: 1, Fault: tenantsim.Unavailable}}}
	client := &http.Client{Transport: direct{s}}
	s.Fail(tenantsim.Nothing)
	for i, want := range []int{200, 503, 503, 200} {
		if i == 3 {
			s.Calm()
		}
		p := params{"StartDate": "2026-11-05", "EndDate": "2026-11-06"}
		if a := do(t, client, invocation(t, s, "Search-UnifiedAuditLog", p, nil)); a.StatusCode != want {
			t.Errorf("%d, want %d", a.StatusCode, want)
		}
	}
}

func TestRowsComeAgain(t *testing.T) {
	t.Parallel()
	s := start(t, numbered(t, 25))
	call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 10}
	s.Fail(tenantsim.Again(2), tenantsim.Again(2), tenantsim.Again(2))
	for _, want := range []string{
		"id-0025 id-0024 id-0023 id-0022 id-0021 id-0020 id-0019 id-0018 id-0017 id-0016", // nothing was given before
		"id-0025 id-0015 id-0014 id-0013 id-0012 id-0011 id-0020 id-0010 id-0009 id-0008 id-0007 id-0006",
		"id-0025 id-0005 id-0004 id-0015 id-0003 id-0002 id-0001",
		"",
	} {
		if got := ids(t, search(t, s, call)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestWhichFaultsLetASessionMoveOn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault tenantsim.Fault
		want  string // what comes after it
	}{
		"throttled": {tenantsim.Throttled(0), "id-0004 id-0003"},
		"gave up":   {tenantsim.GaveUp, "id-0004 id-0003"},
		"silent":    {tenantsim.Silent, "id-0004 id-0003"},
		"missing":   {tenantsim.Missing(1), "id-0002 id-0001"},
		"repeated":  {tenantsim.Repeated, "id-0002 id-0001"},
		"not JSON":  {tenantsim.NotJSON, "id-0002 id-0001"},
	} {
		s := start(t, numbered(t, 4))
		call := params{"SessionId": "s", "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 2}
		s.Fail(test.fault)
		search(t, s, call)
		if got := ids(t, search(t, s, call)); got != test.want {
			t.Errorf("%s: then %s, want %s", name, got, test.want)
		}
	}
}

func TestLatencyHoldsSearchesBackAtTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: numbered(t, 30)}, URL: "https://outlook.example", Latency: 2 * time.Second}
		client := &http.Client{Transport: direct{s}}
		call := func(session string) *http.Request {
			return invocation(t, s, "Search-UnifiedAuditLog", params{"StartDate": "2026-11-05", "EndDate": "2026-11-06",
				"SessionId": session, "SessionCommand": "ReturnNextPreviewPage", "ResultSize": 10}, nil)
		}
		began, answered := time.Now(), make(chan int)
		for _, session := range []string{"one", "two", "three"} {
			go func() { answered <- len(rows(t, do(t, client, call(session)))) }()
		}
		got := []int{<-answered, <-answered, <-answered}
		if took := time.Since(began); took != 2*time.Second || !slices.Equal(got, []int{10, 10, 10}) {
			t.Errorf("%v rows after %v, want 10 each after 2s", got, took)
		}
		began = time.Now()
		do(t, client, invocation(t, s, "Get-AdminAuditLogConfig", params{}, nil))
		if took := time.Since(began); took != 0 {
			t.Errorf("another cmdlet took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		func() {
			defer func() {
				if recover() != http.ErrAbortHandler {
					t.Error("who does not wait gets an answer")
				}
			}()
			s.ServeHTTP(httptest.NewRecorder(), call("one").WithContext(ctx))
		}()
		if got := rows(t, do(t, client, call("one"))); got[0].ResultIndex != 11 {
			t.Errorf("the session has moved on to %d", got[0].ResultIndex)
		}
	})
}
