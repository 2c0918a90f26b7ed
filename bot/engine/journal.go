package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	chunkSize = 256 << 10

	// maxChunksInFlight bounds what all writers of a process send before the
	// server has stored it: 4 MiB, where the server refuses beyond 128 MiB.
	// This is why JetStream's object store is not used: it has no bound.
	maxChunksInFlight = 16

	// chunkTimeout is when a chunk that nobody confirmed is given up. Others
	// may be in front of it, each with its fsync.
	chunkTimeout = 30 * time.Second
)

// MaxState is the largest state of a checkpoint in bytes.
const MaxState = 512 << 10

// A Journal is bytes that are written over a long time and survive its end up
// to the last checkpoint. Nothing has to be closed. Write and Checkpoint are
// for one goroutine; the other methods can be called meanwhile.
type Journal struct {
	e         *Engine
	ctx       context.Context // of Write
	name, tok string          // name is for errors

	run  run   // what was sent
	size int64 // with what others wrote before
	buf  []byte
	sent []sentChunk // not confirmed yet, oldest first
	free [][]byte    // of chunks that were confirmed, for those to come
	err  error       // the first failure

	mu   sync.Mutex
	last mark // of the last checkpoint, as stored
}

type sentChunk struct {
	subject string
	sealed  []byte
	header  nats.Header // nil here
	stored  jetstream.PubAckFuture
}

// OpenJournal goes on with the journal that has this id, after its last
// checkpoint, or begins an empty one. It takes the place of whoever wrote to it
// before, in any process: their next checkpoint returns [ErrConflict]. A
// journal is kept until it is deleted or swept. When ctx is done, Write fails.
func (e *Engine) OpenJournal(ctx context.Context, id string) (*Journal, error) {
	name := fmt.Sprintf("journal %q", id)
	tok, err := journalToken(id)
	if err != nil {
		return nil, fmt.Errorf("opening a journal: %w", err)
	}
	for {
		m, err := e.getMark(ctx, tok)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
		j, err := e.begin(ctx, name, tok, m, jetstream.WithExpectLastSequencePerSubject(m.seq))
		if errors.Is(err, ErrConflict) {
			continue // there is a newer checkpoint
		}
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
		return j, nil
	}
}

// DeleteJournal removes a journal. Deleting what is not there is no error.
// Who still writes to it gets [ErrConflict].
func (e *Engine) DeleteJournal(ctx context.Context, id string) error {
	tok, err := journalToken(id)
	if err == nil {
		err = e.remove(ctx, tok)
	}
	if err != nil {
		return fmt.Errorf("deleting a journal: %w", err)
	}
	return nil
}

// begin makes a writer that goes on after m.
func (e *Engine) begin(ctx context.Context, name, tok string, m mark, opts ...jetstream.PublishOpt) (*Journal, error) {
	m.Before, m.run = m.runs(), run{}
	m, err := e.putMark(ctx, tok, m, opts...)
	if err != nil {
		return nil, err
	}
	return &Journal{
		e: e, ctx: ctx, name: name, tok: tok,
		run: run{Writer: m.seq}, size: m.Size, buf: make([]byte, 0, chunkSize), last: m,
	}, nil
}

// Write adds p, to be kept by the next checkpoint. An error stays: what
// follows returns it too, and only opening the journal again helps.
func (j *Journal) Write(p []byte) (n int, err error) {
	for len(p) > 0 && j.err == nil {
		part := p[:min(len(p), chunkSize-len(j.buf))]
		j.buf = append(j.buf, part...)
		n += len(part)
		p = p[len(part):]
		if len(j.buf) == chunkSize {
			j.fail(j.send(j.ctx))
		}
	}
	return n, j.err
}

// Checkpoint makes what was written so far last, together with state, of up to
// [MaxState] bytes: it returns nil once both are on disk. [ErrConflict] means
// that the journal was opened again elsewhere, or deleted. Errors stay, as with
// Write.
func (j *Journal) Checkpoint(ctx context.Context, state []byte) error {
	if len(state) > MaxState {
		return fmt.Errorf("writing %s: %w: a state of %d bytes, at most %d", j.name, ErrTooLarge, len(state), MaxState)
	}
	j.commit(ctx, mark{State: slices.Clone(state)})
	return j.err
}

// State is what the last checkpoint was given, for nobody to change; nil if
// there was none.
func (j *Journal) State() []byte { return j.checkpoint().State }

// Size is the length in bytes up to the last checkpoint.
func (j *Journal) Size() int64 { return j.checkpoint().Size }

// Open reads the journal from its beginning to its last checkpoint as of now.
// Close must be called. When ctx is done, reading fails; it returns
// [ErrIncomplete] if the journal is deleted meanwhile.
func (j *Journal) Open(ctx context.Context) (io.ReadCloser, error) {
	return j.e.read(ctx, j.name, j.tok, j.checkpoint()), nil
}

