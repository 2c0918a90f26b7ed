package bot

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Pace is the HTTP client of a [slack.Client]. It sends requests no faster
// than Slack takes them: a message a second into one channel, and as many
// requests a minute for a method as its tier allows. What is too early waits
// until its turn has come or its context is done. The first request after a
// pause does not wait.
//
// What Slack refuses with 429 all the same keeps back, until the time that it
// says, whatever it would refuse for the same reason. That, and what fails for a
// passing reason, is sent again where it may arrive twice.
// Messages may not, nor may the last step of an upload: whoever sends those
// looks first whether they have arrived.
//
// Each process has a pace of its own. Several replicas can be too fast together;
// then it is Slack that slows them down.
type Pace struct {
	HTTP *http.Client // that sends; its Timeout is for one try of what may be slow, without the wait before it
	Log  *slog.Logger

	Metrics *Metrics // nil if nobody wants them

	mu      sync.Mutex
	line    []*turn            // who waits, in the order in which they go
	budgets map[string]*budget // by method, and by "chat.postMessage CHANNEL"; they stay
	timer   *time.Timer        // for the next one in the line

	unpaced bool // for tests: only what Slack refuses waits
}

// A method of the Web API, as far as its pace goes.
type method struct {
	tier  int  // requests a minute
	again bool // it may be done twice
	slow  bool // Slack may take longer over it than postTimeout
}

// hundreds is what Slack calls hundreds a minute, and for messages into all
// channels together several hundred.
// https://docs.slack.dev/reference/methods/chat.postMessage#rate_limiting
const hundreds = 300

// paced are the methods that the bot uses, with the tiers on their pages, such as
// https://docs.slack.dev/reference/methods/chat.update. What the tiers mean is
// on https://docs.slack.dev/apis/web-api/rate-limits. Not here is
// apps.connections.open: whoever connects has to wait for more than a limit.
var paced = map[string]method{
	"auth.test":                    {tier: hundreds, again: true},
	"chat.postMessage":             {tier: hundreds},
	"chat.postEphemeral":           {tier: 100},
	"chat.update":                  {tier: 50, again: true},
	"chat.delete":                  {tier: 50, again: true},
	"chat.getPermalink":            {tier: hundreds, again: true},
	"conversations.open":           {tier: 50, again: true},
	"conversations.info":           {tier: 50, again: true},
	"conversations.history":        {tier: 50, again: true},
	"conversations.replies":        {tier: 50, again: true},
	"users.info":                   {tier: 100, again: true},
	"users.conversations":          {tier: 50, again: true},
	"usergroups.users.list":        {tier: 20, again: true},
	"files.getUploadURLExternal":   {tier: 100, again: true},
	"files.completeUploadExternal": {tier: 100, slow: true},
}

const (
	// betweenMessages is how long after a message the next one goes into the
	// same channel. Slack wants a second, counted from when they arrive, and
	// says that what comes faster may be lost.
	betweenMessages = time.Second + 50*time.Millisecond

	sendTries = 4
	firstWait = 500 * time.Millisecond // before a second try; then twice as long each time, give or take a half
)

// Do sends a request when its turn has come.
func (p *Pace) Do(req *http.Request) (*http.Response, error) {
	name := path.Base(req.URL.Path)
	m, ok := paced[name]
	if !ok {
		return p.HTTP.Do(req)
	}
	client := *p.HTTP
	if !m.slow {
		client.Timeout = postTimeout
	}
	budgets := p.budgetsOf(name, m, req)
	for try := 1; ; try++ {
		if err := p.wait(req.Context(), budgets); err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		pause, again := p.learn(req, budgets, resp, err)
		if !again || try == sendTries {
			return slimmed(req, resp), err
		}
		p.Metrics.Retried("slack")
		if resp != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
		}
		select {
		case <-time.After(pause << (try - 1)):
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
		if req, err = rewound(req); err != nil {
			return nil, err
		}
	}
}

// learn tells whether a request is to be sent again after what came of it, and
// how long after its first try. A 429 slows down all that share its narrowest
// budget.
func (p *Pace) learn(req *http.Request, budgets []*budget, resp *http.Response, err error) (pause time.Duration, again bool) {
	name := path.Base(req.URL.Path)
	repeatable := req.Body == nil || req.GetBody != nil
	switch {
	case req.Context().Err() != nil:
		return 0, false
	case err != nil:
		if broken, ok := errors.AsType[*url.Error](err); ok {
			err = broken.Err // without what was asked
		}
		p.Log.Warn("Slack does not answer", "method", name, "err", err)
	case resp.StatusCode == http.StatusTooManyRequests:
		wait := retryAfter(resp)
		p.Log.Warn("Slack wants fewer requests", "method", name, "wait", wait)
		p.mu.Lock()
		defer p.mu.Unlock()
		budgets[len(budgets)-1].closeFor(wait)
		return 0, repeatable && paced[name].again
	case resp.StatusCode >= http.StatusInternalServerError:
		p.Log.Warn("Slack does not answer", "method", name, "status", resp.StatusCode)
	default:
		return 0, false
	}
	hurried := unhurriedWhile(req.Context()) == nil // the others come again with newer content
	return firstWait/2 + rand.N(firstWait), repeatable && hurried && paced[name].again
}

// retryAfter is how long Slack says to wait, or a minute, over which it counts,
// if it does not say.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil {
		return time.Minute
	}
	return max(time.Second, time.Duration(seconds)*time.Second)
}

