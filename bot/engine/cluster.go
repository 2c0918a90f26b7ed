package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Cluster is NATS servers that others run.
type Cluster struct {
	URL string // nats:// or tls://, of one server or several with commas between; "" means none: a data folder

	// CredentialsFile is what to sign in with: a .creds file (a JWT and its
	// key) or a file with the seed of an nkey. "" means nothing.
	CredentialsFile string

	CAFile string // PEM: the authorities of the servers' certificates; "" means those of the system
}

// where is what is opened, for people.
func (c Config) where() string {
	if c.Cluster.URL != "" {
		return "cluster " + c.Cluster.URL
	}
	return "data folder " + c.Dir
}

// troubleLevel is how a lost connection is logged. That of a folder is lost only
// with its owner, which logs why.
func (c Config) troubleLevel() slog.Level {
	if c.Cluster.URL != "" {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// chunkTimeout is when a chunk is sent again, or given up.
func (c Config) chunkTimeout() time.Duration {
	if c.Cluster.URL != "" {
		return slowAttempt
	}
	return chunkTimeout
}

// replicas is how many servers of a cluster have a copy of everything: with
// three, any one may fail.
const replicas = 3

// metaBucket holds the notes. Its values are as those files are of a folder, and
// are not sealed once more.
const metaBucket = bucketPrefix + "meta"

// A cluster is what an Engine has in a cluster only.
type cluster struct {
	key    []byte // Config.Key
	single bool   // the server is one for itself: there is one copy of everything
	id     string // of this connection, among those in the bucket Links
	stop   context.CancelFunc
	beats  sync.WaitGroup
}

// fit makes a stream one of a cluster. Without direct access, whatever is read
// comes from the leader, and so is the newest: others may be behind. (A leader
// that is cut off from the others may answer for up to 10 seconds longer; what
// is written then fails.) Results are read at 80 MB/s that way, and at 1 GB/s
// from a folder.
func (c *cluster) fit(config jetstream.StreamConfig) jetstream.StreamConfig {
	if c == nil {
		return config
	}
	config.AllowDirect = false
	config.Duplicates = max(config.Duplicates, clusterWindow)
	if config.MaxAge > 0 {
		config.Duplicates = min(config.Duplicates, config.MaxAge)
	}
	config.Replicas = replicas
	if c.single {
		config.Replicas = 1
	}
	return config
}

// explain says what to do about a stream that cannot be created.
func (c *cluster) explain(err error) error {
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	if c != nil && ok && refusal.ErrorCode == codeNoPeers {
		return fmt.Errorf("the cluster must have %d servers with JetStream, and all of them must run when the streams are created: %w", replicas, err)
	}
	return err
}

// openCluster joins those that work on a cluster. The first one creates the
// streams.
func openCluster(ctx context.Context, c Config) (*Engine, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	e, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := e.join(ctx, c); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// dial connects to a cluster and finds out what it is, changing nothing.
func dial(ctx context.Context, c Config) (*Engine, error) {
	how, err := c.Cluster.options()
	if err != nil {
		return nil, err
	}
	// Nothing is sent while there is no connection: insist waits.
	if !strings.Contains(c.Cluster.URL, "tls://") {
		how = append(how, nats.IgnoreDiscoveredServers()) // whose addresses may be on the network, where nothing is encrypted
	}
	how = append(how, nats.ReconnectBufSize(-1), nats.PingInterval(attemptTimeout), nats.MaxPingsOutstanding(2))
	var e *Engine
	for deadline := time.Now().Add(clusterPatience); ; {
		e, err = connect(c, notes{}, how...)
		if err == nil {
			break
		}
		if !errors.Is(err, nats.ErrNoServers) || time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
	e.cluster = &cluster{key: c.Key, id: rand.Text(), stop: func() {}}
	if e.nc.MaxPayload() < maxPayload {
		e.nc.Close()
		return nil, fmt.Errorf("the servers take messages of %d bytes and must take %d: set max_payload in their configuration", e.nc.MaxPayload(), maxPayload)
	}
	e.notes = e.clusterNotes()
	return e, nil
}

func (c Cluster) options() ([]nats.Option, error) {
	var how []nats.Option
	if c.CAFile != "" {
		if _, err := os.Stat(c.CAFile); err != nil {
			return nil, fmt.Errorf("reading the authorities: %w", err)
		}
		how = append(how, nats.RootCAs(c.CAFile))
	}
	if c.CredentialsFile == "" {
		return how, nil
	}
	text, err := os.ReadFile(c.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials: %w", err)
	}
	if strings.Contains(string(text), "NATS USER JWT") {
		return append(how, nats.UserCredentials(c.CredentialsFile)), nil
	}
	nkey, err := nats.NkeyOptionFromSeed(c.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a .creds file nor an nkey's seed: %w", c.CredentialsFile, err)
	}
	return append(how, nkey), nil
}

// join is what [host.open] is for a folder. The key is checked before anything
// but the bucket for it is created.
func (e *Engine) join(ctx context.Context, c Config) error {
	if err := e.openMeta(ctx); err != nil {
		return err
	}
	if err := e.notes.refuse(ctx); err != nil && !c.moving {
		return err
	}
	r, err := settled(ctx, c, e.notes)
	if err != nil {
		return err
	}
	e.seal = r.sealer()
	if err := e.prepareTogether(ctx, c); err != nil {
		return err
	}
	if r.resealing {
		if err := e.reseal(ctx, r); err != nil {
			return err
		}
	}
	if e.inbox.CachedInfo().Config.Replicas < replicas {
		e.log.Warn("there is one copy of everything: what is lost with the disk of the one server is lost", "cluster", c.Cluster.URL)
	}
	if c.moving {
		return nil
	}
	return e.enter(ctx)
}

// settled reads the ring and makes it open with c.Key. Other replicas may do the
// same at the same time.
func settled(ctx context.Context, c Config, n notes) (ring, error) {
	for {
		r, err := readRing(ctx, c, n)
		if err != nil {
			return ring{}, err
		}
		r, err = r.settle(ctx, c, n)
		if !errors.Is(err, ErrConflict) {
			return r, err
		}
	}
}

// prepareTogether is prepare while others may do it too.
func (e *Engine) prepareTogether(ctx context.Context, c Config) error {
	for {
		err := e.prepare(ctx, c)
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// openMeta finds or creates the bucket of notes, and thereby finds out how many
// copies there can be.
func (e *Engine) openMeta(ctx context.Context) error {
	found, err := e.hasMeta(ctx)
	if err != nil || found {
		return err
	}
	others, err := e.notes.hasData(ctx)
	if err != nil {
		return err
	}
	if others {
		return fmt.Errorf("%w, as far as can be told: there is data but no %s; restore that stream from a backup", ErrWrongKey, streamOf(metaBucket))
	}
	meta := bucketStream(jetstream.KeyValueConfig{Bucket: metaBucket, Description: "what the bot knows of this cluster"})
	err = e.createStream(ctx, meta)
	if refusal, ok := errors.AsType[*jetstream.APIError](err); ok && refusal.ErrorCode == codeNotClustered {
		e.cluster.single = true
		err = e.createStream(ctx, meta)
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", meta.Name, err)
	}
	return nil
}

// hasMeta tells whether there is a bucket of notes, and notes how many copies it
// has.
func (e *Engine) hasMeta(ctx context.Context) (bool, error) {
	var stream jetstream.Stream
	err := e.insist(ctx, func(ctx context.Context) (err error) {
		stream, err = e.js.Stream(ctx, streamOf(metaBucket))
		return err
	})
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for KV_%s: %w", metaBucket, err)
	}
	e.cluster.single = stream.CachedInfo().Config.Replicas < replicas
	return true, nil
}

// clusterNotes are values of a bucket.
func (e *Engine) clusterNotes() notes {
	subject := func(name string) string { return "$KV." + metaBucket + "." + name }
	var mu sync.Mutex
	revisions := map[string]uint64{} // of what was read
	meta := func(ctx context.Context) (stream jetstream.Stream, err error) {
		err = e.insist(ctx, func(ctx context.Context) error {
			stream, err = e.js.Stream(ctx, streamOf(metaBucket))
			return err
		})
		return stream, err
	}
	noted := func(name string, revision uint64) {
		mu.Lock()
		defer mu.Unlock()
		revisions[name] = revision
	}
	known := func(name string) uint64 {
		mu.Lock()
		defer mu.Unlock()
		return revisions[name]
	}
	return notes{
		read: func(ctx context.Context, name string) ([]byte, error) {
			stream, err := meta(ctx)
			if isMissing(err) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			msg, err := e.getLast(ctx, stream, subject(name))
			switch {
			case errors.Is(err, ErrNotFound):
				noted(name, 0)
				return nil, nil
			case err != nil:
				return nil, err
			}
			noted(name, msg.Sequence)
			if isTombstone(msg) {
				return nil, nil
			}
			return msg.Data, nil
		},
		write: func(ctx context.Context, name string, text []byte) error {
			ack, err := e.publish(ctx, &nats.Msg{Subject: subject(name), Data: text}, jetstream.WithExpectLastSequencePerSubject(known(name)))
			if err == nil {
				noted(name, ack.Sequence)
			}
			return err
		},
		remove: func(ctx context.Context, name string) error {
			msg := nats.NewMsg(subject(name))
			msg.Header.Set(operation, purged)
			msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
			ack, err := e.publish(ctx, msg)
			if err == nil {
				noted(name, ack.Sequence)
			}
			return err
		},
		hasData: func(ctx context.Context) (bool, error) {
			names, err := e.streamsThere(ctx)
			return len(names) > 0, err
		},
	}
}

// streamsThere lists those streams of ours that the cluster has, but for the
// bucket of notes.
func (e *Engine) streamsThere(ctx context.Context) (names []string, err error) {
	for _, p := range parts() {
		if p.stream == nil {
			continue
		}
		err := e.insist(ctx, func(ctx context.Context) error {
			_, err := e.js.Stream(ctx, p.name)
			return err
		})
		if err != nil && !isMissing(err) {
			return nil, fmt.Errorf("looking for %s: %w", p.name, err)
		}
		if err == nil {
			names = append(names, p.name)
		}
	}
	return names, nil
}

// Those that are connected each have a key in the bucket Links, which is kept
// for half a minute, so that nothing is moved away from under them. Whoever moves the
// data has another.
const (
	replicaPrefix = "replica/"
	moverKey      = "mover"
	beatEvery     = 10 * time.Second
)

// enter says that we are here, and stays. Whoever moves the data says so first
// and looks for us afterwards, so that one of us sees the other.
func (e *Engine) enter(ctx context.Context) error {
	if err := e.stay(ctx); err != nil {
		return err
	}
	beating, stop := context.WithCancel(context.Background())
	e.cluster.stop = stop
	e.cluster.beats.Go(func() {
		for {
			select {
			case <-time.After(beatEvery):
			case <-beating.Done():
				return
			}
			err := e.stay(beating)
			switch {
			case isFinal(err):
				e.log.Error("this replica ends", "err", err)
				e.stop(err)
				return
			case err != nil && beating.Err() == nil:
				e.log.Warn("saying that this replica is there", "err", err)
			}
		}
	})
	return nil
}

// stay says that we are here, unless we must not be.
func (e *Engine) stay(ctx context.Context) error {
	if _, err := e.Bucket(Links).Put(ctx, replicaPrefix+e.cluster.id, nil); err != nil {
		return err
	}
	if err := e.notes.refuse(ctx); err != nil {
		return err
	}
	_, _, err := e.Bucket(Links).Get(ctx, moverKey)
	if err == nil {
		return ErrUnfinished
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	sealed, err := e.notes.read(ctx, keyFile)
	if err == nil {
		_, err = openRing(e.cluster.key, sealed)
	}
	return err
}

// isFinal tells whether a replica must end: nobody may work here any more, or
// not with this key.
func isFinal(err error) bool {
	return errors.Is(err, ErrMoved) || errors.Is(err, ErrUnfinished) || errors.Is(err, ErrWrongKey)
}

// leave says that we are gone.
func (e *Engine) leave() {
	if e.cluster == nil {
		return
	}
	e.cluster.stop()
	e.cluster.beats.Wait()
	if e.buckets[bucketPrefix+Links] == nil || !e.nc.IsConnected() {
		return // it is forgotten in half a minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	if err := e.Bucket(Links).Delete(ctx, replicaPrefix+e.cluster.id); err != nil {
		e.log.Debug("saying that this replica is gone", "err", err)
	}
}

// others counts those that are connected, or were until half a minute ago and did not
// say that they left. The leader is asked: it knows the newest.
func (e *Engine) others(ctx context.Context) (n int, err error) {
	links := e.Bucket(Links)
	_, all := links.place("")
	var subjects map[string]uint64
	err = e.insist(ctx, func(ctx context.Context) error {
		info, err := links.stream.Info(ctx, jetstream.WithSubjectFilter(all+">"))
		if err == nil {
			subjects = info.State.Subjects
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for subject := range subjects {
		key, err := untoken(strings.TrimPrefix(subject, all))
		if err != nil {
			return 0, err
		}
		_, _, err = links.Get(ctx, key)
		if err == nil && strings.HasPrefix(key, replicaPrefix) {
			n++
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
	}
	return n, nil
}

// cause is why the engine stopped by itself, or nil.
func (e *Engine) cause() error {
	if err := context.Cause(e.closing); isFinal(err) {
		return err
	}
	return nil
}

// Clustered tells whether the data is in a cluster, where there may be other
// replicas at any time.
func (e *Engine) Clustered() bool { return e.cluster != nil }
