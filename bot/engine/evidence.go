package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// An EvidenceWriter writes evidence: a journal with one checkpoint, before
// which there is nothing to read. It is for one goroutine.
type EvidenceWriter struct{ j *Journal }

// errWritten ends a writer that has nothing left to do.
var errWritten = errors.New("evidence writer is closed")

// CreateEvidence begins to write evidence. What there was with this id is
// deleted, as [os.Create] does, and an older writer's Close will return
// [ErrConflict]. Nothing can be read before Close has returned nil. Evidence is
// kept until it is deleted or swept. When ctx is done, writing fails.
func (e *Engine) CreateEvidence(ctx context.Context, id string) (*EvidenceWriter, error) {
	tok, err := token(id)
	if err != nil {
		return nil, fmt.Errorf("creating evidence: %w", err)
	}
	name := fmt.Sprintf("evidence %q", id)
	if err := e.remove(ctx, tok); err != nil {
		return nil, fmt.Errorf("creating %s: %w", name, err)
	}
	j, err := e.begin(ctx, name, tok, mark{})
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", name, err)
	}
	return &EvidenceWriter{j}, nil
}

// Write adds p. An error stays: what follows returns it too.
func (w *EvidenceWriter) Write(p []byte) (n int, err error) { return w.j.Write(p) }

// Close stores what is left and waits until all of it is on disk. If it
// returns nil, the evidence is there, whole; otherwise there is none.
func (w *EvidenceWriter) Close() error {
	if errors.Is(w.j.err, errWritten) {
		return nil
	}
	w.j.commit(w.j.ctx, mark{Complete: true})
	if err := w.j.err; err != nil {
		w.Discard()
		return err
	}
	w.j.err = errWritten
	return nil
}

// Discard gives up and deletes what was written. After Close it does nothing,
// so that it can be deferred.
func (w *EvidenceWriter) Discard() {
	if errors.Is(w.j.err, errWritten) {
		return
	}
	w.j.fail(errors.New("it was given up"))
	w.j.buf = nil
	// ctx is often why we are here. What cannot be deleted now is left to Sweep.
	_ = w.j.e.removeRun(context.WithoutCancel(w.j.ctx), w.j.tok, w.j.run.Writer)
}

// OpenEvidence reads evidence from its beginning. It returns [ErrNotFound], or
// [ErrIncomplete] if its writer was not closed. Close must be called. When ctx
// is done, reading fails.
func (e *Engine) OpenEvidence(ctx context.Context, id string) (io.ReadCloser, error) {
	tok, m, err := e.findEvidence(ctx, id)
	if err != nil {
		return nil, err
	}
	return e.read(ctx, fmt.Sprintf("evidence %q", id), tok, m), nil
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
		err = e.remove(ctx, tok)
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
		return "", mark{}, fmt.Errorf("looking for evidence: %w", err)
	}
	m, err = e.getMark(ctx, tok)
	if err == nil && !m.Complete {
		err = ErrIncomplete
	}
	if err != nil {
		return "", mark{}, fmt.Errorf("looking for evidence %q: %w", id, err)
	}
	return tok, m, nil
}
