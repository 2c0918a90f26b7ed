package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// In a cluster, whatever was asked of a server that dies is left unanswered,
// and for seconds, while another leader is chosen, requests fail. So each is
// made again for a while. That is safe: what is stored has an id, by which the
// server knows it again, so that it is stored once and its conditions are
// looked at once, however often and late it arrives.

const (
	// attemptTimeout is how long an answer of a cluster is waited for before
	// the request is made again.
	attemptTimeout = 3 * time.Second

	// slowAttempt is attemptTimeout for what may take the cluster long.
	slowAttempt = 10 * time.Second

	// clusterPatience is for how long a request is made again. It is much
	// shorter than the shortest time that a stream knows ids for, a minute, so
	// that one which was held up on its way cannot come after that. The choice
	// of a leader takes 4 to 9 seconds.
	clusterPatience = 30 * time.Second

	// clusterWindow is for how long streams in a cluster know ids, where it is
	// not longer anyway.
	clusterWindow = 2 * time.Minute
)

// A line tells whether the connection is there.
type line struct {
	mu    sync.Mutex
	alive context.Context // done once the connection is lost
	lost  context.CancelFunc
}

func (l *line) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alive == nil || l.alive.Err() != nil {
		l.alive, l.lost = context.WithCancel(context.Background())
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost()
}

func (l *line) current() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alive
}

// errUnanswered means that a request was made, and nobody knows what became of
// it.
var errUnanswered = errors.New("no answer came from the cluster")

// errBehind means that a server which is behind the leader was asked.
var errBehind = errors.New("the cluster is not in step yet")

// insist calls do, in a cluster until it succeeds, fails for good, or
// clusterPatience is over.
func (e *Engine) insist(ctx context.Context, do func(context.Context) error) error {
	return e.insistFor(ctx, attemptTimeout, clusterPatience, do)
}

func (e *Engine) insistFor(ctx context.Context, attempt, patience time.Duration, do func(context.Context) error) error {
	if e.cluster == nil { // whose own server may stay silent, as it does on a full disk
		try, cancel := context.WithTimeout(ctx, max(attempt, requestTimeout))
		defer cancel()
		return do(try)
	}
	began, told := time.Now(), false
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		err := e.attempt(ctx, attempt, do)
		waited := time.Since(began)
		if !isTemporary(err) || ctx.Err() != nil || waited > patience {
			return err
		}
		if waited > attempt && !told {
			e.log.Warn("the cluster does not do what it was asked; asking again", "after", waited, "err", err)
			told = true
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// attempt calls do once, for as long as the connection is the same.
func (e *Engine) attempt(ctx context.Context, timeout time.Duration, do func(context.Context) error) error {
	try, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(e.line.current(), cancel)()
	err := do(try)
	if err != nil && try.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errUnanswered, err)
	}
	return err
}

