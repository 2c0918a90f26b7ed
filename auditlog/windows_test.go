package auditlog_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
)

// A busy service returns at most limit records of a search, and at most large
// of one second.
type busy struct {
	records      []auditlog.Record // newest first
	limit, large int
	inFlight     int
	endsIn       bool // it counts the end of a range in
	doubles      bool // it sends some records twice
	fail         func(q auditlog.Query) error
	lose         func(q auditlog.Query, try int, r auditlog.Record) bool

	mu    sync.Mutex
	asked map[string]int // how often each range was asked for
	now   int            // searches under way
	most  int            // of them at once
}

func (*busy) Name() string { return "memory" }

func (b *busy) Limits() auditlog.Limits {
	return auditlog.Limits{Records: b.limit, InFlight: max(b.inFlight, 1), OneType: true}
}

func (b *busy) enter(q auditlog.Query) (try int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == nil {
		b.asked = map[string]int{}
	}
	key := q.Start.String() + q.End.String()
	b.asked[key]++
	b.now++
	b.most = max(b.most, b.now)
	return b.asked[key]
}

func (b *busy) Search(ctx context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		try := b.enter(q)
		defer func() { b.mu.Lock(); b.now--; b.mu.Unlock() }()
		v.Requests++
		if ctx.Err() != nil {
			yield(auditlog.Record{}, context.Cause(ctx))
			return
		}
		if b.fail != nil {
			if err := b.fail(q); err != nil {
				yield(auditlog.Record{}, err)
				return
			}
		}
		b.yield(q, try, v, yield)
	}
}

