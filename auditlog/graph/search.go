package graph

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"auditbot/auditlog"
)

// pageSize is how many records are asked for at once. The largest number that
// the service takes is not documented; 999 and 5,000 have been seen to work.
const pageSize = 1000

// emptyPages is how many pages without a record may follow each other, each
// with a link to the next, before that counts as a failure.
const emptyPages = 10

// Search yields the records that match q, in no order: it creates a query, or
// finds the one that was created for the same q before a crash, waits until
// Microsoft has finished with it, which takes minutes, and asks for each page
// when the loop gets there. If fewer records come than the query says that it
// found, they are read once more.
func (s *Source) Search(ctx context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		f := filtersOf(q)
		search := &search{Source: s, query: q, verdict: v, filters: f, key: f.key(s.Tenant.ID), top: pageSize}
		if q.Verify { // a second pass is a query of its own
			search.key += "-again"
		}
		err := search.run(ctx, func(r auditlog.Record) bool { return yield(r, nil) })
		if err != nil {
			yield(auditlog.Record{}, fmt.Errorf("searching with Microsoft Graph: %w", err))
		}
	}
}

// A search is what Search knows while it runs.
type search struct {
	*Source
	query   auditlog.Query
	verdict *auditlog.Verdict
	filters filters
	key     string
	top     int      // records in a page
	seen    []uint64 // a part of the hash of each record that was yielded; a million take 8 MB
}

// run yields records until there are no more, or yield has enough.
func (s *search) run(ctx context.Context, yield func(auditlog.Record) bool) error {
	if len(s.query.SiteIDs) > 0 {
		return noSites()
	}
	q, err := s.finished(ctx)
	if saysAuditingOff(err) {
		s.verdict.Lose("auditing is switched off in this tenant, so nothing is recorded")
		s.verdict.Err = err
		return nil
	}
	if err != nil {
		return s.Tenant.refusal(err)
	}
	if q.full() && s.divisible() {
		return auditlog.ErrFull
	}
	enough, err := s.readAll(ctx, q, yield)
	if err != nil {
		return s.Tenant.refusal(err)
	}
	if enough {
		return nil
	}
	if q.full() || s.records() >= q.limit() {
		if s.divisible() {
			return auditlog.ErrFull
		}
		s.verdict.Lose(fmt.Sprintf("Microsoft Graph gives out %d records of one query at most, and it found more", q.limit()))
	}
	return nil
}

// divisible tells whether the range can be divided, and all of it is wanted.
func (s *search) divisible() bool {
	return s.query.Newest == 0 && s.query.End.Sub(s.query.Start) > time.Second
}

// readAll reads the records of a query until they are as many as it says, but
// not more than twice. Enough means that yield wants no more.
func (s *search) readAll(ctx context.Context, q query, yield func(auditlog.Record) bool) (enough bool, err error) {
	for reading := 1; ; reading++ {
		enough, err := s.read(ctx, q.ID, yield)
		if errors.Is(err, errTooLong) && s.top > 1 {
			s.top = max(s.top/4, 1)
			s.verdict.Retries++
			reading--
			continue
		}
		if reading == 1 && linkExpired(err) {
			s.verdict.Retries++
			continue
		}
		if enough || err != nil {
			return enough, err
		}
		n := s.records()
		switch {
		case q.Count == nil:
			s.verdict.Note("Microsoft Graph did not say how many records it found, so those that came could not be counted against it")
			return false, nil
		case n >= *q.Count:
			return false, nil
		case reading > 1:
			s.verdict.Doubt(fmt.Sprintf("Microsoft Graph says that it found %d records, and gave out %d, though it was asked for them twice", *q.Count, n))
			return false, nil
		}
		s.verdict.Retries++
	}
}

// read yields the records of a query from its first page to its last.
func (s *search) read(ctx context.Context, id string, yield func(auditlog.Record) bool) (enough bool, err error) {
	r := request{method: http.MethodGet, path: queriesPath + "/" + url.PathEscape(id) + "/records?$top=" + strconv.Itoa(s.top)}
	for empty := 0; ; {
		var p page
		r.read = p.read
		if err := s.ask(ctx, r, s.verdict); err != nil {
			return false, fmt.Errorf("reading the records of audit log query %s: %w", id, err)
		}
		for _, record := range p.records {
			s.note(record)
			if !yield(record) {
				return true, nil
			}
		}
		empty++
		if len(p.records) > 0 {
			empty = 0
		}
		if p.next == "" {
			return false, nil
		}
		if r.link, err = s.follow(r.link, p.next, empty); err != nil {
			return false, err
		}
	}
}

// follow is where the link to a next page leads, after so many empty pages.
func (s *search) follow(from, link string, empty int) (string, error) {
	to, ok := s.Tenant.owns(link)
	switch {
	case !ok:
		s.verdict.Warn("the service's link to a further page led elsewhere and was not followed")
		return "", &linkRefused{"it leads to another host"}
	case to == from:
		return "", &linkRefused{"it leads to where it is"}
	case empty > emptyPages:
		return "", &linkRefused{"only empty pages came"}
	}
	return to, nil
}

// note counts a record in.
func (s *search) note(r auditlog.Record) {
	sum := r.Sum()
	s.seen = append(s.seen, binary.NativeEndian.Uint64(sum[:]))
}

// records is how many different records came so far.
func (s *search) records() int {
	slices.Sort(s.seen)
	s.seen = slices.Compact(s.seen)
	return len(s.seen)
}

// linkExpired tells whether the service no longer takes a link of its own.
func linkExpired(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.link && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound || e.Status == http.StatusGone)
}

// A linkRefused is a link to a next page that leads nowhere.
type linkRefused struct{ why string }

func (e *linkRefused) Error() string { return "the link to a further page is refused: " + e.why }
