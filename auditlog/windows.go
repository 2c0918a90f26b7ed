package auditlog

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// A window is a part of the range: Start <= t < End, whole seconds. Windows
// meet exactly, so that each second is in one of them.
type window struct {
	Start time.Time `json:"from"`
	End   time.Time `json:"to"`
}

func (w window) width() time.Duration { return w.End.Sub(w.Start) }

func (w window) holds(t time.Time) bool { return !t.Before(w.Start) && t.Before(w.End) }

func (w window) String() string {
	return w.Start.Format(time.DateTime) + " to " + w.End.Format(time.DateTime) + " UTC"
}

// A job is a window that waits, is being fetched, or was.
type job struct {
	window
	started bool
	failed  int    // how many wider windows around it failed
	rested  int    // how often it was fetched again after a rest
	catch   *catch // nil until it is fetched
}

// A catch is what the fetching of a window brought.
type catch struct {
	sorted  *sorter // the records, each once
	verdict Verdict // of this window alone
	full    bool    // there are more than one search returns; sorted is of no use then
	span    time.Duration
	err     error
	broke   string // a panic, and where it was
}

// A fetched job comes back with its catch.
type fetched struct {
	*job
	catch *catch
}

// windows reads a range in windows, several at once, and hands them on from
// the newest on.
type windows struct {
	*Results
	limits Limits
	line   []*job // that cover what is not handed on yet, newest first
	ready  chan fetched
	width  time.Duration // that would bring half of what one search returns, by what the last windows brought; 0 is not known
	flying int           // windows under way
	room   int           // of them at once
	idle   time.Duration // that was spent waiting for the service lately
	busy   time.Duration // that was spent handing records on
	ok     bool          // one window at least was fetched
	any    bool          // something was handed on
	sour   int           // windows that failed since one did not
	edge   map[[32]byte]bool
	strays map[[32]byte]bool
}

// A window that fails after all tries of its source, when others did not, is
// fetched again after firstRest, and after twice and four times as long.
const (
	maxRests  = 3
	firstRest = 30 * time.Second
)

// sourEnough is how many windows in a row may fail before the rest is given up.
const sourEnough = 3

// run yields all records of the range, newest first, and calls Checkpoint and
// Progress after each window. It returns an error only if there is no answer:
// nothing was fetched at all, nobody has access any more, or the program is
// about to end.
func (w *windows) run(ctx context.Context, v *Verdict, yield func(Record) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for w.flying > 0 { // nothing of it may outlive the loop
			(<-w.ready).catch.sorted.close()
			w.flying--
		}
		w.shorten(0)
	}()
	for len(w.line) > 0 {
		w.start(ctx)
		head := w.line[0]
		if head.catch == nil {
			w.wait(v)
			continue
		}
		if head.catch.full {
			w.divide(head, w.narrower(head))
			continue
		}
		if again, err := w.failure(ctx, head, v); err != nil {
			return err
		} else if again {
			continue
		}
		w.line = w.line[1:]
		began := time.Now()
		if more, err := w.release(head, v, yield); err != nil || !more {
			return err
		}
		if err := w.done(head, v); err != nil {
			return err
		}
		w.busy += time.Since(began)
		w.pace()
	}
	return nil
}

// start fetches as many windows as may be under way, the newest first.
func (w *windows) start(ctx context.Context) {
	room := w.room - max(w.waiting()-w.room/2, 0)
	for i := 0; i < len(w.line) && w.flying < max(room, 1); i++ {
		j := w.line[i]
		if j.started {
			continue
		}
		if w.width > 0 && j.width() > w.width {
			w.cut(i, w.width)
			j = w.line[i]
		}
		j.started = true
		w.flying++
		go func() {
			w.ready <- fetched{j, w.caught(ctx, j.window)}
		}()
	}
}

// waiting is how many windows were fetched and not handed on yet.
func (w *windows) waiting() int {
	n := 0
	for _, j := range w.line {
		if j.catch != nil && !j.catch.full {
			n++
		}
	}
	return n
}

// pace changes how many windows may be under way. While the service is slower
// than whoever takes the records, more of them help, as many as it bears; while
// it is not, more would only fill the memory.
func (w *windows) pace() {
	switch {
	case w.idle > 4*w.busy:
		w.room = min(2*w.room, w.limits.InFlight)
	case w.idle < 2*w.busy:
		w.room = max(w.room-1, min(2, w.limits.InFlight))
	}
	w.idle, w.busy = w.idle*3/4, w.busy*3/4 // what was long ago counts less
}

// cut divides the window at place i of the line: its newest part of this width
// stays there, the rest follows.
func (w *windows) cut(i int, width time.Duration) {
	j := w.line[i]
	at := j.End.Add(-width)
	newer, older := &job{window: window{at, j.End}, failed: j.failed}, &job{window: window{j.Start, at}, failed: j.failed}
	w.line = slices.Replace(w.line, i, i+1, newer, older)
}

// divide puts two windows in the place of one that could not be fetched whole.
func (w *windows) divide(j *job, width time.Duration) {
	j.catch.sorted.close()
	i := slices.Index(w.line, j)
	w.cut(i, width)
}

