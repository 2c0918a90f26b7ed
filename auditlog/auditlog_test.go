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

// A source is a service in memory: it yields what it finds for a query, and
// then err, if that is not nil.
type source struct {
	find func(q auditlog.Query, v *auditlog.Verdict) []auditlog.Record
	err  error
	read int // how many records were taken from it
}

func (*source) Name() string { return "memory" }

func (*source) Limits() auditlog.Limits { return auditlog.Limits{Records: 5000, InFlight: 1} }

func (s *source) Search(_ context.Context, q auditlog.Query, v *auditlog.Verdict) iter.Seq2[auditlog.Record, error] {
	return func(yield func(auditlog.Record, error) bool) {
		for _, r := range s.find(q, v) {
			s.read++
			if !yield(r, nil) {
				return
			}
		}
		if s.err != nil {
			yield(auditlog.Record{}, s.err)
		}
	}
}

// has is a source with records, in the order in which it yields those of a
// query's range.
func has(records ...auditlog.Record) *source {
	return &source{find: func(q auditlog.Query, _ *auditlog.Verdict) []auditlog.Record {
		return slices.DeleteFunc(slices.Clone(records), func(r auditlog.Record) bool {
			return r.Time.Before(q.Start) || !r.Time.Before(q.End)
		})
	}}
}

var noon = time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)

// at is a record with this Id, so many seconds after noon.
func at(seconds int, id string) auditlog.Record {
	return auditlog.NewRecord(fmt.Sprintf(`{"Id":%q,"CreationTime":%q}`, id, noon.Add(time.Duration(seconds)*time.Second).Format("2006-01-02T15:04:05")))
}

// down is records from n seconds after noon down to m, with those for Ids.
func down(n, m int) []auditlog.Record {
	var records []auditlog.Record
	for ; n >= m; n-- {
		records = append(records, at(n, fmt.Sprint(n)))
	}
	return records
}

// burst is n records of one second.
func burst(second, n int) []auditlog.Record {
	var records []auditlog.Record
	for i := range n {
		records = append(records, at(second, fmt.Sprintf("%d-%d", second, i)))
	}
	return records
}

// day is a query for the newest n of the day, asked two days later.
func day(n int) auditlog.Query {
	return auditlog.Query{Start: noon.Add(-12 * time.Hour), End: noon.Add(12 * time.Hour), Newest: n}
}

// search asks s, and returns the Ids of the records.
func search(t *testing.T, s auditlog.Source, q auditlog.Query) (ids []string, v auditlog.Verdict, err error) {
	t.Helper()
	log := auditlog.Log{Sources: []auditlog.Source{s}, Now: func() time.Time { return noon.AddDate(0, 0, 2) }, Version: "1"}
	res := log.Search(t.Context(), q)
	for r, e := range res.All() {
		if e != nil {
			err = e
			continue
		}
		ids = append(ids, r.ID)
	}
	return ids, res.Verdict(), err
}

// shown is how a test writes down Ids.
func shown(ids []string) string { return strings.Join(ids, " ") }

