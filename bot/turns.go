package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"auditbot/commands"
)

// inHand is how many items of the inbox this process has taken at a time. Most
// of them wait for their turn; what is more waits in the inbox, behind them. It
// is more than two people may have running and waiting, in both kinds of line.
const inHand = 256

// What one person may have of that: more than may run and wait, since what is
// refused is in hand, too, until Slack has taken the answer; and some for what
// cancels. What they ask for beyond that goes back into the inbox for a while.
const (
	handful        = 80
	handfulCancels = 8
)

// errTooMany is why an item goes back.
var errTooMany = errors.New("too much of one person's is under way")

// hands count what is in hand, by person.
type hands struct {
	mu sync.Mutex
	of map[string]int
}

// take is false if there is as much of whose as may be.
func (h *hands) take(whose string, most int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[whose] >= most {
		return false
	}
	if h.of == nil {
		h.of = map[string]int{}
	}
	h.of[whose]++
	return true
}

func (h *hands) drop(whose string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[whose]--; h.of[whose] <= 0 {
		delete(h.of, whose)
	}
}

// limits are how many commands may run at once, in this process.
type limits struct {
	all      int
	person   int    // of one person
	instance int    // at one instance; 0 means no limit but the others
	waiting  int    // of one person that may wait for their turn; what they ask for beyond that is refused
	noun     string // what they are called
}

var (
	// quickLimits are for what is answered in seconds, and again, in a line of its
	// own, for what asks nobody and need not wait for those whom Microsoft keeps
	// waiting. Slack takes a message a second into a channel, so more at once would
	// bring no answer sooner.
	quickLimits = limits{all: 32, person: 8, waiting: 64, noun: "commands"}

	// longLimits are for searches, which may go on for hours. Each needs some
	// megabytes. A tenant answers a few at a time at full speed, and each has
	// several requests under way; so half of the places is left to the other
	// instances, and two thirds of an instance's to other people.
	longLimits = limits{all: 24, person: 4, instance: 12, waiting: 20, noun: "searches"}
)

// A lineup is where commands of one kind wait for their turn. A place that gets
// free goes to the person who has the fewest running, then to the instance with
// the fewest, and then to whoever wrote first.
type lineup struct {
	limits

	mu      sync.Mutex
	running []*place
	waiting []*place
}

// A place is that of one command in a lineup.
type place struct {
	user     string
	instance string // "" where instances do not count
	sent     time.Time
	come     chan struct{} // closed when its turn has come
}

// join takes p in, unless it has to wait, as many of its person's wait as may,
// and this one has no claim.
func (l *lineup) join(p *place, claim bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	theirs := func(other *place) bool { return other.user == p.user }
	if !claim && l.hindered(p) != "" && count(l.waiting, theirs) >= l.limits.waiting {
		return false
	}
	l.waiting = append(l.waiting, p)
	l.advance()
	return true
}

// leave takes p out, whether its turn has come or not.
func (l *lineup) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	is := func(other *place) bool { return other == p }
	l.waiting, l.running = slices.DeleteFunc(l.waiting, is), slices.DeleteFunc(l.running, is)
	l.advance()
}

// advance lets those go whose turn it is. It expects mu to be held.
func (l *lineup) advance() {
	for {
		var next *place
		for _, p := range l.waiting {
			if l.hindered(p) == "" && (next == nil || l.compare(p, next) < 0) {
				next = p
			}
		}
		if next == nil {
			return
		}
		l.waiting = slices.DeleteFunc(l.waiting, func(p *place) bool { return p == next })
		l.running = append(l.running, next)
		close(next.come)
	}
}

// compare is negative if a's turn comes before b's.
func (l *lineup) compare(a, b *place) int {
	return cmp.Or(
		cmp.Compare(l.of(a), l.of(b)),
		cmp.Compare(l.at(a), l.at(b)),
		a.sent.Compare(b.sent))
}

// of is how many p's person has running, and at how many run at its instance.
func (l *lineup) of(p *place) int {
	return count(l.running, func(other *place) bool { return other.user == p.user })
}

func (l *lineup) at(p *place) int {
	return count(l.running, func(other *place) bool { return other.instance == p.instance })
}

