package exchange

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"auditbot/auditlog/internal/jsonscan"
)

// maxBody is how many bytes of a body are read, once unpacked. 5,000 rows of
// the longest record seen (8.9 kB) have 45 MB. Tests run with less, and change
// it before anything else runs.
var maxBody int64 = 64 << 20

var errTooLong = fmt.Errorf("the answer is longer than %d MiB", maxBody>>20)

// unpack reads a body as it was before it was packed. Whether it is packed is
// told by its first bytes: the service declares gzip of bodies that are not.
func unpack(body io.Reader) (io.Reader, error) {
	packed := bufio.NewReader(body)
	if magic, _ := packed.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return packed, nil
	}
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return nil, fmt.Errorf("unpacking the answer: %w", err)
	}
	return plain, nil
}

// padding is what may stand around an answer: NULs and byte order marks.
const padding = "\x00\ufeff"

// readBody reads a body to its end. With an error, it returns what could be
// read.
func readBody(r io.Reader) ([]byte, error) {
	plain, err := unpack(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(plain, maxBody+1))
	if int64(len(body)) > maxBody {
		return body[:maxBody], errTooLong
	}
	if err != nil {
		return body, fmt.Errorf("reading the answer: %w", err)
	}
	return bytes.Trim(body, padding), nil
}

// A document is a body that is one JSON object, read piece by piece: a search
// has many answers under way, with megabytes in each. What is read of it is
// worth nothing before [document.end] has seen the end.
type document struct {
	body  io.Reader
	count int64  // bytes read from body
	ended error  // why no more can be read from body; [io.EOF] after the last byte
	held  []byte // what was read from body last
	at    int    // of the next byte, in held
	depth int    // in how many objects and arrays that stands
	text  jsonscan.Text
	err   error // once reading has failed
}

func newDocument(body io.Reader) (*document, error) {
	plain, err := unpack(body)
	if err != nil {
		return nil, err
	}
	return &document{body: plain}, nil
}

// pieceSize is how many bytes of a document are read at once: some 30 rows.
// Tests read less.
var pieceSize = 64 << 10

// more reads more of the body. As what is held is then looked through from its
// beginning, it becomes at least twice as long, if there is so much.
func (d *document) more() bool {
	if d.ended != nil {
		return false
	}
	left := len(d.held) - d.at
	d.held = append(d.held[:0], d.held[d.at:]...)
	d.held = slices.Grow(d.held, max(left, pieceSize/2))
	d.at = 0
	for len(d.held) < cap(d.held) && d.ended == nil {
		n, err := d.body.Read(d.held[len(d.held):cap(d.held)])
		d.held = d.held[:len(d.held)+n]
		if d.count += int64(n); d.count > maxBody {
			err = errTooLong
		} else if err != nil && err != io.EOF {
			err = fmt.Errorf("reading the answer: %w", err)
		}
		d.ended = err
	}
	return len(d.held) > left
}

// read reads a piece of the document with f, which is called again, from its
// beginning, for as long as what is held of the document turns out too short.
func (d *document) read(f func(*jsonscan.Text)) {
	for d.err == nil {
		d.text = jsonscan.New(d.held[d.at:], d.depth)
		f(&d.text)
		switch err := d.text.Err(); {
		case err == nil:
			d.at += d.text.Pos()
			d.depth = d.text.Depth()
			return
		case err != jsonscan.ErrShort || !d.more():
			d.fail(err)
		}
	}
}

// members goes through the members of the object that the document is, given
// by their names in quotes. The loop reads the value of each.
func (d *document) members(yield func(name []byte) bool) {
	d.skip(padding)
	more := false
	d.read(func(t *jsonscan.Text) { more = t.Open('{', '}') })
	for more && d.err == nil {
		var name []byte
		d.read(func(t *jsonscan.Text) { name = t.Name() })
		if d.err != nil || !yield(name) {
			return
		}
		d.read(func(t *jsonscan.Text) { more = t.Next('}') })
	}
}

// elements goes through the elements of an array, each of which it reads with
// f, as [document.read] does.
func (d *document) elements(f func(*jsonscan.Text)) func(yield func() bool) {
	return func(yield func() bool) {
		more := false
		d.read(func(t *jsonscan.Text) { more = t.Open('[', ']') })
		for more {
			d.read(func(t *jsonscan.Text) {
				f(t)
				more = t.Next(']')
			})
			if d.err != nil || !yield() {
				return
			}
		}
	}
}

// peek is the first byte of the value that comes next, 0 if none comes.
func (d *document) peek() (first byte) {
	d.read(func(t *jsonscan.Text) { first = t.Peek() })
	return first
}

// value reads a value, whatever it is.
func (d *document) value() (value []byte) {
	d.read(func(t *jsonscan.Text) { value = t.Skip() })
	return bytes.Clone(value)
}

// skip passes over bytes that are in cutset.
func (d *document) skip(cutset string) {
	for {
		left := bytes.TrimLeft(d.held[d.at:], cutset)
		d.at = len(d.held) - len(left)
		if len(left) >= utf8.UTFMax || !d.more() {
			return
		}
	}
}

// fail ends reading. A body that does not arrive, or not to its end, is a worse
// failure than what is wrong with the beginning of it.
func (d *document) fail(err error) {
	if d.err != nil {
		return
	}
	for d.at = len(d.held); d.more(); {
		d.at = len(d.held)
	}
	if d.ended != io.EOF {
		err = d.ended
	}
	d.err = err
}

// end tells whether the whole document could be read, and nothing comes after
// it.
func (d *document) end() error {
	if d.err != nil {
		return d.err
	}
	d.skip(" \t\r\n")
	d.skip(padding)
	var err error
	if d.at < len(d.held) {
		err = errors.New("something comes after the JSON")
	}
	d.fail(err)
	return d.err
}
