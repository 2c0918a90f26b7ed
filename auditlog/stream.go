package auditlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// tellEvery is how many records of a window are read, or handed on, from one
// telling of how far the search is to the next.
const tellEvery = 10_000

// stream reads from a source that returns very many records of one search, in
// no order. Its windows are one after the other.
func (r *Results) stream(v *Verdict, yield func(Record) bool) error {
	line := []window{}
	if r.query.Start.Before(r.at) {
		line = append(line, window{r.query.Start, r.at})
	}
	for len(line) > 0 {
		w := line[0]
		line = line[1:]
		p := &pour{Results: r, window: w, before: r.count, total: v}
		more, err := p.run(yield)
		if errors.Is(err, ErrFull) {
			at := w.Start.Add((w.width() / 2).Truncate(time.Second))
			line = slices.Insert(line, 0, window{at, w.End}, window{w.Start, at})
			continue
		}
		if err != nil || !more {
			return err
		}
		v.Windows++
		ws := &windows{Results: r}
		if err := ws.done(&job{window: w}, v); err != nil {
			return err
		}
		if cause := context.Cause(r.ctx); cause != nil && len(line) > 0 {
			return r.leave(cause, w, v)
		}
	}
	return nil
}

// leave ends a search whose context has ended before all windows were read.
func (r *Results) leave(cause error, last window, v *Verdict) error {
	if !errors.Is(cause, ErrCancelled) {
		return cause
	}
	v.Lose(fmt.Sprintf("%s: nothing before %s UTC was read", problem(cause), last.Start.Format(time.DateTime)))
	return nil
}

// A pour reads a window to its end, and only then hands its records on, sorted.
type pour struct {
	*Results
	window
	before int      // records handed on with newer windows
	found  int      // records of this window so far
	total  *Verdict // of the search so far
	own    Verdict  // of this window
	broke  error    // what reading ended with, if it was early
}

// run is an [ErrFull] if the window is to be divided. More is false when no
// more records are wanted.
func (p *pour) run(yield func(Record) bool) (more bool, err error) {
	defer p.total.count(&p.own)
	first, second := p.sorter(), p.sorter()
	defer first.close()
	defer second.close()
	q := p.query
	q.Start, q.End, q.Newest, q.Verify = p.Start, p.End, 0, false
	broke, err := p.read(q, first, &p.own)
	if broke != nil {
		err = p.failed(broke, first.added)
	}
	if err != nil {
		return false, err
	}
	records := first.all()
	if p.query.Verify {
		if records, err = p.verify(q, first, second); err != nil {
			return false, err
		}
	}
	if more, err = p.handOn(records, yield); err != nil {
		return false, err
	}
	p.judge(first)
	return more, nil
}

// sorter is an empty one. Of a limited answer it keeps what is wanted of this
// window at most, and one more, which shows that there are more.
func (p *pour) sorter() *sorter {
	s := &sorter{dir: p.dir}
	for _, limit := range []int{p.query.Newest, p.query.MaxFetch} {
		if rest := limit - p.before + 1; limit > 0 && (s.keep == 0 || rest < s.keep) {
			s.keep = rest
		}
	}
	return s
}

// read sorts what a search brings. Broke is the error of the search, err one of
// the sorting.
func (p *pour) read(q Query, into *sorter, v *Verdict) (broke, err error) {
	for record, err := range p.source.Search(p.ctx, q, v) {
		if err != nil {
			return err, nil
		}
		if record.Unreadable {
			v.Lose("a record could not be read; its text is kept as it came")
		}
		if err := into.add(record); err != nil {
			return nil, err
		}
		p.found = max(p.found, into.added)
		if into.added%tellEvery == 0 {
			p.tell(p.at)
		}
	}
	return nil, nil
}

// failed is the error of a window that ends the search, or nil if it is a loss
// of what was due after n records.
func (p *pour) failed(err error, n int) error {
	cancelled := errors.Is(context.Cause(p.ctx), ErrCancelled)
	switch {
	case errors.Is(err, ErrFull) && p.width() <= time.Second:
		p.own.Lose("the service gives out no more records of one query")
		return nil
	case errors.Is(err, ErrFull), errors.Is(err, ErrNoAccess) && !cancelled:
		return err
	case p.ctx.Err() != nil && !cancelled:
		return err
	case n == 0 && p.before == 0 && !cancelled:
		return err
	}
	p.broke = err
	return nil
}

// verify reads everything again, and returns what either pass has found. If one
// of them has records that the other lacks, there may be more that both lack.
func (p *pour) verify(q Query, first, second *sorter) (iter.Seq2[Record, error], error) {
	if p.ctx.Err() != nil {
		p.own.Doubt("the second pass was not made")
		return first.all(), nil
	}
	var again Verdict
	defer func() { p.own.count(&again); p.own.takeOver(&again) }()
	q.Verify = true // a query of its own
	broke, err := p.read(q, second, &again)
	if err != nil {
		return nil, err
	}
	if broke != nil {
		p.own.Doubt("the second pass broke off: " + problem(broke))
	}
	return either(first.all(), second.all(), func(inFirst bool) {
		if broke == nil || !inFirst {
			p.own.Differ++
		}
	}), nil
}

// either merges sorted records: those that both have are yielded once, those
// that one has are told of. A failure is the last pair.
func either(first, second iter.Seq2[Record, error], differs func(inFirst bool)) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		nextA, stopA := iter.Pull2(first)
		defer stopA()
		nextB, stopB := iter.Pull2(second)
		defer stopB()
		a, errA, okA := nextA()
		b, errB, okB := nextB()
		for okA || okB {
			if err := cmp.Or(errA, errB); err != nil {
				yield(Record{}, err)
				return
			}
			order := newestFirst(a, b)
			switch {
			case !okB:
				order = -1
			case !okA:
				order = 1
			}
			record := a
			if order > 0 {
				record = b
			}
			if order != 0 {
				differs(order < 0)
			}
			if !yield(record, nil) {
				return
			}
			if order <= 0 {
				a, errA, okA = nextA()
			}
			if order >= 0 {
				b, errB, okB = nextB()
			}
		}
	}
}

// handOn yields the records of the window.
func (p *pour) handOn(records iter.Seq2[Record, error], yield func(Record) bool) (more bool, err error) {
	n := 0
	for record, err := range records {
		if err != nil {
			return false, err
		}
		if !record.Unreadable && !p.holds(record.Time) {
			p.own.Outside++
		}
		if !yield(record) {
			return false, nil
		}
		if n++; n%tellEvery == 0 && p.holds(record.Time) {
			p.tell(record.Time)
		}
	}
	return true, nil
}

// tell tells how far the search is within the window: its records from at on
// were handed on.
func (p *pour) tell(at time.Time) {
	p.report(p.total, p.before+p.found, p.total.Requests+p.own.Requests, at)
}

// judge adds to the verdict of the search what is to be said of the window.
func (p *pour) judge(first *sorter) {
	p.own.Duplicates = first.duplicates
	if p.broke != nil {
		p.own.Lose(fmt.Sprintf("fetching broke off after %d records: %s", first.added-first.duplicates, problem(p.broke)))
		p.own.Err = p.broke
	}
	if p.own.Differ > 0 {
		p.own.Lose("two passes over the same window differ, so that there may be more that neither found")
	}
	if !p.own.Started.IsZero() && p.own.Started.Before(p.total.Started) {
		p.total.Started = p.own.Started // of a query from before an interruption, which has no later records
	}
	p.total.merge(&p.own, p.window)
}
