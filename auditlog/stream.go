package auditlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxInMemory is how many records of a source that does not sort are held to
// be sorted here: 26 MB as a rule. More are handed on in the service's order.
const maxInMemory = 20_000

// stream reads from a source that returns very many records at once, in no
// order. Its windows are one after the other.
func (r *Results) stream(v *Verdict, yield func(Record) bool) error {
	line := []window{}
	if r.query.Start.Before(r.at) {
		line = append(line, window{r.query.Start, r.at})
	}
	for len(line) > 0 {
		w := line[0]
		line = line[1:]
		p := &pour{Results: r, yield: yield, seen: map[[32]byte]bool{}}
		more, err := p.window(w, v)
		if errors.Is(err, ErrFull) {
			at := w.Start.Add((w.width() / 2).Truncate(time.Second))
			line = slices.Insert(line, 0, window{at, w.End}, window{w.Start, at})
			continue
		}
		if err != nil || !more {
			return err
		}
		v.Windows++
		r.at = w.Start
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

// A pour hands on the records of one window: sorted if they are few enough.
type pour struct {
	*Results
	yield func(Record) bool
	seen  map[[32]byte]bool
	held  []Record
	flows bool // records are handed on as they come
}

func (p *pour) window(w window, v *Verdict) (more bool, err error) {
	own := Verdict{}
	q := p.query
	q.Start, q.End, q.Newest, q.Verify = w.Start, w.End, 0, false
	for record, err := range p.source.Search(p.ctx, q, &own) {
		if err != nil {
			if err = p.failed(err, w, v, &own); err != nil {
				return false, err
			}
			break
		}
		sum := record.Sum()
		if p.seen[sum] {
			own.Duplicates++
			continue
		}
		p.seen[sum] = true
		if record.Unreadable {
			own.Lose("a record could not be read; its text is kept as it came")
		} else if !w.holds(record.Time) {
			own.Outside++
		}
		if !p.take(record, v) {
			v.count(&own)
			v.merge(&own, w)
			return false, nil
		}
	}
	if p.query.Verify && p.ctx.Err() == nil {
		p.verify(q, v, &own)
	} else if p.query.Verify {
		own.Doubt("the second pass was not made")
	}
	if !own.Started.IsZero() && own.Started.Before(v.Started) {
		v.Started = own.Started // of a query from before an interruption, which has no later records
	}
	v.count(&own)
	v.merge(&own, w)
	return p.empty(), nil
}

// verify reads everything again. A record that comes only now is handed on; if
// either pass has records that the other lacks, there may be more that both
// lack.
func (p *pour) verify(q Query, v, own *Verdict) {
	again := Verdict{}
	q.Verify = true // a query of its own
	second := map[[32]byte]bool{}
	for record, err := range p.source.Search(p.ctx, q, &again) {
		if err != nil {
			own.Doubt("the second pass broke off: " + problem(err))
			break
		}
		sum := record.Sum()
		if second[sum] = true; !p.seen[sum] {
			own.Differ++
			if !p.take(record, v) {
				break
			}
		}
	}
	for sum := range p.seen {
		if !second[sum] {
			own.Differ++
		}
	}
	if own.Differ > 0 {
		own.Lose("two passes over the same window differ, so that there may be more that neither found")
	}
	own.count(&again)
	own.takeOver(&again)
}

// failed is the error of a window that ends the search, or nil if it is a loss.
func (p *pour) failed(err error, w window, v, own *Verdict) error {
	v.count(own)
	own.Requests, own.Retries = 0, 0
	cancelled := errors.Is(context.Cause(p.ctx), ErrCancelled)
	switch {
	case errors.Is(err, ErrFull) && len(p.seen) > 0: // they were handed on already
		own.Lose("the service gives out no more records of one query")
		return nil
	case errors.Is(err, ErrFull), errors.Is(err, ErrNoAccess) && !cancelled:
		return err
	case p.ctx.Err() != nil && !cancelled:
		return err
	case len(p.seen) == 0 && p.count == 0 && !cancelled:
		return err
	}
	own.Lose(fmt.Sprintf("fetching broke off after %d records: %s", len(p.seen), problem(err)))
	own.Err = err
	return nil
}

// take holds a record back to be sorted, or hands it on. If only the newest
// are wanted, these are kept, however many come.
func (p *pour) take(record Record, v *Verdict) bool {
	if p.flows {
		return p.yield(record)
	}
	p.held = append(p.held, record)
	if len(p.held) < maxInMemory {
		return true
	}
	if n := p.query.Newest; n > 0 && n < maxInMemory/2 {
		slices.SortStableFunc(p.held, newestFirst)
		p.held = slices.Clip(p.held[:n+1])
		return true
	}
	p.flows = true
	v.Note("the records are in the order in which the service sent them, which is none: there are too many to sort them here")
	if p.query.Newest > 0 {
		v.Doubt("the records are not surely the newest, since the service does not sort them")
	}
	return p.empty()
}

// empty hands on what is held, newest first.
func (p *pour) empty() bool {
	slices.SortStableFunc(p.held, newestFirst)
	held := p.held
	p.held = nil
	for _, record := range held {
		if !p.yield(record) {
			return false
		}
	}
	return true
}
