package tenantsim

import (
	"fmt"
	"slices"
)

// A reader reads the records of an answer. Those of a file that stand near each
// other, as those of a short time do, it has read at once.
type reader struct {
	log   *Records
	lent  *[]byte // of [bodies]
	near  []byte  // a part of the file
	start int64   // where that begins
	one   []byte
}

func (r *Records) reader(rows []row) *reader {
	read := &reader{log: r}
	if len(rows) == 0 || r.file == nil {
		return read
	}
	sum, from, to := int64(0), r.all[rows[0].position].offset, int64(0)
	for _, row := range rows {
		p := r.all[row.position]
		sum, from, to = sum+int64(p.length), min(from, p.offset), max(to, p.offset+int64(p.length))
	}
	if to-from <= 2*sum {
		read.lent, read.start = bodies.Get().(*[]byte), from
		*read.lent = slices.Grow((*read.lent)[:0], int(to-from))[:to-from]
		read.near = *read.lent
		r.readAt(read.near, from)
	}
	return read
}

// raw is the AuditData of the record at a position, valid until the next one
// is asked for.
func (read *reader) raw(at int32) []byte {
	if read.near == nil {
		return read.log.raw(at, &read.one)
	}
	p := read.log.all[at]
	return read.near[p.offset-read.start:][:p.length:p.length]
}

func (read *reader) giveBack() {
	if read.lent != nil {
		bodies.Put(read.lent)
	}
}

// readAt panics if the file cannot be read any more: whoever has changed it
// wants to know.
func (r *Records) readAt(into []byte, offset int64) {
	if _, err := r.file.ReadAt(into, offset); err != nil {
		panic(fmt.Errorf("reading the simulated tenant's records: %w", err))
	}
}
