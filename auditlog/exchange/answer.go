package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"auditbot/auditlog/internal/jsonscan"
	"auditbot/auditlog/internal/transport"
)

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
	rows     []row             // of the value of a search
	Value    []json.RawMessage // of any other
	hasValue bool
	Next     string // "@odata.nextLink"

	warnings []string // from body and header
	errors   []string
	call     string // client-request-id
}

// readAnswer reads an answer to its end. The elements of its value are rows,
// or are kept as they are.
func readAnswer(body io.Reader, h http.Header, call string, rows bool) (*answer, error) {
	d, err := newDocument(body)
	if err != nil {
		return nil, err
	}
	a := &answer{call: call}
	var warnings, failures []byte
	for name := range d.members {
		switch {
		case jsonscan.Is(name, "value"):
			a.readValue(d, rows)
		case jsonscan.Is(name, "@odata.nextLink"):
			a.readNext(d)
		case jsonscan.Is(name, "@adminapi.warnings"):
			warnings = d.value()
		case jsonscan.Is(name, "@adminapi.errors"):
			failures = d.value()
		default:
			d.value()
		}
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	if !a.hasValue { // as in {}: this is not "no rows"
		return nil, errors.New("it has no value")
	}
	a.warnings = append(texts(warnings), texts([]byte(h.Get("X-Warnings")))...)
	a.errors = texts(failures)
	return a, nil
}

// readValue reads what the answer consists of, and forgets an earlier one, if
// the answer has two.
func (a *answer) readValue(d *document, rows bool) {
	a.rows, a.Value, a.hasValue = nil, nil, false
	switch d.peek() {
	case '[':
		a.hasValue = true
	case 'n': // null
		d.value()
		return
	default:
		d.fail(errors.New("its value is no list"))
		return
	}
	if rows {
		var c columns
		for range d.elements(c.read) {
			a.rows = append(a.rows, newRow(&c))
		}
		return
	}
	var value []byte
	for range d.elements(func(t *jsonscan.Text) { value = t.Skip() }) {
		a.Value = append(a.Value, bytes.Clone(value))
	}
}

func (a *answer) readNext(d *document) {
	switch next := d.value(); {
	case len(next) > 0 && next[0] == '"':
		a.Next = jsonscan.String(next)
	case string(next) != "null":
		d.fail(errors.New("its link to the next page is no text"))
	}
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
		if s = transport.Clean(s, 1000); s != "" && s != "null" {
			found = append(found, s)
		}
	}
	return found
}
