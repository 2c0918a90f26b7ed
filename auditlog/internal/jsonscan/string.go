package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendString reads a string and appends what it stands for. Halves of
// surrogate pairs and bytes that are not UTF-8 become U+FFFD each, as in
// encoding/json.
//
// As AuditData has an escaped quote every ten bytes, it is copied by the
// machine word, which is faster than looking for an end and copying up to it.
func (t *Text) AppendString(to []byte) []byte {
	if t.Peek() != '"' {
		t.failAt(t.i)
		return to
	}
	before := len(to)
	b, i := t.b, t.i+1
	for {
		for i+8 <= len(b) {
			if len(to)+8 > cap(to) {
				to = slices.Grow(to, 8)
			}
			word := binary.LittleEndian.Uint64(b[i:])
			binary.LittleEndian.PutUint64(to[len(to):len(to)+8], word)
			if found := special(word); found != 0 {
				n := bits.TrailingZeros64(found) / 8
				to = to[:len(to)+n]
				i += n
				break
			}
			to = to[:len(to)+8]
			i += 8
		}
		if i >= len(b) {
			t.failAt(i)
			return to
		}
		switch c := b[i]; {
		case c == '"':
			t.i = i + 1
			return repair(to, before)
		case c == '\\' && i+1 < len(b) && escapes[b[i+1]] != 0:
			to = append(to, escapes[b[i+1]])
			i += 2
		case c == '\\' && i+1 < len(b) && b[i+1] == 'u':
			if to, i = t.appendRune(to, i+2); t.err != nil {
				return to
			}
		case c == '\\':
			t.failAt(i + 1)
			return to
		case c < ' ':
			t.failAt(i)
			return to
		default: // one of the last eight bytes
			to = append(to, c)
			i++
		}
	}
}

// escapes are the characters that a backslash stands for together with the
// byte after it.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// appendRune appends the character that the digits at i are for, together with
// another escape if they are half of a pair. It returns the index after them.
func (t *Text) appendRune(to []byte, i int) ([]byte, int) {
	r, i := t.hex(i)
	if utf16.IsSurrogate(r) {
		half := r
		r = utf8.RuneError
		if i+1 < len(t.b) && t.b[i] == '\\' && t.b[i+1] == 'u' {
			low, end := t.hex(i + 2)
			if r = utf16.DecodeRune(half, low); r != utf8.RuneError {
				i = end
			}
		}
	}
	return utf8.AppendRune(to, r), i
}

// hex reads the four digits at i, and returns the index after them.
func (t *Text) hex(i int) (rune, int) {
	var r rune
	for end := i + 4; i < end; i++ {
		if i >= len(t.b) {
			t.failAt(i)
			return 0, i
		}
		switch c := t.b[i]; {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			t.failAt(i)
			return 0, i
		}
	}
	return r, i
}

// repair replaces what is not UTF-8, from index i on.
func repair(b []byte, i int) []byte {
	if utf8.Valid(b[i:]) {
		return b
	}
	return append(b[:i], string([]rune(string(b[i:])))...)
}

// String is what a string stands for that [Text.Name] or [Text.Skip] returned.
func String(quoted []byte) string {
	t := New(quoted, 0)
	var short [64]byte
	return string(t.AppendString(short[:0]))
}

// Is tells whether a name that [Text.Name] returned is the given one, in upper
// or lower case, as encoding/json compares names.
func Is(quoted []byte, name string) bool {
	if len(quoted) < len(name)+len(`""`) {
		return false
	}
	if c := quoted[1]; c < utf8.RuneSelf && c|0x20 != name[0]|0x20 && c != '\\' {
		return false // most names are told apart by their first letter
	}
	if bytes.IndexByte(quoted, '\\') >= 0 {
		quoted = []byte(`"` + String(quoted) + `"`)
	}
	return bytes.EqualFold(quoted[1:len(quoted)-1], []byte(name))
}
