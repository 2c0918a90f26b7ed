// Package auditlog reads Microsoft 365's unified audit log and says whether
// what it read is everything.
//
// A [Query] says which records are wanted. A [Log] asks a [Source] for them:
// package exchange (Search-UnifiedAuditLog over Exchange Online's admin API)
// is one, package graph (Microsoft Graph's audit log queries) is another. The
// answer is a [Results]: a loop over its records, newest first,
// and, asked after the loop, a [Verdict]:
//
//	res := log.Search(ctx, auditlog.Query{Start: monday, End: now, UserIDs: []string{"ada@contoso.com"}, Newest: 10})
//	for r, err := range res.All() {
//		...
//	}
//	fmt.Println(res.Verdict())
//
// A [Record] keeps the bytes that Microsoft sent. Nothing here re-encodes
// them.
//
// # Where to look
//
//   - auditlog.go: queries, sources, results; the newest few in one search.
//   - windows.go: everything, in windows that meet exactly; resume.go: what an
//     interrupted search goes on from; stream.go: sources that do not sort;
//     sorter.go, spill.go: records that do not fit into memory.
//   - verdict.go: whether that was everything.
//   - record.go, virtual.go: a record's bytes, and its fields by name.
//   - operations.go, record_types.go: what people type, and what is sent.
//
// Package signin gets the tokens that a source needs; package tenantsim is a
// tenant on loopback to try all of this against.
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

// MaxNewest is the largest Query.Newest that is not "all".
const MaxNewest = 1_000_000

// A Query selects records. Lists are alternatives (any of), fields are
// conditions (all of); an empty one does not restrict.
type Query struct {
	Start       time.Time `json:"start"` // Start <= CreationTime < End; whole seconds, UTC
	End         time.Time `json:"end"`
	Operations  []string  `json:"operations,omitempty"`   // exact names; those of Entra end with a period
	UserIDs     []string  `json:"user_ids,omitempty"`     // who did it: user principal names
	IPAddresses []string  `json:"ip_addresses,omitempty"` // where from
	ObjectIDs   []string  `json:"object_ids,omitempty"`   // on what: URLs of files and sites, names of Entra objects
	SiteIDs     []string  `json:"site_ids,omitempty"`     // GUIDs of SharePoint sites
	RecordTypes []string  `json:"record_types,omitempty"` // names of [RecordTypes]
	FreeText    string    `json:"free_text,omitempty"`
	Newest      int       `json:"result_size,omitempty"` // how many of the newest are wanted, 1 to [MaxNewest]; 0 means all
	MaxFetch    int       `json:"max_fetch,omitempty"`   // how many are fetched at most; reaching it is a loss; 0 means no bound
	Verify      bool      `json:"verify,omitempty"`      // fetch everything twice and compare
}

// A Source asks Microsoft for records in one way.
type Source interface {
	// Name is the backend's name as people type it: "exchange".
	Name() string

	// Limits are what one Search can do.
	Limits() Limits

	// Search yields the records that match q, in the order in which the
	// service sent them and with the service's duplicates, until there are no
	// more or the loop ends. If q.Newest is not 0, about q.Newest + 1 of them
	// are wanted, which tells how many to ask the service for at once; because
	// of duplicates it is no limit. If it is 0, all are wanted: where the
	// service holds more than one search returns, the last pair's error is
	// [ErrFull], and the range is to be divided; a range of one second ends
	// with a loss in v instead. MaxFetch and Verify are not its concern.
	//
	// It writes into v what happened on the way: requests, retries, warnings,
	// and under Lost what it knows or fears to be missing. A failure is the
	// last pair, with a zero Record; it is a [*Refusal] where a person can do
	// something about it, and an [ErrNoAccess] where any other search would
	// fail alike.
	Search(ctx context.Context, q Query, v *Verdict) iter.Seq2[Record, error]
}

// Limits are those of one search of a [Source].
type Limits struct {
	Records  int  // that it returns at most, with which it counts as full
	InFlight int  // searches at once, at most
	OneType  bool // it takes one record type at most
	Unsorted bool // its records come in no order, and very many of one search
}

// ErrFull says that the service holds more records than one search returns.
var ErrFull = errors.New("there are more records than one search returns")

// ErrNoAccess says that nothing can be asked as this person: nobody is signed
// in, or a role is missing. Every further request would fail alike.
var ErrNoAccess = errors.New("no access to the audit log")

