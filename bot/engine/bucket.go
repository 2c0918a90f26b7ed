package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
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
	Links    = "links"    // a key for each connection to Slack, of which an app may have ten; 30 seconds
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
	{Bucket: bucketPrefix + Links, Description: "connections to Slack", TTL: 30 * time.Second},
}

const bucketPrefix = "auditbot_"

// A Bucket holds sealed values by key. A key is any string of up to 1024 bytes
// and must not be a secret. A revision counts the changes of a whole bucket
// and grows with each; it is never 0.
type Bucket struct {
	e      *Engine
	stream jetstream.Stream
	kv     jetstream.KeyValue // the same, for listing
	seal   sealer
}

// streamOf is the name of a bucket's stream.
func streamOf(bucket string) string { return "KV_" + bucket }

// bucketStream is the stream that a bucket is, as NATS's clients make it.
// https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md
func bucketStream(c jetstream.KeyValueConfig) jetstream.StreamConfig {
	const clientsWindow = 2 * time.Minute
	duplicates := clientsWindow
	if c.TTL > 0 {
		duplicates = min(c.TTL, clientsWindow)
	}
	return jetstream.StreamConfig{
		Name:              streamOf(c.Bucket),
		Description:       c.Description,
		Subjects:          []string{"$KV." + c.Bucket + ".>"},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxAge:            c.TTL,
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Replicas:          1,
		Duplicates:        duplicates,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
	}
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
	stream, subject := b.place(tok)
	msg, err := b.e.getLast(ctx, b.stream, subject)
	if err == nil && isTombstone(msg) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, b.problem("reading", key, err)
	}
	value, err = b.seal.open(stream, subject, msg.Data)
	if err != nil {
		return nil, 0, err
	}
	return value, msg.Sequence, nil
}

// operation is the header by which a message of a bucket says that the key was
// deleted, purged the value it has.
const operation, purged = "KV-Operation", "PURGE"

func isTombstone(msg *jetstream.RawStreamMsg) bool { return msg.Header.Get(operation) != "" }

// Create sets the value of a key that has none. [ErrConflict] means that it
// has one.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return b.write("creating", key, value, func(subject string, sealed []byte) (uint64, error) {
		revision, err := b.put(ctx, nats.NewMsg(subject), sealed, jetstream.WithExpectLastSequencePerSubject(0))
		if !errors.Is(err, ErrConflict) {
			return revision, err
		}
		last, err := b.e.getLast(ctx, b.stream, subject)
		switch {
		case errors.Is(err, ErrNotFound): // it was deleted just now, or has come to its age
			return 0, ErrConflict
		case err != nil:
			return 0, err
		case !isTombstone(last):
			return 0, ErrConflict
		}
		return b.put(ctx, nats.NewMsg(subject), sealed, jetstream.WithExpectLastSequencePerSubject(last.Sequence))
	})
}

// Update replaces the value that had this revision. [ErrConflict] means that
// it has another one by now, or was deleted.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return b.write("updating", key, value, func(subject string, sealed []byte) (uint64, error) {
		return b.put(ctx, nats.NewMsg(subject), sealed, jetstream.WithExpectLastSequencePerSubject(revision))
	})
}

// Put sets the value of key, whatever it was.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return b.write("setting", key, value, func(subject string, sealed []byte) (uint64, error) {
		return b.put(ctx, nats.NewMsg(subject), sealed)
	})
}

// Delete removes key and its value. Deleting what is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	tok, err := token(key)
	if err == nil {
		err = b.bury(ctx, tok)
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
		err = b.bury(ctx, tok, jetstream.WithExpectLastSequencePerSubject(revision))
	}
	return b.problem("deleting", key, err)
}

// bury puts a tombstone in the place of a value.
func (b *Bucket) bury(ctx context.Context, tok string, opts ...jetstream.PublishOpt) error {
	_, subject := b.place(tok)
	msg := nats.NewMsg(subject)
	msg.Header.Set(operation, purged)
	msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	_, err := b.put(ctx, msg, nil, opts...)
	return err
}

// put stores a message. [ErrConflict] means that a condition in opts does not
// hold.
func (b *Bucket) put(ctx context.Context, msg *nats.Msg, data []byte, opts ...jetstream.PublishOpt) (revision uint64, err error) {
	msg.Data = data
	ack, err := b.e.publish(ctx, msg, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// Keys lists the keys that have a value, in no particular order.
func (b *Bucket) Keys(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*requestTimeout)
	defer cancel()
	var tokens []string
	err := b.e.insistFor(ctx, slowAttempt, clusterPatience, func(ctx context.Context) (err error) {
		if b.e.cluster != nil {
			tokens, err = b.newestKeys(ctx)
			return err
		}
		tokens, err = b.kv.Keys(ctx)
		if errors.Is(err, jetstream.ErrNoKeysFound) {
			err = nil
		}
		if err == nil {
			err = ctx.Err() // the list of a cancelled call ends early, without an error
		}
		return err
	})
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

// newestKeys lists the keys in a cluster. The list comes from any server that has
// a copy, which may be behind, so it must reach up to the last message that the
// leader has. That one is there, unless all are gone: by their age they go in
// order, and whatever else takes one away stores another.
func (b *Bucket) newestKeys(ctx context.Context) (tokens []string, err error) {
	info, err := b.stream.Info(ctx)
	if err != nil || info.State.Msgs == 0 {
		return nil, err
	}
	all, err := b.kv.WatchAll(ctx, jetstream.MetaOnly()) // tombstones too
	if err != nil {
		return nil, err
	}
	defer all.Stop() // what it returns is of a consumer that ends by itself anyway
	var reached uint64
	for entry := range all.Updates() {
		if entry == nil {
			break
		}
		reached = max(reached, entry.Revision())
		if entry.Operation() == jetstream.KeyValuePut {
			tokens = append(tokens, entry.Key())
		}
	}
	if err := ctx.Err(); err != nil { // the list of a cancelled call ends early, without an error
		return nil, err
	}
	if reached < info.State.LastSeq {
		return nil, errBehind
	}
	slices.Sort(tokens)
	return slices.Compact(tokens), nil
}

// write seals value and has it stored.
func (b *Bucket) write(doing, key string, value []byte, store func(subject string, sealed []byte) (uint64, error)) (uint64, error) {
	if len(value) > MaxValue {
		return 0, b.problem(doing, key, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(value), MaxValue))
	}
	tok, err := token(key)
	if err != nil {
		return 0, b.problem(doing, key, err)
	}
	stream, subject := b.place(tok)
	revision, err := store(subject, b.seal.seal(stream, subject, value))
	if err != nil {
		return 0, b.problem(doing, key, err)
	}
	return revision, nil
}

// place is where JetStream keeps the value.
// https://docs.nats.io/nats-concepts/jetstream/key-value-store
func (b *Bucket) place(tok string) (stream, subject string) {
	name := b.kv.Bucket()
	return streamOf(name), "$KV." + name + "." + tok
}

// problem says what was being done.
func (b *Bucket) problem(doing, key string, err error) error {
	if err == nil {
		return nil
	}
	if len(key) > maxID {
		key = key[:maxID]
	}
	return fmt.Errorf("%s %q in %s: %w", doing, key, b.kv.Bucket(), err)
}
