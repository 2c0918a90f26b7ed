// Package engine keeps what must not be lost: the inbox of what arrived, small
// values with compare-and-swap, journals and evidence of any size. It is NATS JetStream
// (https://docs.nats.io/nats-concepts/jetstream), run inside this process on
// one data folder, and everything in it is sealed under one key.
//
// The inbox takes an item once, by its id, and hands it to a worker until the
// worker says that it is done:
//
//	e, err := engine.Open(ctx, engine.Config{Dir: "data", Key: key, Log: log})
//	fresh, err := e.File(ctx, "T1.C1.1700000000.000100", event) // on disk when it returns
//	err = e.Work(ctx, 4, func(ctx context.Context, item engine.Item) error {
//		return answer(ctx, item.Data) // an error: once more, later
//	})
//
// A [Bucket] holds values up to [MaxValue] by key, each with a revision.
// Evidence is written through an [EvidenceWriter] and exists from the moment
// its Close returns nil, whole. A [Journal] is there up to its last checkpoint,
// and after a crash it is written on from there. Both are kept until
// [Engine.Sweep] finds that nobody used them for long.
//
// # The folder
//
// One process owns the folder: it holds the lock on engine.lock, runs the
// server and serves engine.sock. [Open] in any other process becomes a client
// on that socket, with the same methods. No port is opened.
//
//	engine.lock   locked by the owner
//	engine.sock   where other processes of this machine connect
//	key.check     opens under the key of the folder, and no other; holds the keys before it
//	ready         the streams that were created in the folder, a line each
//	moved         where everything was moved to; nothing here can be opened any more
//	filling       where everything is being moved from; nothing here can be opened yet
//	jetstream/    JetStream's files, which it encrypts too
//
// JetStream opened with a wrong key sees no streams, and creating them again
// deletes what they held. Therefore the key is checked before the server
// starts, a stream is created only where it has never been before, and one
// that is missing later ends the start.
//
// A stream whose file cannot be written, on a full disk for instance, refuses
// everything until the next start; JetStream keeps a quarter of the free space
// in reserve so that it does not come to that.
//
// # A cluster
//
// With Config.Cluster, streams and buckets are in a NATS cluster that others run,
// each on three servers, and any number of processes use them at once, with the
// same methods. Nobody owns it. key.check and ready are values in a bucket,
// auditbot_meta, whose changes are compared and swapped.
//
// A server that dies leaves requests unanswered, so each is made again for up to
// half a minute, under an id by which it takes effect once (retry.go). What is
// read is asked of the leader of a stream, since the others may be behind: what
// one process was told is stored, another one reads. An outage of the whole
// cluster is waited out by [Engine.Work]; other calls return an error after half
// a minute.
//
// [Migrate] moves everything from a folder into a cluster, or back.
//
// # What is sealed
//
// Each value is sealed with AES-256-GCM under a key derived from Config.Key,
// bound to the stream and subject it is stored under: one that was moved
// elsewhere does not open. Ids and keys are readable to whoever can read
// JetStream, so they must not be secrets.
//
// # Changing the key
//
// [Open] with Config.OldKey, as the owner, replaces the key of a folder. That
// is one rename of key.check, which then holds the keys before, sealed under
// the new one: at every moment one of the two keys opens the whole folder.
// Then the values of the buckets are sealed anew, which goes on at the next
// start if it is cut off. Items, evidence and journals stay as they are until
// they are deleted, and JetStream's own files stay under the first key, which
// has nothing in it by then but ids and what is sealed. So whoever has an old
// key and the folder of today reads what was stored before the change, but for
// the buckets, and of those what was overwritten until JetStream has tidied its
// files.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What callers tell apart. All other errors are failures of the machine or
// the network.
var (
	ErrNotFound   = errors.New("not found")
	ErrConflict   = errors.New("changed by someone else")             // the revision is not the latest one, or another writer came
	ErrIncomplete = errors.New("evidence was not written to its end") // still being written, abandoned, cut off, or deleted while it was read
	ErrTooLong    = errors.New("id or key is longer than 1024 bytes")
	ErrTooLarge   = errors.New("value is too large")
	ErrWrongKey   = errors.New("not the key that it was made with")
	ErrClosed     = errors.New("engine is closed")
)

// KeySize is the length of Config.Key in bytes.
const KeySize = 32

// Config says where the data is and how it is opened.
type Config struct {
	Dir string // the data folder; created with mode 0700 if it is not there
	Key []byte // KeySize bytes (AUDITBOT_KEY)

	// Cluster is where the data is instead, if its URL is set. Nothing is kept
	// in Dir then.
	Cluster Cluster

	// OldKey is the key that the folder opened with before, if Key is to
	// replace it (AUDITBOT_KEY_OLD): KeySize bytes, or nil. It is not looked at
	// where Key opens the folder, or the folder is new.
	OldKey []byte

	Log *slog.Logger // nil means no log

	// AckWait is how long after a worker's process has died its item is
	// handed out again, unless that was the owner and there is a new one; zero
	// means 30 s. The owner's value counts.
	AckWait time.Duration

	moving bool // by Migrate, which nobody else may see
}

const (
	// defaultAckWait bears two lost heartbeats, which come every third of it.
	defaultAckWait = 30 * time.Second

	// patience is how long Open waits for an owner that is starting or
	// stopping.
	patience = 10 * time.Second

	// requestTimeout bounds each request, however late its context ends. An
	// fsync on a busy disk takes seconds at worst.
	requestTimeout = 10 * time.Second
)

