package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/transport"
)

const searchCmdlet = "Search-UnifiedAuditLog"

// How many rows one session returns at most if it is to be sorted, which is
// also the largest ResultSize of a call, and if it is not. There is no sign that
// tells 5,000 rows from the first 5,000 of more.
// https://learn.microsoft.com/powershell/module/exchange/search-unifiedauditlog
const (
	sessionLimit  = 5000
	largeSetLimit = 50_000
)

// emptyPages is how many pages without a row may follow each other, each with
// a link to the next, before they count as a failure.
const emptyPages = 10

// parameters are those of Search-UnifiedAuditLog. Two calls with the same ones
// are one after the other in a session: the second gets the rows after those
// of the first.
type parameters struct {
	StartDate      string
	EndDate        string
	Operations     []string `json:",omitempty"`
	RecordType     string   `json:",omitempty"`
	UserIds        []string `json:",omitempty"`
	IPAddresses    []string `json:",omitempty"`
	ObjectIds      []string `json:",omitempty"`
	SiteIds        []string `json:",omitempty"`
	FreeText       string   `json:",omitempty"`
	ResultSize     int
	SessionId      string
	SessionCommand string
}

// Search yields the records that match q, in the order of the service's own
// sorting. It ends when a session returns no more rows, which is the
// documented end, and asks for the next rows only when the loop gets there.
//
// If all records are wanted (q.Newest is 0), 5,000 of them end it with
// [auditlog.ErrFull], whether there are more or not. A range of one second,
// which cannot be divided, is read again without the service's sorting: it then
// returns 50,000.
//
// Every failure but throttling begins a new session, whose rows come from the
// start again: it cannot be told whether the failed call moved the session on,
// and rows that were never seen would be missing without a trace.
func (s *Source) Search(ctx context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		wanted := q.Newest + 1
		if q.Newest == 0 {
			wanted = sessionLimit
		}
		search := &search{Source: s, query: q, verdict: v, size: s.Tenant.rows(wanted), limit: sessionLimit, try: 1}
		search.begin()
		err := search.run(ctx, func(rows []row) bool {
			for _, row := range rows {
				if !yield(row.record, nil) {
					return false
				}
			}
			return true
		})
		if errors.Is(err, auditlog.ErrFull) {
			yield(auditlog.Record{}, err)
		} else if err != nil {
			yield(auditlog.Record{}, fmt.Errorf("searching with %s: %w", searchCmdlet, err))
		}
	}
}

// A search is what Search knows while it runs.
type search struct {
	*Source
	query   auditlog.Query
	verdict *auditlog.Verdict
	size    int // ResultSize of a call
	limit   int // rows of a session at most
	session *session
	try     int   // of what is being fetched, counted from 1
	circles int   // sessions of it that ended with rows that had come before
	most    int   // distinct rows of the session that came furthest
	ends    []int // distinct rows of each session that ended doubtfully
	salvage []row // of the fullest answer with which the service gave up
}

// A session is a series of calls that continue each other.
type session struct {
	request  request
	rows     int // so far, with those that came again
	distinct int // so far, each once
	before   int // of these, from the call before that one
	inCall   int // of these, from the call whose links are being followed
	first    int // of these, on that call's first page
	links    int // followed in that call
	link     string
	empty    int  // pages without a row, one after the other
	more     bool // the last row said that more follow
	seen     map[[32]byte]bool
}

// A page is what one request of a session brings.
type page struct {
	rows     []row
	warnings []string
	repeated bool // all of its rows were there before
	linked   bool // another page of this call follows
}

// recordType is the one type that is asked for, or "".
func (s *search) recordType() string {
	if len(s.query.RecordTypes) == 0 {
		return ""
	}
	return s.query.RecordTypes[0]
}

// begin begins a new session.
func (s *search) begin() {
	const layout = "2006-01-02T15:04:05Z"
	q := s.query
	s.session = &session{
		seen: map[[32]byte]bool{},
		request: command(s.Tenant, searchCmdlet, parameters{
			StartDate: q.Start.UTC().Format(layout),
			EndDate:   q.End.UTC().Add(time.Second - 1).Format(layout), // a fraction is not cut off
			// Lists and texts go as they are: PowerShell's quoting is not for JSON.
			Operations:     q.Operations,
			RecordType:     s.recordType(),
			UserIds:        q.UserIDs,
			IPAddresses:    q.IPAddresses,
			ObjectIds:      q.ObjectIDs,
			SiteIds:        q.SiteIDs,
			FreeText:       q.FreeText,
			ResultSize:     s.size,
			SessionId:      transport.NewGUID(),
			SessionCommand: s.sessionCommand(),
		}, s.size),
	}
}

// sessionCommand says whether the service sorts.
func (s *search) sessionCommand() string {
	if s.limit == largeSetLimit {
		return "ReturnLargeSet"
	}
	return "ReturnNextPreviewPage"
}

