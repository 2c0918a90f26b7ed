package tenantsim

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of Search-UnifiedAuditLog. The last one is not documented: without a
// session, about so many rows are seen at most.
// https://learn.microsoft.com/powershell/module/exchange/search-unifiedauditlog
const (
	maxResultSize     = 5000
	defaultResultSize = 100
	largeSetLimit     = 50_000
	previewLimit      = 5_000
	mixedLimit        = 10_000 // a session that was given both commands
	unsessionedLimit  = 120
)

// sessionLifetime is for how long a session that nobody asks is kept, unless
// there are maxSessions that were asked later.
const (
	sessionLifetime = 30 * time.Minute
	maxSessions     = 256
)

// The values of SessionCommand.
const (
	initialize = iota
	returnLargeSet
	returnNextPreviewPage
)

var sessionCommands = []string{"Initialize", "ReturnLargeSet", "ReturnNextPreviewPage"}

var searchParameters = []string{
	"StartDate", "EndDate", "ResultSize", "SessionId", "SessionCommand", "Operations", "RecordType", "UserIds", "IPAddresses",
	"ObjectIds", "SiteIds", "FreeText", "Formatted", "HighCompleteness", "LongerRetentionEnabled", "LegacyFlow",
}

// A query is what Search-UnifiedAuditLog is asked.
type query struct {
	filter    filter
	size      int
	session   string
	command   int // one of the SessionCommands; -1 means none
	formatted bool
}

// readQuery reads the cmdlet's parameters.
func readQuery(parameters map[string]any) (query, *badParameter) {
	a := newArguments(parameters, searchParameters)
	q := query{
		filter: filter{
			start:      a.date("StartDate").UnixMicro(),
			end:        a.date("EndDate").UnixMicro(),
			operations: a.list("Operations"),
			users:      a.list("UserIds"),
			objects:    a.list("ObjectIds"),
			sites:      a.list("SiteIds"),
			text:       a.text("FreeText"),
		},
		size:      a.number("ResultSize", defaultResultSize, 1, maxResultSize),
		session:   a.text("SessionId"),
		formatted: a.flag("Formatted"),
	}
	for _, ip := range a.list("IPAddresses") {
		q.filter.addresses = append(q.filter.addresses, address(ip))
	}
	q.command, _ = a.enum("SessionCommand", "Microsoft.Exchange.Management.SystemConfigurationTasks.UnifiedAuditSessionCommand", []int{0, 1, 2}, sessionCommands)
	q.filter.kind, q.filter.impossible = a.recordType()
	a.flag("HighCompleteness")
	a.flag("LegacyFlow")
	a.text("LongerRetentionEnabled")
	return q, a.bad
}

// recordType is the number of the one record type that is wanted, 0 for any.
// A beginning of a name is taken, and finds nothing.
func (a *arguments) recordType() (number int, impossible bool) {
	var numbers []int
	var names []string
	for _, t := range recordTypes() {
		numbers = append(numbers, t.number)
		names = append(names, t.name)
	}
	at, whole := a.enum("RecordType", "Microsoft.Office.Compliance.Audit.Common.AuditRecordType", numbers, names)
	if at < 0 {
		return 0, false
	}
	return numbers[at], !whole
}

// A session remembers what a search found and how much of it was handed out.
type session struct {
	id   string // RunspaceId of its rows
	log  *Records
	used time.Time

	mu       sync.Mutex // for all below
	begun    bool
	over     bool // it has answered without rows
	found    []int32
	served   int
	commands map[int]bool
	before   []row // the last rows of the answer before
}

func (n *session) limit() int {
	switch {
	case n.commands[returnLargeSet] && n.commands[returnNextPreviewPage]:
		return mixedLimit
	case n.commands[returnLargeSet]:
		return largeSetLimit
	}
	return previewLimit
}

// search is Search-UnifiedAuditLog.
func (s *Server) search(v *visit, c caller, parameters map[string]any) response {
	if token := v.URL.Query().Get("$skiptoken"); token != "" {
		return s.laterPage(v, c, token)
	}
	q, bad := readQuery(parameters)
	if bad != nil {
		return bad.response()
	}
	p := s.session(c, q).next(q)
	p.moreFlag = s.MoreFlag
	return s.answer(v, c, p)
}

// session finds the session of a search, or makes it. Without a SessionId or a
// SessionCommand, nobody finds it again.
func (s *Server) session(c caller, q query) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.name + "\n" + q.session
	n := s.sessions[key]
	if n == nil || q.session == "" || q.command < 0 || time.Since(n.used) > sessionLifetime {
		n = &session{id: newGUID(), log: s.Tenant.Records, commands: map[int]bool{}}
		if !s.auditing {
			n.log = new(Records)
		}
		if q.session != "" && q.command >= 0 {
			forget(s.sessions, maxSessions, func(n *session) time.Time { return n.used.Add(sessionLifetime) })
			s.sessions[key] = n
		}
	}
	n.used = time.Now()
	return n
}

