package auditlog_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
)

// spilled is how many files of records in dir this process has open, though
// they have no name any more, and how long they are together.
func spilled(tb testing.TB, dir string) (files int, size int64) {
	tb.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		tb.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fd) // Glob's own is gone
		if info, err := os.Stat(fd); err == nil && strings.HasPrefix(target, dir) {
			files++
			size += info.Size()
		}
	}
	return files, size
}

func TestNoFileOutlivesItsSearch(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which closes what nobody knows any more
	const many = 6000                                // more than are held in memory
	failing := &auditlog.Refusal{Problem: "the service is ill"}
	crowded := slices.Concat(burst(7200, many), burst(7199, many), burst(7198, many))
	for name, c := range map[string]struct {
		source auditlog.Source
		verify bool
	}{
		"unsorted":           {of(flood(many)), false},
		"unsorted, twice":    {of(flood(many)), true},
		"unsorted, too many": {invented{auditlog.Limits{Records: 2 * many / 3, InFlight: 1, Unsorted: true}, (&heap{records: crowd(many), limit: 2 * many / 3}).late}, true},
		"seconds":            {&busy{records: crowded, limit: 5000, large: 20_000, inFlight: 3}, false},
		"seconds, twice":     {&busy{records: crowded, limit: 5000, large: 20_000, inFlight: 3}, true},
		"older seconds first": {&busy{records: crowded, limit: 5000, large: 20_000, inFlight: 3, fail: func(q auditlog.Query) error {
			return slow(q.End.After(noon.Add(7200 * time.Second)))
		}}, false},
		"newer seconds first": {&busy{records: crowded, limit: 5000, large: 20_000, inFlight: 3, fail: func(q auditlog.Query) error {
			return slow(!q.End.After(noon.Add(7200 * time.Second)))
		}}, false},
		"seconds that break off": {invented{auditlog.Limits{Records: 5000, InFlight: 3}, breaksOff(crowded, failing)}, true},
	} {
		for _, until := range []int{1, many + 1, 1_000_000} {
			synctest.Test(t, func(t *testing.T) { // because of the rests after a failure
				log := later(c.source)
				log.Dir = t.TempDir()
				q := day(0)
				q.Verify = c.verify
				n := 0
				for range log.Search(t.Context(), q).All() {
					if n++; n == until {
						break
					}
				}
				if files, _ := spilled(t, log.Dir); files > 0 || n == 0 {
					t.Errorf("%s, left after %d records: %d files are open", name, n, files)
				}
				if left, err := os.ReadDir(log.Dir); err != nil || len(left) > 0 {
					t.Errorf("%s: %v is left, %v", name, left, err)
				}
			})
			runtime.GC()
		}
	}
}

func TestRecordsThatWaitToBeSortedAreInNoFolder(t *testing.T) {
	log := later(of(flood(6000)))
	log.Dir = t.TempDir()
	for range log.Search(t.Context(), day(0)).All() {
		files, size := spilled(t, log.Dir)
		if names, err := os.ReadDir(log.Dir); files != 1 || size == 0 || err != nil || len(names) > 0 {
			t.Errorf("%d files of %d bytes are open; %v is in the folder, %v", files, size, names, err)
		}
		break
	}
}

// BenchmarkSorter is a million records of the kind that a tenant has.
func BenchmarkSorter(b *testing.B) {
	const n = 1_000_000
	var some bytes.Buffer
	if err := tenantsim.Generate(&some, 20_000, noon.Add(-12*time.Hour), noon.Add(12*time.Hour), 1); err != nil {
		b.Fatal(err)
	}
	var kinds []auditlog.Record
	for line := range bytes.Lines(some.Bytes()) {
		kinds = append(kinds, auditlog.RecordOf(bytes.TrimSpace(line)))
	}
	for b.Loop() {
		before, most, size := inUse(), 0, int64(0)
		dir, random := b.TempDir(), rand.New(rand.NewPCG(1, 2))
		look := func(i int) {
			if i%50_000 == 0 {
				b.StopTimer()
				_, now := spilled(b, dir)
				most, size = max(most, inUse()-before), max(size, now)
				b.StartTimer()
			}
		}
		log := later(of(func(yield func(auditlog.Record) bool) {
			for i := range n {
				look(i)
				r := kinds[random.IntN(len(kinds))]
				id := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", random.Uint32(), i&0xffff, i>>16, random.IntN(1<<16), random.Int64N(1<<48))
				r = auditlog.Record{ID: id, Time: r.Time, Raw: bytes.Replace(r.Raw, []byte(r.ID), []byte(id), 1)}
				if !yield(r) {
					return
				}
			}
		}))
		log.Dir = dir
		came, bytes := 0, 0
		for r, err := range log.Search(b.Context(), day(0)).All() {
			if err != nil {
				b.Fatal(err)
			}
			look(came)
			came++
			bytes += len(r.Raw)
		}
		if came != n {
			b.Fatalf("%d records came", came)
		}
		b.ReportMetric(float64(bytes)/1e6, "MB")
		b.ReportMetric(float64(size)/1e6, "file-MB")
		b.ReportMetric(float64(most)/1e6, "heap-MB")
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
	runtime.KeepAlive(kinds)
}

// slow takes a second, or a minute if it is.
func slow(is bool) error {
	took := time.Second
	if is {
		took = time.Minute
	}
	time.Sleep(took)
	return nil
}

// breaksOff gives out records, and fails at the end of a second that has any.
func breaksOff(records []auditlog.Record, failure error) func(context.Context, auditlog.Query, *auditlog.Verdict, func(auditlog.Record, error) bool) {
	return func(_ context.Context, q auditlog.Query, _ *auditlog.Verdict, yield func(auditlog.Record, error) bool) {
		n := 0
		counted := func(r auditlog.Record, err error) bool { n++; return yield(r, err) }
		switch {
		case q.End.Sub(q.Start) > time.Hour:
			yield(auditlog.Record{}, auditlog.ErrFull)
		case hand(records, q, counted) && n > 0:
			yield(auditlog.Record{}, failure)
		}
	}
}
