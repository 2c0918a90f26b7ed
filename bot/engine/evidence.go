package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Evidence with an id is a mark at <id>.mark and chunks at <id>.<writer>.<n>,
// n counting from 0. The first mark says that writing began, and its sequence
// number in the stream is the writer; the mark that replaces it says that the
// chunks are complete, and is stored only if no other writer began meanwhile.
const evidenceSubject = "auditbot.evidence."

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

// mark is the state of evidence, as JSON and sealed.
type mark struct {
	Complete bool   `json:"complete"`
	Writer   uint64 `json:"writer,omitempty"`
	Chunks   int    `json:"chunks,omitempty"`
	Size     int64  `json:"size,omitempty"` // in bytes
}

// An EvidenceWriter writes evidence. It is for one goroutine.
type EvidenceWriter struct {
	e       *Engine
	ctx     context.Context
	id, tok string
	mark    mark
	buf     []byte
	sent    []jetstream.PubAckFuture // not confirmed yet, oldest first
	err     error                    // of the first failure, or errWritten
}

// errWritten ends a writer that has nothing left to do.
var errWritten = errors.New("evidence writer is closed")

// CreateEvidence begins to write evidence. What there was with this id is
// deleted, as [os.Create] does, and an older writer's Close will return
// [ErrConflict]. Nothing can be read before Close has returned nil. Evidence is
// kept for 30 days. When ctx is done, writing fails.
func (e *Engine) CreateEvidence(ctx context.Context, id string) (*EvidenceWriter, error) {
	tok, err := token(id)
	if err != nil {
		return nil, fmt.Errorf("creating evidence: %w", err)
	}
	if err := e.purgeEvidence(ctx, tok+".>"); err != nil {
		return nil, fmt.Errorf("creating evidence %q: %w", id, err)
	}
	w := &EvidenceWriter{e: e, ctx: ctx, id: id, tok: tok, buf: make([]byte, 0, chunkSize)}
	if w.mark.Writer, err = e.putMark(ctx, tok, mark{}); err != nil {
		return nil, fmt.Errorf("creating evidence %q: %w", id, err)
	}
	return w, nil
}

// Write adds p. An error stays: what follows returns it too.
func (w *EvidenceWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		part := p[:min(len(p), chunkSize-len(w.buf))]
		w.buf = append(w.buf, part...)
		n += len(part)
		p = p[len(part):]
		if len(w.buf) == chunkSize {
			w.fail(w.send())
		}
	}
	return n, w.err
}

// Close stores what is left and waits until all of it is on disk. If it
// returns nil, the evidence is there, whole; otherwise there is none.
func (w *EvidenceWriter) Close() error {
	if w.err == nil && len(w.buf) > 0 {
		w.fail(w.send())
	}
	if w.err == nil {
		w.fail(w.confirm(0))
	}
	if w.err == nil {
		w.fail(w.finish())
	}
	if errors.Is(w.err, errWritten) {
		return nil
	}
	err := w.err
	w.Discard()
	return err
}

// Discard gives up and deletes what was written. After Close it does nothing,
// so that it can be deferred.
func (w *EvidenceWriter) Discard() {
	if errors.Is(w.err, errWritten) {
		return
	}
	w.fail(errors.New("writing evidence was given up"))
	w.buf = nil
	// ctx is often why we are here. What cannot be deleted now goes with age.
	_ = w.e.purgeEvidence(context.WithoutCancel(w.ctx), w.tok+"."+strconv.FormatUint(w.mark.Writer, 10)+".>")
}

func (w *EvidenceWriter) fail(err error) {
	if err == nil || w.err != nil {
		return
	}
	w.err = err
	if !errors.Is(err, errWritten) {
		w.err = fmt.Errorf("writing evidence %q: %w", w.id, err)
	}
}

