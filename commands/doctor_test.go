package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
)

func TestOneCheckThatBreaksOrHangsLeavesTheOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan bool)
		defer close(release)
		one := func(name string, look func(context.Context) Check) func(context.Context) []Check {
			return func(ctx context.Context) []Check { return []Check{Look(ctx, name, look)} }
		}
		began := time.Now()
		all := Examine(t.Context(),
			one("deaf", func(context.Context) Check { <-release; return Good("at last") }),
			one("slow", func(ctx context.Context) Check { <-ctx.Done(); return Broken(ctx.Err()) }),
			one("broken", func(context.Context) Check { panic("oh") }),
			func(context.Context) []Check { panic("oh") },
			one("refused", func(context.Context) Check {
				return Broken(fmt.Errorf("asking: %w", &auditlog.Refusal{Problem: "no", Advice: "ask again", Err: errors.New("inner")}))
			}),
			one("fine", func(context.Context) Check { return Good("all is well") }),
		)
		want := []Check{
			{"deaf", Failure, "no answer within 10s", "look at the network, the proxy and the firewall on the way, and try again"},
			{"slow", Failure, "no answer within 10s", "look at the network, the proxy and the firewall on the way, and try again"},
			{"broken", Failure, "the check itself broke: oh", "report it to those who make auditbot"},
			{"doctor", Failure, "some checks broke: oh", "report it to those who make auditbot"},
			{"refused", Failure, "no", "ask again"},
			{"fine", OK, "all is well", ""},
		}
		if !slices.Equal(all, want) {
			t.Errorf("%+v", all)
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestTheDiagnosisCounts(t *testing.T) {
	ok, warning, failure := Good(""), Warn("", ""), Fail("", "")
	for want, checks := range map[string][]Check{
		"None of 2 checks failed":                   {ok, ok},
		"None of 2 checks failed, 1 has a warning":  {ok, warning},
		"1 of 4 checks failed, 2 have a warning":    {ok, warning, failure, warning},
		"2 of 3 checks failed, 1 has a warning":     {failure, warning, failure},
		"3 of 3 checks failed":                      {failure, failure, failure},
		"None of 3 checks failed, 3 have a warning": {warning, warning, warning},
		"1 of 2 checks failed, 1 has a warning":     {warning, failure},
		"None of 1 checks failed":                   {ok},
		"1 of 1 checks failed":                      {failure},
		"None of 11 checks failed, 1 has a warning": append(slices.Repeat([]Check{ok}, 10), warning),
	} {
		if got := Diagnosis(checks); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTheDoctorAnswersAdminsOnly(t *testing.T) {
	e := env()
	e.Doctor = func(context.Context) []Check {
		return []Check{{"disk", OK, "half of it is free", ""}, {"slack scopes", Failure, "chat:write is missing", "reinstall the app"}}
	}
	m := mistaken(t, e, "!o365-auditlog-doctor")
	says(t, m.Problem, "only the admins")
	says(t, m.Hint, "there is none", "!o365-auditlog-auth-test")
	e.Admins = func(context.Context) []string { return []string{"Lea"} }
	says(t, mistaken(t, e, "!o365-auditlog-doctor").Hint, "ask Lea to type it")

	e.Admin = true
	reply := answer(t, e, "!o365-auditlog-doctor")
	want := [][]string{{"❌ slack scopes", "chat:write is missing → reinstall the app"}, {"✅ disk", "half of it is free"}}
	if reply.Title != "1 of 2 checks failed" || fmt.Sprint(reply.Table.Rows) != fmt.Sprint(want) {
		t.Errorf("%q\n%q", reply.Title, reply.Table.Rows)
	}

	e.Doctor = nil
	says(t, mistaken(t, e, "!o365-auditlog-doctor").Hint, "auditbot doctor")
}

func TestTheClockIsComparedWithTheServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for off, want := range map[time.Duration]Check{
			0:                 {"", OK, "this machine's clock is right", ""},
			-30 * time.Second: {"", OK, "this machine's clock is right", ""},
			31 * time.Second:  {"", Warning, "this machine's clock is 31s ahead", "NTP"},
			-time.Minute:      {"", Warning, "this machine's clock is 1m0s behind", "NTP"},
			-6 * time.Minute:  {"", Failure, "this machine's clock is 6m0s behind", "NTP"},
			2 * time.Hour:     {"", Failure, "this machine's clock is 2h0m0s ahead", "NTP"},
		} {
			got := CheckClock(time.Now().Add(-off))
			if got.Level != want.Level || got.Found != want.Found || !strings.Contains(got.Do, want.Do) {
				t.Errorf("%v: %+v", off, got)
			}
		}
		if c := CheckClock(time.Time{}); c.Level != Warning {
			t.Errorf("%+v", c)
		}
	})
}
