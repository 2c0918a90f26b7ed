package auditlog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
)

// A heap returns very many records of one search, in no order.
type heap struct {
	records  []auditlog.Record
	limit    int
	searches int
}

func (*heap) Name() string { return "memory" }

func (h *heap) Limits() auditlog.Limits {
	return auditlog.Limits{Records: h.limit, InFlight: 1, Unsorted: true}
}

func (h *heap) Search(_ context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		h.searches++
		v.Requests++
		found := slices.DeleteFunc(slices.Clone(h.records), func(r auditlog.Record) bool {
			return r.Time.Before(q.Start) || !r.Time.Before(q.End)
		})
		if len(found) > h.limit {
			yield(auditlog.Record{}, auditlog.ErrFull)
			return
		}
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
		for i, r := range found {
			if !yield(r, nil) || i%10 == 0 && !yield(r, nil) {
				return
			}
		}
	}
}

// late gives out what it has before it says that there is more.
func (h *heap) late(_ context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
	n := 0
	for _, r := range h.records {
		if r.Time.Before(q.Start) || !r.Time.Before(q.End) {
			continue
		}
		if n++; n > h.limit {
			yield(auditlog.Record{}, auditlog.ErrFull)
			return
		}
		if !yield(r, nil) {
			return
		}
	}
}

func TestAFewUnsortedRecordsAreSortedHere(t *testing.T) {
	records := crowd(3000)
	res := later(&heap{records: records, limit: 1_000_000}).Search(t.Context(), day(0))
	if got := all(t, res); !slices.Equal(got, ids(records)) {
		t.Errorf("%d records, or not in order", len(got))
	}
	if v := res.Verdict(); v.String() != "Complete" || v.Duplicates != 300 {
		t.Error(v, v.Duplicates)
	}
}

func TestTheNewestOfManyUnsortedRecordsAreTheNewest(t *testing.T) {
	records := crowd(50_000)
	res := later(&heap{records: records, limit: 1_000_000}).Search(t.Context(), day(10))
	if got := all(t, res); !slices.Equal(got, ids(records[:10])) {
		t.Error(got)
	}
	if got := res.Verdict().String(); got != "Partial, as asked: newest 10; more exist" {
		t.Error(got)
	}
}

// A flood is n records of about 0.4 kB, made as they are asked for, in no
// order: every tenth comes twice, and each shares its second with some others.
func flood(n int) iter.Seq[auditlog.Record] {
	const stride = 7919 // a prime, so that all come unless it divides n
	padding := strings.Repeat("Lorem ipsum dolor ", 18)
	return func(yield func(auditlog.Record) bool) {
		for i := range n {
			j := i * stride % n
			r := auditlog.Record{ID: fmt.Sprintf("r%07d", j), Time: noon.Add(time.Duration(j%40_000-20_000) * time.Second)}
			r.Raw = fmt.Appendf(nil, `{"Id":"%s","CreationTime":"%s","ObjectId":"%x","Text":"%s"}`, r.ID, r.Time.Format("2006-01-02T15:04:05"), i*i, padding)
			if !yield(r) || i%10 == 0 && !yield(r) {
				return
			}
		}
	}
}

// of is a service that gives out a flood at once.
func of(records iter.Seq[auditlog.Record]) invented {
	return invented{auditlog.Limits{Records: 1_000_000, InFlight: 1, Unsorted: true}, func(_ context.Context, _ auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
		for r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}}
}

// inUse is how many bytes of memory are.
func inUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestManyUnsortedRecordsAreSortedWithoutHoldingThem(t *testing.T) {
	const n = 120_000
	before, most := inUse(), 0
	look := func(i int) {
		if i%20_000 == 0 {
			most = max(most, inUse()-before)
		}
	}
	read := 0
	res := later(of(func(yield func(auditlog.Record) bool) {
		for r := range flood(n) {
			if look(read); !yield(r) {
				return
			}
			read++
		}
	})).Search(t.Context(), day(0))
	came, last := 0, auditlog.Record{}
	for r, err := range res.All() {
		if err != nil {
			t.Fatal(err)
		}
		if came > 0 && (last.Time.Before(r.Time) || last.Time.Equal(r.Time) && last.ID >= r.ID) {
			t.Fatalf("record %d is %s of %v, after %s of %v", came, r.ID, r.Time, last.ID, last.Time)
		}
		look(came)
		came, last = came+1, r
	}
	if v := res.Verdict(); came != n || v.String() != "Complete" || v.Duplicates != n/10 || v.Records != n {
		t.Errorf("%d records, %d duplicates: %v", came, v.Duplicates, v)
	}
	if most > 24<<20 {
		t.Errorf("%d MiB of memory", most>>20)
	}
}