func count(places []*place, ok func(*place) bool) (n int) {
	for _, p := range places {
		if ok(p) {
			n++
		}
	}
	return n
}

// hindered says to p's person which limit it waits for, "" if for none.
func (l *lineup) hindered(p *place) string {
	switch {
	case l.of(p) >= l.person:
		return fmt.Sprintf("you have %d %s running, which is as many as one person may", l.of(p), l.noun)
	case l.instance > 0 && l.at(p) >= l.instance:
		return fmt.Sprintf("%d %s run at %s, which is as many as may", l.at(p), l.noun, p.instance)
	case len(l.running) >= l.all:
		return fmt.Sprintf("%d %s run, which is as many as may", len(l.running), l.noun)
	}
	return ""
}

// why is what p waits for.
func (l *lineup) why(p *place) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cmp.Or(l.hindered(p), "its turn has come")
}

// lineOf is where t has to wait, nil if nowhere. What ends others must not wait
// for them, and what is to be posted only needs no place among the searches.
func (b *Bot) lineOf(t *task) *lineup {
	switch {
	case t.name == "cancel":
		return nil
	case t.long() && t.state.Step == running:
		return b.long
	case slices.Contains(quick, t.name):
		return b.atOnce
	default:
		return b.quick
	}
}

// inTurn calls work once the turn of t has come. It is called without a turn
// for what needs none: what was cancelled meanwhile, or is refused since too
// many wait.
func (b *Bot) inTurn(ctx context.Context, t *task, work func() error) error {
	l := b.lineOf(t)
	if l == nil || t.state.Cancelled || t.GivenUp != "" {
		return work()
	}
	p := &place{user: t.User, sent: t.Sent(), come: make(chan struct{})}
	if l.instance > 0 {
		p.instance = b.instanceOf(t)
	}
	if !l.join(p, t.state.revision > 0) { // it has a claim once the thread shows that it waits
		refused := b.explain(t, &commands.Mistake{
			Problem: fmt.Sprintf("%d of your %s wait for their turn, which is as many as may", l.limits.waiting, l.noun),
			Hint:    "type it again when some of them are done; " + b.Prefix + "cancel ends all of yours",
		})
		t.instead, t.outcome = &refused, "over_limit"
		return work()
	}
	defer l.leave(p)
	r, err := b.waitTurn(ctx, t, l, p)
	switch {
	case err != nil:
		b.tasks.drop(t)
		return err
	case r != nil:
		return b.turnAway(ctx, t, r)
	}
	return work()
}

// askAgain is how often it is looked whether somebody whose command waits may
// still ask.
const askAgain = 5 * time.Second

// waitTurn waits until the turn of t has come or it is cancelled. From the first
// second on the thread shows that it waits. It is refused if its author loses
// the right to it meanwhile.
func (b *Bot) waitTurn(ctx context.Context, t *task, l *lineup, p *place) (r *refusal, err error) {
	select {
	case <-p.come:
		return nil, nil
	default:
	}
	b.tasks.queue(t)
	waiting, over := context.WithCancel(ctx)
	var showing sync.WaitGroup
	defer showing.Wait()
	defer over()
	show, again := time.After(quiet), time.NewTicker(askAgain)
	defer again.Stop()
	for {
		select {
		case <-p.come:
			return nil, nil
		case <-t.cancelled:
			t.unbegun = true
			return nil, nil
		case <-b.life.Done():
			return nil, errStopping
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-show:
			showing.Go(func() { b.knownElsewhere(ctx, waiting, t) })
			if why := l.why(p); t.state.Step == running {
				showing.Go(func() { b.showWaiting(ctx, waiting, t, why) })
			}
		case <-again.C:
			if r, err = b.admit(ctx, t); r != nil || err != nil {
				return r, err
			}
		}
	}
}

// instanceOf is the instance that the line of t is for.
func (b *Bot) instanceOf(t *task) string {
	if name := commands.Using(t.line); name != "" {
		return name
	}
	if all := b.Instances(t.asks); len(all) > 0 {
		return strings.ToLower(all[0].Name)
	}
	return ""
}
