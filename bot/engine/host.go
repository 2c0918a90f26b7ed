package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
)

// A host is what only the owner of the folder has: the lock, the server and
// the door to it. JetStream itself takes no lock, and two servers in one
// folder would ruin it.
type host struct {
	lock   *flock.Flock
	server *server.Server
	door   *door
}

// lock makes this process the owner of the folder, or returns nil if another
// one is.
func lock(c Config) (*host, error) {
	l := flock.New(filepath.Join(c.Dir, lockFile))
	locked, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	if !locked {
		return nil, l.Close()
	}
	return &host{lock: l}, nil
}

// open starts the server, sees to its streams, and lets others in.
func (h *host) open(ctx context.Context, c Config) (*Engine, error) {
	n := folderNotes(c.Dir)
	r, err := readRing(ctx, c, n) // again: another process may have made the folder meanwhile
	if err != nil {
		return nil, err
	}
	if err := n.refuse(ctx); err != nil && !c.moving {
		return nil, err
	}
	if r, err = r.settle(ctx, c, n); err != nil {
		return nil, fmt.Errorf("writing %s: %w", keyFile, err)
	}
	if err := h.start(c, r); err != nil {
		return nil, err
	}
	e, err := connect(c, n, inProcess(r, h.server)...)
	if err != nil {
		return nil, err
	}
	e.seal = r.sealer()
	err = e.prepare(ctx, c)
	if err == nil && r.resealing {
		err = e.reseal(ctx, r)
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.host = h
	if c.moving {
		return e, nil
	}
	h.door, err = openDoor(c, h.server)
	if err != nil {
		c.Log.Warn("other processes cannot use the data folder while this one runs", "err", err)
	}
	return e, nil
}

// start runs a JetStream server in this process.
func (h *host) start(c Config, r ring) error {
	log := &serverLog{log: c.Log}
	s, err := server.NewServer(serverOptions(c, r))
	if err != nil {
		return fmt.Errorf("configuring JetStream: %w", err)
	}
	h.server = s
	s.SetLogger(log, false, false)
	s.Start()
	if cause := log.fatal.Load(); cause != nil || !s.JetStreamEnabled() {
		return fmt.Errorf("starting JetStream: %v", cause)
	}
	return nil
}

func serverOptions(c Config, r ring) *server.Options {
	return &server.Options{
		ServerName:    "auditbot",
		DontListen:    true,
		NoSigs:        true,
		Authorization: socketToken(r.newest()),
		AuthTimeout:   requestTimeout.Seconds(),
		MaxPayload:    maxPayload,

		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               c.Dir,
		SyncAlways:             true,
		JetStreamKey:           serverKey(r.oldest()),
		JetStreamCipher:        server.AES,
		JetStreamMaxMemory:     64 << 20, // nothing of ours is stored in memory
		// JetStreamMaxStore is left to the server: what it has and three
		// quarters of what is free, so that it refuses before the disk is
		// full.
	}
}

// maxPayload is the largest message that the server takes, headers included.
const maxPayload = 1 << 20

// close gives the folder up. It is the last thing to happen in it.
func (h *host) close() error {
	if h.door != nil {
		h.door.lock()
	}
	if h.server != nil {
		h.server.Shutdown()
		h.server.WaitForShutdown()
	}
	if h.door != nil {
		h.door.wait()
	}
	return h.lock.Unlock()
}

// serverLog is the server's log in ours: what it cannot do as errors, the rest
// for debugging.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string] // why the server could not start
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("jetstream", "err", fmt.Sprintf(format, v...))
}

func (l *serverLog) Fatalf(format string, v ...any) {
	cause := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &cause)
	l.log.Error("jetstream", "err", cause)
}

func (l *serverLog) Warnf(format string, v ...any)   { l.debug(format, v) }
func (l *serverLog) Noticef(format string, v ...any) { l.debug(format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.debug(format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.debug(format, v) }

func (l *serverLog) debug(format string, v []any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("jetstream", "text", fmt.Sprintf(format, v...))
	}
}
