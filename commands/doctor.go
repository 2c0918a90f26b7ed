package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"auditbot/auditlog"
)

// A Check is what one look at the bot and its surroundings has found.
type Check struct {
	Name  string // what was looked at: "slack scopes"
	Level Level
	Found string // one line, in which there may be words of others
	Do    string // what to do about it, and who can; "" if nothing is to be done
}

// A Level is how bad a [Check] is.
type Level string

// The levels. With a Failure, something does not work that was asked for in
// the settings, or it is not safe to use.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Failure Level = "failure"
)

// Good, Warn and Fail make a [Check] whose name [Look] fills in.
func Good(found string) Check     { return Check{Level: OK, Found: found} }
func Warn(found, do string) Check { return Check{Level: Warning, Found: found, Do: do} }
func Fail(found, do string) Check { return Check{Level: Failure, Found: found, Do: do} }

// Skipped is for what cannot be looked at because of something that has a
// check of its own.
func Skipped(name, why string) Check { return Check{name, Warning, "not checked: " + why, ""} }

// Broken is for a look that ended with an error.
func Broken(err error) Check {
	if r, ok := errors.AsType[*auditlog.Refusal](err); ok {
		return Fail(r.Problem, r.Advice)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return noAnswer()
	}
	return Fail(err.Error(), "")
}

// checkLimit is how long a look may take, and grace how long one that does not
// heed its context is waited for after that.
const (
	checkLimit = 10 * time.Second
	grace      = time.Second
)

func noAnswer() Check {
	return Fail(fmt.Sprintf("no answer within %v", checkLimit), "look at the network, the proxy and the firewall on the way, and try again")
}

// Look has a look at something. Whatever becomes of that, a panic or a wait
// without an end, is a check with this name after 11 seconds at most.
func Look(ctx context.Context, name string, look func(context.Context) Check) Check {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	done := make(chan Check, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- Fail(fmt.Sprintf("the check itself broke: %v", p), "report it to those who make auditbot")
			}
		}()
		done <- look(ctx)
	}()
	var c Check
	select {
	case c = <-done:
	case <-time.After(checkLimit + grace):
		c = noAnswer()
	}
	c.Name = name
	return c
}

// Examine calls all groups at once, and lists what they found in their order.
func Examine(ctx context.Context, groups ...func(context.Context) []Check) []Check {
	found := make([][]Check, len(groups))
	var looking sync.WaitGroup
	for n, group := range groups {
		looking.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					found[n] = []Check{{"doctor", Failure, fmt.Sprintf("some checks broke: %v", p), "report it to those who make auditbot"}}
				}
			}()
			found[n] = group(ctx)
		})
	}
	looking.Wait()
	var all []Check
	for _, checks := range found {
		all = append(all, checks...)
	}
	return all
}

// Count is how many of the checks have a level.
func Count(checks []Check, level Level) (n int) {
	for _, c := range checks {
		if c.Level == level {
			n++
		}
	}
	return n
}

// Diagnosis sums checks up in a line.
func Diagnosis(checks []Check) string {
	failures, warnings := Count(checks, Failure), Count(checks, Warning)
	text := fmt.Sprintf("%d of %d checks failed", failures, len(checks))
	if failures == 0 {
		text = fmt.Sprintf("None of %d checks failed", len(checks))
	}
	switch warnings {
	case 0:
	case 1:
		text += ", 1 has a warning"
	default:
		text += fmt.Sprintf(", %d have a warning", warnings)
	}
	return text
}

type doctorArgs struct{}

// doctor shows the checks to admins: they tell how the bot is set up. What is
// wrong comes first, since there may be more lines than are shown.
func doctor(ctx context.Context, env Env, _ doctorArgs) (Reply, error) {
	if !env.Admin {
		var admins []string
		if env.Admins != nil {
			admins = env.Admins(ctx)
		}
		return Reply{}, mistakef("only the admins of this bot may see how it is set up").
			hintf("%s; %so365-auditlog-auth-test shows whether you can search", AskAdmins(admins, "type it"), env.Prefix)
	}
	if env.Doctor == nil {
		return Reply{}, mistakef("the doctor is not a command here").hintf("type: auditbot doctor")
	}
	checks := env.Doctor(ctx)
	slices.SortStableFunc(checks, func(a, b Check) int { return cmp.Compare(severity[a.Level], severity[b.Level]) })
	t := Table{Columns: []string{"Check", "Found, and what to do"}, Total: len(checks)} // two, for the width of a thread
	for _, c := range checks {
		found := c.Found
		if c.Do != "" {
			found += " → " + AsTyped(env.Prefix, c.Do)
		}
		t.Rows = append(t.Rows, []string{levelMarks[c.Level] + c.Name, found})
	}
	return Reply{Title: Diagnosis(checks), Table: t}, nil
}

var severity = map[Level]int{Failure: 0, Warning: 1, OK: 2}

var levelMarks = map[Level]string{OK: "✅ ", Warning: "⚠️ ", Failure: "❌ "}

// With more than these between our clock and a service's, sign-ins are about to
// fail, or do: a proof of who signed in may be from 5 minutes ahead of us at
// most (package go-oidc, Verify), and is expired if we are ahead for long.
const (
	skewWarning = 30 * time.Second
	skewFailure = 5 * time.Minute
)

// CheckClock compares this machine's clock with the time in an answer that has
// just arrived. The zero time means that there was none in it.
func CheckClock(theirs time.Time) Check {
	if theirs.IsZero() {
		return Warn("the answer has no date to compare with", "look whether a proxy on the way takes it out")
	}
	off, direction := time.Since(theirs).Round(time.Second), "ahead"
	if off < 0 {
		off, direction = -off, "behind"
	}
	found := fmt.Sprintf("this machine's clock is %v %s", off, direction)
	const set = "synchronise this machine's clock by NTP; if it is right, a proxy on the way answers from a cache"
	switch {
	case off > skewFailure:
		return Fail(found, set)
	case off > skewWarning:
		return Warn(found, set)
	}
	return Good("this machine's clock is right")
}