func (j *Journal) checkpoint() mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

func (j *Journal) fail(err error) {
	if err != nil && j.err == nil {
		j.err = fmt.Errorf("writing %s: %w", j.name, err)
	}
}

// send publishes the buffer as the next chunk, once there is room in flight.
func (j *Journal) send(ctx context.Context) error {
	if err := j.confirm(ctx, maxChunksInFlight-1); err != nil {
		return err
	}
	subject := chunkSubject(j.tok, j.run.Writer, j.run.Chunks)
	var sealed []byte
	if last := len(j.free) - 1; last >= 0 {
		sealed, j.free = j.free[last], j.free[:last]
	}
	sealed = j.e.seal.sealInto(sealed, evidenceConfig.Name, subject, j.buf)
	stored, err := j.e.js.PublishAsync(subject, sealed, jetstream.WithStallWait(chunkTimeout)) // other writers may be in front
	switch {
	case err == nil:
		j.sent = append(j.sent, sentChunk{subject, sealed, nil, stored})
	default:
		if err := j.e.storeAgain(ctx, sentChunk{subject: subject, sealed: sealed}, err); err != nil {
			return err
		}
		j.free = append(j.free, sealed)
	}
	j.run.Chunks++
	j.size += int64(len(j.buf))
	j.buf = j.buf[:0]
	return nil
}

// confirm waits until no more than n chunks are in flight.
func (j *Journal) confirm(ctx context.Context, n int) error {
	for len(j.sent) > n {
		select {
		case <-j.sent[0].stored.Ok():
		case err := <-j.sent[0].stored.Err():
			if err := j.e.storeAgain(ctx, j.sent[0], err); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		j.free = append(j.free, j.sent[0].sealed)
		j.sent = slices.Delete(j.sent, 0, 1)
	}
	return context.Cause(ctx)
}

// commit stores all that was written and then m with the list of it.
func (j *Journal) commit(ctx context.Context, m mark) {
	if j.err == nil && len(j.buf) > 0 {
		j.fail(j.send(ctx))
	}
	if j.err == nil {
		j.fail(j.confirm(ctx, 0))
	}
	if j.err != nil {
		return
	}
	m.Before, m.run, m.Size = j.last.Before, j.run, j.size
	m, err := j.e.putMark(ctx, j.tok, m, jetstream.WithExpectLastSequencePerSubject(j.last.seq))
	if errors.Is(err, ErrConflict) {
		j.leave(ctx)
	}
	if err != nil {
		j.fail(err)
		return
	}
	j.mu.Lock()
	j.last = m
	j.mu.Unlock()
}

// leave deletes our chunks if nobody goes on after them. What it cannot delete
// is left to Sweep.
func (j *Journal) leave(ctx context.Context) {
	m, err := j.e.getMark(ctx, j.tok)
	if errors.Is(err, ErrNotFound) || err == nil && !m.has(j.run.Writer) {
		_ = j.e.removeRun(ctx, j.tok, j.run.Writer)
	}
}

// read reads what m lists, and notes that it is in use.
func (e *Engine) read(ctx context.Context, name, tok string, m mark) io.ReadCloser {
	if err := e.use(ctx, tok, m); err != nil && ctx.Err() == nil {
		e.log.Warn("noting that results are in use", "err", err) // a full disk must not keep anyone from reading
	}
	return &chunkReader{e: e, ctx: ctx, name: name, tok: tok, runs: m.runs()}
}

// A chunkReader reads chunk by chunk. Each is bound to its place by its seal,
// so how many there are is all there is to check.
type chunkReader struct {
	e         *Engine
	ctx       context.Context
	name, tok string
	runs      []run  // those to read, the current one first
	next      int    // the chunk of it to read
	buf       []byte // what is left of the one before
	err       error
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if len(r.buf) == 0 && r.err == nil {
		r.buf, r.err = r.chunk()
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, r.err
}

func (r *chunkReader) chunk() ([]byte, error) {
	for len(r.runs) > 0 && r.next == r.runs[0].Chunks {
		r.runs, r.next = r.runs[1:], 0
	}
	if len(r.runs) == 0 {
		return nil, io.EOF
	}
	chunk, err := r.e.getChunk(r.ctx, r.tok, r.runs[0].Writer, r.next)
	if errors.Is(err, ErrNotFound) {
		err = ErrIncomplete // it was deleted while we read
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.name, err)
	}
	r.next++
	return chunk, nil
}

func (r *chunkReader) Close() error {
	r.buf, r.err = nil, errors.New("reader is closed")
	return nil
}