// next is the session's next answer. When it has no rows, the session is over.
func (n *session) next(q query) page {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.begun {
		n.begin(q)
	}
	n.commands[q.command] = true
	p := page{log: n.log, runspace: n.id, formatted: q.formatted, before: n.before}
	if n.over {
		return p
	}
	from := n.served
	n.served = max(from, min(from+q.size, n.limit(), len(n.found)))
	p.given, p.rows = n.found[:from], numbered(n.found[from:n.served], from)
	p.count, p.more = len(p.rows), n.served < min(len(n.found), n.limit())
	n.before = slices.Clone(p.rows[max(0, len(p.rows)-10):])
	if len(p.rows) == 0 {
		n.over, n.found = true, nil // which may be many
	}
	return p
}

// begin searches. It looks for no more rows than can be handed out at most:
// the newest.
func (n *session) begin(q query) {
	n.begun = true
	most := largeSetLimit
	switch q.command {
	case -1:
		most = unsessionedLimit
	case returnNextPreviewPage:
		most = mixedLimit // other commands may follow
	}
	n.found = n.log.newest(q.filter, most)
	if q.command == returnLargeSet {
		mix(n.found, q.session)
	}
}

// numbered is rows with these positions, counted from behind from.
func numbered(positions []int32, from int) []row {
	rows := make([]row, len(positions))
	for i, at := range positions {
		rows[i] = row{position: at, index: from + i + 1}
	}
	return rows
}

// rows is the same, with their records read.
func (s *Server) rows(positions []int32, from int) []row {
	rows := numbered(positions, from)
	for i, at := range positions {
		rows[i].record = s.Tenant.Records.record(at)
	}
	return rows
}

// forget deletes what was to be kept until before now and, while there are as
// many as most, what goes first.
func forget[V any](m map[string]V, most int, until func(V) time.Time) {
	for key, v := range m {
		if time.Now().After(until(v)) {
			delete(m, key)
		}
	}
	for len(m) >= most {
		first := slices.MinFunc(slices.Collect(maps.Keys(m)), func(a, b string) int { return until(m[a]).Compare(until(m[b])) })
		delete(m, first)
	}
}

// mix brings rows into an order that depends on the name of the session.
func mix(rows []int32, name string) {
	seed := uint64(len(rows))
	for _, c := range name {
		seed = seed*31 + uint64(c)
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
}

// laterPages is the part of an answer that did not fit on its pages so far.
type laterPages struct {
	page    page
	caller  string
	body    []byte
	expires time.Time
}

// pageLifetime is for how long a link to a further page is valid, unless there
// are maxPages newer ones.
const (
	pageLifetime = 30 * time.Minute
	maxPages     = 1000
)

var pageSizeWanted = regexp.MustCompile(`(?i)odata\.maxpagesize\s*=\s*"?(\d+)`)

// pageSize is how many rows the client wants at once.
func (s *Server) pageSize(v *visit) int {
	m := pageSizeWanted.FindStringSubmatch(strings.Join(v.Header.Values("Prefer"), ","))
	if m == nil {
		return cmp.Or(s.PageSize, 1000)
	}
	n, _ := strconv.Atoi(m[1]) // one that is too large is 0 as well as 0 itself
	return cmp.Or(n, s.PageSize, 1000)
}

// answer sends the first page of p, with a link to the next if all of it does
// not fit.
func (s *Server) answer(v *visit, c caller, p page) response {
	if v.fault.page != nil {
		v.fault.page(&p)
	}
	if size := s.pageSize(v); len(p.rows) > size {
		rest := p
		rest.before = p.rows[max(0, size-10):size]
		rest.rows, p.rows = p.rows[size:], p.rows[:size]
		rest.next, rest.warnings, rest.given = "", nil, nil // which may be many
		link := s.keep(laterPages{rest, c.name, v.body, time.Now().Add(pageLifetime)})
		p.next = cmp.Or(p.next, fmt.Sprintf("%s%s?$skiptoken=%s", v.base, v.URL.Path, url.QueryEscape(link)))
	}
	return p.response()
}

// keep remembers pages under a token, which begins with the name of a server,
// as the real ones do.
func (s *Server) keep(rest laterPages) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	forget(s.pages, maxPages, func(p *laterPages) time.Time { return p.expires })
	s.nextPageID++
	token := fmt.Sprintf("SIM0MB0001.simulated.prod.outlook.com,%s,%d", newGUID(), s.nextPageID)
	s.pages[token] = &rest
	return token
}

// laterPage answers a link to a further page, which must be asked like the
// first.
func (s *Server) laterPage(v *visit, c caller, token string) response {
	s.mu.Lock()
	rest := s.pages[token]
	s.mu.Unlock()
	if s.LinksRefused || rest == nil || rest.caller != c.name || !sameBody(rest.body, v.body) || time.Now().After(rest.expires) {
		return cmdletError(http.StatusBadRequest, "BadRequest", serviceError, "Expired or Invalid pagination request. Default Expiry time is 00:30:00")
	}
	return s.answer(v, c, rest.page)
}