func (b *busy) yield(q auditlog.Query, try int, v *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
	second := q.End.Sub(q.Start) == time.Second
	n := 0
	for _, r := range b.records {
		in := !r.Time.Before(q.Start) && (r.Time.Before(q.End) || b.endsIn && r.Time.Equal(q.End))
		if !in || b.lose != nil && b.lose(q, try, r) {
			continue
		}
		if n++; !second && n > b.limit {
			yield(auditlog.Record{}, auditlog.ErrFull)
			return
		}
		if second && n > b.large {
			v.Lose("one second has too many")
			return
		}
		for range 1 + n%7/6*map[bool]int{true: 1}[b.doubles] {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// crowd is n records over a day, with crowded hours and one crowded second.
func crowd(n int) []auditlog.Record {
	random := rand.New(rand.NewPCG(1, 2))
	var all []auditlog.Record
	for i := range n {
		second := random.IntN(24*3600) - 12*3600
		switch i % 4 {
		case 0:
			second = random.IntN(600) + 3600
		case 1:
			if i < 600 {
				second = 7200
			}
		}
		all = append(all, at(second, fmt.Sprintf("r%05d", i)))
	}
	slices.SortFunc(all, func(a, b auditlog.Record) int {
		if c := b.Time.Compare(a.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// all reads everything and returns the Ids.
func all(t *testing.T, res *auditlog.Results) (ids []string) {
	t.Helper()
	for r, err := range res.All() {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func ids(records []auditlog.Record) (ids []string) {
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

func later(s auditlog.Source) *auditlog.Log {
	return &auditlog.Log{Sources: []auditlog.Source{s}, Now: func() time.Time { return noon.Add(48 * time.Hour) }}
}

func TestEveryRecordOfACrowdComesOnceAndNewestFirst(t *testing.T) {
	records := crowd(5000)
	for name, b := range map[string]*busy{
		"one at a time":             {inFlight: 1},
		"several in flight":         {inFlight: 7},
		"the end of a range counts": {inFlight: 3, endsIn: true},
		"with duplicates":           {inFlight: 3, doubles: true},
		"both":                      {inFlight: 5, endsIn: true, doubles: true},
	} {
		b.records, b.limit, b.large = records, 50, 1000
		res := later(b).Search(t.Context(), day(0))
		if got := all(t, res); !slices.Equal(got, ids(records)) {
			t.Errorf("%s: %d records, want %d, or not in order", name, len(got), len(records))
		}
		if v := res.Verdict(); v.String() != "Complete" || v.Windows < 100 || v.Records != len(records) {
			t.Errorf("%s: verdict %v with %d windows", name, v, v.Windows)
		}
		if b.most > b.inFlight {
			t.Errorf("%s: %d searches at once", name, b.most)
		}
	}
}

func TestTheNewestOfACrowdEndWhereTheLimitIs(t *testing.T) {
	records := crowd(20_000)
	b := &busy{records: records, limit: 100, large: 1000, inFlight: 4}
	res := later(b).Search(t.Context(), day(6000))
	if got := all(t, res); !slices.Equal(got, ids(records[:6000])) {
		t.Errorf("%d records, or not the newest", len(got))
	}
	if got := res.Verdict().String(); got != "Partial, as asked: newest 6000; more exist" {
		t.Error(got)
	}
	res = later(b).Search(t.Context(), day(20_000))
	if got := all(t, res); len(got) != 20_000 || res.Verdict().Status() != auditlog.Complete {
		t.Errorf("%d records: %v", len(got), res.Verdict())
	}
}

func TestReachingMaxFetchIsALoss(t *testing.T) {
	q := day(0)
	q.MaxFetch = 1000
	res := later(&busy{records: crowd(3000), limit: 100, large: 1000}).Search(t.Context(), q)
	if n := len(all(t, res)); n != 1000 {
		t.Errorf("%d records", n)
	}
	if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "max_fetch was reached") {
		t.Error(v)
	}
}

func TestASecondWithMoreThanTheServiceHandsOutIsALoss(t *testing.T) {
	res := later(&busy{records: crowd(3000), limit: 50, large: 100}).Search(t.Context(), day(0))
	all(t, res)
	if got, want := res.Verdict().String(), "⚠️ Partial: one second has too many (2026-11-05 14:00:00 to 2026-11-05 14:00:01 UTC)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestASecondOfVeryManyRecordsIsWholeAndSorted(t *testing.T) {
	records := slices.Concat(down(9000, 7201), burst(7200, 20_000), down(7199, 5000))
	slices.SortStableFunc(records, func(a, b auditlog.Record) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(a.ID, b.ID))
	})
	for _, verify := range []bool{false, true} {
		b := &busy{records: records, limit: 5000, large: 50_000, inFlight: 3, doubles: true}
		b.lose = func(q auditlog.Query, try int, r auditlog.Record) bool {
			return verify && try == 1 && r.ID == "7200-777" && q.End.Sub(q.Start) == time.Second
		}
		q := day(0)
		q.Verify = verify
		res := later(b).Search(t.Context(), q)
		if got := all(t, res); !slices.Equal(got, ids(records)) {
			t.Errorf("%d records, want %d, or not in order", len(got), len(records))
		}
		if v := res.Verdict(); (v.Status() == auditlog.Complete) == verify || v.Differ != len(v.Lost) {
			t.Errorf("verify %t: %v", verify, v)
		}
	}
}

func TestAWindowThatFailsIsNamedAndTheRestIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := noon.Add(-2 * time.Hour)
		b := &busy{records: crowd(3000), limit: 50, large: 1000, inFlight: 3, fail: func(q auditlog.Query) error {
			if !q.Start.After(bad) && q.End.After(bad) && q.End.Sub(q.Start) < 6*time.Hour {
				return &auditlog.Refusal{Problem: "the service is ill"}
			}
			return nil
		}}
		res := later(b).Search(t.Context(), day(0))
		got := all(t, res)
		if len(got) < 2900 || len(got) == 3000 {
			t.Errorf("%d records", len(got))
		}
		if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "could not be fetched: the service is ill (2026-11-05 0") {
			t.Error(v)
		}
	})
}

// Otherwise the mistake in the program that it is would end all other searches.
func TestAPanicOfASourceReachesWhoeverReads(t *testing.T) {
	b := &busy{records: crowd(3000), limit: 50, large: 1000, inFlight: 3, fail: func(q auditlog.Query) error {
		if q.End.Before(noon) {
			panic("the source broke")
		}
		return nil
	}}
	defer func() {
		if p, _ := recover().(string); !strings.Contains(p, "the source broke") || !strings.Contains(p, "windows_test.go") {
			t.Errorf("the panic is %q", p)
		}
		if b.now != 0 {
			t.Errorf("%d searches go on", b.now)
		}
	}()
	all(t, later(b).Search(t.Context(), day(0)))
	t.Error("the loop ended as if nothing were wrong")
}

func TestAServiceThatIsAwayForAWhileIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := crowd(3000)
		began := time.Now()
		b := &busy{records: records, limit: 50, large: 1000, inFlight: 3}
		b.fail = func(auditlog.Query) error {
			b.mu.Lock()
			n := len(b.asked)
			b.mu.Unlock()
			if n > 40 && time.Since(began) < 2*time.Minute {
				return &auditlog.Refusal{Problem: "away"}
			}
			return nil
		}
		res := later(b).Search(t.Context(), day(0))
		if got := all(t, res); !slices.Equal(got, ids(records)) || res.Verdict().String() != "Complete" {
			t.Errorf("%d records: %v", len(got), res.Verdict())
		}
	})
}

