package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxValue is the largest value of a bucket and the largest item of the inbox
// in bytes. With its seal, headers and the longest id it fits a message.
const MaxValue = maxPayload - 16<<10

// The buckets that there are, for [Engine.Bucket].
const (
	Tokens   = "tokens"   // Microsoft's tokens, by instance and person; kept until deleted
	SignIns  = "signins"  // device codes that are being polled; 24 hours
	Waiting  = "waiting"  // commands that wait for a sign-in; 24 hours
	Commands = "commands" // how far the answering of each command is; 48 hours, longer than the inbox knows its id
	Seen     = "seen"     // names of operations that a tenant's records had, by tenant; kept until deleted
	Queries  = "queries"  // a key for each query submitted to Graph, which is limited by day; 24 hours
	Heard    = "heard"    // up to when Slack was listened to, and the conversations and threads to look into after an outage; 7 days, and one more since these are written once a day
	Running  = "running"  // the commands that run or wait for their turn, in whatever process; 24 hours
	Links    = "links"    // a key for each connection to Slack, of which an app may have ten; a minute
)

// bucketConfigs are the buckets' names in JetStream and how long a value that
// is not touched is kept.
var bucketConfigs = []jetstream.KeyValueConfig{
	{Bucket: bucketPrefix + Tokens, Description: "tokens by instance and person"},
	{Bucket: bucketPrefix + SignIns, Description: "device codes being polled", TTL: 24 * time.Hour},
	{Bucket: bucketPrefix + Waiting, Description: "commands that wait for a sign-in", TTL: 24 * time.Hour},
	{Bucket: bucketPrefix + Commands, Description: "the state of each command", TTL: 2 * inboxAge},
	{Bucket: bucketPrefix + Seen, Description: "operation names seen by tenant"},
	{Bucket: bucketPrefix + Queries, Description: "queries submitted to Graph", TTL: 24 * time.Hour},
	{Bucket: bucketPrefix + Heard, Description: "what was heard of Slack", TTL: 8 * 24 * time.Hour},
	{Bucket: bucketPrefix + Running, Description: "commands that run", TTL: 24 * time.Hour},
	{Bucket: bucketPrefix + Links, Description: "connections to Slack", TTL: time.Minute},
}

const bucketPrefix = "auditbot_"

// A Bucket holds sealed values by key. A key is any string of up to 1024 bytes
// and must not be a secret. A revision counts the changes of a whole bucket
// and grows with each; it is never 0.
type Bucket struct {
	kv   jetstream.KeyValue
	seal sealer
}

// Bucket is the bucket with this name, one of the constants. Any other is a
// mistake in the program, and it panics.
func (e *Engine) Bucket(name string) *Bucket {
	b, ok := e.buckets[bucketPrefix+name]
	if !ok {
		panic(fmt.Sprintf("engine: there is no bucket %q", name))
	}
	return b
}

// Get returns the value of key and its revision, or [ErrNotFound].
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	tok, err := token(key)
	if err != nil {
		return nil, 0, b.problem("reading", key, err)
	}
	entry, err := b.kv.Get(ctx, tok)
	if err != nil {
		return nil, 0, b.problem("reading", key, err)
	}
	stream, subject := b.place(tok)
	value, err = b.seal.open(stream, subject, entry.Value())
	if err != nil {
		return nil, 0, err
	}
	return value, entry.Revision(), nil
}

// Create sets the value of a key that has none. [ErrConflict] means that it
// has one.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return b.write("creating", key, value, func(tok string, sealed []byte) (uint64, error) {
		return b.kv.Create(ctx, tok, sealed)
	})
}

// Update replaces the value that had this revision. [ErrConflict] means that
// it has another one by now, or was deleted.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return b.write("updating", key, value, func(tok string, sealed []byte) (uint64, error) {
		return b.kv.Update(ctx, tok, sealed, revision)
	})
}

// Put sets the value of key, whatever it was.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return b.write("setting", key, value, func(tok string, sealed []byte) (uint64, error) {
		return b.kv.Put(ctx, tok, sealed)
	})
}

// Delete removes key and its value. Deleting what is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	tok, err := token(key)
	if err == nil {
		err = b.kv.Purge(ctx, tok)
	}
	return b.problem("deleting", key, err)
}

// DeleteRevision removes key if its value still has this revision.
// [ErrConflict] means that it has another one by now, or was deleted.
func (b *Bucket) DeleteRevision(ctx context.Context, key string, revision uint64) error {
	tok, err := token(key)
	switch {
	case err != nil:
	case revision == 0: // JetStream would take that for any revision
		err = ErrConflict
	default:
		err = b.kv.Purge(ctx, tok, jetstream.LastRevision(revision))
	}
	return b.problem("deleting", key, err)
}

// Keys lists the keys that have a value, in no particular order.
func (b *Bucket) Keys(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*requestTimeout)
	defer cancel()
	tokens, err := b.kv.Keys(ctx)
	if errors.Is(err, jetstream.ErrNoKeysFound) {
		err = nil
	}
	if err == nil {
		err = ctx.Err() // the list of a cancelled call ends early, without an error
	}
	if err != nil {
		return nil, fmt.Errorf("listing the keys of %s: %w", b.kv.Bucket(), err)
	}
	keys := make([]string, len(tokens))
	for i, tok := range tokens {
		if keys[i], err = untoken(tok); err != nil {
			return nil, fmt.Errorf("listing the keys of %s: %w", b.kv.Bucket(), err)
		}
	}
	return keys, nil
}

// write seals value and has it stored.
func (b *Bucket) write(doing, key string, value []byte, store func(tok string, sealed []byte) (uint64, error)) (uint64, error) {
	if len(value) > MaxValue {
		return 0, b.problem(doing, key, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(value), MaxValue))
	}
	tok, err := token(key)
	if err != nil {
		return 0, b.problem(doing, key, err)
	}
	stream, subject := b.place(tok)
	revision, err := store(tok, b.seal.seal(stream, subject, value))
	if err != nil {
		return 0, b.problem(doing, key, err)
	}
	return revision, nil
}

// place is where JetStream keeps the value.
// https://docs.nats.io/nats-concepts/jetstream/key-value-store
func (b *Bucket) place(tok string) (stream, subject string) {
	name := b.kv.Bucket()
	return "KV_" + name, "$KV." + name + "." + tok
}

// problem says in our words what callers tell apart, and what was being done.
func (b *Bucket) problem(doing, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		err = ErrNotFound
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = ErrConflict
	}
	if len(key) > maxID {
		key = key[:maxID]
	}
	return fmt.Errorf("%s %q in %s: %w", doing, key, b.kv.Bucket(), err)
}
