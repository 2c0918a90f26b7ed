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

// Load looks what lies in the engine, in three requests. Right after a start
// that followed a crash, some items that are done may be counted.
func (e *Engine) Load(ctx context.Context) (Load, error) {
	worker, err := e.worker.Info(ctx)
	if err != nil {
		return Load{}, fmt.Errorf("asking how full the inbox is: %w", err)
	}
	l := Load{Items: int(worker.NumPending) + worker.NumAckPending}
	if l.Items > 0 {
		if l.Oldest, err = e.filedAfter(ctx, worker.AckFloor.Stream); err != nil {
			return Load{}, err
		}
	}
	evidence, err := e.js.Stream(ctx, evidenceConfig.Name)
	if err != nil {
		return Load{}, fmt.Errorf("asking how much evidence there is: %w", err)
	}
	l.Results = evidence.CachedInfo().State.Bytes
	return l, nil
}

// filedAfter is when the first item behind a sequence number was filed. If that
// is the number up to which all are acknowledged, the first one behind it is
// not.
func (e *Engine) filedAfter(ctx context.Context, sequence uint64) (time.Time, error) {
	msg, err := e.inbox.GetMsg(ctx, sequence+1, jetstream.WithGetMsgSubject(itemSubject+"*"))
	if errors.Is(err, jetstream.ErrMsgNotFound) { // it was done meanwhile
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("looking for the oldest item of the inbox: %w", err)
	}
	return msg.Time.UTC(), nil
}