func TestAllRecordsAreACompleteAnswer(t *testing.T) {
	ids, v, err := search(t, has(at(3, "c"), at(2, "b"), at(1, "a")), day(3))
	if err != nil || shown(ids) != "c b a" || v.String() != "Complete" || v.Records != 3 || v.Backend != "memory" || v.Version != "1" {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
	if ids, v, err = search(t, has(), day(3)); err != nil || len(ids) != 0 || v.String() != "Complete" {
		t.Errorf("of nothing: %v, %v, %v", ids, v, err)
	}
}

func TestALogInDoubtHasNoCompleteAnswer(t *testing.T) {
	const doubt = "this cloud's log is empty"
	answer := func(q auditlog.Query, records ...auditlog.Record) auditlog.Verdict {
		log := auditlog.Log{Sources: []auditlog.Source{has(records...)}, Now: func() time.Time { return noon.AddDate(0, 0, 2) }, Doubt: doubt}
		res := log.Search(t.Context(), q)
		for range res.All() {
			continue
		}
		return res.Verdict()
	}
	for _, q := range []auditlog.Query{day(3), day(0), {Start: day(0).Start, End: day(0).End, Verify: true}} {
		for _, v := range []auditlog.Verdict{answer(q), answer(q, down(2, 1)...)} {
			if v.Status() != auditlog.Unknown || !strings.HasPrefix(v.String(), "⚠️ Unknown: "+doubt) {
				t.Errorf("%+v: %v", q, v)
			}
		}
	}
	if v := answer(day(1), down(2, 1)...); v.Status() != auditlog.Partial || !strings.Contains(v.String(), doubt) {
		t.Errorf("of more than are wanted: %v", v)
	}
}

func TestTheNewestComeFirstAndItIsSaidThatMoreExist(t *testing.T) {
	ids, v, err := search(t, has(at(1, "a"), at(3, "c"), at(2, "b")), day(2)) // few: all are read, so their order does not matter
	if err != nil || shown(ids) != "c b" || v.String() != "Partial, as asked: newest 2; more exist" {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
	ids, v, err = search(t, has(down(300, 0)...), day(2)) // many: not all are read
	if err != nil || shown(ids) != "300 299" || v.String() != "Partial, as asked: newest 2; more exist" {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
}

func TestNoMoreIsReadThanTheAnswerNeeds(t *testing.T) {
	for n, want := range map[int]int{1: 100, 99: 100, 100: 101, 150: 151} {
		s := has(down(300, 0)...)
		if _, v, err := search(t, s, day(n)); err != nil || s.read != want || v.Status() != auditlog.Partial {
			t.Errorf("newest %d: read %d records, want %d; %v, %v", n, s.read, want, v, err)
		}
	}
}

func TestAnUnsortedServiceIsNotCalledNewest(t *testing.T) {
	for name, records := range map[string][]auditlog.Record{
		"oldest first":                   slices.SortedFunc(slices.Values(down(300, 0)), func(a, b auditlog.Record) int { return a.Time.Compare(b.Time) }),
		"one out of place":               slices.Concat(down(300, 251), []auditlog.Record{at(299, "x")}, down(250, 0)),
		"one has no time":                slices.Concat(down(300, 251), []auditlog.Record{auditlog.NewRecord(`{"Id":"x"}`)}, down(250, 0)),
		"a second's worth of the oldest": slices.Concat(burst(1, 150), burst(2, 150)),
		"one is unreadable":              slices.Concat(down(300, 251), []auditlog.Record{auditlog.NewRecord(`x`)}, down(250, 0)),
	} {
		s := &source{find: func(auditlog.Query, *auditlog.Verdict) []auditlog.Record { return records }}
		ids, v, err := search(t, s, day(1))
		if err != nil || len(ids) != 1 || v.Status() != auditlog.Partial || !strings.HasPrefix(v.String(), "⚠️ ") {
			t.Errorf("%s: %v, %v, %v", name, ids, v, err)
		}
		if said := v.String(); strings.Contains(said, "newest 1;") || !strings.Contains(said, "not surely the newest") {
			t.Errorf("%s: %s", name, said)
		}
	}
}

func TestASecondLongerThanASessionIsNotCalledNewest(t *testing.T) {
	ids, v, err := search(t, has(slices.Concat(burst(1, 5001), burst(2, 5))...), day(3))
	if err != nil || len(ids) != 3 || strings.Contains(v.String(), "newest 3;") || len(v.Lost) == 0 {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
}

func TestTiesAtTheLimitGoByID(t *testing.T) {
	var tied []auditlog.Record
	for n := range 300 {
		tied = append(tied, at(5, fmt.Sprintf("%03d", (n*77)%300))) // in no order of their own
	}
	all := slices.Concat([]auditlog.Record{at(9, "new")}, tied, down(4, 0))
	ids, v, err := search(t, has(all...), day(4))
	if err != nil || shown(ids) != "new 000 001 002" || v.String() != "Partial, as asked: newest 4; more exist" {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
	if v.Duplicates != 0 {
		t.Errorf("%d duplicates, though the service sent none", v.Duplicates)
	}
}

func TestASecondThatCannotBeReadWholeIsDoubted(t *testing.T) {
	var tied []auditlog.Record
	for n := range 300 {
		tied = append(tied, at(5, fmt.Sprintf("%03d", 300-n)))
	}
	oneSecond := func(q auditlog.Query) bool { return q.End.Sub(q.Start) == time.Second }
	for name, second := range map[string]func(v *auditlog.Verdict) []auditlog.Record{
		"nothing is found in it":         func(*auditlog.Verdict) []auditlog.Record { return nil },
		"a record is gone from it":       func(*auditlog.Verdict) []auditlog.Record { return tied[1:] },
		"it holds more than can be read": func(*auditlog.Verdict) []auditlog.Record { return slices.Concat(tied, down(6000, 0)) },
		"the service has its own doubts": func(v *auditlog.Verdict) []auditlog.Record { v.Doubt("odd"); return tied },
		"a record in it cannot be read":  func(*auditlog.Verdict) []auditlog.Record { return append(slices.Clip(tied), auditlog.NewRecord("?")) },
		"the service knows other contents": func(*auditlog.Verdict) []auditlog.Record {
			return append(tied[1:len(tied):len(tied)], auditlog.NewRecord(`{"Id":"300","CreationTime":"2026-11-05T12:00:05","x":1}`))
		},
	} {
		s := &source{find: func(q auditlog.Query, v *auditlog.Verdict) []auditlog.Record {
			if oneSecond(q) {
				return second(v)
			}
			return append([]auditlog.Record{at(9, "new")}, tied...)
		}}
		ids, v, err := search(t, s, day(4))
		if err != nil || len(ids) != 4 || len(v.Lost) == 0 {
			t.Errorf("%s: %v, %v, %v", name, ids, v, err)
		}
	}
}

func TestASecondThatFailsIsDoubted(t *testing.T) {
	var tied []auditlog.Record
	for n := range 300 {
		tied = append(tied, at(5, fmt.Sprintf("%03d", n)))
	}
	s := &source{}
	s.find = func(q auditlog.Query, _ *auditlog.Verdict) []auditlog.Record {
		if q.End.Sub(q.Start) == time.Second {
			s.err = errors.New("gone")
			return nil
		}
		return append([]auditlog.Record{at(9, "new")}, tied...)
	}
	ids, v, err := search(t, s, day(4))
	if err != nil || len(ids) != 4 || !strings.Contains(v.String(), "the records of 2026-11-05 12:00:05 UTC were cut at random") {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
}

func TestRecordsWithoutATimeAreNotSurelyTheNewest(t *testing.T) {
	var records []auditlog.Record
	for n := range 300 {
		records = append(records, auditlog.NewRecord(fmt.Sprintf(`{"Id":"%d"}`, n)))
	}
	s := &source{find: func(auditlog.Query, *auditlog.Verdict) []auditlog.Record { return records }}
	if ids, v, err := search(t, s, day(2)); err != nil || len(ids) != 2 || !strings.Contains(v.String(), "2 records of more, not surely the newest: some have no time") {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
}

func TestDuplicatesAreDroppedAndCounted(t *testing.T) {
	ids, v, err := search(t, has(at(3, "c"), at(3, "c"), at(2, "b"), at(3, "c")), day(2))
	if err != nil || shown(ids) != "c b" || v.Duplicates != 2 || v.String() != "Complete" {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
}

func TestDuplicatesDoNotHideThatThereIsMore(t *testing.T) {
	var doubled []auditlog.Record
	for _, r := range down(300, 0) {
		doubled = append(doubled, r, r, r)
	}
	ids, v, err := search(t, has(doubled...), day(150))
	if err != nil || len(ids) != 150 || v.String() != "Partial, as asked: newest 150; more exist" {
		t.Errorf("%d records, %v, %v", len(ids), v, err)
	}
}

func TestTheSameIDWithOtherBytesIsKeptAndSaid(t *testing.T) {
	other := auditlog.NewRecord(`{"Id":"c","CreationTime":"2026-11-05T12:00:03","Operation":"Other"}`)
	ids, v, err := search(t, has(at(3, "c"), other, at(2, "b")), day(9))
	if err != nil || shown(ids) != "c c b" || v.Duplicates != 0 {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
	if want := []string{"2 records share their Id with another record of different content; all are kept"}; !slices.Equal(v.Noted, want) || v.String() != "Complete: "+want[0] {
		t.Errorf("noted %q, %s", v.Noted, v)
	}
}

func TestRecordsOutsideTheRangeAreKeptAndSaid(t *testing.T) {
	s := &source{find: func(q auditlog.Query, _ *auditlog.Verdict) []auditlog.Record {
		return []auditlog.Record{at(13*3600, "late"), at(12*3600, "end"), at(0, "noon"), at(-12*3600, "start")}
	}}
	ids, v, err := search(t, s, day(9))
	if err != nil || shown(ids) != "late end noon start" || len(v.Noted) != 1 || !strings.HasPrefix(v.Noted[0], "2 records") {
		t.Errorf("%v, %q, %v", ids, v.Noted, err)
	}
}

func TestAnUnreadableRecordIsKeptAndIsALoss(t *testing.T) {
	s := &source{find: func(auditlog.Query, *auditlog.Verdict) []auditlog.Record {
		return []auditlog.Record{at(1, "a"), auditlog.NewRecord("not \"JSON\"")}
	}}
	log := auditlog.Log{Sources: []auditlog.Source{s}}
	res := log.Search(t.Context(), day(9))
	var raw []string
	for r, err := range res.All() {
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, string(r.Raw))
	}
	if len(raw) != 2 || raw[1] != `"not \"JSON\""` {
		t.Errorf("records %q", raw)
	}
	if v := res.Verdict(); v.Status() != auditlog.Partial || !strings.Contains(v.String(), "a record could not be read") {
		t.Errorf("%v", v)
	}
}

func TestWhatWasFoundBeforeAFailureIsAnswered(t *testing.T) {
	s := has(at(3, "c"), at(2, "b"))
	for _, c := range []struct {
		err  error
		want string
	}{
		{&auditlog.Refusal{Problem: "the service is throttled"}, "the service is throttled"},
		{fmt.Errorf("asking: %w", context.DeadlineExceeded), "time ran out"},
		{fmt.Errorf("asking: %w", context.Canceled), "the search was cancelled"},
		{errors.New("secret internals"), "an unexpected failure"},
	} {
		s.err = c.err
		ids, v, err := search(t, s, day(9))
		if err != nil || shown(ids) != "c b" || v.Err != c.err {
			t.Errorf("%v, %v, %v", ids, v, err)
		}
		if want := "⚠️ Partial: fetching broke off after 2 records: " + c.want; v.String() != want {
			t.Errorf("got %s\nwant %s", v, want)
		}
	}
}

func TestAFailureBeforeAnyRecordIsAnError(t *testing.T) {
	s := has()
	s.err = errors.New("no")
	ids, v, err := search(t, s, day(9))
	if len(ids) > 0 || !errors.Is(err, s.err) || v.Status() != auditlog.Unknown {
		t.Errorf("%v, %v, %v", ids, v, err)
	}
}

func TestALoopThatIsLeftHasNoVerdict(t *testing.T) {
	log := auditlog.Log{Sources: []auditlog.Source{has(down(9, 0)...)}}
	res := log.Search(t.Context(), day(2))
	for range res.All() {
		break
	}
	if v := res.Verdict(); v.Status() != auditlog.Unknown || v.String() != "⚠️ Unknown: the records were not read to the end" {
		t.Errorf("%v", v)
	}
}

func TestASizeOutOfBoundsIsAnError(t *testing.T) {
	for _, n := range []int{-1, auditlog.MaxNewest + 1} {
		if _, v, err := search(t, has(at(1, "a")), day(n)); err == nil || v.Status() != auditlog.Unknown {
			t.Errorf("newest %d: %v, %v", n, v, err)
		}
	}
}

func TestTheRangeIsWidenedToWholeSeconds(t *testing.T) {
	q := day(9)
	q.Start, q.End = q.Start.Add(time.Millisecond).In(time.FixedZone("", 3600)), q.End.Add(time.Millisecond)
	_, v, err := search(t, has(), q)
	if want := day(9); err != nil || v.Query.Start != want.Start || v.Query.End != want.End.Add(time.Second) {
		t.Errorf("from %v to %v, %v", v.Query.Start, v.Query.End, err)
	}
}

func TestWhatMayStillArriveIsSaid(t *testing.T) {
	for _, c := range []struct {
		name       string
		start, end time.Duration // before now
		want       string
	}{
		{"all of it is settled", 24 * time.Hour, 90 * time.Minute, "Complete"},
		{"the end is younger than 90 minutes", 24 * time.Hour, 0, "Complete so far: records after 2026-11-05 10:30 UTC may still arrive"},
		{"even the start is", time.Hour, 0, "Complete so far: records after 2026-11-05 11:00 UTC may still arrive"},
		{"the end is to come", time.Hour, -time.Hour, "Complete so far: records after 2026-11-05 11:00 UTC may still arrive"},
		{"the start is 180 days ago", 180 * 24 * time.Hour, 24 * time.Hour, "Complete"},
		{"the start is longer ago", 180*24*time.Hour + time.Second, 24 * time.Hour,
			"⚠️ Unknown: records from before 2026-05-09 may be deleted already: most licences keep 180 days"},
	} {
		log := auditlog.Log{Sources: []auditlog.Source{has()}, Now: func() time.Time { return noon }}
		res := log.Search(t.Context(), auditlog.Query{Start: noon.Add(-c.start), End: noon.Add(-c.end), Newest: 1})
		for _, err := range res.All() {
			t.Fatal(err)
		}
		if got := res.Verdict().String(); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestAgesAreJudgedByTheTimeOfFetching(t *testing.T) {
	now := noon
	s := &source{find: func(auditlog.Query, *auditlog.Verdict) []auditlog.Record {
		now = now.Add(time.Hour) // so long does it take
		return nil
	}}
	log := auditlog.Log{Sources: []auditlog.Source{s}, Now: func() time.Time { return now }}
	res := log.Search(t.Context(), auditlog.Query{Start: noon.Add(-24 * time.Hour), End: noon.Add(-time.Hour), Newest: 1})
	for _, err := range res.All() {
		t.Fatal(err)
	}
	if got, want := res.Verdict().String(), "Complete so far: records after 2026-11-05 10:30 UTC may still arrive"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if v := res.Verdict(); !v.Started.Equal(noon) || !v.Ended.Equal(noon.Add(time.Hour)) {
		t.Errorf("fetched from %v to %v", v.Started, v.Ended)
	}
}
