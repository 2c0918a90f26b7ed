package bot

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// Askers join a lineup, which notes in which order the turns of its places come.
type askers struct {
	*lineup
	t     *testing.T
	names map[*place]string
	all   []*place
	now   time.Time
}

func newAskers(t *testing.T, l limits) *askers {
	return &askers{lineup: &lineup{limits: l}, t: t, names: map[*place]string{}, now: time.Unix(1700000000, 0)}
}

// ask is what a person asks for at an instance, a second after what was asked
// before.
func (c *askers) ask(user, instance string) *place {
	c.now = c.now.Add(time.Second)
	p := &place{user: user, instance: instance, sent: c.now, come: make(chan struct{})}
	if !c.join(p, false) {
		return nil
	}
	c.names[p] = fmt.Sprintf("%s%d", user, count(c.all, func(o *place) bool { return o.user == user })+1)
	c.all = append(c.all, p)
	return p
}

// runs is who runs.
func (c *askers) runs() string {
	var names []string
	for _, p := range c.running {
		names = append(names, c.names[p])
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// end ends the one with this name.
func (c *askers) end(name string) {
	c.t.Helper()
	for _, p := range c.running {
		if c.names[p] == name {
			c.leave(p)
			return
		}
	}
	c.t.Fatalf("%s does not run; %s do", name, c.runs())
}

func (c *askers) want(runs string) {
	c.t.Helper()
	if got := c.runs(); got != runs {
		c.t.Errorf("%q run, want %q", got, runs)
	}
}

func TestAPlaceGoesToWhoeverHasTheFewest(t *testing.T) {
	c := newAskers(t, limits{all: 4, person: 3, waiting: 10, noun: "searches"})
	for range 5 {
		c.ask("ada", "")
	}
	c.want("ada1 ada2 ada3")
	c.ask("bob", "")
	c.ask("bob", "")
	c.ask("cy", "")
	c.want("ada1 ada2 ada3 bob1")
	c.end("ada1")
	c.want("ada2 ada3 bob1 cy1") // cy has none yet, though bob has waited for longer, and ada for even longer
	c.end("ada2")
	c.want("ada3 ada4 bob1 cy1") // all have one, and ada wrote first
	c.end("cy1")
	c.want("ada3 ada4 bob1 bob2")
	c.end("ada3")
	c.end("ada4")
	c.want("ada5 bob1 bob2")
	if len(c.waiting) != 0 {
		t.Errorf("%d wait", len(c.waiting))
	}
}

func TestAPlaceGoesToTheInstanceThatHasTheFewest(t *testing.T) {
	c := newAskers(t, limits{all: 3, person: 3, instance: 2, waiting: 10, noun: "searches"})
	c.ask("ada", "contoso")
	c.ask("bob", "contoso")
	c.ask("cy", "contoso")
	c.want("ada1 bob1")
	c.ask("dan", "fabrikam")
	c.want("ada1 bob1 dan1")
	c.ask("eve", "fabrikam")
	c.end("ada1")
	c.want("bob1 cy1 dan1") // as many run at both, and cy wrote first
	c.ask("fay", "contoso")
	c.end("cy1")
	c.want("bob1 dan1 eve1")
}

func TestWhatACommandWaitsFor(t *testing.T) {
	c := newAskers(t, limits{all: 4, person: 2, instance: 3, waiting: 10, noun: "searches"})
	for range 2 {
		c.ask("ada", "contoso")
	}
	for place, want := range map[*place]string{
		c.ask("ada", "fabrikam"): "you have 2 searches running, which is as many as one person may",
		c.ask("bob", "contoso"):  "its turn has come",
		c.ask("cy", "contoso"):   "3 searches run at contoso, which is as many as may",
		c.ask("cy", "fabrikam"):  "its turn has come",
		c.ask("dan", "fabrikam"): "4 searches run, which is as many as may",
	} {
		if got := c.why(place); got != want && (want != "its turn has come" || !slices.Contains(c.running, place)) {
			t.Errorf("%s waits for %q, want %q", c.names[place], got, want)
		}
	}
}

func TestOnlySoManyOfAPersonWait(t *testing.T) {
	c := newAskers(t, limits{all: 4, person: 2, instance: 3, waiting: 3, noun: "searches"})
	for range 5 {
		if c.ask("ada", "contoso") == nil {
			t.Error("one was refused too early")
		}
	}
	if c.ask("ada", "contoso") != nil {
		t.Error("the sixth was not refused")
	}
	if c.ask("bob", "contoso") == nil {
		t.Error("somebody else was refused")
	}
	if !c.join(&place{user: "ada", come: make(chan struct{})}, true) {
		t.Error("one that was let in before was refused")
	}
	c = newAskers(t, limits{all: 9, person: 9, instance: 1, waiting: 1})
	c.ask("ada", "contoso")
	c.ask("ada", "contoso")
	if c.ask("ada", "fabrikam") == nil {
		t.Error("one was refused that has nothing to wait for")
	}
}

func TestTheLimitsFitTogether(t *testing.T) {
	for _, l := range []limits{quickLimits, longLimits} {
		if l.person >= l.all || l.instance >= l.all || l.instance > 0 && l.person >= l.instance {
			t.Errorf("the limits of %s leave nothing to others: %+v", l.noun, l)
		}
	}
	if quickLimits.person+quickLimits.waiting >= handful || longLimits.person+longLimits.waiting >= handful {
		t.Errorf("nobody is refused anything: they may have %d in hand", handful)
	}
	if of := handful + handfulCancels; 2*of >= inHand*3/4 {
		t.Errorf("two people fill nearly all of the %d places with %d", inHand, 2*of)
	}
}

// One analyst's many commands do not make another's wait.
func TestSomebodysManyCommandsHoldUpNobodyElses(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilDone)
	for range quickLimits.person {
		s.say("U0ADA", "!o365-auditlog-auth-test")
	}
	s.until(func() bool { return int(s.performed.Load()) == quickLimits.person })
	waits := s.say("U0ADA", "!o365-auditlog-auth-test")
	s.reply(waits, "waits: you have 8 commands running, which is as many as one person may")
	s.reply(s.say("U0GRACE", "!help"), "What you can ask")
	s.reply(s.say("U0ADA", "!help"), "What you can ask") // it asks nobody
	s.reply(s.say("U0ADA", "!cancel"), "9 commands are being cancelled")
	s.reply(waits, "was cancelled after")
}

// untilDone is a command that goes on until its context ends.
func untilDone(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
	select {
	case <-env.Cancelled:
	case <-ctx.Done():
	}
	return commands.Reply{}, context.Cause(ctx)
}

func TestTooManySearchesAreRefused(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	s.searches("U0ADA")
	var waiting []slacksim.Message
	for range longLimits.waiting {
		waiting = append(waiting, s.say("U0ADA", search))
	}
	for _, m := range waiting {
		s.reply(m, waitsForOthers)
	}
	refused := s.say("U0ADA", search)
	s.reply(refused, "20 of your searches wait for their turn, which is as many as may")
	s.reply(s.say("U0GRACE", search), isRunning)
	s.reply(s.say("U0ADA", "!cancel"), "24 commands are being cancelled")
	for _, m := range waiting {
		s.reply(m, "was cancelled after")
	}
	if got := s.thread(refused); strings.Count(got, "U0AUDITBOT:") != 1 {
		t.Errorf("the refused one has\n%s", got)
	}
}

// What waits when the bot stops, waits again after it, in the same message.
func TestWhatWaitsForItsTurnOutlastsARestart(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	s.searches("U0ADA")
	waits := s.say("U0ADA", search)
	s.reply(waits, waitsForOthers)
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the bot needed %v to stop", took)
	}
	s.perform = func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "all of it"}, nil
	}
	s.start()
	s.reply(waits, "all of it")
	s.reply(waits, "was answered after")
	if got := s.thread(waits); strings.Count(got, "U0AUDITBOT:") != 2 {
		t.Errorf("the thread has\n%s", got)
	}
}
