package auditlog_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog"
)

// An invented service is a function.
type invented struct {
	limits auditlog.Limits
	search func(ctx context.Context, q auditlog.Query, v *auditlog.Verdict, yield func(auditlog.Record, error) bool)
}

func (invented) Name() string              { return "invented" }
func (i invented) Limits() auditlog.Limits { return i.limits }
func (i invented) Search(ctx context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) { i.search(ctx, q, v, yield) }
}

// hand yields those of records that are in the range of q.
func hand(records []auditlog.Record, q auditlog.Query, yield func(auditlog.Record, error) bool) bool {
	for _, r := range records {
		if !r.Time.Before(q.Start) && r.Time.Before(q.End) && !yield(r, nil) {
			return false
		}
	}
	return true
}

func TestASearchThatIsCancelledBetweenTwoPartsIsNotComplete(t *testing.T) {
	stopping := errors.New("the program ends")
	for _, cause := range []error{auditlog.ErrCancelled, stopping} {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		s := invented{auditlog.Limits{Records: 1000, InFlight: 1, Unsorted: true}, func(ctx context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
			if q.End.Sub(q.Start) > 12*time.Hour {
				yield(auditlog.Record{}, auditlog.ErrFull)
				return
			}
			hand(down(100, -100), q, yield)
		}}
		res := later(s).Search(ctx, day(0))
		n := 0
		var failure error
		for _, err := range res.All() {
			if failure = err; err == nil {
				n++
			}
			if n == 30 {
				cancel(cause)
			}
		}
		v := res.Verdict()
		switch {
		case cause == stopping && !errors.Is(failure, stopping):
			t.Errorf("stopping: %v, %v", failure, v)
		case cause != stopping && (failure != nil || v.Status() != auditlog.Partial || n == 201):
			t.Errorf("cancelled: %v, %d records, %v", failure, n, v)
		}
	}
}

func TestACancelledSearchIsAnAnswerWhateverBreaksWithIt(t *testing.T) {
	for _, unsorted := range []bool{true, false} {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		s := invented{auditlog.Limits{Records: 1000, InFlight: 1, Unsorted: unsorted}, func(ctx context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
			if hand(down(30, 1), q, yield) {
				cancel(auditlog.ErrCancelled)
				yield(auditlog.Record{}, fmt.Errorf("%w: getting a token: %w", auditlog.ErrNoAccess, context.Canceled))
			}
		}}
		res := later(s).Search(ctx, day(0))
		for _, err := range res.All() {
			if err != nil {
				t.Error(unsorted, err)
			}
		}
		if v := res.Verdict(); v.Status() != auditlog.Partial {
			t.Error(unsorted, v)
		}
	}
}

func TestRecordsThatCameBeforeALimitShowedDoNotComeTwice(t *testing.T) {
	records := crowd(30_000)
	s := invented{auditlog.Limits{Records: 12_000, InFlight: 1, Unsorted: true}, (&heap{records: records, limit: 12_000}).late}
	res := later(s).Search(t.Context(), day(0))
	if got := all(t, res); !slices.Equal(got, ids(records)) || res.Verdict().String() != "Complete" {
		t.Errorf("%d records, or not in order: %v", len(got), res.Verdict())
	}
}

func TestASecondThatCannotBeDividedIsALoss(t *testing.T) {
	s := invented{auditlog.Limits{Records: 100, InFlight: 1, Unsorted: true}, func(_ context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
		if hand(burst(5, 100), q, yield) && !q.Start.After(noon.Add(5*time.Second)) && q.End.After(noon.Add(5*time.Second)) {
			yield(auditlog.Record{}, auditlog.ErrFull)
		}
	}}
	res := later(s).Search(t.Context(), day(0))
	if got := all(t, res); len(got) != 100 || res.Verdict().String() != "⚠️ Partial: the service gives out no more records of one query (2026-11-05 12:00:05 to 2026-11-05 12:00:06 UTC)" {
		t.Errorf("%d records: %v", len(got), res.Verdict())
	}
}

