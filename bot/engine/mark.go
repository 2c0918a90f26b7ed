package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Evidence and journals share a stream. Each is a mark, which says what there
// is of it, and chunks at <tok>.<writer>.<n>, n counting from 0 for each
// writer.
//
// Whoever begins to write stores a mark, and its sequence number in the stream
// is the writer. Each mark after it is stored only if it follows the writer's
// own last one. So a writer whose place was taken stores no more marks, and
// its chunks are not those that other marks list.
//
// The time of a mark is when it was last written to. The time of <tok>.used, an
// empty message, is when it was last read, if that was on a later day.
//
// The mark of evidence is at <tok>.mark. Those of journals have a stream of
// their own: the server, to replace a message, loads all that was stored near
// it, and with 400 checkpoints among 1.3 GB of chunks it came to 600 MB
// resident.
const (
	evidenceSubject = "auditbot.evidence."
	journalSubject  = "auditbot.journal."
)

// journalToken tells a journal from evidence with the same id.
func journalToken(id string) (string, error) {
	tok, err := token(id)
	if err != nil {
		return "", err
	}
	return "j" + tok[1:], nil
}

// markPlace is where a mark is.
func (e *Engine) markPlace(tok string) (stream jetstream.Stream, name, subject string) {
	if tok[0] == 'j' {
		return e.journals, journalConfig.Name, journalSubject + tok
	}
	return e.evidence, evidenceConfig.Name, evidenceSubject + tok + ".mark"
}

// A mark is stored as JSON and sealed. Its names are those of folders that
// there are.
type mark struct {
	Complete bool   `json:"complete"`         // evidence only: its writer was closed
	Before   []run  `json:"before,omitempty"` // chunks of earlier writers, in their order
	run             // those of the last one, after them; no writer until its first checkpoint
	Size     int64  `json:"size,omitempty"`  // of all chunks, in bytes
	State    []byte `json:"state,omitempty"` // journals only: what the writer noted

	seq uint64    // its place in the stream
	at  time.Time // when it was stored
}

// A run is the first chunks of a writer.
type run struct {
	Writer uint64 `json:"writer,omitempty"`
	Chunks int    `json:"chunks,omitempty"`
}

// runs lists all chunks.
func (m mark) runs() []run {
	runs := slices.Clone(m.Before)
	if m.Chunks > 0 {
		runs = append(runs, m.run)
	}
	return runs
}

// has tells whether chunks of this writer are listed, or may be by the next
// mark.
func (m mark) has(writer uint64) bool {
	return writer == m.seq || writer == m.Writer || slices.ContainsFunc(m.Before, func(r run) bool { return r.Writer == writer })
}

func usedSubject(tok string) string { return evidenceSubject + tok + ".used" }

func chunkSubject(tok string, writer uint64, n int) string {
	return fmt.Sprintf("%s%s.%d.%d", evidenceSubject, tok, writer, n)
}

func (e *Engine) getMark(ctx context.Context, tok string) (m mark, err error) {
	stream, name, subject := e.markPlace(tok)
	msg, err := e.getLast(ctx, stream, subject)
	if err != nil {
		return mark{}, err
	}
	text, err := e.seal.open(name, subject, msg.Data)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return mark{}, err
	}
	m.seq, m.at = msg.Sequence, msg.Time
	return m, nil
}

func (e *Engine) getChunk(ctx context.Context, tok string, writer uint64, n int) ([]byte, error) {
	subject := chunkSubject(tok, writer, n)
	msg, err := e.getLast(ctx, e.evidence, subject)
	if err != nil {
		return nil, err
	}
	return e.seal.open(evidenceConfig.Name, subject, msg.Data)
}

// putMark stores m and returns it with its place. [ErrConflict] means that a
// condition in opts does not hold.
func (e *Engine) putMark(ctx context.Context, tok string, m mark, opts ...jetstream.PublishOpt) (mark, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return mark{}, err
	}
	if len(text) > MaxValue {
		return mark{}, fmt.Errorf("%w: its mark has %d bytes, at most %d", ErrTooLarge, len(text), MaxValue)
	}
	_, name, subject := e.markPlace(tok)
	ack, err := e.publish(ctx, &nats.Msg{Subject: subject, Data: e.seal.seal(name, subject, text)}, opts...)
	if err != nil {
		return mark{}, err
	}
	m.seq, m.at = ack.Sequence, time.Now()
	return m, nil
}

// remove deletes evidence or a journal. The mark goes after the chunks: cut off
// in the middle, there is still one by which the rest is found again.
func (e *Engine) remove(ctx context.Context, tok string) error {
	if err := e.purge(ctx, e.evidence, evidenceSubject+tok+".*.*"); err != nil {
		return err
	}
	stream, _, subject := e.markPlace(tok)
	if err := e.purge(ctx, stream, subject); err != nil {
		return err
	}
	return e.purge(ctx, e.evidence, evidenceSubject+tok+".>") // and what a writer that did not know sent meanwhile
}

// removeRun deletes all chunks of a writer.
func (e *Engine) removeRun(ctx context.Context, tok string, writer uint64) error {
	return e.purge(ctx, e.evidence, fmt.Sprintf("%s%s.%d.*", evidenceSubject, tok, writer))
}

// purgeTimeout bounds a purge, for which the server reads what it deletes.
const purgeTimeout = 2 * time.Minute

func (e *Engine) purge(ctx context.Context, stream jetstream.Stream, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	if e.cluster == nil {
		return stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
	}
	return e.purgeUpToNow(ctx, stream, subject)
}
