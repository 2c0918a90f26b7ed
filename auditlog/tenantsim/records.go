package tenantsim

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"
	"unicode/utf8"
)

// Records are an audit log. The zero value has none. They do not change once
// a [Server] has them.
type Records struct {
	all  []span   // oldest first; those of one moment in the order in which they came
	text []byte   // where the records are, if they are in memory
	file *os.File // where they are otherwise
}

// A span is where a record stands, and what most searches need of it: there
// may be a million of them.
type span struct {
	at     int64 // CreationTime, microseconds since 1970
	offset int64
	kind   int // RecordType; 0 if there is none
	length int32
}

// Len is how many records there are.
func (r *Records) Len() int { return len(r.all) }

// All yields the AuditData of each record, oldest first, as it was loaded. It
// must not be changed.
func (r *Records) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range r.all {
			if !yield(r.raw(int32(i), new([]byte))) {
				return
			}
		}
	}
}

// raw is the AuditData of the record at a position, valid until buf, which a
// file is read into, is used again.
func (r *Records) raw(at int32, buf *[]byte) []byte {
	p := r.all[at]
	if r.file == nil {
		return r.text[p.offset : p.offset+int64(p.length) : p.offset+int64(p.length)]
	}
	*buf = slices.Grow((*buf)[:0], int(p.length))[:p.length]
	r.readAt(*buf, p.offset)
	return *buf
}

// A Wanted says which records [Records.Find] finds.
type Wanted struct {
	From, To   time.Time // From <= CreationTime < To; a zero To finds nothing
	Users      []string  // UserId; the case of letters does not matter. Empty means any
	Operations []string  // likewise
}

// Find yields the Id and the AuditData of each record that a search which
// misses nothing must find, oldest first, however many there are.
func (r *Records) Find(w Wanted) iter.Seq2[string, []byte] {
	f := filter{start: w.From.UnixMicro(), end: w.To.UnixMicro(), users: w.Users, operations: w.Operations}
	return func(yield func(string, []byte) bool) {
		for _, at := range r.find(f) {
			raw := r.raw(at, new([]byte))
			h := readHead(raw, setOf(fieldID))
			if !yield(string(h.text(fieldID)), raw) {
				return
			}
		}
	}
}

// LoadNDJSON reads records into memory: one AuditData object in a line, whose
// bytes are kept. Empty lines do not count. Each record needs a CreationTime,
// with a "T" or a blank in the middle; no zone means UTC. The error names the
// line that cannot be read.
func LoadNDJSON(r io.Reader) (*Records, error) {
	records := new(Records)
	err := records.read(r, func(line []byte, _ int64) error {
		if err := json.Unmarshal(line, &struct{}{}); err != nil {
			return err
		}
		at := len(records.text)
		records.text = append(records.text, line...)
		return records.add(line, int64(at))
	})
	if err != nil {
		return nil, err
	}
	return records, nil
}

// OpenNDJSON is like [LoadNDJSON] for files that are too large for memory: of
// a record, 32 bytes are kept, and it is read again whenever it is needed. It
// believes that the lines are JSON; that they have a CreationTime it checks.
// The file must not change. The caller should call Close when finished.
func OpenNDJSON(path string) (*Records, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the records: %w", err)
	}
	records := &Records{file: file}
	if err := records.read(file, records.add); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return records, nil
}

// Close closes the file of [OpenNDJSON]. Others need none.
func (r *Records) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// read gives each line to take, with the place where it begins.
func (r *Records) read(from io.Reader, take func(line []byte, offset int64) error) error {
	lines, offset := bufio.NewReaderSize(from, 1<<20), int64(0)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading line %d of the records: %w", n, err)
		}
		text := line
		if n == 1 {
			text = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // a byte order mark
		}
		text = bytes.TrimLeft(text, " \t\r\n")
		start := offset + int64(len(line)-len(text))
		if text = bytes.TrimRight(text, " \t\r\n"); len(text) > 0 {
			if err := take(text, start); err != nil {
				return fmt.Errorf("reading line %d of the records: %w", n, err)
			}
		}
		if err != nil {
			r.sort()
			return nil
		}
		offset += int64(len(line))
	}
}

// readLine is the next line, valid until the one after it.
func readLine(from *bufio.Reader) ([]byte, error) {
	line, err := from.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := bytes.Clone(line)
	rest, err := from.ReadBytes('\n')
	return append(long, rest...), err
}

// add notes a record that stands at offset.
func (r *Records) add(raw []byte, offset int64) error {
	if !utf8.Valid(raw) {
		return errors.New("it is not UTF-8")
	}
	h := readHead(raw, setOf(fieldCreationTime, fieldRecordType))
	at, err := readTime(string(h.text(fieldCreationTime)))
	if err != nil {
		return err
	}
	r.all = append(r.all, span{at: at.UnixMicro(), offset: offset, kind: h.kind(), length: int32(len(raw))})
	return nil
}

func (r *Records) sort() {
	slices.SortFunc(r.all, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.offset, b.offset))
	})
}

func readTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, errors.New("it has no CreationTime")
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("its CreationTime %q cannot be read", s)
}

// A record is what answers say of an entry.
type record struct {
	data      []byte // AuditData
	at        int64  // CreationTime, microseconds since 1970
	kind      int    // RecordType; 0 if there is none
	id        string
	operation string
	user      string
	object    string
}

// record reads the record at a position.
func (r *Records) record(at int32) *record {
	raw := r.raw(at, new([]byte))
	h := readHead(raw, setOf(fieldID, fieldOperation, fieldUser, fieldObject))
	return &record{
		data:      raw,
		at:        r.all[at].at,
		kind:      r.all[at].kind,
		id:        string(h.text(fieldID)),
		operation: string(h.text(fieldOperation)),
		user:      string(h.text(fieldUser)),
		object:    string(h.text(fieldObject)),
	}
}