// rewound is the request to be sent once more.
func rewound(req *http.Request) (*http.Request, error) {
	req = req.Clone(req.Context())
	if req.GetBody == nil {
		return req, nil
	}
	body, err := req.GetBody()
	req.Body = body
	return req, err
}

// budgetsOf are what a request takes from, the narrowest last.
func (p *Pace) budgetsOf(name string, m method, req *http.Request) []*budget {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []*budget{p.budget(name, m.budget())}
	if name == "chat.postMessage" {
		all = append(all, p.budget(name+" "+channelOf(req), budget{every: betweenMessages, burst: 1}))
	}
	return all
}

// budget is the one of this name, which is new if there is none. It expects mu
// to be held.
func (p *Pace) budget(name string, otherwise budget) *budget {
	if p.budgets == nil {
		p.budgets = map[string]*budget{}
	}
	if p.unpaced {
		otherwise = budget{every: time.Microsecond, burst: 1}
	}
	if p.budgets[name] == nil {
		p.budgets[name] = &otherwise
	}
	return p.budgets[name]
}

// channelOf is the channel that a message is for, or "".
func channelOf(req *http.Request) string {
	if req.GetBody == nil {
		return ""
	}
	body, err := req.GetBody()
	if err != nil {
		return ""
	}
	var form strings.Builder
	form.Grow(int(max(0, req.ContentLength)))
	_, _ = io.Copy(&form, body) // from memory
	for field := range strings.SplitSeq(form.String(), "&") {
		if value, ok := strings.CutPrefix(field, "channel="); ok {
			channel, _ := url.QueryUnescape(value)
			return channel
		}
	}
	return ""
}

// A budget is requests that may go one every so often, or a burst of them at
// once after as long a pause.
type budget struct {
	every time.Duration
	burst int
	spent time.Time // when the whole burst is there again
}

// budget lets a fifth of a tier go at once and the rest evenly, so that no
// minute has more than the tier.
func (m method) budget() budget {
	burst := m.tier / 5
	return budget{every: time.Minute / time.Duration(m.tier-burst), burst: burst}
}

// next is when the next request may go. Those that are in no hurry leave half
// of the burst to the others.
func (b *budget) next(unhurried bool) time.Time {
	saved := b.burst - 1
	if unhurried {
		saved -= b.burst / 2
	}
	return b.spent.Add(-time.Duration(saved) * b.every)
}

func (b *budget) take(now time.Time) {
	b.spent = later(b.spent, now).Add(b.every)
}

// closeFor lets nothing go for a while, and no burst right after it.
func (b *budget) closeFor(d time.Duration) {
	b.spent = later(b.spent, time.Now().Add(d+time.Duration(b.burst-1)*b.every))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// A turn is a request's place in the line.
type turn struct {
	budgets   []*budget
	unhurried bool
	come      chan struct{} // closed when it has
}

// next is when all budgets let it go.
func (t *turn) next() time.Time {
	var at time.Time
	for _, b := range t.budgets {
		at = later(at, b.next(t.unhurried))
	}
	return at
}

// wait waits for a turn.
func (p *Pace) wait(ctx context.Context, budgets []*budget) error {
	while := unhurriedWhile(ctx)
	select {
	case <-while:
		return errOvertaken
	default:
	}
	t := &turn{budgets: budgets, unhurried: while != nil, come: make(chan struct{})}
	p.join(t)
	select {
	case <-t.come:
		return nil
	case <-ctx.Done():
		p.leave(t)
		return context.Cause(ctx)
	case <-while:
		if !p.leave(t) {
			return nil // its turn came at that very moment, and is used
		}
		return errOvertaken
	}
}

// join puts t at the end of the line, or before those that are in no hurry.
func (p *Pace) join(t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := len(p.line)
	if i := slices.IndexFunc(p.line, func(t *turn) bool { return t.unhurried }); i >= 0 && !t.unhurried {
		end = i
	}
	p.line = slices.Insert(p.line, end, t)
	p.advance()
}

// leave takes t out of the line, and tells whether it was still in it.
func (p *Pace) leave(t *turn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.line)
	p.line = slices.DeleteFunc(p.line, func(other *turn) bool { return other == t })
	return len(p.line) < before
}

// advance lets everybody go whose turn it is, and comes back when it is the
// next one's. It expects mu to be held.
func (p *Pace) advance() {
	now := time.Now()
	var soonest time.Time
	p.line = slices.DeleteFunc(p.line, func(t *turn) bool {
		at := t.next()
		if at.After(now) {
			if soonest.IsZero() || at.Before(soonest) {
				soonest = at
			}
			return false
		}
		for _, b := range t.budgets {
			b.take(now)
		}
		close(t.come)
		return true
	})
	if p.timer != nil {
		p.timer.Stop()
	}
	if len(p.line) > 0 {
		p.timer = time.AfterFunc(soonest.Sub(now), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.advance()
		})
	}
}

// errOvertaken is the end of what was in no hurry and is not needed any more.
var errOvertaken = errors.New("overtaken before it was sent")

type unhurriedKey struct{}

// unhurried makes what is sent with a context give way to everything else, and
// never sent, with [errOvertaken], if its turn has not come while the other
// context lasts. What is being sent then is not broken off.
func unhurried(ctx, while context.Context) context.Context {
	return context.WithValue(ctx, unhurriedKey{}, while.Done())
}

// unhurriedWhile is nil for what is in a hurry.
func unhurriedWhile(ctx context.Context) <-chan struct{} {
	while, _ := ctx.Value(unhurriedKey{}).(<-chan struct{})
	return while
}
