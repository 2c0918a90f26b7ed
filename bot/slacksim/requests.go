package slacksim

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A Request is one that the server was sent.
type Request struct {
	Method string      // "chat.postMessage"; "upload" for the bytes of a file
	URL    string      // path and query
	Header http.Header // without Authorization
	Values url.Values  // its arguments, without the token
	Time   time.Time   // when it arrived
	Status int         // of the answer; 0 if there was none, or none yet
	Error  string      // of the answer; "" if it was ok
	Served bool        // what it asked for was done or refused, whatever the answer says
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
		c.Header, c.Values = r.Header.Clone(), maps.Clone(r.Values)
		all = append(all, c)
	}
	return all
}

// Uploads is the content of every file that was sent, whether or not it was put
// where somebody sees it.
func (s *Server) Uploads() [][]byte {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all [][]byte
	for _, f := range s.files {
		if f.uploaded {
			all = append(all, f.Content)
		}
	}
	return all
}

// Frames is everything that was sent over the connections so far, oldest first.
func (s *Server) Frames() [][]byte {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.frames)
}

// Tickets is every ticket that was given out so far, for a connection or for an
// upload: whoever has one can take the app's place there, once.
func (s *Server) Tickets() []string {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// ticket is a new one.
func (s *Server) ticket() string {
	t := newUUID()
	s.issued = append(s.issued, t)
	return t
}

// Calls is how often a method was asked for so far.
func (s *Server) Calls(method string) int {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.requests), func(r *Request) bool { return r.Method != method }))
}

// record notes a request. It takes mu.
func (s *Server) record(asked *http.Request, method string, values url.Values) *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	values = maps.Clone(values)
	delete(values, "token")
	r := &Request{Method: method, URL: asked.URL.RequestURI(), Header: asked.Header.Clone(), Values: values, Time: time.Now()}
	r.Header.Del("Authorization")
	s.requests = append(s.requests, r)
	s.touch()
	return r
}

// hear notes what was sent over a connection. It takes mu.
func (s *Server) hear(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames = append(s.frames, text)
}

// served notes that a request was. It takes mu.
func (s *Server) served(r *Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Served = true
}

// answered notes what became of a request. It takes mu.
func (s *Server) answered(r *Request, status int, err string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Status, r.Error = status, err
	s.touch()
}