// send publishes the buffer as the next chunk, once there is room in flight.
func (w *EvidenceWriter) send() error {
	if err := w.confirm(maxChunksInFlight - 1); err != nil {
		return err
	}
	subject := chunkSubject(w.tok, w.mark.Writer, w.mark.Chunks)
	future, err := w.e.js.PublishAsync(subject, w.e.seal.seal(evidenceConfig.Name, subject, w.buf),
		jetstream.WithStallWait(chunkTimeout)) // other writers may be in front
	if err != nil {
		return err
	}
	w.sent = append(w.sent, future)
	w.mark.Chunks++
	w.mark.Size += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// confirm waits until no more than n chunks are in flight.
func (w *EvidenceWriter) confirm(n int) error {
	for len(w.sent) > n {
		select {
		case <-w.sent[0].Ok():
		case err := <-w.sent[0].Err():
			return err
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
		w.sent = w.sent[1:]
	}
	return w.ctx.Err()
}

func (w *EvidenceWriter) finish() error {
	w.mark.Complete = true
	_, err := w.e.putMark(w.ctx, w.tok, w.mark, jetstream.WithExpectLastSequencePerSubject(w.mark.Writer))
	if isWrongSequence(err) {
		return ErrConflict
	}
	if err != nil {
		return err
	}
	return errWritten
}

// OpenEvidence reads evidence from its beginning. It returns [ErrNotFound], or
// [ErrIncomplete] if its writer was not closed. When ctx is done, reading fails.
func (e *Engine) OpenEvidence(ctx context.Context, id string) (io.ReadCloser, error) {
	tok, m, err := e.findEvidence(ctx, id)
	if err != nil {
		return nil, err
	}
	return &evidenceReader{e: e, ctx: ctx, id: id, tok: tok, mark: m}, nil
}

// EvidenceSize is the length of evidence in bytes. Errors are those of
// OpenEvidence.
func (e *Engine) EvidenceSize(ctx context.Context, id string) (int64, error) {
	_, m, err := e.findEvidence(ctx, id)
	return m.Size, err
}

// DeleteEvidence removes evidence, complete or not. Deleting what is not there
// is no error.
func (e *Engine) DeleteEvidence(ctx context.Context, id string) error {
	tok, err := token(id)
	if err == nil {
		err = e.purgeEvidence(ctx, tok+".>")
	}
	if err != nil {
		return fmt.Errorf("deleting evidence: %w", err)
	}
	return nil
}

// findEvidence reads the mark of complete evidence.
func (e *Engine) findEvidence(ctx context.Context, id string) (tok string, m mark, err error) {
	tok, err = token(id)
	if err != nil {
		return "", m, fmt.Errorf("looking for evidence: %w", err)
	}
	text, err := e.getEvidence(ctx, markSubject(tok))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err == nil && !m.Complete {
		err = ErrIncomplete
	}
	if err != nil {
		return "", mark{}, fmt.Errorf("looking for evidence %q: %w", id, err)
	}
	return tok, m, nil
}

func (e *Engine) getEvidence(ctx context.Context, subject string) ([]byte, error) {
	msg, err := e.evidence.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return e.seal.open(evidenceConfig.Name, subject, msg.Data)
}

// putMark stores m and returns its sequence number.
func (e *Engine) putMark(ctx context.Context, tok string, m mark, opts ...jetstream.PublishOpt) (uint64, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	subject := markSubject(tok)
	ack, err := e.js.Publish(ctx, subject, e.seal.seal(evidenceConfig.Name, subject, text), opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

func (e *Engine) purgeEvidence(ctx context.Context, subject string) error {
	return e.evidence.Purge(ctx, jetstream.WithPurgeSubject(evidenceSubject+subject))
}

// An evidenceReader reads chunk by chunk. Each is bound to its place by its
// seal, so the number of chunks is all there is to check.
type evidenceReader struct {
	e       *Engine
	ctx     context.Context
	id, tok string
	mark    mark
	next    int    // the chunk to read
	buf     []byte // what is left of the one before
	err     error
}

func (r *evidenceReader) Read(p []byte) (int, error) {
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

func (r *evidenceReader) chunk() ([]byte, error) {
	if r.next == r.mark.Chunks {
		return nil, io.EOF
	}
	chunk, err := r.e.getEvidence(r.ctx, chunkSubject(r.tok, r.mark.Writer, r.next))
	if errors.Is(err, ErrNotFound) {
		err = ErrIncomplete // it was deleted, or became too old, while we read
	}
	if err != nil {
		return nil, fmt.Errorf("reading evidence %q: %w", r.id, err)
	}
	r.next++
	return chunk, nil
}

func (r *evidenceReader) Close() error {
	r.buf, r.err = nil, errors.New("evidence reader is closed")
	return nil
}

func markSubject(tok string) string { return evidenceSubject + tok + ".mark" }

func chunkSubject(tok string, writer uint64, n int) string {
	return fmt.Sprintf("%s%s.%d.%d", evidenceSubject, tok, writer, n)
}

// isWrongSequence tells whether a publish was refused because another came
// first. Replicated streams have a code of their own.
func isWrongSequence(err error) bool {
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