func TestOfALongWindowItIsToldHowFarItIs(t *testing.T) {
	res := later(of(flood(30_000))).Search(t.Context(), day(0))
	var told []auditlog.Progress
	res.Progress = func(p auditlog.Progress) { told = append(told, p) }
	all(t, res)
	if len(told) != 3+3+1 { // read, handed on, and the window's end
		t.Fatalf("told %d times", len(told))
	}
	for i, p := range told[1:] {
		if p.Records < told[i].Records && i < 5 || p.At.After(told[i].At) {
			t.Errorf("%d records back to %v, after %d back to %v", p.Records, p.At, told[i].Records, told[i].At)
		}
	}
	if half := told[4]; !half.At.Before(half.To) || !half.At.After(half.From) || half.Windows != 0 {
		t.Errorf("in the middle: %+v", half)
	}
}

func TestMaxFetchOfUnsortedRecordsIsTheNewest(t *testing.T) {
	records := crowd(12_000)
	q := day(0)
	q.MaxFetch = 7000
	res := later(&heap{records: records, limit: 1_000_000}).Search(t.Context(), q)
	if got := all(t, res); !slices.Equal(got, ids(records[:7000])) {
		t.Errorf("%d records, or not the newest", len(got))
	}
	if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "only the newest 7000 records were looked at, back to 2026-11-05 ") {
		t.Error(v)
	}
}

func TestTheFewerWantedTheLessIsWrittenDown(t *testing.T) {
	log := later(of(flood(12_000)))
	log.Dir = "no such folder"
	res := log.Search(t.Context(), day(10))
	if got := all(t, res); len(got) != 10 || res.Verdict().String() != "Partial, as asked: newest 10; more exist" {
		t.Errorf("%d records: %v", len(got), res.Verdict())
	}
}

func TestRecordsThatCannotBeSortedAreAFailure(t *testing.T) {
	log := later(of(flood(12_000)))
	log.Dir = "no such folder"
	res := log.Search(t.Context(), day(0))
	var failure error
	for _, err := range res.All() {
		if failure = err; err == nil {
			t.Fatal("a record")
		}
	}
	if !errors.Is(failure, fs.ErrNotExist) || res.Verdict().Status() != auditlog.Unknown {
		t.Errorf("%v, %v", failure, res.Verdict())
	}
}

func TestAQueryBeyondItsLimitIsDivided(t *testing.T) {
	records := crowd(30_000)
	h := &heap{records: records, limit: 10_000}
	res := later(h).Search(t.Context(), day(0))
	if got := all(t, res); !slices.Equal(got, ids(records)) {
		t.Errorf("%d records, or not in order", len(got))
	}
	if v := res.Verdict(); v.String() != "Complete" || h.searches > 20 {
		t.Error(v, h.searches)
	}
}

func TestADividedQueryGoesOnAfterItsLastPart(t *testing.T) {
	records := crowd(30_000)
	var state []byte
	h := &heap{records: records, limit: 10_000}
	res := later(h).Search(t.Context(), day(0))
	windows := 0
	res.Checkpoint = func(s []byte) error {
		if windows++; windows == 2 {
			state = slices.Clone(s)
			return fmt.Errorf("the machine stopped")
		}
		return nil
	}
	n := 0
	for _, err := range res.All() {
		if err == nil {
			n++
		}
	}
	again := later(h).Search(t.Context(), day(0))
	if err := again.Resume(state); err != nil {
		t.Fatal(err)
	}
	if got := all(t, again); !slices.Equal(got, ids(records[n:])) || again.Verdict().Records != len(records) {
		t.Errorf("%d and then %d records: %v", n, len(got), again.Verdict())
	}
}

func TestASecondReadingThatDiffersIsALoss(t *testing.T) {
	for _, n := range []int{300, 12_000} { // with and without a file
		records := crowd(n)
		b := &fickle{heap: heap{records: records, limit: 1_000_000}, without: "r00017"}
		q := day(0)
		q.Verify = true
		res := later(b).Search(t.Context(), q)
		if got := all(t, res); !slices.Equal(got, ids(records)) {
			t.Errorf("%d records, or not in order", len(got))
		}
		if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "two passes") || !strings.Contains(v.String(), "1 records came in only one") {
			t.Error(v)
		}
		res = later(b).Search(t.Context(), q) // it leaves nothing out any more
		if got := all(t, res); len(got) != n || res.Verdict().String() != "Complete: fetched twice, and both times the same" {
			t.Errorf("%d records: %v", len(got), res.Verdict())
		}
	}
}

// A fickle service leaves a record out the first time.
type fickle struct {
	heap
	without string
}

func (f *fickle) Search(ctx context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	without := f.without
	f.without = ""
	return func(yield func(auditlog.Record, error) bool) {
		for r, err := range f.heap.Search(ctx, q, v) {
			if r.ID != without && !yield(r, err) {
				return
			}
		}
	}
}