// isTemporary tells whether the same request may succeed in a moment.
func isTemporary(err error) bool {
	for _, passing := range []error{
		errUnanswered, errBehind, nats.ErrNoResponders, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrNoServers, nats.ErrReconnectBufExceeded,
		jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout, jetstream.ErrTooManyStalledMsgs,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	if !ok {
		return false
	}
	switch refusal.ErrorCode {
	case codeNotLeader, codeSameInProgress, codeNoPeers:
		return true
	case codeNoAccount, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return false
	}
	return refusal.Code == 503 // "JetStream system temporarily unavailable" and the like
}

// Codes of refusals that nats.go has no names for.
// https://github.com/nats-io/nats-server/blob/main/server/errors.json
const (
	codeNoPeers        jetstream.ErrorCode = 10005 // there are not as many servers as replicas
	codeNotLeader      jetstream.ErrorCode = 10009
	codeNoAccount      jetstream.ErrorCode = 10035
	codeNotClustered   jetstream.ErrorCode = 10074 // "replicas > 1 not supported in non-clustered mode"
	codeSameInProgress jetstream.ErrorCode = 10158 // a message with the same id is being stored
)

// publish stores msg and returns where. [ErrConflict] means that a condition in
// opts does not hold. The header of msg is written to.
func (e *Engine) publish(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if msg.Header == nil {
		msg.Header = nats.Header{}
	}
	ours := e.cluster != nil && msg.Header.Get(jetstream.MsgIDHeader) == ""
	if ours {
		msg.Header.Set(jetstream.MsgIDHeader, rand.Text())
	}
	var ack *jetstream.PubAck
	tries := 0
	err := e.insist(ctx, func(ctx context.Context) (err error) {
		tries++
		ack, err = e.js.PublishMsg(ctx, msg, opts...)
		return err
	})
	if isWrongSequence(err) {
		return nil, ErrConflict
	}
	if err == nil && ack.Duplicate && tries > 1 && !ours {
		return ack, e.isOurs(ctx, msg, ack)
	}
	return ack, err
}

// isOurs takes the mark of a duplicate from an ack if it is of a message which
// we stored ourselves a moment ago, when no answer came. That what is sealed is
// the same twice does not happen.
func (e *Engine) isOurs(ctx context.Context, msg *nats.Msg, ack *jetstream.PubAck) error {
	stored, err := e.getLast(ctx, e.inbox, msg.Subject)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && string(stored.Data) == string(msg.Data) {
		ack.Duplicate = false
	}
	return err
}

// isWrongSequence tells whether a publish was refused because another came
// first. Replicated streams have a code of their own.
func isWrongSequence(err error) bool {
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// storeAgain stores a chunk for which, for the reason given, nothing was
// confirmed.
func (e *Engine) storeAgain(ctx context.Context, chunk sentChunk, reason error) error {
	if e.cluster == nil || !isTemporary(reason) {
		return reason
	}
	_, err := e.publish(ctx, &nats.Msg{Subject: chunk.subject, Data: chunk.sealed, Header: chunk.header})
	return err
}

// getLast reads the newest message of a subject, or returns [ErrNotFound].
func (e *Engine) getLast(ctx context.Context, stream jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	return e.get(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return stream.GetLastMsgForSubject(ctx, subject)
	})
}

// getNext reads the first message from seq on whose subject matches, or returns
// [ErrNotFound].
func (e *Engine) getNext(ctx context.Context, stream jetstream.Stream, seq uint64, subject string) (*jetstream.RawStreamMsg, error) {
	return e.get(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
	})
}

func (e *Engine) get(ctx context.Context, read func(context.Context) (*jetstream.RawStreamMsg, error)) (msg *jetstream.RawStreamMsg, err error) {
	err = e.insist(ctx, func(ctx context.Context) error {
		msg, err = read(ctx)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, ErrNotFound
	}
	return msg, err
}

// purgeUpToNow deletes the messages of a subject that are there now. A request
// that was held up on its way, and made again, must not delete what came after.
func (e *Engine) purgeUpToNow(ctx context.Context, stream jetstream.Stream, subject string) error {
	var last uint64
	err := e.insist(ctx, func(ctx context.Context) error {
		info, err := stream.Info(ctx)
		if err == nil {
			last = info.State.LastSeq
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.insistFor(ctx, slowAttempt, purgeTimeout, func(ctx context.Context) error {
		return stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(last+1))
	})
}

// mayPass tells whether a failure to take an item is waited out.
func (e *Engine) mayPass(ctx context.Context, err error) bool {
	if e.cluster == nil || e.nc.IsClosed() {
		return false
	}
	if !errors.Is(err, jetstream.ErrConsumerDeleted) {
		return true
	}
	err = e.insist(ctx, func(ctx context.Context) error {
		_, err := e.js.Consumer(ctx, inboxConfig.Name, "worker")
		return err
	})
	return !isMissing(err)
}

// Healthy returns an error if the inbox cannot be reached now. It takes a round
// trip, and waits for no longer than ctx or 10 s. In a cluster, a server that is
// alone answers too, for 15 s as the leader that it was.
func (e *Engine) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	inbox, err := e.js.Stream(ctx, inboxConfig.Name)
	if err != nil {
		return fmt.Errorf("asking for the inbox: %w", err)
	}
	if c := inbox.CachedInfo().Cluster; c != nil && c.Leader == "" {
		return errors.New("most of the servers that have the inbox are away")
	}
	return nil
}
