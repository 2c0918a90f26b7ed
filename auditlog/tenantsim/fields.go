package tenantsim

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
)

// A field is a field of a record that somebody searches by or that answers
// repeat.
type field int

const (
	fieldCreationTime field = iota
	fieldRecordType
	fieldID
	fieldOperation
	fieldUser
	fieldObject
	fieldSite
	fieldClientIP
	fieldClientIPAddress
	fieldActorIPAddress
	fieldActorIP
	manyFields
)

var fieldNames = [manyFields]string{
	"CreationTime", "RecordType", "Id", "Operation", "UserId", "ObjectId", "Site", "ClientIP", "ClientIPAddress", "ActorIpAddress", "ActorIP",
}

// fieldNamed is the field with this name. Exports of other tools have the names
// in lower case.
func fieldNamed(name []byte) (f field, ok bool) {
	lower := len(name) > 0 && name[0] >= 'a'
	for f, known := range fieldNames {
		if len(name) == len(known) && (string(name) == known || lower && strings.EqualFold(string(name), known)) {
			return field(f), true
		}
	}
	return 0, false
}

// fields is a set of them.
type fields uint16

func setOf(all ...field) fields {
	var s fields
	for _, f := range all {
		s |= 1 << f
	}
	return s
}

func (s fields) has(f field) bool { return s&(1<<f) != 0 }

// addressFields are those that may have the address of a record: the first
// that has one counts.
var addressFields = setOf(fieldClientIP, fieldClientIPAddress, fieldActorIPAddress, fieldActorIP)

// A head is fields of a record: their values as they stand in it, JSON. nil is
// one that was not looked for or is not there.
type head [manyFields][]byte

// readHead finds fields of a record. It reads no further than to the last of
// them, since most stand at the beginning: what follows may be anything, and
// of JSON that is none the head is what was found.
func readHead(raw []byte, wanted fields) (h head) {
	at := skipBlanks(raw, 0) + 1 // the brace
	for wanted != 0 {
		name := skipBlanks(raw, at)
		if name >= len(raw) || raw[name] != '"' {
			return h
		}
		colon := skipString(raw, name)
		value := skipBlanks(raw, skipBlanks(raw, colon)+1)
		if value >= len(raw) {
			return h
		}
		at = skipValue(raw, value)
		if f, ok := fieldNamed(raw[name+1 : colon-1]); ok && wanted.has(f) {
			h[f] = raw[value:at:at]
			wanted &^= 1 << f
		}
		at = skipBlanks(raw, at) + 1 // the comma
	}
	return h
}

func skipBlanks(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\t' || raw[at] == '\r' || raw[at] == '\n') {
		at++
	}
	return at
}

// skipString is where the string whose quote stands at at has ended.
func skipString(raw []byte, at int) int {
	for at++; at < len(raw); {
		i := bytes.IndexByte(raw[at:], '"')
		if i < 0 {
			break
		}
		at += i + 1
		slashes := 0
		for raw[at-2-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return at
		}
	}
	return len(raw)
}

// skipValue is where the value that begins at at has ended.
func skipValue(raw []byte, at int) int {
	for depth := 0; at < len(raw); {
		switch raw[at] {
		case '"':
			at = skipString(raw, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			if depth--; depth < 0 {
				return at
			}
			at++
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return at
			}
			at++
			continue
		default:
			at++
			continue
		}
		if depth == 0 {
			return at
		}
	}
	return len(raw)
}

// text is a value of whatever type as text; null is none.
func (h *head) text(f field) []byte {
	v := h[f]
	switch {
	case string(v) == "null":
		return nil
	case len(v) < 2 || v[0] != '"':
		return v
	case bytes.IndexByte(v, '\\') < 0: // as in nearly all
		return v[1 : len(v)-1]
	}
	var s string
	_ = json.Unmarshal(v, &s) // one that is broken has no text
	return []byte(s)
}

// address is the address of a record, "" if it has none.
func (h *head) address() string {
	for _, f := range []field{fieldClientIP, fieldClientIPAddress, fieldActorIPAddress, fieldActorIP} {
		if s := h.text(f); len(s) > 0 {
			return address(string(s))
		}
	}
	return ""
}

// kind is the number of the record type, 0 if there is none.
func (h *head) kind() int { return recordTypeNumber(string(h.text(fieldRecordType))) }

func recordTypeNumber(s string) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	for _, t := range recordTypes() {
		if s != "" && strings.EqualFold(t.name, s) {
			return t.number
		}
	}
	return 0
}

// address is an IP address without the port that some workloads add and
// without the prefix of an IPv4 address in IPv6; other text stays as it is.
func address(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().Unmap().String()
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.Unmap().String()
	}
	return s
}

// A loose is a JSON value of whatever type, as text.
type loose string

func (l *loose) UnmarshalJSON(raw []byte) error {
	s := string(raw)
	if quoted := raw[0] == '"'; quoted && bytes.IndexByte(raw, '\\') < 0 {
		s = s[1 : len(s)-1] // as nearly all are; this is quicker
	} else if quoted {
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
	}
	if s != "null" {
		*l = loose(s)
	}
	return nil
}
