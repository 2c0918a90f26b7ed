package auditlog

import (
	"bytes"
	"compress/flate"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A spill is a file of blocks, packed (RFC 1951) and sealed with AES-256-GCM.
// Its key is made with it and is never written down, so that a crash leaves
// nothing that anyone can read. Where the system lets a file that is open be
// removed, as Unix does, it has no name either.
type spill struct {
	file     *os.File
	removed  bool
	aead     cipher.AEAD
	end      int64 // of the file: where the next block goes
	packer   *flate.Writer
	unpacker io.ReadCloser
	packed   bytes.Buffer
	sealed   []byte // of the block that was read or written last
	opened   []byte // of the block that was read last
}

// A block is where one is, and how long.
type block struct {
	at     int64 // also the additional data of its seal, so that none is taken for another
	sealed int32 // bytes in the file
	plain  int32 // bytes that it unpacks to
}

// newSpill creates the file in dir; "" means [os.TempDir].
func newSpill(dir string) (*spill, error) {
	var key [32]byte
	rand.Read(key[:]) // never fails
	aead, err := seal(key)
	if err != nil {
		return nil, err
	}
	packer, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, "auditbot-sort-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("creating a file to sort records: %w", err)
	}
	removed := os.Remove(file.Name()) == nil
	return &spill{file: file, removed: removed, aead: aead, packer: packer, unpacker: flate.NewReader(nil)}, nil
}

func seal(key [32]byte) (cipher.AEAD, error) {
	c, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(c)
}

// place is the additional data of a block that begins at this offset.
func place(at int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(at)) }

// write appends a block.
func (s *spill) write(plain []byte) (block, error) {
	s.packed.Reset()
	s.packer.Reset(&s.packed)
	s.packer.Write(plain) // a buffer takes everything
	s.packer.Close()
	s.sealed = s.aead.Seal(s.sealed[:0], nil, s.packed.Bytes(), place(s.end))
	b := block{at: s.end, sealed: int32(len(s.sealed)), plain: int32(len(plain))}
	if _, err := s.file.WriteAt(s.sealed, s.end); err != nil {
		return block{}, fmt.Errorf("writing records to a file to sort them: %w", err)
	}
	s.end += int64(len(s.sealed))
	return b, nil
}

// read returns what was written as b, in the memory of into if it has room.
func (s *spill) read(b block, into []byte) ([]byte, error) {
	s.sealed = slices.Grow(s.sealed[:0], int(b.sealed))[:b.sealed]
	if _, err := s.file.ReadAt(s.sealed, b.at); err != nil {
		return nil, fmt.Errorf("reading back records to sort them: %w", err)
	}
	var err error
	if s.opened, err = s.aead.Open(s.opened[:0], nil, s.sealed, place(b.at)); err != nil {
		return nil, fmt.Errorf("reading back records to sort them: the file was damaged: %w", err)
	}
	if err := s.unpacker.(flate.Resetter).Reset(bytes.NewReader(s.opened), nil); err != nil {
		return nil, fmt.Errorf("reading back records to sort them: %w", err)
	}
	into = slices.Grow(into[:0], int(b.plain))[:b.plain]
	if _, err := io.ReadFull(s.unpacker, into); err != nil {
		return nil, fmt.Errorf("reading back records to sort them: %w", err)
	}
	return into, nil
}

// close removes the file.
func (s *spill) close() error {
	err := s.file.Close()
	if !s.removed {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	return err
}