// An Engine is a connection to the data, and in the owner's process the
// server too. It is safe for concurrent use.
type Engine struct {
	dir      string
	log      *slog.Logger
	notes    notes
	seal     sealer
	nc       *nats.Conn
	gone     chan struct{} // closed when nc is
	js       jetstream.JetStream
	inbox    jetstream.Stream
	before   uint64 // the last item of the inbox that others than this process may have worked on
	worker   jetstream.Consumer
	evidence jetstream.Stream
	journals jetstream.Stream
	buckets  map[string]*Bucket
	host     *host    // nil in a client, and in a cluster
	cluster  *cluster // nil on a data folder
	line     line

	closing context.Context // done once Close is called
	stop    context.CancelCauseFunc
	mu      sync.Mutex // guards working.Add against Close
	working sync.WaitGroup
	shut    func() error
}

// Open opens the data folder as its owner, or, while another process owns it,
// as a client of that process. A new folder is made ready first. The key
// is checked before anything is touched: [ErrWrongKey] means that nothing was.
func Open(ctx context.Context, c Config) (*Engine, error) {
	e, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", c.where(), err)
	}
	return e, nil
}

func open(ctx context.Context, c Config) (*Engine, error) {
	if len(c.Key) != KeySize {
		return nil, fmt.Errorf("%w: it has %d bytes and must have %d", ErrWrongKey, len(c.Key), KeySize)
	}
	if c.OldKey != nil && len(c.OldKey) != KeySize {
		return nil, fmt.Errorf("%w: the old one has %d bytes and must have %d", ErrWrongKey, len(c.OldKey), KeySize)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	c.Dir = dir
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.AckWait = cmp.Or(c.AckWait, defaultAckWait)
	if c.Cluster.URL != "" {
		return openCluster(ctx, c)
	}
	if _, err := readRing(ctx, c, folderNotes(dir)); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return ownOrJoin(ctx, c)
}

// ownOrJoin tries both until one of them works: an owner that stops gives up
// the socket before the lock, one that starts takes the lock before it serves
// the socket.
func ownOrJoin(ctx context.Context, c Config) (*Engine, error) {
	deadline := time.Now().Add(patience)
	for {
		h, err := lock(c)
		if err != nil {
			return nil, err
		}
		if h != nil {
			return own(ctx, c, h)
		}
		e, err := join(ctx, c)
		if err == nil || !errors.Is(err, errNoSocket) {
			return e, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("another process has locked it and does not answer: %w", err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// own runs the server in this process.
func own(ctx context.Context, c Config, h *host) (*Engine, error) {
	e, err := h.open(ctx, c)
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return e, nil
}

// join connects to the owner's server. The owner has written key.check by the
// time it serves the socket.
func join(ctx context.Context, c Config) (*Engine, error) {
	door := socket{c.Dir}
	if err := door.try(); err != nil {
		return nil, err
	}
	n := folderNotes(c.Dir)
	r, err := readRing(ctx, c, n)
	switch {
	case err != nil:
		return nil, err
	case r.isNew:
		return nil, ErrWrongKey
	case r.byOld:
		return nil, fmt.Errorf("%w, but the old one is: stop the auditbot that runs on it, and start it once with both keys", ErrWrongKey)
	}
	e, err := connect(c, n, inProcess(r, door)...)
	if err != nil {
		return nil, err
	}
	e.seal = r.sealer()
	if err := e.attach(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// inProcess are the options of a connection without a network.
func inProcess(r ring, server nats.InProcessConnProvider) []nats.Option {
	return []nats.Option{nats.InProcessServer(server), nats.Token(socketToken(r.newest()))}
}

// connect makes an Engine of a connection to a server, without its streams and
// without a key.
func connect(c Config, n notes, how ...nats.Option) (*Engine, error) {
	e := &Engine{dir: c.Dir, log: c.Log, notes: n, gone: make(chan struct{})}
	e.line.restore()
	var err error
	e.nc, err = nats.Connect(c.Cluster.URL, append(how,
		nats.Name("auditbot"),
		nats.Timeout(requestTimeout),
		nats.DrainTimeout(requestTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond),
		nats.ClosedHandler(func(*nats.Conn) { close(e.gone) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			e.line.cut()
			if err == nil {
				return // it was closed
			}
			c.Log.Log(context.Background(), c.troubleLevel(), "disconnected from the engine", "err", err)
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			e.line.restore()
			c.Log.Log(context.Background(), c.troubleLevel(), "connected to the engine again", "server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.Log.Warn("engine connection", "err", err) }),
	)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the engine: %w", err)
	}
	e.js, err = jetstream.New(e.nc,
		jetstream.WithDefaultTimeout(requestTimeout),
		jetstream.WithPublishAsyncMaxPending(maxChunksInFlight),
		jetstream.WithPublishAsyncTimeout(c.chunkTimeout()))
	if err != nil {
		e.nc.Close()
		return nil, err
	}
	e.closing, e.stop = context.WithCancelCause(context.Background())
	e.shut = sync.OnceValue(e.shutDown)
	return e, nil
}

// Close ends all calls of Work, waits for the items being worked on, and, in
// the owner's process, stops the server and gives up the folder. Closing twice
// is harmless.
func (e *Engine) Close() error { return e.shut() }

func (e *Engine) shutDown() error {
	e.mu.Lock()
	e.stop(nil)
	e.mu.Unlock()
	e.working.Wait()
	e.leave()
	if err := e.nc.Drain(); err == nil {
		<-e.gone // at most the drain timeout
	}
	e.nc.Close()
	if e.host == nil {
		return nil
	}
	return e.host.close()
}

// Owner tells whether this process owns the folder and runs the server. In a
// cluster nobody does.
func (e *Engine) Owner() bool { return e.host != nil }
