package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An item is stored once under itemSubject; once it is done, a mark under
// doneSubject says so. The mark is what makes "done" durable: JetStream writes
// the acknowledgements of a consumer down ten times a second at most, so one
// that it has confirmed is lost if the process is killed right after.
const (
	itemSubject = "auditbot.inbox.item."
	doneSubject = "auditbot.inbox.done."
)

// An Item is what was filed under an id.
type Item struct {
	ID       string
	Data     []byte
	Tries    int       // how often it was handed out, this time included: 1 the first time
	Again    bool      // somebody may have worked on it before, be it in a process that is gone
	Received time.Time // when it was filed, UTC
}

// ErrLost is why the context of an item ends that may be another worker's by
// now: the server has not confirmed for too long that this one still has it.
var ErrLost = errors.New("the inbox cannot be reached, so the item may be another worker's by now")

// File puts data into the inbox and returns once it is on disk. An id that was
// filed within the last 24 hours is not filed again, whatever became of its
// item and however often the process was restarted since: fresh is then false
// and the error nil. After an error the data may be in the inbox or not;
// filing it again is safe.
func (e *Engine) File(ctx context.Context, id string, data []byte) (fresh bool, err error) {
	tok, err := token(id)
	if err != nil {
		return false, fmt.Errorf("filing an item: %w", err)
	}
	if len(data) > MaxValue {
		return false, fmt.Errorf("filing %q: %w: %d bytes, at most %d", id, ErrTooLarge, len(data), MaxValue)
	}
	subject := itemSubject + tok
	msg := &nats.Msg{Subject: subject, Data: e.seal.seal(inboxConfig.Name, subject, data), Header: nats.Header{jetstream.MsgIDHeader: {tok}}}
	ack, err := e.publish(ctx, msg, jetstream.WithExpectStream(inboxConfig.Name))
	if err != nil {
		return false, fmt.Errorf("filing %q: %w", id, err)
	}
	return !ack.Duplicate, nil
}

// Work hands items to do, in up to as many goroutines as there are workers,
// until ctx is done or the engine is closed; it then begins no call of do, waits
// for those that run, and returns nil. Their own context carries the values of
// ctx and is not cancelled by it: do must bound itself. It ends with [ErrLost]
// as its cause before the item can be another worker's: do must do nothing more
// then that can be seen, and what it returns does not count.
//
// An item is done when do returns nil, and is never handed out again. After an
// error or a panic it is, with a growing delay of up to a minute, until it is
// done or a day old; after an error when ctx is done, at once, to whoever works
// then. So it is if the process dies, after Config.AckWait, or at once when the
// folder has a new owner: what do did before it died, it must be able to find
// and finish.
func (e *Engine) Work(ctx context.Context, workers int, do func(context.Context, Item) error) error {
	e.mu.Lock()
	if e.closing.Err() != nil {
		e.mu.Unlock()
		return ErrClosed
	}
	e.working.Add(1)
	e.mu.Unlock()
	defer e.working.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.closing, cancel)()

	var running sync.WaitGroup
	defer running.Wait()

	// One item is asked for at a time, and only when a worker is free for it:
	// the time for an answer runs from when the server gives an item out.
	free := make(chan struct{}, workers)
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return e.cause()
		}
		msg, err := e.next(ctx)
		if err != nil && ctx.Err() != nil {
			return e.cause()
		}
		if err != nil {
			return fmt.Errorf("taking an item from the inbox: %w", err)
		}
		running.Go(func() {
			defer func() { <-free }()
			e.handle(ctx, msg, do)
		})
	}
}

// silence is after how long without a sign of the server a request for an item
// counts as lost and is made again. In a cluster that is what the death of a
// server is noticed by.
func (e *Engine) silence() time.Duration {
	if e.cluster != nil {
		return 4 * time.Second
	}
	return 10 * time.Second
}

