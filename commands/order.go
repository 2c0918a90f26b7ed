package commands

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"

	"auditbot/auditlog"
)

// What is sorted, at most.
const (
	maxOrdered      = 50_000   // records
	maxOrderedBytes = 64 << 20 // of these records
)

// ordered keeps the records that come first in the order of a field, at most
// size of them. Numbers are ordered as numbers and come before times, these
// before text, in which upper and lower case are the same. Records without the
// field are last, whatever the direction; equal ones stay in the order in which
// they were added, that is, newest first.
type ordered struct {
	field string
	down  bool // from the highest value on
	size  int
	kept  []keyed // a heap with the last one on top, until sorted
	added int
	bytes int
	done  bool
}

// keyed is a record with what it is ordered by.
type keyed struct {
	record auditlog.Record
	kind   int
	number float64
	time   time.Time
	text   string
	came   int
}

// Kinds of keys, in the order in which they come.
const (
	numberKey = iota
	timeKey
	textKey
	noKey
)

// newOrdered orders by "field", or by "-field" from the highest value on. It
// keeps size records, 1 to maxOrdered.
func newOrdered(sort string, size int) *ordered {
	field, down := strings.CutPrefix(sort, "-")
	return &ordered{field: field, down: down, size: min(size, maxOrdered)}
}

// add takes a record, and drops the last one if there are more than asked for.
// It is a [*Mistake] when those that are kept get too large.
func (o *ordered) add(r auditlog.Record) error {
	k := o.key(r.View())
	k.came = o.added
	o.added++
	o.done = false
	if len(o.kept) == o.size {
		if o.size == 0 || o.compare(k, o.kept[0]) > 0 {
			return nil
		}
		o.bytes += k.bytes() - o.kept[0].bytes()
		o.kept[0] = k
		heap.Fix(o, 0)
	} else {
		o.bytes += k.bytes()
		heap.Push(o, k)
	}
	if o.bytes > maxOrderedBytes {
		return mistakef("sort: the %s records to sort are larger than %d MiB", Thousands(len(o.kept)), maxOrderedBytes>>20).
			hintf("ask for fewer: result_size=%d", max(1, len(o.kept)/2))
	}
	return nil
}

// records are those that come first, in order. No more can be added afterwards.
func (o *ordered) records() []auditlog.Record {
	if !o.done {
		slices.SortFunc(o.kept, o.compare)
		o.done = true
	}
	all := make([]auditlog.Record, len(o.kept))
	for i, k := range o.kept {
		all[i] = k.record
	}
	return all
}

// key reads what a record is ordered by. CreationTime is ordered as a time.
func (o *ordered) key(v auditlog.View) keyed {
	field := o.field
	if strings.EqualFold(field, "CreationTime") {
		field = "time"
	}
	k := keyed{record: v.Record, kind: noKey}
	if value, ok := v.Get(field); ok {
		if t, isTime := value.(time.Time); isTime {
			k.kind, k.time = timeKey, t
			return k
		}
	}
	text := v.Text(field)
	if text == "" {
		return k
	}
	if number, ok := numberOf(text); ok {
		k.kind, k.number = numberKey, number
		return k
	}
	k.kind, k.text = textKey, strings.ToLower(text)
	return k
}

// compare tells which of two records comes first.
func (o *ordered) compare(a, b keyed) int {
	order := cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.number, b.number), a.time.Compare(b.time), strings.Compare(a.text, b.text))
	if o.down && a.kind != noKey && b.kind != noKey {
		order = -order
	}
	return cmp.Or(order, cmp.Compare(a.came, b.came))
}

// keyBytes is about what a record takes besides its bytes and its key's.
const keyBytes = 160

func (k keyed) bytes() int { return len(k.record.Raw) + len(k.text) + keyBytes }

// Len, Less, Swap, Push and Pop make a heap of what is kept, the last on top.
func (o *ordered) Len() int           { return len(o.kept) }
func (o *ordered) Less(i, j int) bool { return o.compare(o.kept[i], o.kept[j]) > 0 }
func (o *ordered) Swap(i, j int)      { o.kept[i], o.kept[j] = o.kept[j], o.kept[i] }
func (o *ordered) Push(k any)         { o.kept = append(o.kept, k.(keyed)) }
func (o *ordered) Pop() any {
	last := o.kept[len(o.kept)-1]
	o.kept = o.kept[:len(o.kept)-1]
	return last
}
