package auditlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// shuffled is n records, a few of them in each second, and every fifth twice,
// in no order.
func shuffled(n int, random *rand.Rand) []Record {
	var all []Record
	for i := range n {
		created := time.Unix(1_700_000_000+int64(random.IntN(n/3+1)), 0).UTC()
		r := Record{ID: fmt.Sprintf("r%06d", i), Time: created, Raw: fmt.Appendf(nil, `{"UserId":"ada@contoso.com","n":%d}`, i)}
		all = append(all, r)
		if i%5 == 0 {
			all = append(all, r)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// filled is a sorter with these records, in its own folder.
func filled(t *testing.T, records []Record) *sorter {
	t.Helper()
	s := &sorter{dir: t.TempDir()}
	t.Cleanup(s.close)
	for _, r := range records {
		if err := s.add(r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// drain reads a sorter to its end.
func drain(s *sorter) (records []Record, failure error) {
	for r, err := range s.all() {
		if err != nil {
			failure = err
			continue
		}
		records = append(records, r)
	}
	return records, failure
}

func TestASorterYieldsEachRecordOnceAndNewestFirst(t *testing.T) {
	for _, n := range []int{0, 1, 3, maxHeld * 5 / 6, maxHeld, 3 * maxHeld, 30_000} {
		records := shuffled(n, rand.New(rand.NewPCG(uint64(n), 1)))
		s := filled(t, records)
		if (s.spill != nil) != (len(records) > maxHeld) {
			t.Errorf("of %d records: a file is there: %t", len(records), s.spill != nil)
		}
		got, err := drain(s)
		slices.SortFunc(records, newestFirst)
		want := slices.CompactFunc(records, func(a, b Record) bool { return newestFirst(a, b) == 0 })
		if err != nil || len(got) != n || !slices.EqualFunc(got, want, func(a, b Record) bool { return newestFirst(a, b) == 0 }) {
			t.Errorf("of %d records, %d came, or not in order: %v", n, len(got), err)
		}
		if s.duplicates != s.added-n {
			t.Errorf("%d duplicates, want %d", s.duplicates, s.added-n)
		}
	}
}

func TestARecordComesBackFromTheFileAsItWentIn(t *testing.T) {
	odd := []Record{
		{},
		{Raw: []byte("{}")},
		{ID: "\x00\n\"é\xff", Raw: []byte("\x00\n\r\x1f\x8b\xff"), Time: time.Date(2026, 11, 5, 12, 0, 0, 123456789, time.UTC)},
		{ID: "long", Raw: bytes.Repeat([]byte("0123456789"), blockSize), Time: time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)},
		{ID: "far", Raw: []byte(`{"a":1}`), Time: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		{Unreadable: true, Raw: []byte(`"not \"JSON\""`)},
		NewRecord(`{"Id":"1","CreationTime":"2026-11-05T12:00:00.5+02:00"}`),
		NewRecord(`{"Id":"2"}`),
		NewRecord("?"),
	}
	s := filled(t, append(slices.Clone(odd), shuffled(maxHeld, rand.New(rand.NewPCG(1, 2)))...))
	got, err := drain(s)
	if err != nil || s.spill == nil {
		t.Fatal(err)
	}
	for _, want := range odd {
		i := slices.IndexFunc(got, func(r Record) bool { return newestFirst(r, want) == 0 })
		if i < 0 {
			t.Errorf("%q is gone", want.ID)
			continue
		}
		if got[i].Sum() != want.Sum() {
			t.Errorf("%q has another sum", want.ID)
		}
		want.hash = [32]byte{}
		if len(want.Raw) == 0 {
			got[i].Raw = nil
		}
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("got  %#v\nwant %#v", got[i], want)
		}
	}
}

func TestOnlyTheNewestAreKeptOfALimitedSorter(t *testing.T) {
	for _, keep := range []int{1, 10, maxHeld / 2, maxHeld, 2 * maxHeld} {
		records := shuffled(4*maxHeld, rand.New(rand.NewPCG(3, 4)))
		s := filled(t, nil)
		s.keep = keep
		for _, r := range records {
			if err := s.add(r); err != nil {
				t.Fatal(err)
			}
		}
		if few := keep <= maxHeld/2; few != (s.spill == nil) {
			t.Errorf("of %d, a file is there: %t", keep, s.spill != nil)
		}
		got, err := drain(s)
		slices.SortFunc(records, newestFirst)
		records = slices.CompactFunc(records, func(a, b Record) bool { return newestFirst(a, b) == 0 })
		if err != nil || len(got) < keep || !slices.EqualFunc(got[:keep], records[:keep], func(a, b Record) bool { return newestFirst(a, b) == 0 }) {
			t.Errorf("of %d, %d came, or others: %v", keep, len(got), err)
		}
	}
}

func TestLongRecordsAreNotHeldInMemory(t *testing.T) {
	s := filled(t, nil)
	for i := range 100 {
		if err := s.add(Record{ID: fmt.Sprint(i), Raw: bytes.Repeat([]byte{byte(i)}, 1<<20)}); err != nil {
			t.Fatal(err)
		}
		if s.bytes > maxHeldBytes {
			t.Fatalf("%d bytes are held", s.bytes)
		}
	}
	if got, err := drain(s); err != nil || len(got) != 100 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func TestNothingOfARecordCanBeReadInTheFile(t *testing.T) {
	s := filled(t, shuffled(2*maxHeld, rand.New(rand.NewPCG(5, 6))))
	file := make([]byte, s.spill.end)
	if _, err := s.spill.file.ReadAt(file, 0); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(file), "ada@contoso.com") || strings.Contains(string(file), `"UserId"`) { // long enough not to be there by chance
		t.Error("a record is there in plain text")
	}
	plain, err := s.spill.read(s.runs[0][0], nil)
	if err != nil || !bytes.Contains(plain, []byte("ada@contoso.com")) {
		t.Errorf("read back: %v", err)
	}
	if bytes.Contains(file, s.spill.packed.Bytes()) {
		t.Error("a block is there packed only")
	}
}

func TestADamagedFileIsAnErrorAndNoEnd(t *testing.T) {
	records := shuffled(20_000, rand.New(rand.NewPCG(7, 8)))
	whole, err := drain(filled(t, records))
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(s *sorter) error{
		"cut off":     func(s *sorter) error { return s.spill.file.Truncate(s.spill.end - 1) },
		"emptied":     func(s *sorter) error { return s.spill.file.Truncate(0) },
		"overwritten": func(s *sorter) error { _, err := s.spill.file.WriteAt([]byte{0}, s.spill.end/2); return err },
		"mixed up": func(s *sorter) error {
			first, second := s.runs[0][0], s.runs[0][1]
			block := make([]byte, second.sealed)
			if _, err := s.spill.file.ReadAt(block, second.at); err != nil {
				return err
			}
			_, err := s.spill.file.WriteAt(block, first.at)
			return err
		},
	} {
		s := filled(t, records)
		if err := damage(s); err != nil {
			t.Fatal(err)
		}
		got, err := drain(s)
		if err == nil || !strings.Contains(err.Error(), "reading back records to sort them") {
			t.Errorf("%s: %v", name, err)
		}
		if len(got) >= len(whole) || !slices.EqualFunc(got, whole[:len(got)], func(a, b Record) bool { return newestFirst(a, b) == 0 }) {
			t.Errorf("%s: %d records came before the error, or others", name, len(got))
		}
	}
}

func TestTheFileOfASorterIsGoneWhenItIsClosed(t *testing.T) {
	s := filled(t, shuffled(2*maxHeld, rand.New(rand.NewPCG(9, 10))))
	if s.spill == nil {
		t.Fatal("there is no file")
	}
	for range s.all() {
		break
	}
	s.close()
	s.close() // is no error
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