func TestAServiceThatFailsThroughoutIsAnError(t *testing.T) {
	b := &busy{limit: 50, fail: func(auditlog.Query) error { return &auditlog.Refusal{Problem: "down"} }}
	for _, err := range later(b).Search(t.Context(), day(0)).All() {
		if err == nil {
			t.Fatal("a record")
		}
		if _, ok := errors.AsType[*auditlog.Refusal](err); !ok {
			t.Fatal(err)
		}
	}
	if len(b.asked) > 4 {
		t.Errorf("%d ranges were tried", len(b.asked))
	}
}

func TestACancelledSearchAnswersWithWhatItHas(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	records := crowd(3000)
	res := later(&busy{records: records, limit: 50, large: 1000, inFlight: 3}).Search(ctx, day(0))
	n := 0
	for r, err := range res.All() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; r.ID != records[n-1].ID {
			t.Fatalf("record %d is %s", n, r.ID)
		}
		if n == 500 {
			cancel(auditlog.ErrCancelled)
		}
	}
	if v := res.Verdict(); n == 3000 || v.Status() != auditlog.Partial || !strings.Contains(v.String(), "the search was cancelled: nothing before") {
		t.Errorf("%d records: %v", n, v)
	}
}

func TestAnInterruptedSearchGoesOnWhereItWas(t *testing.T) {
	records := crowd(5000)
	b := &busy{records: records, limit: 50, large: 1000, inFlight: 3, endsIn: true}
	var state []byte
	var got, sure []string
	for runs := 1; ; runs++ {
		res := later(b).Search(t.Context(), day(0))
		if state != nil {
			if err := res.Resume(state); err != nil {
				t.Fatal(err)
			}
		}
		windows, stop := 0, errors.New("the machine stopped")
		res.Checkpoint = func(s []byte) error {
			state, sure = slices.Clone(s), slices.Clone(got)
			if windows++; windows == 20 {
				return stop
			}
			return nil
		}
		got = slices.Clone(sure)
		var failure error
		for r, err := range res.All() {
			if failure = err; err == nil {
				got = append(got, r.ID)
			}
		}
		if failure == nil {
			if !slices.Equal(got, ids(records)) || res.Verdict().String() != "Complete" || res.Verdict().Records != len(records) || runs < 4 {
				t.Errorf("after %d runs %d records: %v", runs, len(got), res.Verdict())
			}
			return
		}
		if !errors.Is(failure, stop) {
			t.Fatal(failure)
		}
	}
}

func TestALossBeforeAnInterruptionIsNotForgotten(t *testing.T) {
	b := &busy{records: crowd(3000), limit: 50, large: 100}
	var state []byte
	res := later(b).Search(t.Context(), day(0))
	res.Checkpoint = func(s []byte) error { state = slices.Clone(s); return nil }
	all(t, res)
	again := later(b).Search(t.Context(), day(0))
	if err := again.Resume(state); err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, again)); n != 0 || again.Verdict().String() != res.Verdict().String() {
		t.Errorf("%d more records; %v", n, again.Verdict())
	}
}

func TestTwoPassesThatDifferAreALossAndTheirUnionIsThere(t *testing.T) {
	records := crowd(300)
	b := &busy{records: records, limit: 500, large: 1000, lose: func(_ auditlog.Query, try int, r auditlog.Record) bool {
		return try == 1 && r.ID == "r00017"
	}}
	q := day(0)
	q.Verify = true
	res := later(b).Search(t.Context(), q)
	if got := all(t, res); !slices.Equal(got, ids(records)) {
		t.Errorf("%d records", len(got))
	}
	if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "two passes") {
		t.Error(v)
	}
	b.lose, b.asked = nil, nil
	res = later(b).Search(t.Context(), q)
	all(t, res)
	if v := res.Verdict(); v.String() != "Complete: fetched twice, and both times the same" || v.Requests != 2 {
		t.Error(v, v.Requests)
	}
}

func TestSeveralRecordTypesAreASearchEach(t *testing.T) {
	b := &busy{records: crowd(20), limit: 50}
	q := day(10)
	q.RecordTypes = []string{"ExchangeAdmin", "ExchangeItem"}
	res := later(b).Search(t.Context(), q)
	if n := len(all(t, res)); n != 10 || res.Verdict().Requests != 2 || res.Verdict().String() != "Partial, as asked: newest 10; more exist" {
		t.Errorf("%d records, %d requests, %v", n, res.Verdict().Requests, res.Verdict())
	}
}

func TestEnoughIsAsAsked(t *testing.T) {
	res := later(&busy{records: crowd(300), limit: 50, large: 300}).Search(t.Context(), day(0))
	n := 0
	for range res.All() {
		if n++; n == 100 {
			res.Enough("the newest that pass the filter; more may exist")
			break
		}
	}
	if got := res.Verdict().String(); got != "Partial, as asked: the newest that pass the filter; more may exist" {
		t.Error(got)
	}
}