// full deals with a session that has reached its limit where all records are
// wanted: it asks for a narrower range, or begins a larger session.
func (s *search) full() error {
	if s.query.Newest > 0 || s.session.rows < s.limit {
		return nil
	}
	if s.query.End.Sub(s.query.Start) > time.Second {
		return auditlog.ErrFull
	}
	if s.limit == largeSetLimit {
		return nil // the end of it is judged
	}
	s.limit, s.most, s.try, s.circles = largeSetLimit, 0, 1, 0
	s.begin()
	return nil
}

// run yields rows until there are no more, or yield has enough.
func (s *search) run(ctx context.Context, yield func([]row) bool) error {
	for {
		p, err := s.next(ctx)
		if err != nil {
			if err = s.retry(ctx, err); err != nil {
				return s.giveUp(err, yield)
			}
			continue
		}
		for _, w := range p.warnings {
			s.verdict.Warn(w)
			s.verdict.Doubt("the service warned" + transport.Said(w))
		}
		if p.repeated {
			if s.circles++; s.circles == transport.Tries {
				s.verdict.Doubt("the service began to repeat itself instead of saying that there is no more")
				return nil
			}
			s.verdict.Retries++
			s.begin() // what was due in the place of these rows is not known
			continue
		}
		if s.session.distinct > s.most {
			s.most, s.try, s.circles = s.session.distinct, 1, 0
		}
		if len(p.rows) == 0 && !p.linked {
			if !s.doubtful() {
				s.end(ctx, yield)
				return nil
			}
			if err := s.askAgain(ctx); err != nil {
				return s.giveUp(err, yield)
			}
			continue
		}
		if !yield(p.rows) {
			return nil
		}
		if err := s.full(); err != nil {
			return err
		}
	}
}

// An answer without rows ends a session, and looks like one of a service that
// cannot find anything just now. It is believed when it follows a call that
// brought fewer rows than it may have; otherwise when three sessions in a row
// have ended alike. Past maxEnds sessions there is no more to be learnt.
const (
	alikeEnds = 3
	maxEnds   = 8
)

// doubtful tells whether the end of the session need be confirmed by another.
func (s *search) doubtful() bool {
	n := s.session
	if n.distinct > 0 && n.before < s.size || n.rows >= s.limit { // past its limit, a session has nothing more to say
		return false
	}
	if n.distinct == 0 && s.most > 0 {
		return false // that it found less than before is said by end
	}
	s.ends = append(s.ends, n.distinct)
	if len(s.ends) == maxEnds {
		s.verdict.Doubt("the service ended the same search after different numbers of records")
		return false
	}
	last := s.ends[max(0, len(s.ends)-alikeEnds):]
	return len(last) < alikeEnds || slices.ContainsFunc(last, func(rows int) bool { return rows != n.distinct })
}

// askAgain begins a session to confirm the end of the one before: at once, and
// then after a pause, when whatever was wrong may have passed.
func (s *search) askAgain(ctx context.Context) error {
	if len(s.ends) > 1 {
		select {
		case <-time.After(cmp.Or(s.Tenant.Backoff, transport.DefaultBackoff) / 4):
		case <-ctx.Done():
			return fmt.Errorf("asking once more: %w", context.Cause(ctx))
		}
	}
	s.try, s.circles = 1, 0
	s.begin()
	return nil
}

// next fetches the session's next page.
func (s *search) next(ctx context.Context) (page, error) {
	n := s.session
	r := n.request
	if n.link != "" {
		link, ok := s.Tenant.owns(n.link)
		if !ok {
			s.verdict.Warn("the service's link to a further page led elsewhere and was not followed")
			return page{}, &linkRefused{n.first, n.links, errors.New("it leads to another host")}
		}
		r.link = link
	}
	a, err := s.send(ctx, r, s.verdict)
	if e, ok := errors.AsType[*StatusError](err); ok && n.link != "" && strings.Contains(strings.ToLower(e.Text), "pagination request") {
		return page{}, &linkRefused{n.first, n.links, err}
	}
	if err != nil {
		return page{}, err
	}
	p, err := s.read(a)
	if err != nil {
		return page{}, err
	}
	n.turn(&p, a.Next, s.size)
	if n.empty > emptyPages {
		return page{}, &givenUp{"only empty pages came", a.call}
	}
	return p, nil
}

// read reads the page in an answer, or the failure that it is. The rows of a
// failure are kept for [search.giveUp].
func (s *search) read(a *answer) (page, error) {
	p := page{rows: a.rows, warnings: a.warnings}
	gaveUp := ""
	if slices.ContainsFunc(a.rows, func(r row) bool { return r.unsure }) {
		gaveUp = "ResultIndex -1: the service ran out of time"
	}
	for _, w := range a.warnings {
		if saysGivenUp(w) {
			gaveUp = w
		}
	}
	if len(a.errors) > 0 {
		gaveUp = a.errors[0]
	}
	if gaveUp == "" {
		return p, nil
	}
	for _, w := range append(a.warnings, a.errors...) {
		s.verdict.Warn(w)
	}
	if len(p.rows) > len(s.salvage) {
		s.salvage = p.rows
	}
	return page{}, &givenUp{gaveUp, a.call}
}

