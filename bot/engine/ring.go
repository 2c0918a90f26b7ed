package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// A ring is the keys of a folder. New values are sealed under the newest one,
// and clients show that they have it: one that was connected before the key
// was changed must not write under the old one. JetStream's files stay under
// the oldest one, since JetStream loses its consumers when it changes its key.
type ring struct {
	keys      [][]byte // newest first; never none
	resealing bool     // values in the buckets may still be sealed under an older key

	isNew bool // the folder holds nothing yet, not even key.check
	byOld bool // key.check opens with Config.OldKey and not with Config.Key
}

func (r ring) newest() []byte { return r.keys[0] }
func (r ring) oldest() []byte { return r.keys[len(r.keys)-1] }

func (r ring) sealer() sealer { return newSealer(r.newest(), "values", r.keys[1:]...) }

// checked is the text in key.check, sealed, of a folder whose key was never
// changed. Others have keysBefore there, as JSON.
const checked = "This folder opens with this key."

type keysBefore struct {
	Version   int      `json:"v"`     // keysVersion
	Older     [][]byte `json:"older"` // newest first, at least one
	Resealing bool     `json:"resealing"`
}

const keysVersion = 2

// readRing reads key.check and changes nothing. Where there is no data and no
// key.check, nothing has ever been.
func readRing(ctx context.Context, c Config, n notes) (ring, error) {
	// Data is looked for first: key.check is written before there is any, so
	// a folder that another process is making just now does not look broken.
	hasData, err := n.hasData(ctx)
	if err != nil {
		return ring{}, fmt.Errorf("looking for data: %w", err)
	}
	sealed, err := n.read(ctx, keyFile)
	if err != nil {
		return ring{}, fmt.Errorf("checking the key: %w", err)
	}
	if sealed == nil {
		if hasData {
			return ring{}, fmt.Errorf("%w, as far as can be told: there is data but no %s; restore that from a backup", ErrWrongKey, keyFile)
		}
		return ring{keys: [][]byte{c.Key}, isNew: true}, nil
	}
	r, err := openRing(c.Key, sealed)
	if errors.Is(err, ErrWrongKey) && c.OldKey != nil {
		r, err = openRing(c.OldKey, sealed)
		r.byOld = true
	}
	return r, err
}

// openRing opens the content of key.check.
func openRing(key, sealed []byte) (ring, error) {
	text, err := newSealer(key, keyFile).open(keyFile, keyFile, bytes.Clone(sealed))
	if err != nil {
		return ring{}, fmt.Errorf("%w; nothing was changed", ErrWrongKey)
	}
	if string(text) == checked {
		return ring{keys: [][]byte{key}}, nil
	}
	var before keysBefore
	if err := json.Unmarshal(text, &before); err != nil || before.Version != keysVersion {
		return ring{}, fmt.Errorf("%s is of another version of auditbot", keyFile)
	}
	return ring{keys: slices.Insert(before.Older, 0, key), resealing: before.Resealing}, nil
}

// settle makes key.check open with c.Key, and returns the ring that it then
// holds.
func (r ring) settle(ctx context.Context, c Config, n notes) (ring, error) {
	switch {
	case r.isNew:
		return r, r.write(ctx, n)
	case r.byOld:
		r = ring{keys: slices.Insert(r.keys, 0, c.Key), resealing: true}
		if err := r.write(ctx, n); err != nil {
			return r, err
		}
		c.Log.Info("the key of the data folder was changed", "folder", c.where())
	case c.OldKey != nil:
		c.Log.Info("AUDITBOT_KEY_OLD is not needed any more", "folder", c.where())
	}
	return r, nil
}

// write makes key.check hold the ring. [ErrConflict] means that another process
// has written it since it was read.
func (r ring) write(ctx context.Context, n notes) error {
	text := []byte(checked)
	if len(r.keys) > 1 {
		var err error
		if text, err = json.Marshal(keysBefore{keysVersion, r.keys[1:], r.resealing}); err != nil {
			return err
		}
	}
	return writeKeyCheck(ctx, n, r.newest(), text)
}

func writeKeyCheck(ctx context.Context, n notes, key, text []byte) error {
	return n.write(ctx, keyFile, newSealer(key, keyFile).seal(keyFile, keyFile, text))
}

// reseal seals the values of the buckets anew, and notes that it has. Those
// that are kept for a time are kept for it from now on.
func (e *Engine) reseal(ctx context.Context, r ring) error {
	n := 0
	for _, config := range bucketConfigs {
		if config.Bucket == bucketPrefix+Queries {
			continue // their values are empty, and it is their age that counts
		}
		resealed, err := e.resealBucket(ctx, e.buckets[config.Bucket])
		if err != nil {
			return fmt.Errorf("sealing %s under the new key: %w", config.Bucket, err)
		}
		n += resealed
	}
	r.resealing = false
	if err := r.write(ctx, e.notes); err != nil && !errors.Is(err, ErrConflict) { // another replica was there first
		return fmt.Errorf("writing %s: %w", keyFile, err)
	}
	e.log.Info("what the data folder holds of tokens and commands is sealed under the new key", "values", n)
	return nil
}

// resealBucket leaves alone what changes meanwhile, since that is sealed under
// the new key already, and what does not open under any.
func (e *Engine) resealBucket(ctx context.Context, b *Bucket) (n int, err error) {
	keys, err := b.Keys(ctx)
	if err != nil {
		return 0, err
	}
	for _, key := range keys {
		value, revision, err := b.Get(ctx, key)
		if errors.Is(err, errSealed) {
			e.log.Error("a value does not open under any key", "err", err)
			continue
		}
		if err == nil {
			_, err = b.Update(ctx, key, value, revision)
		}
		if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrNotFound) {
			return n, err
		}
		n++
		testOnlyPassing("sealed anew: " + key)
	}
	return n, nil
}
