package tenantsim

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Fault is something that goes wrong with one answer. [Server.Fail] makes it
// happen. It hits the next Search-UnifiedAuditLog, pages of one included,
// unless [Fault.On] says otherwise. Faults of rows do nothing to other
// requests.
//
// [Throttled], [Unavailable], [Unauthorized], [Forbidden], [GaveUp], [Silent]
// and [Echo] keep the request from being served; a session does not move on.
// With all others it does, and what was in the broken answer does not come
// again. Faults that come now and then, without being asked for, are
// [Server.Odds].
type Fault struct {
	on      string
	instead func(*visit) response
	page    func(*page)
	wire    func(*response)
	fate    string // status of an audit log query of Graph, from now on
}

// On is the fault for requests with this name, as in [Request]: "token",
// "devicecode", "EXOModuleFile", "Get-AdminAuditLogConfig", "graph-records".
func (f Fault) On(name string) Fault {
	f.on = name
	return f
}

// Fail queues faults: each hits one request, those for requests of one name in
// the order in which they were queued. It may be called at any time.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Unspent is how many of the queued faults have not hit yet.
func (s *Server) Unspent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.faults)
}

// Odds are how often a fault hits by itself: tenantsim.Odds{0.05, GaveUp} is
// one search in twenty.
type Odds struct {
	Share float64 // of the requests that the fault is for: from 0 to 1
	Fault Fault
}

// Calm ends [Server.Odds]: from now on nothing goes wrong by itself.
func (s *Server) Calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Odds = nil
}

// draw is the fault that chance gives a request with this name, if any.
func (s *Server) draw(name string) Fault {
	drawn := -1.0
	for _, o := range s.Odds {
		if !strings.EqualFold(o.Fault.on, name) {
			continue
		}
		if drawn < 0 {
			drawn = s.chance.Float64()
		}
		if drawn < o.Share {
			return o.Fault
		}
		drawn -= o.Share
	}
	return Fault{}
}

const searchCmdlet = "Search-UnifiedAuditLog"

func instead(f func() response) Fault {
	return Fault{on: searchCmdlet, instead: func(*visit) response { return f() }}
}
func onPage(f func(*page)) Fault     { return Fault{on: searchCmdlet, page: f} }
func onWire(f func(*response)) Fault { return Fault{on: searchCmdlet, wire: f} }

// Nothing goes wrong: it lets a request pass before the next fault.
var Nothing = Fault{on: searchCmdlet}

// Throttled is a 429 that asks to be left alone for wait, in whole seconds; 0
// leaves the Retry-After out.
func Throttled(wait time.Duration) Fault {
	return instead(func() response {
		const text = "You have reached the maximum number of concurrent requests per tenant. Please wait and try again"
		r := cmdletError(http.StatusTooManyRequests, "TooManyRequests", "", text)
		if wait > 0 {
			r.set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		}
		r.set("Rate-Limit-Remaining", "0")
		r.set("Rate-Limit-Reset", time.Now().UTC().Add(wait).Format(time.RFC3339))
		return r
	})
}

// Unavailable is a 503 with a web page of some gateway as its body.
var Unavailable = instead(func() response {
	return webPage(http.StatusServiceUnavailable, "Service Unavailable")
})

// Unauthorized is a 401, as if the token had just expired or been revoked.
var Unauthorized = instead(func() response {
	return unauthorized("2000001", "the token has expired", "token_expired")
})

// Forbidden is the 403 that a missing role ends with, or a token from before
// the role was given: NUL bytes, said to be gzip.
var Forbidden = instead(forbidden)

// GaveUp is an answer without rows and with the warning of a search that the
// service broke off.
// https://github.com/invictus-ir/Microsoft-Extractor-Suite/issues/199
var GaveUp = instead(func() response {
	return page{warnings: []string{"Failed to process request via Sync Search mode, returning. InnerException: A task was canceled."}}.response()
})

// Silent is an answer without rows and without a reason.
var Silent = instead(func() response { return page{}.response() })

