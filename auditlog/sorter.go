package auditlog

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"iter"
	"slices"
	"time"
)

// What a sorter holds in memory: as many records as one search of Exchange
// Online returns sorted, so that those are sorted without a file, and 6.5 MB as
// a rule.
const (
	maxHeld      = maxSorted
	maxHeldBytes = 16 << 20 // of their Raw: 1.3 kB each as a rule, and 8.9 kB the longest seen
)

// blockSize is how many bytes of records are read back at once from each run.
// A million records are in 200 runs.
const blockSize = 16 << 10

// A sorter takes records in any order, and yields them newest first and each
// once, as an external merge sort does: whenever it holds too many, it writes
// them to a file as a sorted run, and yields what the runs have, merged. It is
// for one goroutine at a time.
type sorter struct {
	dir  string // where the file is created, if one is needed; "" means os.TempDir
	keep int    // only so many of the newest are wanted; 0 means all

	added      int // records, with the duplicates
	duplicates int // that were dropped: known once all has come to its end
	held       []Record
	bytes      int    // of the Raw of held
	spill      *spill // nil if all are held
	runs       []run
}

// A run is the places of sorted records in the file.
type run []block

// add takes a record. An error is one of the file.
func (s *sorter) add(r Record) error {
	if len(s.held) == maxHeld || len(s.held) > 0 && s.bytes+len(r.Raw) > maxHeldBytes {
		if err := s.makeRoom(); err != nil {
			return err
		}
	}
	s.held = append(s.held, r)
	s.bytes += len(r.Raw)
	s.added++
	return nil
}

// makeRoom writes down what is held, unless much of it was not needed.
func (s *sorter) makeRoom() error {
	s.arrange()
	if len(s.held) <= maxHeld/2 && s.bytes <= maxHeldBytes/2 {
		return nil
	}
	var err error
	if s.spill == nil {
		if s.spill, err = newSpill(s.dir); err != nil {
			return err
		}
	}
	var written run
	var plain []byte
	for i, r := range s.held {
		if plain = appendRecord(plain, r); len(plain) < blockSize && i < len(s.held)-1 {
			continue
		}
		b, err := s.spill.write(plain)
		if err != nil {
			return err
		}
		written, plain = append(written, b), plain[:0]
	}
	s.runs = append(s.runs, written)
	clear(s.held)
	s.held, s.bytes = s.held[:0], 0
	return nil
}

// arrange sorts what is held, and drops what is not needed.
func (s *sorter) arrange() {
	slices.SortFunc(s.held, newestFirst)
	n := len(s.held)
	s.held = slices.CompactFunc(s.held, func(a, b Record) bool { return newestFirst(a, b) == 0 })
	s.duplicates += n - len(s.held)
	if s.keep > 0 && len(s.held) > s.keep {
		clear(s.held[s.keep:])
		s.held = s.held[:s.keep]
	}
	s.bytes = 0
	for _, r := range s.held {
		s.bytes += len(r.Raw)
	}
}