// ErrCancelled is the cause of a context that ends because the person who
// asked wants no more. What was found so far is then an answer.
var ErrCancelled = errors.New("the search was cancelled")

// A Log is the audit log of one tenant, read as one person.
type Log struct {
	Sources []Source         // the first one is asked
	Now     func() time.Time // the clock that ages are judged by; nil means [time.Now]
	Version string           // of this program, for the verdict; may be ""

	// Doubt, if it is not "", is why no search here can be trusted to find
	// everything; no verdict is Complete then.
	Doubt string

	// Dir is where records that do not fit into memory wait, packed and
	// encrypted, to be sorted: up to 0.4 GB for a million. "" means
	// [os.TempDir].
	Dir string
}

// Search prepares to read the records that match q, whose range it widens to
// whole seconds. Nothing is asked before [Results.All] is ranged over.
func (l *Log) Search(ctx context.Context, q Query) *Results {
	now := time.Now
	if l.Now != nil {
		now = l.Now
	}
	q.Start = q.Start.UTC().Truncate(time.Second)
	q.End = q.End.UTC().Add(time.Second - 1).Truncate(time.Second)
	r := &Results{ctx: ctx, source: l.Sources[0], query: q, now: now, dir: l.Dir, doubt: l.Doubt, at: q.End}
	r.verdict = Verdict{Query: q, Backend: r.source.Name(), Version: l.Version}
	r.verdict.Doubt("the records were not read to the end")
	return r
}

// Results are the records that a search found. They are read once. The
// functions are set before, or left nil.
type Results struct {
	// Checkpoint is called after each window, once the loop has had all of its
	// records: with the state, [Results.Resume] goes on from there. Its error
	// ends the loop.
	Checkpoint func(state []byte) error

	// Progress is told after each window how far the search is, and within a
	// long one.
	Progress func(Progress)

	ctx     context.Context
	source  Source
	query   Query
	now     func() time.Time
	dir     string // see Log
	doubt   string // see Log
	verdict Verdict
	began   time.Time // of this run
	at      time.Time // all from here to the end of the range is done
	before  Progress  // how far the run before this one had come
	resumed *checkpoint
	enough  string    // why the loop will end early
	count   int       // yielded, in this run and before
	last    time.Time // of the record that was yielded last
	broken  bool      // the loop ended early
	cutAt   time.Time // of the oldest record, if there are more than the newest N; else zero
}

// All yields the records, newest first and each once: by CreationTime, those
// of one second by Id. A failure is the last pair, with a zero Record. It comes
// if nothing at all was found before it, or if the search can be resumed: when
// nobody is signed in any more, or the program is about to end. What fails
// otherwise is a reason in the verdict, and the records found are yielded.
func (r *Results) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		v := r.verdict
		v.Lost, v.unsure = nil, false
		if r.resumed != nil {
			r.resumed.restore(&v)
		}
		r.began = r.now().UTC()
		if v.Started.IsZero() {
			v.Started = r.began
		}
		err := r.read(&v, func(record Record) bool { return yield(record, nil) })
		if err != nil {
			yield(Record{}, err)
			return
		}
		if r.enough == "" && r.broken {
			return
		}
		v.Ended = r.now().UTC()
		v.Fetched, v.Records = r.count, r.count
		v.close()
		if r.query.Verify && v.Differ == 0 && len(v.Lost) == 0 {
			v.Note("fetched twice, and both times the same")
		}
		v.judgeAges(r.cutAt)
		if r.doubt != "" {
			v.Doubt(r.doubt)
		}
		r.verdict = v
	}
}

// read yields the records in the way that fits the question.
func (r *Results) read(v *Verdict, yield func(Record) bool) error {
	if n := r.query.Newest; n < 0 || n > MaxNewest {
		return fmt.Errorf("searching the audit log: a result size of %d is not from 1 to %d", n, MaxNewest)
	}
	limited := func(record Record) bool { return r.hand(record, v, yield) }
	switch {
	case r.source.Limits().Unsorted:
		return r.stream(v, limited)
	case r.inOneGo():
		return r.newest(v, limited)
	}
	w := &windows{
		Results: r,
		limits:  r.source.Limits(),
		ready:   make(chan fetched),
		room:    min(4, r.source.Limits().InFlight),
		edge:    map[[32]byte]bool{},
		strays:  map[[32]byte]bool{},
	}
	if c := r.resumed; c != nil {
		w.edge, w.strays, w.width = sumSet(c.Edge), sumSet(c.Strays), c.Width
		w.ok, w.any = true, c.Count > 0
	}
	if r.query.Start.Before(r.at) {
		w.line = []*job{{window: window{r.query.Start, r.at}}}
	}
	return w.run(r.ctx, v, limited)
}

