package slacksim

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// A Fault is something that goes wrong with one request for a method.
// [Server.Fail] makes it happen. Besides the names of methods there are
// "upload", where the bytes of a file go, "link", where connections are made,
// and "", which is whatever is asked next. A connection with an APIError is
// sent away for that reason instead of greeted; one that is Lost breaks right
// after the greeting.
type Fault struct {
	method string
	status int           // answer with this instead of doing anything
	err    string        // answer 200 and this error instead
	wait   time.Duration // Retry-After
	delay  time.Duration // before the request is served
	lost   bool          // it is served, but the answer is not sent
	stray  bool          // it is served even if whoever asked has gone meanwhile
}

// Names of what is not a method of the Web API, for [Fault] and [Request].
const (
	uploadMethod = "upload"
	linkMethod   = "link"
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

// takeFault takes the next fault for a method off the queue. It takes mu.
func (s *Server) takeFault(method string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.method == method || f.method == "" })
	if i < 0 {
		return Fault{}, false
	}
	f := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	return f, true
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
