package slacksim

import (
	"maps"
	"net/url"
	"slices"
	"time"
)

// A Request is one that the server was sent.
type Request struct {
	Method string     // "chat.postMessage"; "upload" for the bytes of a file
	Values url.Values // its arguments, without the token
	Time   time.Time  // when it arrived
	Status int        // of the answer; 0 if there was none, or none yet
	Error  string     // of the answer; "" if it was ok
}

// Requests is every request for the Web API so far, in the order in which they
// arrived.
func (s *Server) Requests() []Request {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Request
	for _, r := range s.requests {
		c := *r
		c.Values = maps.Clone(r.Values)
		all = append(all, c)
	}
	return all
}

// Calls is how often a method was asked for so far.
func (s *Server) Calls(method string) int {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.requests), func(r *Request) bool { return r.Method != method }))
}

// record notes a request. It takes mu.
func (s *Server) record(method string, values url.Values) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	values = maps.Clone(values)
	delete(values, "token")
	r := &Request{Method: method, Values: values, Time: time.Now()}
	s.requests = append(s.requests, r)
	s.touch()
	return r
}

// answered notes what became of a request. It takes mu.
func (s *Server) answered(r *Request, status int, err string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Status, r.Error = status, err
	s.touch()
}