// shorten gives up the windows from place i of the line on.
func (w *windows) shorten(i int) {
	for _, j := range w.line[i:] {
		if j.catch != nil {
			j.catch.sorted.close()
		}
	}
	w.line = w.line[:i]
}

// narrower is the width of the newer part of a full window: half of it at
// most, and less if its records say that this will be full again.
func (w *windows) narrower(j *job) time.Duration {
	half := (j.width() / 2).Truncate(time.Second)
	if j.catch.span > 0 {
		half = min(half, (j.catch.span / 2).Truncate(time.Second))
	}
	w.width = max(half, time.Second)
	return w.width
}

// wait waits for one window. One that is full is divided at once, so that its
// parts need not wait for their turn.
func (w *windows) wait(v *Verdict) {
	began := time.Now()
	f := <-w.ready
	w.idle += time.Since(began)
	w.flying--
	j, c := f.job, f.catch
	if c.broke != "" {
		panic(c.broke)
	}
	j.catch = c
	v.count(&c.verdict)
	switch {
	case c.full && j != w.line[0]:
		w.divide(j, w.narrower(j))
	case c.err == nil && !c.full:
		w.learn(j)
	}
}

// learn sets the width of the windows to come by what this one brought: half
// as many records as one search returns, so that a busier hour still fits.
func (w *windows) learn(j *job) {
	n := max(j.catch.sorted.added, 1)
	wanted := time.Duration(float64(j.width()) * float64(w.limits.Records/2) / float64(n))
	wanted = min(max(wanted, j.width()/8), j.width()*4)
	w.width = max(wanted.Truncate(time.Second), time.Second)
}

// failure deals with a window that could not be fetched. The first time it is
// divided, since a shorter search may work where a longer one timed out; then
// it is a loss. Again means that there is nothing to release: the line has
// changed. An error ends the search.
func (w *windows) failure(ctx context.Context, j *job, v *Verdict) (again bool, err error) {
	c := j.catch
	if c.err == nil {
		w.ok, w.sour = true, 0
		return false, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return true, w.stopped(cause, c.err, v)
	}
	if errors.Is(c.err, ErrNoAccess) {
		return false, c.err
	}
	if j.failed == 0 && j.width() >= 2*time.Second {
		j.failed++
		w.divide(j, (j.width() / 2).Truncate(time.Second))
		return true, nil
	}
	if w.ok && j.rested < maxRests && w.rest(ctx, j) {
		return true, nil
	}
	w.sour++
	v.Err = c.err
	older := len(w.line) > 1
	switch {
	case w.sour < sourEnough && (w.ok || older):
		return false, nil // release makes a loss of it
	case !w.ok && !w.any && c.sorted.added == 0:
		return false, c.err
	case older:
		v.Lose(fmt.Sprintf("after %d windows in a row had failed, nothing before %s UTC was read", w.sour, j.Start.Format(time.DateTime)))
		w.shorten(1)
	}
	return false, nil
}

// rest waits, and then has a window fetched again: other windows worked, so the
// service is likely away for a while. It is false if there is no time for that.
func (w *windows) rest(ctx context.Context, j *job) bool {
	select {
	case <-time.After(firstRest << j.rested):
	case <-ctx.Done():
		return false
	}
	j.rested++
	j.catch.sorted.close()
	j.started, j.catch = false, nil
	return true
}

// stopped is how a search ends whose context has ended: with what it has, if
// that is what the person wants.
func (w *windows) stopped(cause, err error, v *Verdict) error {
	if !errors.Is(cause, ErrCancelled) && !errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	v.Lose(fmt.Sprintf("%s: nothing before %s UTC was read", problem(cause), w.line[0].End.Format(time.DateTime)))
	w.shorten(0)
	return nil
}

// release hands on the records of the newest window, which is not in the line
// any more. More is false when no more are wanted. An error is one of the file
// that they waited in.
func (w *windows) release(j *job, v *Verdict, yield func(Record) bool) (more bool, err error) {
	c := j.catch
	defer c.sorted.close()
	if c.err != nil {
		c.verdict.Lose("could not be fetched: " + problem(c.err))
	}
	v.Windows++
	v.merge(&c.verdict, j.window)
	next := map[[32]byte]bool{}
	for r, err := range c.sorted.all() {
		if err != nil {
			return false, err
		}
		if r.Time.Before(j.Start.Add(time.Second)) {
			next[r.Sum()] = true
		}
		if w.elsewhere(r, j.window, v) {
			v.Duplicates++
			continue
		}
		w.any = true
		if !yield(r) {
			return false, nil
		}
	}
	w.edge = next
	return true, nil
}

