package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// inboxAge is how long an item is known by its id. Whoever sends must have
// stopped sending it again by then.
const inboxAge = 24 * time.Hour

// noDuplicates is for streams whose messages have no ids. By default the server
// would look for them at its start in all that is younger than 2 minutes, which
// after a big search is over 1 GB to read.
const noDuplicates = time.Second

// The streams and the inbox's consumer. The inbox is not a work queue, which
// would forget the ids of acknowledged items at a restart: it keeps every item
// for as long as its id must be known.
var (
	inboxConfig = jetstream.StreamConfig{
		Name:        "auditbot_inbox",
		Description: "what arrived, and what of it is done",
		Subjects:    []string{itemSubject + "*", doneSubject + "*"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		MaxAge:      inboxAge,
		Duplicates:  inboxAge,
		AllowDirect: true,
	}
	evidenceConfig = jetstream.StreamConfig{
		Name:              "auditbot_evidence",
		Description:       "big byte sequences in chunks",
		Subjects:          []string{evidenceSubject + ">"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Duplicates:        noDuplicates,
		AllowDirect:       true,
	}
	journalConfig = jetstream.StreamConfig{
		Name:              "auditbot_journals",
		Description:       "how far each journal is",
		Subjects:          []string{journalSubject + "*"},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Duplicates:        noDuplicates,
		AllowDirect:       true,
	}
)

func workerConfig(ackWait time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       "worker",
		Description:   "hands items to workers",
		FilterSubject: itemSubject + "*",
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: -1, // an item that waits for its next try must not hold up others
	}
}

// A part is something durable in JetStream that is created once in the life of
// a folder or of what a cluster has of ours.
type part struct {
	name   string                  // as in the file ready: stream, or stream/consumer
	stream *jetstream.StreamConfig // nil for a consumer
	find   func(context.Context, *Engine) error
}

// parts are all of them, in the order of their creation. A part that is new in
// a version is created in an older version's folder too.
func parts() []part {
	all := []part{
		{inboxConfig.Name, &inboxConfig, findInbox},
		{inboxConfig.Name + "/worker", nil, findWorker},
		{evidenceConfig.Name, &evidenceConfig, findEvidence},
		{journalConfig.Name, &journalConfig, findJournals},
	}
	for _, b := range bucketConfigs {
		stream := bucketStream(b)
		all = append(all, part{stream.Name, &stream, findBucket(b.Bucket)})
	}
	return all
}

func findInbox(ctx context.Context, e *Engine) (err error) {
	if e.inbox, err = e.js.Stream(ctx, inboxConfig.Name); err == nil {
		e.before = e.inbox.CachedInfo().State.LastSeq
	}
	return err
}

func findEvidence(ctx context.Context, e *Engine) (err error) {
	e.evidence, err = e.js.Stream(ctx, evidenceConfig.Name)
	return err
}

func findJournals(ctx context.Context, e *Engine) (err error) {
	e.journals, err = e.js.Stream(ctx, journalConfig.Name)
	return err
}

func findWorker(ctx context.Context, e *Engine) (err error) {
	e.worker, err = e.js.Consumer(ctx, inboxConfig.Name, "worker")
	return err
}

func findBucket(name string) func(context.Context, *Engine) error {
	return func(ctx context.Context, e *Engine) error {
		kv, err := e.js.KeyValue(ctx, name)
		if err != nil {
			return err
		}
		stream, err := e.js.Stream(ctx, streamOf(name))
		if err != nil {
			return err
		}
		if e.buckets == nil {
			e.buckets = map[string]*Bucket{}
		}
		e.buckets[name] = &Bucket{e: e, stream: stream, kv: kv, seal: e.seal}
		return nil
	}
}

// prepare creates the parts that were never created here, and no others: one
// that is missing though it was created is a loss to be looked into, not to be
// covered by an empty one.
func (e *Engine) prepare(ctx context.Context, c Config) error {
	ready, err := e.notes.ready(ctx)
	if err != nil {
		return fmt.Errorf("reading %s: %w", readyFile, err)
	}
	created := slices.Clone(ready)
	for _, p := range parts() {
		if slices.Contains(ready, p.name) {
			continue
		}
		if err := e.create(ctx, c, p); err != nil {
			return fmt.Errorf("creating %s: %w", p.name, err)
		}
		created = append(created, p.name)
	}
	if err := e.attach(ctx); err != nil {
		return err
	}
	if err := errors.Join(e.setAckWait(ctx, c), e.setEvidenceAge(ctx), e.takeBack(ctx)); err != nil {
		return err
	}
	if len(created) == len(ready) {
		return nil
	}
	return e.notes.setReady(ctx, created)
}

// create creates p, unless an earlier start came as far as that. What one left
// half made goes first: the server takes such files over, and then does not
// find the stream at the next start.
func (e *Engine) create(ctx context.Context, c Config, p part) error {
	err := e.insist(ctx, func(ctx context.Context) error { return p.find(ctx, e) })
	if !isMissing(err) {
		return err
	}
	if e.cluster == nil {
		if err := sweep(c.Dir, p.name); err != nil {
			return err
		}
	}
	if p.stream != nil {
		return e.createStream(ctx, *p.stream)
	}
	return e.insist(ctx, func(ctx context.Context) error {
		_, err := e.js.CreateConsumer(ctx, inboxConfig.Name, workerConfig(c.AckWait))
		return err
	})
}

// createStream creates a stream as it has to be here. In a cluster, one that
// another replica has created likewise is no error.
func (e *Engine) createStream(ctx context.Context, config jetstream.StreamConfig) error {
	return e.insist(ctx, func(ctx context.Context) error {
		_, err := e.js.CreateStream(ctx, e.cluster.fit(config))
		return e.cluster.explain(err)
	})
}

func (e *Engine) setAckWait(ctx context.Context, c Config) error {
	if e.worker.CachedInfo().Config.AckWait == c.AckWait {
		return nil
	}
	return e.insist(ctx, func(ctx context.Context) error {
		if _, err := e.js.UpdateConsumer(ctx, inboxConfig.Name, workerConfig(c.AckWait)); err != nil {
			return fmt.Errorf("setting AckWait: %w", err)
		}
		return findWorker(ctx, e) // what UpdateConsumer returns still has the old one
	})
}

// takeBack takes back, at once instead of after AckWait, what the workers had
// that are gone with the owner before. Nobody works now, but in a cluster others
// may. What they had done is handed out too, and found to be done by its mark.
func (e *Engine) takeBack(ctx context.Context) error {
	if info := e.worker.CachedInfo(); info.NumAckPending == 0 || e.cluster != nil {
		return nil
	}
	if _, err := e.js.ResetConsumer(ctx, inboxConfig.Name, "worker"); err != nil {
		return fmt.Errorf("taking back what was being worked on: %w", err)
	}
	return findWorker(ctx, e)
}

// setEvidenceAge lets Sweep alone decide how long evidence is kept. In older
// versions' folders the server deletes it by its age.
func (e *Engine) setEvidenceAge(ctx context.Context) error {
	config := e.evidence.CachedInfo().Config
	if config.MaxAge == 0 {
		return nil
	}
	config.MaxAge, config.Duplicates = 0, noDuplicates
	if _, err := e.js.UpdateStream(ctx, config); err != nil {
		return fmt.Errorf("setting the age of evidence: %w", err)
	}
	return findEvidence(ctx, e)
}

// attach finds all parts.
func (e *Engine) attach(ctx context.Context) error {
	for _, p := range parts() {
		err := e.insist(ctx, func(ctx context.Context) error { return p.find(ctx, e) })
		if isMissing(err) && e.cluster != nil {
			return fmt.Errorf("%s is missing from the cluster, where it was before; restore all streams from a backup: %w", p.name, err)
		}
		if isMissing(err) {
			return fmt.Errorf("%s is missing from the data folder; restore the whole folder from a backup: %w", p.name, err)
		}
		if err != nil {
			return fmt.Errorf("looking for %s: %w", p.name, err)
		}
	}
	return nil
}

func isMissing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) ||
		errors.Is(err, jetstream.ErrConsumerNotFound)
}
