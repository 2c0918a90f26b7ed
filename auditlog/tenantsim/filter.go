package tenantsim

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

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

// needs is the fields of a record that the filter looks at.
func (f *filter) needs() (s fields) {
	if len(f.operations) > 0 {
		s |= setOf(fieldOperation)
	}
	if len(f.users) > 0 {
		s |= setOf(fieldUser)
	}
	if len(f.addresses) > 0 {
		s |= addressFields
	}
	if len(f.objects) > 0 {
		s |= setOf(fieldObject)
	}
	if len(f.sites) > 0 {
		s |= setOf(fieldSite)
	}
	return s
}

// between is the positions of the records of a time: from <= i < to.
func (r *Records) between(start, end int64) (from, to int) {
	before := func(p span, at int64) int { return cmp.Compare(p.at, at) }
	from, _ = slices.BinarySearchFunc(r.all, start, before)
	to, _ = slices.BinarySearchFunc(r.all, end, before)
	return from, max(from, to)
}

// find is the positions of all records that fit, oldest first.
func (r *Records) find(f filter) []int32 {
	found := r.newest(f, len(r.all))
	slices.Reverse(found)
	return found
}

// newest is the positions of the last records that fit, up to many, newest
// first. Of records that stand in a file, one is read only if more is to be
// known of it than its time and type.
func (r *Records) newest(f filter, many int) []int32 {
	if f.impossible {
		return nil
	}
	from, to := r.between(f.start, f.end)
	needs, text := f.needs(), newNeedle(f.text)
	look := needs != 0 || f.text != ""
	var found []int32
	if !look && f.kind == 0 {
		found = make([]int32, 0, min(to-from, many))
	}
	var buf []byte
	for i := to - 1; i >= from && len(found) < many; i-- {
		if f.kind != 0 && f.kind != r.all[i].kind {
			continue
		}
		if look {
			raw := r.raw(int32(i), &buf)
			if h := readHead(raw, needs); !f.fits(&h) || !text.in(raw) {
				continue
			}
		}
		found = append(found, int32(i))
	}
	return found
}

// fits checks all but time, type and text.
func (f *filter) fits(h *head) bool {
	return oneOf(f.operations, string(h.text(fieldOperation))) &&
		oneOf(f.users, string(h.text(fieldUser))) &&
		oneOf(f.sites, string(h.text(fieldSite))) &&
		(len(f.addresses) == 0 || oneOf(f.addresses, h.address())) &&
		(len(f.objects) == 0 || slices.ContainsFunc(f.objects, func(o string) bool { return objectFits(o, string(h.text(fieldObject))) }))
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
