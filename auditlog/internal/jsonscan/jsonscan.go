// Package jsonscan reads JSON by passing over each byte of it once, and
// without memory of its own. A search has gigabytes of records, and
// encoding/json passes over each of them many times to find two fields.
//
// A [Text] is read from front to back. What fails once goes on failing, so
// that one look at [Text.Err] at the end is enough:
//
//	t := jsonscan.New(record, 0)
//	for more := t.Open('{', '}'); more; more = t.Next('}') {
//		name, value := t.Name(), t.Skip()
//		...
//	}
//	t.Close()
//	return t.Err()
//
// What is JSON and what is not is as in encoding/json: strings may hold bytes
// that are not UTF-8, names may come twice.
package jsonscan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// ErrShort says that a text ends too early: with more text after it, it may be
// JSON.
var ErrShort = errors.New("the JSON ends too early")

// maxDepth is how many objects and arrays may stand within each other, as in
// encoding/json.
const maxDepth = 10_000

// A Text is JSON that is being read. It does not change the bytes it reads,
// and hands out pieces of them.
type Text struct {
	b     []byte
	i     int // of the next byte; after a failure, the end of b
	depth int
	err   error
}

// New is a text that stands inside of so many objects and arrays.
func New(b []byte, depth int) Text { return Text{b: b, depth: depth} }

// Err is the first failure: nil, [ErrShort], or what is no JSON and where.
func (t *Text) Err() error { return t.err }

// Pos is how many bytes have been read; after a failure, all.
func (t *Text) Pos() int { return t.i }

// Depth is in how many objects and arrays the next byte stands.
func (t *Text) Depth() int { return t.depth }

func (t *Text) fail(err error) {
	if t.err == nil {
		t.err = err
	}
	t.i = len(t.b)
}

// failAt fails because of the byte at i: either it cannot stand there, or it
// is not there.
func (t *Text) failAt(i int) {
	switch {
	case t.err != nil:
	case i >= len(t.b):
		t.fail(ErrShort)
	default:
		t.fail(fmt.Errorf("the JSON has %q where that cannot be", t.b[i]))
	}
}

// Peek passes over white space. It returns the byte after it, which comes
// next, and 0 after a failure.
func (t *Text) Peek() byte {
	if t.i < len(t.b) && t.b[t.i] > ' ' { // as a rule; and short enough to be inlined
		return t.b[t.i]
	}
	return t.peekFurther()
}

func (t *Text) peekFurther() byte {
	for ; t.i < len(t.b); t.i++ {
		switch c := t.b[t.i]; c {
		case ' ', '\n', '\t', '\r':
		default:
			return c
		}
	}
	t.failAt(t.i)
	return 0
}

// Open goes into an object or an array, given by its brackets, and tells
// whether there is anything in it.
func (t *Text) Open(left, right byte) bool {
	if t.Peek() != left {
		t.failAt(t.i)
		return false
	}
	if t.depth++; t.depth > maxDepth {
		t.fail(errors.New("the JSON is too deep"))
		return false
	}
	t.i++
	if t.Peek() == right {
		t.i++
		t.depth--
		return false
	}
	return t.err == nil
}

// Next goes on to the next member of an object or the next element of an
// array, given by its closing bracket. It tells whether there is one; if not,
// the object or the array has been left.
func (t *Text) Next(right byte) bool {
	switch t.Peek() {
	case ',':
		t.i++
		return true
	case right:
		t.i++
		t.depth--
	default:
		t.failAt(t.i)
	}
	return false
}

// Name reads the name of an object's member, which it returns in its quotes,
// and the colon after it.
func (t *Text) Name() []byte {
	t.Peek()
	start := t.i
	t.skipString()
	name := t.b[start:t.i]
	if t.Peek() != ':' {
		t.failAt(t.i)
		return nil
	}
	t.i++
	return name
}

// Skip reads a value, whatever it is, and returns its bytes.
func (t *Text) Skip() []byte {
	t.Peek()
	start := t.i
	t.skip()
	return t.Since(start)
}

// Since is what has been read since [Text.Pos] was the given one.
func (t *Text) Since(pos int) []byte { return t.b[pos:t.i] }

// Close fails if anything but white space is left.
func (t *Text) Close() {
	if t.err != nil {
		return
	}
	if t.Peek(); t.i < len(t.b) {
		t.failAt(t.i)
		return
	}
	t.err = nil // that there is nothing to peek at is what was wanted
}

func (t *Text) skip() {
	switch c := t.Peek(); c {
	case '"':
		t.skipString()
	case '{':
		for more := t.Open('{', '}'); more; more = t.Next('}') {
			t.Name()
			t.skip()
		}
	case '[':
		for more := t.Open('[', ']'); more; more = t.Next(']') {
			t.skip()
		}
	case 't':
		t.skipWord("true")
	case 'f':
		t.skipWord("false")
	case 'n':
		t.skipWord("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		t.skipNumber()
	default:
		t.failAt(t.i)
	}
}

func (t *Text) skipWord(word string) {
	for n := range len(word) {
		if i := t.i + n; i >= len(t.b) || t.b[i] != word[n] {
			t.failAt(i)
			return
		}
	}
	t.i += len(word)
}

// skipNumber reads a number (RFC 8259, section 6). One at the end of the text
// may go on, so it is too short.
func (t *Text) skipNumber() {
	if t.b[t.i] == '-' {
		t.i++
	}
	if t.at('0') {
		t.i++
	} else {
		t.skipDigits()
	}
	if t.at('.') {
		t.i++
		t.skipDigits()
	}
	if t.at('e') || t.at('E') {
		t.i++
		if t.at('+') || t.at('-') {
			t.i++
		}
		t.skipDigits()
	}
	if t.i == len(t.b) {
		t.failAt(t.i)
	}
}

func (t *Text) at(c byte) bool { return t.i < len(t.b) && t.b[t.i] == c }

// skipDigits reads at least one digit.
func (t *Text) skipDigits() {
	i := t.i
	for i < len(t.b) && isDigit(t.b[i]) {
		i++
	}
	if i == t.i {
		t.failAt(i)
		return
	}
	t.i = i
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// skipString reads a string. Most of the time is spent here and in
// [Text.AppendString].
func (t *Text) skipString() {
	if !t.at('"') {
		t.failAt(t.i)
		return
	}
	b, i := t.b, t.i+1
	for {
		i = plain(b, i)
		switch {
		case i < len(b) && b[i] == '"':
			t.i = i + 1
			return
		case i < len(b) && b[i] == '\\':
			i++
		default:
			t.failAt(i)
			return
		}
		switch {
		case i < len(b) && escapes[b[i]] != 0:
			i++
		case i < len(b) && b[i] == 'u':
			if _, i = t.hex(i + 1); t.err != nil {
				return
			}
		default:
			t.failAt(i)
			return
		}
	}
}

// plain is the index, from i on, of the next byte that means something in a
// string: a quote, a backslash, or a control character, which cannot be there.
func plain(b []byte, i int) int {
	for i+8 <= len(b) {
		if found := special(binary.LittleEndian.Uint64(b[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
		i += 8
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// special looks at eight bytes at once. Of those that mean something in a
// string, the lowest has its highest bit set in the result; bytes above it may
// have theirs set without a reason.
func special(x uint64) uint64 {
	const each = 0x0101010101010101
	quote, backslash := x^each*'"', x^each*'\\' // these bytes become 0
	return ((quote-each)&^quote | (backslash-each)&^backslash | (x-each*' ')&^x) & (each * 0x80)
}