// Echo is a 400 whose words repeat what was sent: of each field of a form, and
// of the token in the header, the first n bytes, or all of it if n is 0.
func Echo(n int) Fault {
	return Fault{on: searchCmdlet, instead: func(v *visit) response {
		var sent []string
		for _, field := range slices.Sorted(maps.Keys(v.PostForm)) {
			sent = append(sent, field+" "+start(v.PostForm.Get(field), n))
		}
		if token, ok := strings.CutPrefix(v.Header.Get("Authorization"), "Bearer "); ok {
			sent = append(sent, "Bearer "+start(token, n))
		}
		text := "The request is not understood: " + strings.Join(sent, ", ") + "."
		switch {
		case v.PostForm != nil:
			return refuse("invalid_request", unlistedError, "%s", text).response(v)
		case strings.Contains(v.URL.Path, "/security/auditLog/"):
			return graphError(http.StatusBadRequest, "BadRequest", text)
		}
		r := cmdletError(http.StatusBadRequest, "BadRequest", "", text)
		r.set("X-Ms-Diagnostics", text)
		return r
	}}
}

// unlistedError is a number of AADSTS that means nothing to anybody.
const unlistedError = 99999999

// start is the first n bytes of s, or all of it if n is 0.
func start(s string, n int) string {
	if n == 0 {
		return s
	}
	return s[:min(n, len(s))]
}

// TimedOut gives all rows the ResultIndex -1: the service ran out of time, and
// its result is not to be used.
var TimedOut = onPage(func(p *page) { p.timedOut = true })

// Unsorted mixes up the rows of an answer.
var Unsorted = onPage(func(p *page) {
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(p.rows), func(i, j int) { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] })
})

// Repeated puts the last rows of the answer before, up to ten, in front of
// this one's.
var Repeated = onPage(func(p *page) { p.rows = slices.Concat(p.before, p.rows) })

// Again mixes n rows that the session gave in answers before, from its first
// row on, into this one's. ResultCount does not count them. It does nothing to
// what is behind a link.
func Again(n int) Fault {
	return onPage(func(p *page) {
		n := min(n, len(p.given))
		rows := make([]row, 0, len(p.rows)+n)
		for i := range n { // each comes before an equal part of the rows
			at := i * len(p.given) / n
			rows = append(rows, numbered(p.given[at:at+1], at)...)
			rows = append(rows, p.rows[i*len(p.rows)/n:(i+1)*len(p.rows)/n]...)
		}
		if n > 0 {
			p.rows = rows
		}
	})
}

// Missing leaves n rows out of the middle of an answer, without a word.
func Missing(n int) Fault {
	return onPage(func(p *page) {
		n := min(n, len(p.rows))
		from := (len(p.rows) - n) / 2
		p.rows = slices.Delete(slices.Clone(p.rows), from, from+n)
	})
}

// Garbled cuts off the AuditData of the first row in its middle.
var Garbled = onPage(func(p *page) {
	if len(p.rows) > 0 {
		p.rows = slices.Clone(p.rows)
		p.rows[0].garbled = true
		if whole := p.rows[0].record; whole != nil {
			half := *whole
			half.data = half.data[:len(half.data)/2]
			p.rows[0].record = &half
		}
	}
})

// Warned adds a warning to an answer.
func Warned(text string) Fault {
	return onPage(func(p *page) { p.warnings = append(p.warnings, text) })
}

// Linked gives an answer a link to a further page that leads to url.
func Linked(url string) Fault { return onPage(func(p *page) { p.next = url }) }

// Late holds an answer back for d.
func Late(d time.Duration) Fault { return onWire(func(r *response) { r.delay = d }) }

// Hung never answers.
var Hung = Late(1<<63 - 1)

// Reset breaks the connection in the middle of the body.
var Reset = onWire(func(r *response) { r.cut = true })

// NotJSON is a web page with status 200 where JSON is due.
var NotJSON = onWire(func(r *response) { *r = webPage(http.StatusOK, "Please wait") })

// Mislabelled says that a body is gzip which is not.
var Mislabelled = onWire(func(r *response) {
	r.plain = true
	r.set("Content-Encoding", "gzip")
})

// Oversized lets n bytes of blanks follow the body.
func Oversized(n int) Fault { return onWire(func(r *response) { r.pad = n }) }

func webPage(status int, title string) response {
	r := response{status: status, body: fmt.Appendf(nil, "<!DOCTYPE html><html><head><title>%[1]s</title></head><body><h1>%[1]s</h1></body></html>", title)}
	r.set("Content-Type", "text/html; charset=utf-8")
	return r
}

// forbidden is how the service says that a cmdlet does not exist for somebody.
func forbidden() response {
	r := response{status: http.StatusForbidden, body: bytes.Repeat([]byte{0}, 4096), plain: true}
	r.set("Content-Encoding", "gzip")
	r.set("Content-Type", "application/json")
	r.set("Request-Id", newGUID())
	return r
}
