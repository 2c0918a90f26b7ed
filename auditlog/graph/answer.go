package graph

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/jsonscan"
)

// maxBody is how many bytes of a body are read, once unpacked. A thousand
// records of the longest seen (8.9 kB) have 9 MB. Tests run with less, and
// change it before anything else runs.
var maxBody int64 = 64 << 20

var errTooLong = fmt.Errorf("the answer is longer than %d MiB", maxBody>>20)

// readBody reads a body to its end; whether it is packed is told by its first
// bytes. With an error, it returns what could be read.
func readBody(r io.Reader) ([]byte, error) {
	packed := bufio.NewReader(r)
	var plain io.Reader = packed
	if magic, _ := packed.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			return nil, fmt.Errorf("unpacking the answer: %w", err)
		}
		plain = unpacked
	}
	body, err := io.ReadAll(io.LimitReader(plain, maxBody+1))
	if int64(len(body)) > maxBody {
		return body[:maxBody], errTooLong
	}
	if err != nil {
		return body, fmt.Errorf("reading the answer: %w", err)
	}
	return bytes.TrimPrefix(body, []byte("\ufeff")), nil
}

// An unreadable is an answer that says yes and then nothing: truncated, not
// JSON, or without what it should have.
type unreadable struct {
	call string // client-request-id
	err  error
}

func (e *unreadable) Error() string {
	return fmt.Sprintf("an answer cannot be read (client-request-id %s): %v", e.call, e.err)
}

func (e *unreadable) Unwrap() error { return e.err }

// A page is a part of a query's records.
type page struct {
	records []auditlog.Record
	next    string // link to the next page; "" after the last
}

func (p *page) read(body []byte) error {
	*p = page{}
	hasValue := false
	t := jsonscan.New(body, 0)
	for more := t.Open('{', '}'); more; more = t.Next('}') {
		switch name := t.Name(); {
		case jsonscan.Is(name, "value") && t.Peek() == '[':
			hasValue = true
			for more := t.Open('[', ']'); more; more = t.Next(']') {
				p.records = append(p.records, readRecord(&t))
			}
		case jsonscan.Is(name, "@odata.nextLink"):
			p.next = jsonscan.String(t.Skip())
		default:
			t.Skip()
		}
	}
	if t.Close(); t.Err() != nil {
		return t.Err()
	}
	if !hasValue { // as in {}: this is not "no records"
		return errors.New("it has no value")
	}
	return nil
}

// readRecord reads an auditLogRecord. Its record is the bytes of auditData as
// they came, with Graph's annotations. What stands around them repeats them
// under other names (userId is what is called UserKey inside), so of that only
// the id and the time are looked at, and only where auditData has none. A
// record without auditData is kept whole, as an unreadable one.
func readRecord(t *jsonscan.Text) auditlog.Record {
	if t.Peek() != '{' {
		return auditlog.UnreadableRecord(string(t.Skip()))
	}
	var id, created, data []byte
	start := t.Pos()
	for more := t.Open('{', '}'); more; more = t.Next('}') {
		switch name := t.Name(); {
		case jsonscan.Is(name, "id"):
			id = t.Skip()
		case jsonscan.Is(name, "createdDateTime"):
			created = t.Skip()
		case jsonscan.Is(name, "auditData"):
			data = t.Skip()
		default:
			t.Skip()
		}
	}
	r := recordOf(data, t.Since(start))
	if r.ID == "" {
		r.ID = jsonscan.String(id)
	}
	if at, err := time.Parse(time.RFC3339, jsonscan.String(created)); err == nil && r.Time.IsZero() {
		r.Time = at.UTC()
	}
	return r
}

func recordOf(auditData, whole []byte) auditlog.Record {
	switch {
	case len(auditData) == 0 || string(auditData) == "null":
		return auditlog.UnreadableRecord(string(whole))
	case auditData[0] == '"':
		return auditlog.NewRecord(jsonscan.String(auditData))
	}
	return auditlog.RecordOf(bytes.Clone(auditData))
}
