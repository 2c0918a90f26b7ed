package commands

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"auditbot/auditlog"
)

// inOrder are the Ids of the records that come first.
func inOrder(t *testing.T, sort string, size int, records ...string) string {
	t.Helper()
	o := newOrdered(sort, size)
	for _, r := range records {
		if err := o.add(auditlog.NewRecord(r)); err != nil {
			t.Fatal(err)
		}
	}
	return ids(o)
}

func ids(o *ordered) string {
	var all []string
	for _, r := range o.records() {
		all = append(all, r.ID)
	}
	return strings.Join(all, " ")
}

func TestRecordsAreOrderedByAField(t *testing.T) {
	mixed := []string{`{"Id":"1","x":"b"}`, `{"Id":"2","x":10}`, `{"Id":"3"}`, `{"Id":"4","x":"9"}`, `{"Id":"5","x":"B"}`, `{"Id":"6","x":"a"}`, `{"Id":"7","x":null}`, `{"Id":"8","x":9}`, `{"Id":"9","x":-1.5}`}
	times := []string{`{"Id":"1","CreationTime":"2026-11-05T12:00:00"}`, `{"Id":"2","CreationTime":"2026-11-05 11:00:00"}`, `{"Id":"3","CreationTime":"2026-11-05T13:00:00+02:00"}`, `{"Id":"4","CreationTime":"?"}`}
	for _, c := range []struct {
		sort, want string
		size       int
		records    []string
	}{
		{"x", "9 4 8 2 6 1 5 3 7", 50, mixed},
		{"-x", "1 5 6 2 4 8 9 3 7", 50, mixed}, // those without it are last either way
		{"x", "9 4 8", 3, mixed},
		{"-x", "1 5 6", 3, mixed},
		{"x", "9", 1, mixed},
		{"CreationTime", "2 3 1 4", 50, times},
		{"-time", "1 2 3 4", 50, times},
		{"nothing", "1 2 3 4", 50, times},
		{"-nothing", "1 2", 2, times},
		{"Item.Size", "2 1", 5, []string{`{"Id":"1","Item":{"Size":100}}`, `{"Id":"2","Item":{"Size":20}}`}},
	} {
		if got := inOrder(t, c.sort, c.size, c.records...); got != c.want {
			t.Errorf("%s, %d: %s, want %s", c.sort, c.size, got, c.want)
		}
	}
}

// What is kept on the way is what sorting everything would put first.
func TestKeepingTheFirstIsSortingAll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprintf(`{"Id":"%d","x":%d}`, i, random.IntN(20)))
		}
		for _, sort := range []string{"x", "-x"} {
			whole, size := inOrder(t, sort, 200, all...), 1+random.IntN(199)
			if got := inOrder(t, sort, size, all...); got != strings.Join(strings.Fields(whole)[:size], " ") {
				t.Fatalf("%s, %d: %s\nof %s", sort, size, got, whole)
			}
		}
	}
}

func TestRecordsCanBeAskedForTwice(t *testing.T) {
	o := newOrdered("x", 5)
	for _, r := range []string{`{"Id":"1","x":2}`, `{"Id":"2","x":1}`} {
		if err := o.add(auditlog.NewRecord(r)); err != nil {
			t.Fatal(err)
		}
	}
	if first, second := o.records(), o.records(); !slices.EqualFunc(first, second, func(a, b auditlog.Record) bool { return a.ID == b.ID }) || ids(o) != "2 1" {
		t.Errorf("%v, then %v", first, second)
	}
}

func TestTooMuchToSortIsAMistake(t *testing.T) {
	large := `{"Id":"1","x":1,"Long":"` + strings.Repeat("x", 1<<20) + `"}`
	o := newOrdered("x", 1000)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = o.add(auditlog.NewRecord(large))
	}
	if m, ok := errors.AsType[*Mistake](err); !ok || n != 64 || m.Hint != "ask for fewer: result_size=32" {
		t.Errorf("after %d: %v, %+v", n, err, m)
	}
	o = newOrdered("x", 10)
	for range 200 {
		if err := o.add(auditlog.NewRecord(large)); err != nil {
			t.Fatal(err)
		}
	}
	if newOrdered("x", 1_000_000).size != maxOrdered || newOrdered("x", 0).add(auditlog.NewRecord(large)) != nil {
		t.Error("the size is not bounded")
	}
}