// inOneGo tells whether one sorted search, cut off after the newest, answers
// the question.
func (r *Results) inOneGo() bool {
	q := r.query
	return q.Newest > 0 && q.Newest < maxSorted && q.MaxFetch == 0 && !q.Verify && len(r.searches()) == 1
}

// hand yields a record, unless a limit is reached: then this record shows that
// there are more.
func (r *Results) hand(record Record, v *Verdict, yield func(Record) bool) bool {
	q := r.query
	if q.Newest > 0 && r.count == q.Newest {
		v.AsAsked(fmt.Sprintf("newest %d; more exist", q.Newest))
		r.cutAt = r.last
		return false
	}
	if q.MaxFetch > 0 && r.count == q.MaxFetch {
		v.Lose(fmt.Sprintf("max_fetch was reached: only the newest %d records were looked at, back to %s UTC", q.MaxFetch, r.last.Format(time.DateTime)))
		r.cutAt = r.last
		return false
	}
	r.count++
	if !record.Time.IsZero() {
		r.last = record.Time
	}
	if !yield(record) {
		r.broken = true
		r.cutAt = r.last
		if r.enough != "" {
			v.AsAsked(r.enough)
		}
		return false
	}
	return true
}

// Enough makes ending the loop early a part of the question: reason says what
// was asked for, such as "the newest 10 that pass the filter".
func (r *Results) Enough(reason string) { r.enough = reason }

// Fetched is how many records the loop has had, those before an interruption
// included.
func (r *Results) Fetched() int { return r.count }

// Verdict says whether All yielded everything. It is unknown until a loop
// over All has come to its end.
func (r *Results) Verdict() Verdict { return r.verdict }

// orderShows is how many records are read at least, if there are as many:
// whether the service sorts them cannot be told from two.
const orderShows = 100

// maxSorted is how many of the newest are read in one go, from one search that
// the service sorts. More are read in windows.
const maxSorted = 5000

// newest yields the newest N records out of one sorted search.
func (r *Results) newest(v *Verdict, yield func(Record) bool) error {
	records, err := r.newestRecords(v)
	if errors.Is(err, ErrCancelled) {
		v.Lose(problem(err))
		return nil
	}
	if err != nil {
		return err
	}
	for _, record := range records {
		if !yield(record) {
			return nil
		}
	}
	return nil
}

// newestRecords fetches the records of the answer, sorted.
func (r *Results) newestRecords(v *Verdict) ([]Record, error) {
	n := r.query.Newest
	found, err := r.collect(r.query, max(n+1, orderShows), v)
	if err != nil {
		return nil, err
	}
	got := found.records
	slices.SortStableFunc(got, newestFirst)
	if len(got) <= n {
		return got, nil
	}
	notNewest := ""
	switch {
	case got[len(got)-1].Time.IsZero():
		notNewest = "some have no time"
	case found.ended && v.Status() == Complete: // all are here, so the order in which they came does not matter
	case found.rises:
		notNewest = "the service did not sort them by time"
	case !found.falls:
		notNewest = "more than can be read are of one second"
	}
	if notNewest != "" {
		v.Lose(fmt.Sprintf("%d records of more, not surely the newest: %s", n, notNewest))
		return got[:n], nil
	}
	if cut := second(got[n-1]); !found.ended && cut.Equal(second(got[n])) && cut.Equal(second(got[len(got)-1])) {
		got = r.completeSecond(got, cut, v)
	}
	v.AsAsked(fmt.Sprintf("newest %d; more exist", n))
	r.cutAt = got[n-1].Time
	return got[:n], nil
}

func second(r Record) time.Time { return r.Time.Truncate(time.Second) }

