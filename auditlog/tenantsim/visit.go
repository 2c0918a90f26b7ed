package tenantsim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Request is something that the tenant was asked.
type Request struct {
	// Name is the cmdlet, such as "Search-UnifiedAuditLog"; otherwise
	// "EXOModuleFile", "devicecode", "token", "openid-configuration" or
	// "keys"; "" if it did not come that far.
	Name string

	Grant      string         // for "token": the grant_type
	Parameters map[string]any // of the cmdlet, as encoding/json reads them; numbers are a json.Number
	Account    string         // whose token it carries, if a valid one: a UPN, or an app's client id

	Method string
	URL    string // path and query
	Header http.Header
	Body   []byte

	Time   time.Time
	Status int // of the answer; 0 while there is none
}

// maxRequests is how many requests are remembered.
const maxRequests = 1000

// maxBody is how many bytes a request's body may have.
const maxBody = 1 << 20

// Requests is what the tenant was asked so far, oldest first; of more than
// 1,000 requests, the newest. Those to the sign-in page are not among them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.requests))
	for i, r := range s.requests {
		all[i] = *r
		all[i].Header = r.Header.Clone()
		all[i].Body = bytes.Clone(r.Body)
		all[i].Parameters = maps.Clone(r.Parameters)
	}
	return all
}

// Asked counts the requests with this Name so far, however many are remembered
// and however they were answered.
func (s *Server) Asked(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.askedFor[name]
}

// Refreshes counts the access tokens that were given for a refresh token.
func (s *Server) Refreshes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refreshed
}

// A visit is a request while it is answered.
type visit struct {
	*http.Request
	base  string // the server's address as the client sees it
	body  []byte
	fault Fault
	entry *Request
}

// A response is an answer before it is sent.
type response struct {
	status int
	header http.Header
	body   []byte

	delay time.Duration // before anything is sent
	cut   bool          // the connection breaks in the middle of the body
	pad   int           // blanks that are sent after the body
	plain bool          // the body goes as it is, whatever the client accepts
	lent  *[]byte       // the body, if it is one of [bodies]
}

func (r *response) set(name, value string) {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
}

// serve records the request and sends what answer says.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, answer func(*visit) response) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is too long, or broke off", http.StatusRequestEntityTooLarge)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	v := &visit{Request: r, base: s.base(r), body: body, entry: &Request{
		Method: r.Method, URL: r.URL.RequestURI(), Header: r.Header.Clone(), Body: body, Time: time.Now(),
	}}
	s.mu.Lock()
	s.requests = append(s.requests, v.entry)
	if n := len(s.requests) - maxRequests; n > 0 {
		s.requests = slices.Delete(s.requests, 0, n)
	}
	s.mu.Unlock()

	reply := answer(v)
	if v.fault.wire != nil {
		v.fault.wire(&reply)
	}
	s.send(w, v, reply)
}

// name says what the request is, and takes the fault that is due for it. If
// the fault keeps it from being served, the answer is in the response.
func (s *Server) name(v *visit, name string, note func(*Request)) (response, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.entry.Name = name
	s.askedFor[name]++
	if note != nil {
		note(v.entry)
	}
	if i := slices.IndexFunc(s.faults, func(f Fault) bool { return strings.EqualFold(f.on, name) }); i >= 0 {
		v.fault = s.faults[i]
		s.faults = slices.Delete(s.faults, i, i+1)
	} else {
		v.fault = s.draw(name)
	}
	if v.fault.instead == nil {
		return response{}, false
	}
	return v.fault.instead(v), true
}

func (s *Server) send(w http.ResponseWriter, v *visit, reply response) {
	if reply.delay > 0 && !s.sleep(v.Context(), reply.delay) {
		panic(http.ErrAbortHandler)
	}
	if !s.Plain && !reply.plain && len(reply.body) > 1024 && strings.Contains(v.Header.Get("Accept-Encoding"), "gzip") {
		reply.zip()
	}
	s.mu.Lock()
	v.entry.Status = reply.status
	s.mu.Unlock()
	maps.Copy(w.Header(), reply.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(reply.body)+reply.pad))
	w.WriteHeader(reply.status)
	if reply.cut {
		_, _ = w.Write(reply.body[:len(reply.body)/2])
		reset(w)
	}
	_, _ = w.Write(reply.body) // whoever has gone needs no answer
	reply.giveBack()
	blanks := bytes.Repeat([]byte(" "), min(reply.pad, 1<<16))
	for left := reply.pad; left > 0; left -= len(blanks) {
		if _, err := w.Write(blanks[:min(left, len(blanks))]); err != nil {
			return
		}
	}
}

// giveBack lets another answer have the bytes of the body.
func (r *response) giveBack() {
	if r.lent != nil {
		bodies.Put(r.lent)
		r.lent, r.body = nil, nil
	}
}

// zip packs the body, with the blanks after it. What is packed may have
// several members (RFC 1952, section 2.2): many blanks are one of them,
// repeated.
func (r *response) zip() {
	const many = 1 << 20
	lent := bodies.Get().(*[]byte)
	packed := appendMember((*lent)[:0], r.body)
	if n := r.pad / many; n > 0 {
		packed = append(packed, bytes.Repeat(appendMember(nil, bytes.Repeat([]byte(" "), many)), n)...)
	}
	if n := r.pad % many; n > 0 {
		packed = appendMember(packed, bytes.Repeat([]byte(" "), n))
	}
	r.giveBack()
	*lent = packed
	r.lent, r.body, r.pad = lent, packed, 0
	r.set("Content-Encoding", "gzip")
}

// packers are to be used again: each is most of a megabyte.
var packers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a known level cannot fail
	return z
}}

// appendMember appends body, packed.
func appendMember(to, body []byte) []byte {
	packed := bytes.NewBuffer(to)
	z := packers.Get().(*gzip.Writer)
	defer packers.Put(z)
	z.Reset(packed)
	_, _ = z.Write(body) // to a buffer, which cannot fail
	_ = z.Close()
	return packed.Bytes()
}

// reset breaks the connection: with a TCP reset where there is one.
func reset(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	_ = control.Flush()
	if conn, _, err := control.Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// jsonResponse is a response with v as JSON.
func jsonResponse(status int, contentType string, v any) response {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // maps and strings of ours
	r := response{status: status, body: bytes.TrimSpace(body.Bytes())}
	r.set("Content-Type", contentType)
	return r
}