// all yields the records, which works once. A failure is the last pair, with a
// zero Record.
func (s *sorter) all() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		m, err := s.merge()
		var last Record
		for first := true; err == nil && len(m) > 0; err = m.advance() {
			r := m[0].record
			if !first && newestFirst(last, r) == 0 {
				s.duplicates++
				continue
			}
			if !yield(r, nil) {
				return
			}
			last, first = r, false
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

// merge begins to read all runs.
func (s *sorter) merge() (merge, error) {
	s.arrange()
	m := merge{{held: s.held}}
	s.held = nil
	for _, r := range s.runs {
		m = append(m, &cursor{spill: s.spill, blocks: r})
	}
	for _, c := range m {
		if err := c.next(); err != nil {
			return nil, err
		}
	}
	m = slices.DeleteFunc(m, func(c *cursor) bool { return c.over })
	heap.Init(&m)
	return m, nil
}

// close gives back memory and the file. It can be called again.
func (s *sorter) close() {
	s.held, s.runs = nil, nil
	if s.spill != nil {
		_ = s.spill.close() // nothing of it is wanted any more
		s.spill = nil
	}
}

// A cursor is at one record of a run, or of those that are held.
type cursor struct {
	record Record
	over   bool // there is none

	held   []Record // those after record
	spill  *spill
	blocks run    // those after the one that record is in
	rest   []byte // of that block, after record
	buf    []byte // that rest is in
}

// next goes to the next record.
func (c *cursor) next() (err error) {
	if len(c.rest) == 0 && len(c.blocks) > 0 {
		if c.buf, err = c.spill.read(c.blocks[0], c.buf); err != nil {
			return err
		}
		c.rest, c.blocks = c.buf, c.blocks[1:]
	}
	switch {
	case len(c.rest) > 0:
		c.record, c.rest, err = cutRecord(c.rest)
	case len(c.held) > 0:
		c.record = c.held[0]
		c.held[0] = Record{} // so that it can go once it was handed on
		c.held = c.held[1:]
	default:
		c.record, c.over = Record{}, true
	}
	return err
}

// A merge is a heap of cursors, with the one at the newest record on top.
type merge []*cursor

// advance moves the cursor on top.
func (m *merge) advance() error {
	c := (*m)[0]
	if err := c.next(); err != nil {
		return err
	}
	if c.over {
		heap.Pop(m)
		return nil
	}
	heap.Fix(m, 0)
	return nil
}

func (m merge) Len() int           { return len(m) }
func (m merge) Less(i, j int) bool { return newestFirst(m[i].record, m[j].record) < 0 }
func (m merge) Swap(i, j int)      { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(c any)        { *m = append(*m, c.(*cursor)) }

func (m *merge) Pop() any {
	last := len(*m) - 1
	c := (*m)[last]
	*m = (*m)[:last]
	return c
}

// appendRecord writes a record behind text: whether it is unreadable (1 byte),
// the seconds since 1970 and the nanoseconds of its time, and then Id and Raw,
// each behind its length. Numbers are varints. Its hash is left out: few are
// asked for it again.
func appendRecord(text []byte, r Record) []byte {
	unreadable := byte(0)
	if r.Unreadable {
		unreadable = 1
	}
	text = append(text, unreadable)
	text = binary.AppendVarint(text, r.Time.Unix())
	text = binary.AppendUvarint(text, uint64(r.Time.Nanosecond()))
	text = append(binary.AppendUvarint(text, uint64(len(r.ID))), r.ID...)
	return append(binary.AppendUvarint(text, uint64(len(r.Raw))), r.Raw...)
}

var errCutShort = errors.New("reading back records to sort them: one is cut short")

// cutRecord reads a record from the start of text, of which it shares nothing.
func cutRecord(text []byte) (r Record, rest []byte, err error) {
	r.Unreadable = text[0] == 1
	seconds, n := binary.Varint(text[1:])
	if n <= 0 {
		return Record{}, nil, errCutShort
	}
	nanoseconds, m := binary.Uvarint(text[1+n:])
	if m <= 0 {
		return Record{}, nil, errCutShort
	}
	r.Time = time.Unix(seconds, int64(nanoseconds)).UTC() // the zero time too comes back as it was
	id, rest, err := cutBytes(text[1+n+m:])
	if err != nil {
		return Record{}, nil, err
	}
	raw, rest, err := cutBytes(rest)
	if err != nil {
		return Record{}, nil, err
	}
	r.ID, r.Raw = string(id), slices.Clone(raw)
	return r, rest, nil
}

// cutBytes reads bytes behind their length.
func cutBytes(text []byte) (b, rest []byte, err error) {
	length, n := binary.Uvarint(text)
	if n <= 0 || length > uint64(len(text)-n) {
		return nil, nil, errCutShort
	}
	text = text[n:]
	return text[:length], text[length:], nil
}