// saysGivenUp tells whether a warning means that the answer it came with is
// none, even though its status is 200 and it may have rows.
// https://github.com/invictus-ir/Microsoft-Extractor-Suite/issues/199
func saysGivenUp(warning string) bool {
	w := strings.ToLower(warning)
	return strings.Contains(w, "sync search mode") || strings.Contains(w, "failed to process request")
}

// turn counts the page in and notes where the next one is.
func (n *session) turn(p *page, next string, size int) {
	p.repeated = len(p.rows) > 0
	for _, r := range p.rows {
		sum := r.record.Sum()
		if !n.seen[sum] {
			n.distinct++
			p.repeated = false
		}
		n.seen[sum] = true
		n.more = r.more
	}
	if n.link == "" {
		n.before, n.inCall, n.first, n.links = n.inCall, 0, len(p.rows), 0
	} else {
		n.links++
	}
	n.rows += len(p.rows)
	n.inCall += len(p.rows)
	n.link = ""
	if n.inCall < size { // else the call is served, and a link could only lead past it
		n.link = next
	}
	p.linked = n.link != ""
	n.empty++
	if len(p.rows) > 0 {
		n.empty = 0
	}
}

// retry prepares another try after err, or returns why there is none.
func (s *search) retry(ctx context.Context, err error) error {
	if refused, ok := errors.AsType[*linkRefused](err); ok && refused.first > 0 && (refused.links == 0 || s.try > 1) {
		if refused.links == 0 { // else links do work here, and this one is too old
			s.Tenant.linksRefused(refused.first)
		}
		s.size = refused.first // less than before: a page that fills the call has no link
		s.begin()
		return nil
	}
	if errors.Is(err, errTooLong) && s.size > 1 {
		s.size = max(s.size/4, 1)
		s.begin()
		return nil
	}
	if err := s.Tenant.pause(ctx, s.try, err); err != nil {
		return err
	}
	s.try++
	s.verdict.Retries++
	if e, ok := errors.AsType[*StatusError](err); !ok || !e.unserved() {
		s.begin()
	}
	return nil
}

// giveUp ends a search after its last try. What the service sent in spite of
// giving up is evidence, though surely not all of it.
func (s *search) giveUp(err error, yield func([]row) bool) error {
	err = s.Tenant.refusal(err)
	if e, ok := errors.AsType[*StatusError](err); ok && (e.Status == http.StatusUnauthorized || e.roleMissing()) {
		err = fmt.Errorf("%w: %w", auditlog.ErrNoAccess, err)
	}
	if len(s.salvage) == 0 {
		return err
	}
	s.verdict.Lose("the service gave up on the search and sent only a part")
	s.verdict.Err = err
	if yield(s.salvage) {
		return err
	}
	return nil
}

// end judges how the search ended: nothing further came, and the question is
// what that means.
func (s *search) end(ctx context.Context, yield func([]row) bool) {
	v, n := s.verdict, s.session
	switch {
	case n.rows < len(s.salvage):
		v.Doubt("the service first gave up on the search, and then found less than before")
		yield(s.salvage)
	case n.distinct < s.most:
		v.Doubt("after a failure the search was begun anew, and found less than before")
	case n.more:
		v.Doubt("the service said that there is more, and then sent nothing")
	case n.rows >= s.limit && s.query.Newest == 0:
		v.Lose(fmt.Sprintf("%d records of one second are as many as the service returns; there are likely more", s.limit))
	case n.rows >= s.limit:
		v.Doubt(fmt.Sprintf("%d records are as many as the service returns for one search: there may be more; narrow the range", s.limit))
	case n.rows == 0:
		s.judgeSilence(ctx)
	}
}

// judgeSilence looks for another reason than "there are none" for finding no
// record.
func (s *search) judgeSilence(ctx context.Context) {
	on, err := s.auditingOn(ctx, s.verdict)
	switch {
	case err != nil:
		s.verdict.Doubt("whether auditing is switched on in this tenant could not be seen, and without it nothing is recorded")
		s.verdict.Err = err
	case !on:
		s.verdict.Lose("auditing is switched off in this tenant, so nothing is recorded")
	}
}

// A givenUp is an answer with status 200 in which the service says that the
// search failed.
type givenUp struct {
	reason string // the service's words, cleaned
	call   string // client-request-id
}

func (e *givenUp) Error() string {
	return fmt.Sprintf("the service gave up on the search (client-request-id %s): %s", e.call, e.reason)
}

// A linkRefused is a link to a call's next page that leads nowhere.
type linkRefused struct {
	first int // rows on the call's first page
	links int // that worked before this one
	err   error
}

func (e *linkRefused) Error() string {
	return fmt.Sprintf("the link to a further page is refused: %v", e.err)
}
func (e *linkRefused) Unwrap() error { return e.err }