// next waits for an item. While the server is away it goes on waiting. Once
// ctx is done it takes none.
func (e *Engine) next(ctx context.Context) (jetstream.Msg, error) {
	for {
		msg, err := e.ask(ctx)
		if err == nil || ctx.Err() != nil || !e.mayPass(ctx, err) {
			return msg, err
		}
		e.log.Warn("no items can be taken from the inbox for now", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// ask asks for an item and waits until it comes.
//
// Each item is asked for with an iterator of its own. One of nats.go 1.55.0
// that is asked again before its goroutine has noted that the request before
// went out sends none (fetchInProgress in jetstream/pull.go): the item is
// filed, nobody has asked for it, and it comes only when the silence is
// noticed. Of items that follow one another at once, that was one in 20,000 on
// an idle machine, and one in 140 under the race detector.
func (e *Engine) ask(ctx context.Context) (jetstream.Msg, error) {
	items, err := e.worker.Messages(
		jetstream.StopAfter(1),
		jetstream.PullMaxMessages(8), // is room for heartbeats; an item that finds no room is lost until AckWait
		jetstream.PullHeartbeat(e.silence()/2))
	if err != nil {
		return nil, err
	}
	for {
		msg, err := items.Next(jetstream.NextContext(ctx))
		switch {
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			e.log.Warn("the inbox is silent; asking again", "err", err)
		case err != nil:
			giveBack(items)
			return nil, err
		case ctx.Err() != nil:
			items.Stop()
			_ = msg.Nak() // if it is lost, AckWait comes to the same
			return nil, context.Cause(ctx)
		default:
			items.Stop()
			return msg, nil
		}
	}
}

// giveBack ends a request. An item that was on its way to us goes to another
// worker at once instead of after AckWait.
func giveBack(items jetstream.MessagesContext) {
	items.Drain()
	for {
		msg, err := items.Next(jetstream.NextMaxWait(requestTimeout))
		if err != nil {
			return
		}
		_ = msg.Nak() // if it is lost, AckWait comes to the same
	}
}

// handle works on one item and tells the server how it went. Once working is
// done, what is not done is for others.
func (e *Engine) handle(working context.Context, msg jetstream.Msg, do func(context.Context, Item) error) {
	ctx := context.WithoutCancel(working)
	item, err := e.item(msg)
	if err != nil && e.cluster != nil {
		e.log.Error("an item that cannot be read is left to others", "subject", msg.Subject(), "err", err)
		_ = msg.NakWithDelay(retryDelay(item.Tries)) // it may be under a key that is newer than ours
		return
	}
	if err != nil {
		e.log.Error("dropping an item that cannot be read", "subject", msg.Subject(), "err", err)
		_ = msg.TermWithReason("does not open") // else it comes back, and here again
		return
	}
	log := e.log.With("item", item.ID, "tries", item.Tries)
	held, stop := e.keep(ctx, msg)
	done, err := e.isDone(held, msg.Subject())
	if err == nil && !done {
		err = e.try(held, item, do)
	}
	stop()
	switch {
	case errors.Is(context.Cause(held), ErrLost):
		log.Warn("an item is given up", "err", ErrLost)
	case err != nil && working.Err() != nil:
		log.Info("an item is handed back", "err", err)
		_ = msg.Nak() // if it is lost, AckWait comes to the same
	case err != nil:
		delay := retryDelay(item.Tries)
		log.Warn("an item failed and will be tried again", "in", delay, "err", err)
		_ = msg.NakWithDelay(delay) // if it is lost, AckWait comes to the same
	default:
		e.finish(ctx, msg, done, log)
	}
}

// finish makes it durable that an item is done.
func (e *Engine) finish(ctx context.Context, msg jetstream.Msg, marked bool, log *slog.Logger) {
	if !marked {
		if err := e.markDone(ctx, msg.Subject()); err != nil {
			log.Error("marking an item as done", "err", err)
		}
	}
	if err := msg.DoubleAck(ctx); err != nil {
		log.Warn("acknowledging an item", "err", err) // it comes back, and is found to be done
	}
}

func (e *Engine) item(msg jetstream.Msg) (Item, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Item{}, err
	}
	id, err := untoken(strings.TrimPrefix(msg.Subject(), itemSubject))
	if err != nil {
		return Item{}, err
	}
	data, err := e.seal.open(inboxConfig.Name, msg.Subject(), msg.Data())
	if err != nil {
		return Item{Tries: int(meta.NumDelivered)}, err
	}
	again := meta.NumDelivered > 1 || meta.Sequence.Stream <= e.before
	return Item{ID: id, Data: data, Tries: int(meta.NumDelivered), Again: again, Received: meta.Timestamp.UTC()}, nil
}

// try calls do. A panic in it is an error like any other.
func (e *Engine) try(ctx context.Context, item Item, do func(context.Context, Item) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("panic", "item", item.ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do(ctx, item)
}

// keep tells the server again and again that msg is being worked on, until stop
// is called. The context ends with [ErrLost] if the server has not confirmed
// that for so long that it may soon hand the item to somebody else. An
// acknowledgement that is sent as a request is answered by the consumer's
// leader (processAck in nats-server's consumer.go).
func (e *Engine) keep(ctx context.Context, msg jetstream.Msg) (held context.Context, stop func()) {
	held, end := context.WithCancelCause(ctx)
	ackWait := e.worker.CachedInfo().Config.AckWait
	last := ackWait - ackWait/6
	losing := time.AfterFunc(last, func() { end(ErrLost) })
	go func() { // nobody waits for it: nats.go may be stuck in writing
		for wait := ackWait / 3; ; {
			select {
			case <-time.After(wait):
			case <-held.Done():
				return
			}
			sent := time.Now()
			beat, cancel := context.WithTimeout(held, ackWait/6)
			_, err := e.nc.RequestWithContext(beat, msg.Reply(), []byte("+WPI"))
			cancel()
			if wait = ackWait / 30; err == nil {
				losing.Reset(time.Until(sent.Add(last)))
				wait = ackWait / 3
			}
		}
	}()
	return held, func() { losing.Stop(); end(nil) }
}

// isDone tells whether the item at subject has its mark. It does not rely on
// Tries: the count may be lost together with the acknowledgement.
func (e *Engine) isDone(ctx context.Context, subject string) (bool, error) {
	mark := doneSubject + strings.TrimPrefix(subject, itemSubject)
	msg, err := e.getLast(ctx, e.inbox, mark)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking whether an item is done: %w", err)
	}
	_, err = e.seal.open(inboxConfig.Name, mark, msg.Data)
	return err == nil, err
}

func (e *Engine) markDone(ctx context.Context, subject string) error {
	mark := doneSubject + strings.TrimPrefix(subject, itemSubject)
	_, err := e.publish(ctx, &nats.Msg{Subject: mark, Data: e.seal.seal(inboxConfig.Name, mark, nil)})
	return err
}

// retryDelay is 1 s after the first try, doubled by each, and never more than
// a minute.
func retryDelay(tries int) time.Duration {
	return min(time.Second<<min(max(tries-1, 0), 6), time.Minute)
}
