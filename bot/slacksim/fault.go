package slacksim

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// A Fault is something that goes wrong with one request for a method.
// [Server.Fail] makes it happen, and [Server.Odds] now and then. Besides the
// names of methods there are "upload", where the bytes of a file go, "link",
// where connections are made, and "", which is whatever is asked next. A
// connection with an APIError is sent away for that reason instead of greeted;
// one that is Lost breaks right after the greeting.
//
// And there is "event", which is an attempt to deliver one: what is Late
// arrives after others that were sent later, what Hangs never does, and of what
// is Lost the acknowledgement does not come.
type Fault struct {
	method string
	status int                    // answer with this instead of doing anything
	err    string                 // answer 200 and this error instead
	wait   time.Duration          // Retry-After
	delay  time.Duration          // before the request is served
	lost   bool                   // it is served, but the answer is not sent
	done   bool                   // it is served in spite of all the other
	stray  bool                   // it is served even if whoever asked has gone meanwhile
	end    func(*Server, *socket) // what happens to a connection, while mu is held
	after  time.Duration          // and when
}

// Names of what is not a method of the Web API, for [Fault] and [Request].
const (
	uploadMethod = "upload"
	linkMethod   = "link"
	eventMethod  = "event"
)

// RateLimited is a 429 that asks to be left alone for wait, in whole seconds,
// rounded up.
func RateLimited(method string, wait time.Duration) Fault {
	return Fault{method: method, status: http.StatusTooManyRequests, wait: wait}
}

// APIError is an answer with ok false and this error.
func APIError(method, name string) Fault { return Fault{method: method, err: name} }

// HTTPError is an answer with this status and a web page.
func HTTPError(method string, status int) Fault { return Fault{method: method, status: status} }

// Hang never answers, and does nothing.
func Hang(method string) Fault { return Late(method, 1<<63-1) }

// Late holds a request back for d before it is served.
func Late(method string, d time.Duration) Fault { return Fault{method: method, delay: d} }

// Stray is Late, but the request is served even if whoever asked has given up
// meanwhile, or is dead.
func Stray(method string, d time.Duration) Fault { return Fault{method: method, delay: d, stray: true} }

// Lost is a request that is served, but whose answer never arrives: the
// connection breaks.
func Lost(method string) Fault { return Fault{method: method, lost: true} }

// Done is f after the request was served: whoever asked believes that it was not,
// or waits for ever.
func Done(f Fault) Fault {
	f.done = true
	return f
}

// Cut breaks a connection, without a word, when it has lived for d.
func Cut(d time.Duration) Fault {
	return Fault{method: linkMethod, after: d, end: func(_ *Server, k *socket) { k.close() }}
}

// Frozen makes a connection stand still when it has lived for d, as
// [Server.FreezeSockets] does. After ten pings without an answer it is closed.
func Frozen(d time.Duration) Fault {
	return Fault{method: linkMethod, after: d, end: func(s *Server, k *socket) {
		k.freeze(true)
		time.AfterFunc(10*s.PingInterval, k.close)
	}}
}

// Dismissed ends a connection with a disconnect frame, as [Server.Disconnect]
// does, when it has lived for d.
func Dismissed(reason string, d time.Duration) Fault {
	return Fault{method: linkMethod, after: d, end: func(s *Server, k *socket) { s.dismiss(k, reason) }}
}

// Nothing goes wrong: it lets a request pass before the next fault.
func Nothing(method string) Fault { return Fault{method: method} }

// Fail queues faults: each hits one request, those for one method in the order
// in which they were queued. It may be called at any time.
func (s *Server) Fail(faults ...Fault) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Unspent is how many of the queued faults have not hit yet.
func (s *Server) Unspent() int {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// Refuse makes the workspace answer invalid_blocks to blocks of these types,
// as one does to which they are not rolled out yet: "markdown", "table",
// "rich_text". Without any, all known ones are good again.
func (s *Server) Refuse(types ...string) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = map[string]bool{}
	for _, t := range types {
		s.refused[t] = true
	}
}

// takeFault is due, for who does not hold mu.
func (s *Server) takeFault(method string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due(method)
}

// due takes the next fault for a method off the queue, or draws one.
func (s *Server) due(method string) Fault {
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.hits(method) })
	if i < 0 {
		return s.draw(method)
	}
	f := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	return f
}

func (f Fault) hits(method string) bool {
	return f.method == method || f.method == "" && method != eventMethod
}

// Odds are how often a fault hits by itself: slacksim.Odds{0.05,
// Lost("chat.postMessage")} is one message in twenty.
type Odds struct {
	Share float64 // of what the fault is for: from 0 to 1
	Fault Fault
}

// luck is what goes wrong by itself.
type luck struct {
	odds   []Odds
	chance *rand.Rand
}

// draw is the fault that chance gives a request for a method, if any.
func (s *Server) draw(method string) Fault {
	drawn := -1.0
	for _, o := range s.luck.odds {
		if !o.Fault.hits(method) {
			continue
		}
		if drawn < 0 {
			drawn = s.luck.chance.Float64()
		}
		if drawn < o.Share {
			return o.Fault
		}
		drawn -= o.Share
	}
	return Fault{}
}

// Odds makes faults come by themselves from now on, when none is queued, in the
// place of those that did so before. A request draws one of them at most, so
// their shares of one method are 1 together at most. What the n-th request draws
// depends on seed alone. Without odds, nothing goes wrong by itself any more.
func (s *Server) Odds(seed uint64, odds ...Odds) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.luck = luck{odds, rand.New(rand.NewPCG(seed, 3))}
}

// instead is the answer that a fault gives in place of the real one, or nil.
func (f Fault) instead() *reply {
	switch {
	case f.status == http.StatusTooManyRequests:
		r := jsonReply(failed("ratelimited"))
		r.status = f.status
		r.header.Set("Retry-After", strconv.Itoa(int((f.wait+time.Second-1)/time.Second)))
		return r
	case f.status != 0:
		text := http.StatusText(f.status)
		r := &reply{status: f.status, header: http.Header{}, body: []byte("<!DOCTYPE html><html><head><title>" + text + "</title></head><body>" + text + "</body></html>")}
		r.header.Set("Content-Type", "text/html; charset=utf-8")
		return r
	case f.err != "":
		return jsonReply(failed(f.err))
	}
	return nil
}