// elsewhere tells whether a record was handed on with another window: the
// service may count the end of a range in, or date a record differently from
// what the record says.
func (w *windows) elsewhere(r Record, own window, v *Verdict) bool {
	if len(w.strays) > 0 && w.strays[r.Sum()] {
		if own.holds(r.Time) { // no older window will bring it again
			delete(w.strays, r.Sum())
		}
		return true
	}
	whole := window{w.query.Start, w.query.End}
	if r.Time.IsZero() || own.holds(r.Time) {
		return false
	}
	if !whole.holds(r.Time) {
		v.Outside++
		return false
	}
	if r.Time.Before(own.Start) {
		v.Strays++
		w.strays[r.Sum()] = true     // its own window is still to come, and will bring it again
		if len(w.strays) > maxSums { // a checkpoint would forget them
			v.Doubt("thousands of records came with another part of the range than their own")
		}
		return false
	}
	if w.edge[r.Sum()] {
		return true
	}
	v.Strays++
	v.Doubt("a record came with an earlier part of the range and not with its own")
	return false
}

// done makes the window durable and tells how far the search is.
func (w *windows) done(j *job, v *Verdict) error {
	w.at = j.Start
	if w.Checkpoint != nil {
		state, err := w.state(v)
		if err != nil {
			return err
		}
		if err := w.Checkpoint(state); err != nil {
			return fmt.Errorf("keeping the records of %v: %w", j.window, err)
		}
	}
	w.report(v, w.count, v.Requests, w.at)
	return nil
}

// caught is fetch, but keeps a panic for the goroutine that waits for the window:
// whoever ranges over the records may know what to do about it.
func (r *Results) caught(ctx context.Context, w window) (c *catch) {
	defer func() {
		if p := recover(); p != nil {
			c = &catch{sorted: new(sorter), broke: fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
	}()
	return r.fetch(ctx, w)
}

// fetch reads one window, twice if the query wants it verified.
func (r *Results) fetch(ctx context.Context, w window) *catch {
	c, first := r.pass(ctx, w)
	if !r.query.Verify || c.full || c.err != nil {
		return c
	}
	again, second := r.pass(ctx, w)
	switch {
	case again.full, again.err != nil && (ctx.Err() != nil || errors.Is(again.err, ErrNoAccess)):
		again.verdict.count(&c.verdict)
		c.sorted.close()
		return again
	case again.err != nil:
		c.verdict.count(&again.verdict)
		c.verdict.Doubt("the second pass failed: " + problem(again.err))
	default:
		c.compare(first, again, second)
	}
	again.sorted.close()
	return c
}

// compare adds to c what only a second pass found. If either pass has records
// that the other lacks, there may be more that both lack.
func (c *catch) compare(first seenBefore, again *catch, second seenBefore) {
	c.verdict.count(&again.verdict)
	c.verdict.takeOver(&again.verdict)
	only := 0
	for sum := range first.sums {
		if !second.sums[sum] {
			only++
		}
	}
	for r, err := range again.sorted.all() {
		if err == nil && !first.sums[r.Sum()] {
			only++
			err = c.sorted.add(r)
		}
		if err != nil {
			c.err = err
			return
		}
	}
	if only > 0 {
		c.verdict.Lose("two passes over the same window differ, so that there may be more that neither found")
		c.verdict.Differ = only
	}
}

// pass reads one window once: one search, or one for each record type. It
// returns what it has seen, too.
func (r *Results) pass(ctx context.Context, w window) (*catch, seenBefore) {
	c, seen := &catch{sorted: &sorter{dir: r.dir}}, newSeenBefore()
	q := r.query
	q.Start, q.End, q.Newest = w.Start, w.End, 0
	for _, types := range r.searches() {
		q.RecordTypes = types
		if c.read(r.source.Search(ctx, q, &c.verdict), r.source.Limits(), w, seen); c.full || c.err != nil {
			break
		}
	}
	if n := seen.conflicts(); n > 0 {
		c.verdict.Conflicts = n
	}
	return c, seen
}

// searches are the record types of each search that the source needs.
func (r *Results) searches() [][]string {
	types := r.query.RecordTypes
	if len(types) < 2 || !r.source.Limits().OneType {
		return [][]string{types}
	}
	var all [][]string
	for _, t := range types {
		all = append(all, []string{t})
	}
	return all
}

// read collects what a search yields. A search that is cut short by its limit
// still tells how far the records lie apart.
func (c *catch) read(records func(func(Record, error) bool), limits Limits, w window, seen seenBefore) {
	n, oldest := 0, time.Time{}
	for record, err := range records {
		if errors.Is(err, ErrFull) && w.width() <= time.Second {
			c.verdict.Lose("one second has more records than the service hands out")
			return
		}
		if errors.Is(err, ErrFull) {
			c.full = true
			if w.holds(oldest) && n >= limits.Records/2 {
				c.span = w.End.Sub(oldest)
			}
			c.sorted.close()
			return
		}
		if err == nil && seen.duplicate(record) {
			c.verdict.Duplicates++
			continue
		}
		if err == nil {
			err = c.sorted.add(record)
		}
		if err != nil {
			c.err = err
			return
		}
		if record.Unreadable {
			c.verdict.Lose("a record could not be read; its text is kept as it came")
		}
		if n++; oldest.IsZero() || record.Time.Before(oldest) {
			oldest = record.Time
		}
	}
}
