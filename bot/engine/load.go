package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Load is what lies in the engine at a moment.
type Load struct {
	Items   int       // in the inbox that are not done, those that are worked on included
	Oldest  time.Time // when the oldest of them was filed, UTC; zero if there is none
	Results uint64    // bytes of evidence
}

// Load looks what lies in the engine, in three requests. What was filed in the
// last milliseconds may be missing, and right after a start that followed a
// crash, some items that are done may be counted.
func (e *Engine) Load(ctx context.Context) (l Load, err error) {
	var worker *jetstream.ConsumerInfo
	var evidence jetstream.Stream
	err = e.insist(ctx, func(ctx context.Context) (err error) {
		worker, err = e.worker.Info(ctx)
		return err
	})
	if err != nil {
		return Load{}, fmt.Errorf("asking how full the inbox is: %w", err)
	}
	err = e.insist(ctx, func(ctx context.Context) (err error) {
		evidence, err = e.js.Stream(ctx, evidenceConfig.Name)
		return err
	})
	if err != nil {
		return Load{}, fmt.Errorf("asking how much evidence there is: %w", err)
	}
	l = Load{Items: int(worker.NumPending) + worker.NumAckPending, Results: evidence.CachedInfo().State.Bytes}
	if l.Items == 0 {
		return l, nil
	}
	// All up to the floor are acknowledged, and the first one behind it is not.
	oldest, err := e.getNext(ctx, e.inbox, worker.AckFloor.Stream+1, itemSubject+"*")
	if errors.Is(err, ErrNotFound) { // it was done meanwhile
		return l, nil
	}
	if err != nil {
		return Load{}, fmt.Errorf("looking for the oldest item of the inbox: %w", err)
	}
	l.Oldest = oldest.Time.UTC()
	return l, nil
}
