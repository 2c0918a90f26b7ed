package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// useEvery is how often at most a reader notes that something is in use.
const useEvery = 24 * time.Hour

// use notes that what m marks is in use, unless that is known already. It does
// not touch the mark, whose place a writer relies on.
func (e *Engine) use(ctx context.Context, tok string, m mark) error {
	used, err := e.usedSince(ctx, tok, m, time.Now().Add(-useEvery))
	if used || err != nil {
		return err
	}
	_, err = e.publish(ctx, nats.NewMsg(usedSubject(tok)))
	return err
}

// usedSince tells whether what m marks was written or read at or after a time.
func (e *Engine) usedSince(ctx context.Context, tok string, m mark, since time.Time) (bool, error) {
	if !m.at.Before(since) {
		return true, nil
	}
	msg, err := e.getLast(ctx, e.evidence, usedSubject(tok))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && !msg.Time.Before(since), err
}

// Sweep deletes evidence and journals that were neither written nor read for
// so long, and what writers that were cut off left behind. Of reading, the day
// is known and not the hour, so unused is to be days. It returns how many it
// deleted, also together with an error.
func (e *Engine) Sweep(ctx context.Context, unused time.Duration) (deleted int, err error) {
	deleted, err = e.sweepBefore(ctx, time.Now().Add(-unused))
	if err != nil {
		return deleted, fmt.Errorf("sweeping old results: %w", err)
	}
	return deleted, nil
}

func (e *Engine) sweepBefore(ctx context.Context, limit time.Time) (deleted int, err error) {
	old := func(msg *jetstream.RawStreamMsg, name []string) error {
		used, err := e.usedSince(ctx, name[0], mark{at: msg.Time}, limit)
		if used || err != nil {
			return err
		}
		if err := e.remove(ctx, name[0]); err != nil {
			return err
		}
		deleted++
		return nil
	}
	if err := e.each(ctx, e.evidence, evidenceSubject, "*.mark", old); err != nil {
		return deleted, err
	}
	if err := e.each(ctx, e.journals, journalSubject, "*", old); err != nil {
		return deleted, err
	}
	return deleted, e.sweepLeftovers(ctx)
}

// sweepLeftovers deletes what no mark lists. All that a writer leaves is found
// by its first chunk.
func (e *Engine) sweepLeftovers(ctx context.Context) error {
	err := e.each(ctx, e.evidence, evidenceSubject, "*.*.0", func(_ *jetstream.RawStreamMsg, name []string) error {
		writer, err := strconv.ParseUint(name[1], 10, 64)
		if err != nil {
			return fmt.Errorf("a chunk has the writer %q", name[1])
		}
		m, err := e.getMark(ctx, name[0])
		if errors.Is(err, ErrNotFound) {
			return e.remove(ctx, name[0])
		}
		if err != nil || m.has(writer) {
			return err
		}
		return e.removeRun(ctx, name[0], writer)
	})
	if err != nil {
		return err
	}
	return e.each(ctx, e.evidence, evidenceSubject, "*.used", func(_ *jetstream.RawStreamMsg, name []string) error {
		_, err := e.getMark(ctx, name[0])
		if errors.Is(err, ErrNotFound) {
			return e.remove(ctx, name[0])
		}
		return err
	})
}

// each calls do for the messages in a stream that match, in order and one at a
// time, with the tokens of their subjects after prefix.
func (e *Engine) each(ctx context.Context, stream jetstream.Stream, prefix, match string, do func(*jetstream.RawStreamMsg, []string) error) error {
	for seq := uint64(1); ; {
		msg, err := e.getNext(ctx, stream, seq, prefix+match)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(msg, strings.Split(strings.TrimPrefix(msg.Subject, prefix), ".")); err != nil {
			return err
		}
		seq = msg.Sequence + 1
	}
}
