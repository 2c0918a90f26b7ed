package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What [Migrate] notes down.
const (
	movedFile   = "moved"   // in the source, once all is in the target: where that is, and when
	fillingFile = "filling" // in the target until all is there: where it comes from
)

// Why something cannot be opened, or moved.
var (
	ErrMoved      = errors.New("what was here was moved")
	ErrUnfinished = errors.New("what is here is being moved, or that was cut off")
	ErrInUse      = errors.New("somebody works on it")
	ErrNotEmpty   = errors.New("there is something already")
	ErrEmpty      = errors.New("there is nothing to move")
)

// refuse returns an error if nobody may work on what is here.
func (n notes) refuse(ctx context.Context) error {
	for _, note := range []struct {
		name, way string
		means     error
	}{{movedFile, "to", ErrMoved}, {fillingFile, "from", ErrUnfinished}} {
		where, err := n.read(ctx, note.name)
		if err != nil {
			return fmt.Errorf("looking whether it was moved: %w", err)
		}
		if where != nil {
			return fmt.Errorf("%w: %s the %s", note.means, note.way, where)
		}
	}
	return nil
}

// A Moved tells of a stream that was copied.
type Moved struct {
	Stream   string
	Messages uint64
	Bytes    uint64 // of their contents

	sum [4]uint64 // of all messages' hashes, in whatever order they are
}

// Migrate moves everything from a data folder into a cluster, or back, and
// leaves the source as it is, but for a note that it was moved, with which it
// cannot be opened any more. Both have the same key, From.Key, which is not
// changed.
//
// Nobody may work on either ([ErrInUse]), and the target must be empty
// ([ErrNotEmpty]). Cut off, it leaves a source that can be opened and a target
// that cannot ([ErrUnfinished]); called again, it begins anew, or notes what is
// left to be noted. What is compared at the end is the number and the contents
// of the messages of each stream. Say is told of each stream.
func Migrate(ctx context.Context, from, to Config, say func(Moved)) (err error) {
	m := &mover{say: say}
	for _, c := range []*Config{&from, &to} {
		c.Key, c.OldKey, c.moving = from.Key, nil, true
		c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
		c.AckWait = cmp.Or(c.AckWait, defaultAckWait)
		if c.Dir, err = filepath.Abs(c.Dir); err != nil {
			return err
		}
	}
	if m.from, err = takeSource(ctx, from); err != nil {
		return fmt.Errorf("the %s: %w", from.where(), err)
	}
	defer func() { err = errors.Join(err, m.from.Close()) }()
	ctx, stay := context.WithCancelCause(ctx)
	defer stay(nil)
	if err := m.hold(ctx, stay, from.Key); err != nil {
		return fmt.Errorf("the %s: %w", from.where(), err)
	}
	defer m.release()
	if err := m.takeTarget(ctx, from, to); err != nil {
		return fmt.Errorf("the %s: %w", to.where(), err)
	}
	defer func() { err = errors.Join(err, m.to.Close()) }()
	if err := m.move(ctx, to); err != nil {
		return fmt.Errorf("moving from the %s to the %s: %w", from.where(), to.where(), cmp.Or(context.Cause(ctx), err))
	}
	return nil
}

type mover struct {
	from, to *Engine
	ring     ring
	say      func(Moved)

	moved bool // all was copied before: only notes are missing

	revision uint64 // of our key in the source's bucket Links, if that is a cluster
	beats    sync.WaitGroup
	stop     context.CancelFunc
}

