package exchange

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"auditbot/auditlog"
)

// maxBody is how many bytes of a body are read, once unpacked. 5,000 rows of
// the longest record seen (8.9 kB) have 45 MB. Tests run with less, and change
// it before anything else runs.
var maxBody int64 = 64 << 20

var errTooLong = fmt.Errorf("the answer is longer than %d MiB", maxBody>>20)

// readBody reads a body to its end. Whether it is packed is told by its first
// bytes: the service declares gzip of bodies that are not. With an error, it
// returns what could be read.
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
	return bytes.Trim(body, "\x00\ufeff"), nil
}

// An unreadable is an answer with status 200 that does not say anything:
// truncated, not JSON, or without a value.
type unreadable struct {
	call string // client-request-id
	err  error
}

func (e *unreadable) Error() string {
	return fmt.Sprintf("an answer cannot be read (client-request-id %s): %v", e.call, e.err)
}

func (e *unreadable) Unwrap() error { return e.err }

// An answer is the body of a successful call.
type answer struct {
	Value    []json.RawMessage `json:"value"`
	Next     string            `json:"@odata.nextLink"`
	Warnings json.RawMessage   `json:"@adminapi.warnings"`
	Errors   json.RawMessage   `json:"@adminapi.errors"`

	warnings []string // from body and header
	errors   []string
	call     string // client-request-id
}

func newAnswer(body []byte, h http.Header, call string) (*answer, error) {
	a := &answer{call: call}
	if err := json.Unmarshal(body, a); err != nil {
		return nil, &unreadable{call, err}
	}
	if a.Value == nil { // as in {}: this is not "no rows"
		return nil, &unreadable{call, errors.New("it has no value")}
	}
	a.warnings = append(texts(a.Warnings), texts([]byte(h.Get("X-Warnings")))...)
	a.errors = texts(a.Errors)
	return a, nil
}

// texts reads a list of texts: as a rule a JSON array of strings, but the
// shape is not documented, and nothing that is said here may be lost.
func texts(raw []byte) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	var found []string
	for _, item := range list {
		s := string(item)
		_ = json.Unmarshal(item, &s) // else it stays as it is
		if s = shorten(clean(s), 1000); s != "" && s != "null" {
			found = append(found, s)
		}
	}
	return found
}

// A row is one line of Search-UnifiedAuditLog's output.
type row struct {
	record auditlog.Record
	unsure bool // the service says that the result is unusable: ResultIndex is -1
	more   bool // the service says that more rows follow
}

// newRow reads a row. Its record is the text in AuditData, with the outer JSON
// string undone: escapes there that stand for no character (half of a
// surrogate pair) and bytes that are not UTF-8 become U+FFFD. A row without
// AuditData is kept whole, as an unreadable record. The other columns repeat
// AuditData, and ResultCount has meant different things over time, so they
// are not looked at.
func newRow(raw json.RawMessage) row {
	var columns struct {
		AuditData                  json.RawMessage
		ResultIndex                json.RawMessage
		Identity                   json.RawMessage
		AuditSearchRequestMetadata json.RawMessage
	}
	_ = json.Unmarshal(raw, &columns) // a row that is no object has no columns
	r := row{
		unsure: strings.Trim(string(columns.ResultIndex), `"`) == "-1",
		more:   moreFlag.Match(columns.AuditSearchRequestMetadata),
	}
	var text string
	switch {
	case len(columns.AuditData) == 0 || string(columns.AuditData) == "null":
		r.record = auditlog.UnreadableRecord(string(raw))
		_ = json.Unmarshal(columns.Identity, &r.record.ID) // the Id of its AuditData
	case json.Unmarshal(columns.AuditData, &text) == nil:
		r.record = auditlog.NewRecord(text)
	default: // not a string: an object, or what should not be
		r.record = auditlog.NewRecord(string(columns.AuditData))
	}
	return r
}

// moreFlag finds a set moreRecordsAvailable, in an object or in the text of
// one.
var moreFlag = regexp.MustCompile(`(?i)moreRecordsAvailable\W*true`)
