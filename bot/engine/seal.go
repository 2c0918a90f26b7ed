package engine

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

// derive makes one of the keys that Config.Key stands for (HKDF, RFC 5869).
// None of them tells anything about another.
func derive(key []byte, purpose string) []byte {
	derived, err := hkdf.Key(sha256.New, key, nil, "auditbot engine: "+purpose, KeySize)
	if err != nil {
		panic(err) // only for more than 255 hashes of output
	}
	return derived
}

// serverKey is what JetStream encrypts its files with.
func serverKey(key []byte) string { return hex.EncodeToString(derive(key, "server")) }

// socketToken is what a client has to show: being let into the folder is not
// enough to read what the owner has.
func socketToken(key []byte) string { return hex.EncodeToString(derive(key, "socket")) }

// errSealed means that no key opens it there.
var errSealed = errors.New("opening what is sealed")

// A sealer seals values for the place that they are stored in, under the newest
// key, and opens what was sealed under any of them.
type sealer struct{ keys []cipher.AEAD } // newest first

func newSealer(key []byte, purpose string, older ...[]byte) sealer {
	s := sealer{[]cipher.AEAD{newAEAD(key, purpose)}}
	for _, key := range older {
		s.keys = append(s.keys, newAEAD(key, purpose))
	}
	return s
}

func newAEAD(key []byte, purpose string) cipher.AEAD {
	block, err := aes.NewCipher(derive(key, purpose))
	if err != nil {
		panic(err) // only for another length
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for another block size
	}
	return gcm
}

func (s sealer) seal(stream, subject string, value []byte) []byte {
	return s.sealInto(nil, stream, subject, value)
}

// sealInto writes over buf, if what is sealed fits there.
func (s sealer) sealInto(buf []byte, stream, subject string, value []byte) []byte {
	return s.keys[0].Seal(buf[:0], nil, value, place(stream, subject))
}

// open overwrites sealed, if the oldest key is asked, with what it returns.
func (s sealer) open(stream, subject string, sealed []byte) (value []byte, err error) {
	for i, key := range s.keys {
		var into []byte // a key that does not fit would wipe what the next one needs
		if i == len(s.keys)-1 {
			into = sealed[:0]
		}
		if value, err = key.Open(into, nil, sealed, place(stream, subject)); err == nil {
			return value, nil
		}
	}
	return nil, fmt.Errorf("%w as %s in stream %s: %w", errSealed, subject, stream, err)
}

// place is unambiguous because neither name can hold a NUL.
func place(stream, subject string) []byte { return []byte(stream + "\x00" + subject) }

// maxID bounds ids and keys. Encoded, with subject and command around it, one
// must fit a line of the protocol: 4096 bytes, or the server hangs up.
// https://docs.nats.io/running-a-nats-service/configuration#limits
const maxID = 1024

// token writes an id of any bytes as one token of a NATS subject. The letter
// in front is for the empty id, since a token cannot be empty.
func token(id string) (string, error) {
	if len(id) > maxID {
		return "", ErrTooLong
	}
	return "k" + base64.RawURLEncoding.EncodeToString([]byte(id)), nil
}

func untoken(s string) (string, error) {
	if len(s) == 0 || s[0] != 'k' {
		return "", fmt.Errorf("%q is not an encoded id", s)
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(s[1:])
	return string(id), err
}