// takeSource opens the source for nobody but us.
func takeSource(ctx context.Context, c Config) (*Engine, error) {
	if c.Cluster.URL == "" {
		isNew, err := IsNew(c.Dir)
		if err != nil {
			return nil, err
		}
		if isNew {
			return nil, ErrEmpty
		}
		h, err := lock(c)
		if err != nil {
			return nil, err
		}
		if h == nil {
			return nil, ErrInUse
		}
		return own(ctx, c, h)
	}
	e, err := dial(ctx, c)
	if err != nil {
		return nil, err
	}
	found, err := e.hasMeta(ctx)
	if err == nil && !found {
		err = ErrEmpty
	}
	if err == nil {
		err = e.join(ctx, c)
	}
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// hold looks whether the source may be moved, and keeps replicas away from it:
// if it is a folder, its lock does. Should others come all the same, lost is
// called.
func (m *mover) hold(ctx context.Context, lost context.CancelCauseFunc, key []byte) (err error) {
	m.stop = func() {}
	from, err := m.from.notes.read(ctx, fillingFile)
	if err != nil {
		return err
	}
	if from != nil {
		return fmt.Errorf("%w: from the %s", ErrUnfinished, from)
	}
	if m.ring, err = readRing(ctx, Config{Key: key}, m.from.notes); err != nil {
		return err
	}
	if m.from.cluster == nil {
		return nil
	}
	links := m.from.Bucket(Links)
	if m.revision, err = links.Create(ctx, moverKey, nil); errors.Is(err, ErrConflict) {
		return fmt.Errorf("%w: it is being moved already, or was until half a minute ago", ErrInUse)
	}
	if err != nil {
		return err
	}
	if err := m.alone(ctx); err != nil {
		return errors.Join(err, links.Delete(ctx, moverKey))
	}
	beating, stop := context.WithCancel(ctx)
	m.stop = stop
	m.beats.Go(func() {
		for {
			select {
			case <-time.After(beatEvery):
			case <-beating.Done():
				return
			}
			revision, err := links.Update(beating, moverKey, nil, m.revision)
			if err != nil && beating.Err() == nil {
				lost(fmt.Errorf("keeping replicas away: %w", err))
				return
			}
			m.revision = revision
		}
	})
	return nil
}

// alone returns an error if there are replicas on the source.
func (m *mover) alone(ctx context.Context) error {
	if m.from.cluster == nil {
		return nil
	}
	n, err := m.from.others(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: %d processes are connected, or were until half a minute ago", ErrInUse, n)
	}
	return err
}

// release lets replicas in again.
func (m *mover) release() {
	m.stop()
	m.beats.Wait()
	if m.from.cluster != nil {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		defer cancel()
		_ = m.from.Bucket(Links).Delete(ctx, moverKey) // else it is forgotten in half a minute
	}
}

// takeTarget opens the target for nobody but us, empty, with the ring of the
// source.
func (m *mover) takeTarget(ctx context.Context, from, to Config) (err error) {
	moved, err := m.from.notes.read(ctx, movedFile)
	if err != nil {
		return err
	}
	m.moved = moved != nil
	if to.Cluster.URL != "" {
		return m.takeCluster(ctx, from, to)
	}
	if err := os.MkdirAll(to.Dir, 0o700); err != nil {
		return err
	}
	h, err := lock(to)
	if err != nil {
		return err
	}
	if h == nil {
		return ErrInUse
	}
	if m.to, err = m.takeFolder(ctx, from, to, h); err != nil {
		return errors.Join(err, h.close())
	}
	return nil
}

// target is whether the target may be filled, as its notes say.
func (m *mover) target(ctx context.Context, n notes, empty bool) error {
	filling, err := n.read(ctx, fillingFile)
	switch {
	case err != nil:
		return err
	case m.moved && filling == nil:
		return fmt.Errorf("%w, and nothing is left to do: the source was moved before", ErrMoved)
	case filling == nil && !empty:
		return ErrNotEmpty
	}
	return nil
}

func (m *mover) takeFolder(ctx context.Context, from, to Config, h *host) (*Engine, error) {
	n := folderNotes(to.Dir)
	isNew, err := IsNew(to.Dir)
	if err != nil {
		return nil, err
	}
	if err := m.target(ctx, n, isNew); err != nil {
		return nil, err
	}
	if !m.moved {
		if err := n.write(ctx, fillingFile, []byte(from.where())); err != nil {
			return nil, err
		}
		for _, name := range []string{dataDir, readyFile, keyFile} { // of a move that was cut off
			if err := os.RemoveAll(filepath.Join(to.Dir, name)); err != nil {
				return nil, err
			}
		}
		if err := m.ring.write(ctx, n); err != nil {
			return nil, err
		}
	}
	if err := h.start(to, m.ring); err != nil {
		return nil, err
	}
	e, err := connect(to, n, inProcess(m.ring, h.server)...)
	if err != nil {
		return nil, err
	}
	e.seal, e.host = m.ring.sealer(), h
	return e, nil
}

func (m *mover) takeCluster(ctx context.Context, from, to Config) (err error) {
	if m.to, err = dial(ctx, to); err != nil {
		return err
	}
	if err = m.clear(ctx, from); err != nil {
		return errors.Join(err, m.to.Close())
	}
	m.to.seal = m.ring.sealer()
	return nil
}

// clear makes a cluster ready to be filled.
func (m *mover) clear(ctx context.Context, from Config) error {
	hasMeta, err := m.to.hasMeta(ctx)
	if err != nil {
		return err
	}
	there, err := m.to.streamsThere(ctx)
	if err != nil {
		return err
	}
	check, err := m.to.notes.read(ctx, keyFile)
	if err != nil {
		return err
	}
	if err := m.target(ctx, m.to.notes, len(there) == 0 && check == nil); err != nil || m.moved {
		return err
	}
	if !hasMeta {
		if err := m.to.openMeta(ctx); err != nil {
			return err
		}
	}
	if err := m.to.notes.write(ctx, fillingFile, []byte(from.where())); err != nil {
		return err
	}
	for _, name := range there { // of a move that was cut off
		err := m.to.insist(ctx, func(ctx context.Context) error { return m.to.js.DeleteStream(ctx, name) })
		if err != nil && !isMissing(err) {
			return fmt.Errorf("deleting %s: %w", name, err)
		}
	}
	return m.ring.write(ctx, m.to.notes)
}

// move copies, compares, and notes that it has, in an order in which at most one
// of the two can be opened at any moment.
func (m *mover) move(ctx context.Context, to Config) error {
	if !m.moved {
		if err := m.copy(ctx, to); err != nil {
			return err
		}
		if err := m.alone(ctx); err != nil {
			return err
		}
		note := fmt.Sprintf("%s on %s", to.where(), time.Now().UTC().Format("2006-01-02 15:04 UTC"))
		if err := m.from.notes.write(ctx, movedFile, []byte(note)); err != nil {
			return fmt.Errorf("noting that it was moved: %w", err)
		}
		testOnlyPassing("the source is moved")
	}
	if err := m.to.notes.remove(ctx, fillingFile); err != nil {
		return fmt.Errorf("noting that all is there: %w", err)
	}
	return nil
}

func (m *mover) copy(ctx context.Context, to Config) error {
	var names []string
	for _, p := range parts() {
		if err := m.copyPart(ctx, to, p); err != nil {
			return fmt.Errorf("copying %s: %w", p.name, err)
		}
		names = append(names, p.name)
		testOnlyPassing("copied " + p.name)
	}
	if err := m.to.attach(ctx); err != nil {
		return err
	}
	if _, err := m.to.notes.ready(ctx); err != nil { // a cluster's is written only by who has read it
		return err
	}
	return m.to.notes.setReady(ctx, names)
}

// copyPart creates a part in the target and fills it. The numbers of its
// messages go on after those of the source: the chunks of a writer are stored
// under one, and none may come twice.
func (m *mover) copyPart(ctx context.Context, to Config, p part) error {
	if p.stream == nil {
		return m.to.create(ctx, to, p)
	}
	state, err := m.from.stateOf(ctx, p.name)
	if err != nil {
		return err
	}
	config := *p.stream
	if state.LastSeq > 0 {
		config.FirstSeq = state.LastSeq + 1
	}
	if err := m.to.createStream(ctx, config); err != nil {
		return err
	}
	if p.name == streamOf(bucketPrefix+Links) {
		return nil // who is connected to the source is not connected to the target
	}
	sent, err := m.copyMessages(ctx, p.name)
	if err != nil {
		return err
	}
	after, err := m.from.stateOf(ctx, p.name)
	if err == nil && after.LastSeq != state.LastSeq {
		err = fmt.Errorf("%w: it has changed meanwhile", ErrInUse)
	}
	if err != nil {
		return err
	}
	stored := Moved{Stream: p.name}
	err = m.to.eachMessage(ctx, p.name, func(msg *nats.Msg) error { stored.add(msg); return nil })
	if err != nil {
		return fmt.Errorf("reading what was stored: %w", err)
	}
	if stored != sent {
		return fmt.Errorf("of %d messages (%d bytes), %d (%d bytes) have arrived as they were", sent.Messages, sent.Bytes, stored.Messages, stored.Bytes)
	}
	m.say(sent)
	return nil
}

// copyMessages copies a stream with a bounded number of messages on their way.
func (m *mover) copyMessages(ctx context.Context, name string) (sent Moved, err error) {
	sent.Stream = name
	var stored []jetstream.PubAckFuture
	confirm := func(n int) error {
		for len(stored) > n {
			select {
			case <-stored[0].Ok():
			case err := <-stored[0].Err():
				msg := stored[0].Msg()
				if err := m.to.storeAgain(ctx, sentChunk{msg.Subject, msg.Data, msg.Header, nil}, err); err != nil {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			stored = slices.Delete(stored, 0, 1)
		}
		return nil
	}
	err = m.from.eachMessage(ctx, name, func(msg *nats.Msg) error {
		if err := confirm(maxChunksInFlight - 1); err != nil {
			return err
		}
		sent.add(msg)
		future, err := m.to.js.PublishMsgAsync(msg, jetstream.WithStallWait(chunkTimeout))
		if err != nil {
			return m.to.storeAgain(ctx, sentChunk{msg.Subject, msg.Data, msg.Header, nil}, err)
		}
		stored = append(stored, future)
		return nil
	})
	if err == nil {
		err = confirm(0)
	}
	return sent, err
}

func (e *Engine) stateOf(ctx context.Context, name string) (state jetstream.StreamState, err error) {
	err = e.insist(ctx, func(ctx context.Context) error {
		stream, err := e.js.Stream(ctx, name)
		if err == nil {
			state = stream.CachedInfo().State
		}
		return err
	})
	return state, err
}

// eachMessage calls do for each message of a stream, in order, but for
// tombstones. Of its header, it has the id only.
func (e *Engine) eachMessage(ctx context.Context, name string, do func(*nats.Msg) error) error {
	var stream jetstream.Stream
	err := e.insist(ctx, func(ctx context.Context) (err error) {
		stream, err = e.js.Stream(ctx, name)
		return err
	})
	if err != nil {
		return err
	}
	for seq := uint64(1); ; {
		msg, err := e.getNext(ctx, stream, seq, ">")
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		seq = msg.Sequence + 1
		if isTombstone(msg) {
			continue
		}
		plain := &nats.Msg{Subject: msg.Subject, Data: msg.Data}
		if id := msg.Header.Get(jetstream.MsgIDHeader); id != "" && strings.HasPrefix(msg.Subject, itemSubject) {
			plain.Header = nats.Header{jetstream.MsgIDHeader: {id}}
		}
		if err := do(plain); err != nil {
			return err
		}
	}
}

// add counts a message.
func (m *Moved) add(msg *nats.Msg) {
	m.Messages++
	m.Bytes += uint64(len(msg.Data))
	h := sha256.New()
	for _, part := range [][]byte{[]byte(msg.Subject), []byte(msg.Header.Get(jetstream.MsgIDHeader)), msg.Data} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		h.Write(part)
	}
	sum := h.Sum(nil)
	for i := range m.sum {
		m.sum[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
}
