package commands

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"auditbot/auditlog"
)

// A packer writes records as NDJSON, packed with gzip: one member (RFC 1952,
// section 2.2) for what comes between two flushes, so that the whole can be
// read to any of them, and is itself a file that gzip reads.
type packer struct {
	to   io.Writer
	zip  *gzip.Writer
	open bool // a member is begun
}

func newPacker(to io.Writer) *packer {
	zip, _ := gzip.NewWriterLevel(to, gzip.BestSpeed) // a known level cannot fail
	return &packer{to: to, zip: zip}
}

// write adds a line. Line breaks of a record, which can only be blanks between
// its tokens, become spaces.
func (p *packer) write(raw []byte) error {
	if !p.open {
		p.zip.Reset(p.to)
		p.open = true
	}
	if bytes.ContainsAny(raw, "\r\n") {
		raw = bytes.Map(func(r rune) rune {
			if r == '\n' || r == '\r' {
				return ' '
			}
			return r
		}, raw)
	}
	if _, err := p.zip.Write(raw); err != nil {
		return fmt.Errorf("packing a record: %w", err)
	}
	if _, err := p.zip.Write([]byte("\n")); err != nil {
		return fmt.Errorf("packing a record: %w", err)
	}
	return nil
}

// flush ends the member, if one is begun.
func (p *packer) flush() error {
	if !p.open {
		return nil
	}
	p.open = false
	return p.zip.Close()
}

// packedLines yields the lines that a packer wrote, each valid until the next.
func packedLines(ctx context.Context, open func(context.Context) (io.ReadCloser, error)) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		packed, err := open(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		defer packed.Close()
		buffered := bufio.NewReaderSize(packed, 64<<10)
		if _, err := buffered.Peek(1); errors.Is(err, io.EOF) {
			return // nothing was written
		}
		zip, err := gzip.NewReader(buffered)
		if err != nil {
			yield(nil, fmt.Errorf("unpacking records: %w", err))
			return
		}
		lines := bufio.NewReaderSize(zip, 64<<10)
		for {
			line, err := readLine(lines)
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("unpacking records: %w", err))
				return
			}
			if !yield(line, nil) {
				return
			}
		}
	}
}

// packedRecord is the record in a line. One that is not an object is what
// [auditlog.UnreadableRecord] made of its text.
func packedRecord(line []byte) auditlog.Record {
	if len(line) > 0 && line[0] == '"' {
		return auditlog.Record{Raw: bytes.Clone(line), Unreadable: true}
	}
	return auditlog.NewRecord(string(line))
}

// readLine is the next line without its end. It is valid until the next read
// if it fits into the buffer, and longer if not.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		rest, err := r.ReadBytes('\n')
		return bytes.TrimSuffix(append(long, rest...), []byte("\n")), err
	}
	return bytes.TrimSuffix(line, []byte("\n")), err
}