// completeSecond adds to got the rest of the records of the second at t. The
// limit cuts through that second, and the service need not order it by Id as
// we do, so without the rest the cut would be arbitrary.
func (r *Results) completeSecond(got []Record, t time.Time, v *Verdict) []Record {
	atRandom := fmt.Sprintf("the records of %s UTC were cut at random: there are more in this second than could be read", t.Format(time.DateTime))
	q := r.query
	q.Start, q.End = t, t.Add(time.Second)
	rest, err := r.collect(q, maxSorted+1, v)
	if err != nil || !rest.ended {
		v.Doubt(atRandom)
		return got
	}
	known := newSeenBefore()
	for _, record := range rest.records {
		known.duplicate(record)
	}
	for _, record := range got {
		if second(record).Equal(t) && !known.duplicate(record) {
			v.Doubt(atRandom) // the service knew this record a moment ago
		}
	}
	seen := newSeenBefore()
	all := append(got, rest.records...)
	all = slices.DeleteFunc(all, func(r Record) bool { return seen.duplicate(r) })
	slices.SortStableFunc(all, newestFirst)
	return all
}

// A finding is what a source yielded, without duplicates. It came newest first
// if it falls and never rises; all in one second, it may have come any way.
type finding struct {
	records []Record
	rises   bool // a record is newer than the one before it
	falls   bool // a record is older than the one before it
	ended   bool // the source has no more
}

// collect reads what the source yields for q: as many records as limit, without
// duplicates, and further ones for as long as their order does not show. Once
// there are records, an error becomes a loss.
func (r *Results) collect(q Query, limit int, v *Verdict) (finding, error) {
	q.Newest = limit - 1
	seen, outside := newSeenBefore(), 0
	f := finding{ended: true}
	for record, err := range r.source.Search(r.ctx, q, v) {
		if err != nil && (len(f.records) == 0 || errors.Is(err, ErrNoAccess) || r.ctx.Err() != nil && !errors.Is(context.Cause(r.ctx), ErrCancelled)) {
			return finding{}, err
		}
		if err != nil {
			v.Lose(fmt.Sprintf("fetching broke off after %d records: %s", len(f.records), problem(err)))
			v.Err, f.ended = err, false
			break
		}
		if seen.duplicate(record) {
			v.Duplicates++
			continue
		}
		if n := len(f.records); n > 0 {
			f.rises = f.rises || record.Time.After(f.records[n-1].Time)
			f.falls = f.falls || record.Time.Before(f.records[n-1].Time)
		}
		if record.Unreadable {
			v.Lose("a record could not be read; its text is kept as it came")
		} else if record.Time.Before(q.Start) || !record.Time.Before(q.End) {
			outside++
		}
		f.records = append(f.records, record)
		if n := len(f.records); n >= limit && (f.rises || f.falls) || n > maxSorted {
			f.ended = false
			break
		}
	}
	v.Conflicts += seen.conflicts()
	v.Outside += outside
	return f, nil
}

// newestFirst orders records by time, newest first, and by Id within a second.
func newestFirst(a, b Record) int {
	return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID), slices.Compare(a.Raw, b.Raw))
}

// seenBefore knows records by a hash of their bytes, which their Id is among,
// and how many there are of each Id.
type seenBefore struct {
	sums map[[32]byte]bool
	ids  map[string]int
}

func newSeenBefore() seenBefore { return seenBefore{map[[32]byte]bool{}, map[string]int{}} }

// duplicate tells whether a record with the Id and bytes of r was seen, and
// remembers r.
func (s seenBefore) duplicate(r Record) bool {
	sum := r.Sum()
	if s.sums[sum] {
		return true
	}
	s.sums[sum] = true
	s.ids[r.ID]++
	return false
}

// conflicts is the number of records whose Id was also seen with other bytes.
// Records without an Id cannot be in conflict.
func (s seenBefore) conflicts() int {
	n := 0
	for id, times := range s.ids {
		if id != "" && times > 1 {
			n += times
		}
	}
	return n
}

// A Refusal is a failure that a person can do something about: a missing
// role, an expired sign-in, a service that does not answer.
type Refusal struct {
	Problem string // what failed, for an analyst to read: lower case, no full stop
	Advice  string // what to do and who can do it; a sentence without a full stop
	Err     error  // what the service said, for the log
}

func (r *Refusal) Error() string {
	if r.Err == nil {
		return r.Problem
	}
	return fmt.Sprintf("%s: %v", r.Problem, r.Err)
}

func (r *Refusal) Unwrap() error { return r.Err }

// problem is what an analyst is told of err.
func problem(err error) string {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Problem
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "time ran out"
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCancelled):
		return "the search was cancelled"
	}
	return "an unexpected failure"
}