func TestAnUnsortedPartThatFailsTakesNothingAway(t *testing.T) {
	s := invented{auditlog.Limits{Records: 1000, InFlight: 1, Unsorted: true}, func(_ context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
		switch {
		case q.End.Sub(q.Start) > 12*time.Hour:
			yield(auditlog.Record{}, auditlog.ErrFull)
		case q.Start.Before(noon):
			yield(auditlog.Record{}, &auditlog.Refusal{Problem: "the service is ill"})
		default:
			hand(down(100, 1), q, yield)
		}
	}}
	res := later(s).Search(t.Context(), day(0))
	if got := all(t, res); len(got) != 100 || res.Verdict().String() != "⚠️ Partial: fetching broke off after 0 records: the service is ill (2026-11-05 00:00:00 to 2026-11-05 12:00:00 UTC)" {
		t.Errorf("%d records: %v", len(got), res.Verdict())
	}
}

func TestWhatTheSecondPassAdmitsIsInTheVerdict(t *testing.T) {
	for _, unsorted := range []bool{true, false} {
		pass := 0
		s := invented{auditlog.Limits{Records: 5000, InFlight: 1, Unsorted: unsorted}, func(_ context.Context, q auditlog.Query, v *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
			if pass++; pass == 2 {
				v.Doubt("the service warned")
			}
			hand(down(10, 1), q, yield)
		}}
		q := day(0)
		q.Verify = true
		res := later(s).Search(t.Context(), q)
		all(t, res)
		if v := res.Verdict(); v.Status() != auditlog.Unknown || !strings.Contains(v.String(), "the service warned") {
			t.Error(unsorted, v)
		}
	}
}

func TestASecondPassThatFailsTakesNothingAway(t *testing.T) {
	for _, unsorted := range []bool{true, false} {
		pass := 0
		s := invented{auditlog.Limits{Records: 5000, InFlight: 1, Unsorted: unsorted}, func(_ context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
			if pass++; pass == 2 {
				yield(auditlog.Record{}, &auditlog.Refusal{Problem: "the service is ill"})
				return
			}
			hand(down(100, 1), q, yield)
		}}
		q := day(0)
		q.Verify = true
		res := later(s).Search(t.Context(), q)
		if n := len(all(t, res)); n != 100 || res.Verdict().Status() != auditlog.Unknown || res.Verdict().Differ > 0 {
			t.Errorf("%d records: %v", n, res.Verdict())
		}
	}
}

func TestManyWindowsWithAReasonMakeNoLargeCheckpoint(t *testing.T) {
	records := crowd(5000)
	b := &busy{records: records, limit: 20, large: 1000}
	s := invented{b.Limits(), func(ctx context.Context, q auditlog.Query, v *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
		v.Doubt("the service warned: " + strings.Repeat("x", 600))
		v.Warn(fmt.Sprintf("warning %v", q.Start))
		for r, err := range b.Search(ctx, q, v) {
			if !yield(r, err) {
				return
			}
		}
	}}
	res := later(s).Search(t.Context(), day(0))
	largest := 0
	res.Checkpoint = func(state []byte) error { largest = max(largest, len(state)); return nil }
	all(t, res)
	if v := res.Verdict(); largest > 64<<10 || v.Status() != auditlog.Unknown || v.Windows < 300 || !strings.Contains(v.String(), "more windows") {
		t.Errorf("%d bytes after %d windows: %v", largest, v.Windows, v)
	}
}

func TestARecordThatComesWithAnotherPartThanItsOwnIsDoubted(t *testing.T) {
	records := crowd(1000)
	b := &busy{records: records, limit: 50, large: 1000}
	s := invented{b.Limits(), func(ctx context.Context, q auditlog.Query, v *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
		if q.Start.Equal(day(0).Start) && !yield(records[10], nil) { // which is much younger
			return
		}
		for r, err := range b.Search(ctx, q, v) {
			if !yield(r, err) {
				return
			}
		}
	}}
	res := later(s).Search(t.Context(), day(0))
	all(t, res)
	if v := res.Verdict(); v.Status() != auditlog.Unknown {
		t.Error(v)
	}
}
