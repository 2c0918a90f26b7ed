package auditlog_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

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

func TestManyUnsortedRecordsAllComeAndItIsSaidThatTheyAreNotSorted(t *testing.T) {
	records := crowd(30_000)
	res := later(&heap{records: records, limit: 1_000_000}).Search(t.Context(), day(0))
	got := all(t, res)
	want := ids(records)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d records", len(got))
	}
	if v := res.Verdict(); v.Status() != auditlog.Complete || !strings.Contains(v.String(), "order in which the service sent them") {
		t.Error(v)
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
	records := crowd(300)
	b := &fickle{heap: heap{records: records, limit: 1_000_000}, without: "r00017"}
	q := day(0)
	q.Verify = true
	res := later(b).Search(t.Context(), q)
	if got := all(t, res); len(got) != len(records) || !slices.Contains(got, "r00017") {
		t.Errorf("%d records", len(got))
	}
	if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "two passes") || !strings.Contains(v.String(), "1 records came in only one") {
		t.Error(v)
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
