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
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Records are an audit log. The zero value has none. They do not change once
// a [Server] has them.
type Records struct {
	all []record // oldest first
}

// A record is the AuditData of an entry, and of its fields those that the
// service filters by.
type record struct {
	raw       []byte
	at        int64 // CreationTime, microseconds since 1970
	kind      int   // RecordType; 0 if there is none
	id        string
	operation string
	user      string
	object    string
	address   string // without port
	site      string
}

// Len is how many records there are.
func (r *Records) Len() int { return len(r.all) }

// All yields the AuditData of each record, oldest first, as it was loaded. It
// must not be changed.
func (r *Records) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, record := range r.all {
			if !yield(record.raw) {
				return
			}
		}
	}
}

// LoadNDJSON reads records: one AuditData object in a line, whose bytes are
// kept. Empty lines do not count. Each record needs a CreationTime, with a "T"
// or a blank in the middle; no zone means UTC. The error names the line that
// cannot be read.
func LoadNDJSON(r io.Reader) (*Records, error) {
	records, lines := new(Records), bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading line %d of the records: %w", n, err)
		}
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // a byte order mark
		}
		if line := bytes.TrimSpace(line); len(line) > 0 {
			record, err := newRecord(line)
			if err != nil {
				return nil, fmt.Errorf("reading line %d of the records: %w", n, err)
			}
			records.all = append(records.all, record)
		}
		if err != nil {
			records.sort()
			return records, nil
		}
	}
}

func (r *Records) sort() {
	slices.SortFunc(r.all, func(a, b record) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.id, b.id), bytes.Compare(a.raw, b.raw))
	})
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

func newRecord(raw []byte) (record, error) {
	if !utf8.Valid(raw) {
		return record{}, errors.New("it is not UTF-8")
	}
	var head struct {
		ID              loose `json:"Id"`
		CreationTime    loose
		RecordType      loose
		Operation       loose
		UserID          loose `json:"UserId"`
		ObjectID        loose `json:"ObjectId"`
		ClientIP        loose
		ClientIPAddress loose
		ActorIPAddress  loose `json:"ActorIpAddress"`
		ActorIP         loose
		Site            loose
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return record{}, err
	}
	at, err := creationTime(string(head.CreationTime))
	if err != nil {
		return record{}, err
	}
	return record{
		raw:       raw,
		at:        at.UnixMicro(),
		kind:      recordTypeNumber(string(head.RecordType)),
		id:        string(head.ID),
		operation: string(head.Operation),
		user:      string(head.UserID),
		object:    string(head.ObjectID),
		address:   address(string(cmp.Or(head.ClientIP, head.ClientIPAddress, head.ActorIPAddress, head.ActorIP))),
		site:      string(head.Site),
	}, nil
}

func creationTime(s string) (time.Time, error) {
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

// A filter says which records are wanted. Lists are alternatives; an empty one
// does not restrict.
type filter struct {
	start, end int64 // start <= CreationTime < end; microseconds since 1970
	kind       int   // 0 means any
	impossible bool  // nothing fits
	operations []string
	users      []string
	addresses  []string // see [address]
	objects    []string // one that ends in "*" stands for all that begin so
	sites      []string
	text       string // somewhere in the record; the case of ASCII letters does not matter
}

// find is the positions of the records that fit, oldest first.
func (r *Records) find(f filter) []int32 {
	if f.impossible {
		return nil
	}
	text := newNeedle(f.text)
	from, _ := slices.BinarySearchFunc(r.all, f.start, func(r record, at int64) int { return cmp.Compare(r.at, at) })
	var found []int32
	for i := from; i < len(r.all) && r.all[i].at < f.end; i++ {
		if f.fits(&r.all[i]) && text.in(r.all[i].raw) {
			found = append(found, int32(i))
		}
	}
	return found
}

// fits checks all but time and text.
func (f *filter) fits(r *record) bool {
	return (f.kind == 0 || f.kind == r.kind) &&
		oneOf(f.operations, r.operation) &&
		oneOf(f.users, r.user) &&
		oneOf(f.addresses, r.address) &&
		oneOf(f.sites, r.site) &&
		(len(f.objects) == 0 || slices.ContainsFunc(f.objects, func(o string) bool { return objectFits(o, r.object) }))
}

func oneOf(wanted []string, s string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, s) })
}

func objectFits(wanted, object string) bool {
	if prefix, ok := strings.CutSuffix(wanted, "*"); ok {
		return len(object) >= len(prefix) && strings.EqualFold(object[:len(prefix)], prefix)
	}
	return strings.EqualFold(wanted, object)
}

// A needle is text to look for in much more text, whatever the case of ASCII
// letters. It is looked for by its rarest byte.
type needle struct {
	text  []byte // in lower case
	rare  int    // where in text the rarest byte is
	forms []byte // that byte, and in the other case
}

// frequent is the bytes of audit records, from the most frequent on.
const frequent = `"e0aiotcs-d:n1r,234blf5m6p879u.gyh v}{/xkwz`

func newNeedle(text string) needle {
	n := needle{text: bytes.Clone([]byte(text))}
	for i, c := range n.text {
		n.text[i] = lower(c)
	}
	rank := func(c byte) int { return strings.IndexByte(frequent, c) & 0xff } // none is last
	for i, c := range n.text {
		if rank(c) > rank(n.text[n.rare]) {
			n.rare = i
		}
	}
	if text != "" {
		n.forms = []byte{n.text[n.rare]}
		if c := n.forms[0]; 'a' <= c && c <= 'z' {
			n.forms = append(n.forms, c-'a'+'A')
		}
	}
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c - 'A' + 'a'
	}
	return c
}

// in tells whether s holds the needle.
func (n needle) in(s []byte) bool {
	for _, form := range n.forms {
		for at := n.rare; at < len(s); at++ {
			i := bytes.IndexByte(s[at:], form)
			if i < 0 {
				break
			}
			at += i
			if n.begins(s[at-n.rare:]) {
				return true
			}
		}
	}
	return len(n.text) == 0
}

func (n needle) begins(s []byte) bool {
	if len(s) < len(n.text) {
		return false
	}
	for i, c := range n.text {
		if lower(s[i]) != c {
			return false
		}
	}
	return true
}
