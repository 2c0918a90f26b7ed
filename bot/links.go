package bot

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"auditbot/bot/engine"
)

const (
	// maxLinks is how many connections Slack lets an app have.
	// https://docs.slack.dev/apis/events-api/using-socket-mode/#multiple-connections
	maxLinks = 10

	// linkLife is how long a place is kept that is not renewed: the age of the
	// values in the bucket Links.
	linkLife = 30 * time.Second

	// linkRetry is how often a replica without a connection looks for a place.
	// One that wants its second does so more rarely, so that the first of
	// another comes before it.
	linkRetry, secondLinkRetry = 5 * time.Second, 30 * time.Second
)

// errNoPlace ends a connection whose place is another's, or may be by now.
var errNoPlace = errors.New("the place for this connection is lost")

// links are the places for connections to Slack that all replicas share: a key
// of the bucket Links for each, which one lane has as long as it renews it.
type links struct {
	bucket  *engine.Bucket
	log     *slog.Logger
	metrics *Metrics

	// For tests; zero means what is said above, and for apart what Sockets says.
	life, retry, apart time.Duration

	first chan struct{} // closed when the first lane has a place, for the first time

	lanes [connections]link // each is its lane's

	mu    sync.Mutex
	begun bool // it is closed
	full  bool // it was said that there is no place
}

// take waits for a place for a lane, the first or the second of this replica.
// The context that it returns ends with the place, by errNoPlace, or with ctx.
// leave gives the place back.
func (l *links) take(ctx context.Context, first bool) (held context.Context, leave func(), err error) {
	retry, p := cmp.Or(l.retry, linkRetry), &l.lanes[0]
	if !first { // other replicas that start now come before
		retry, p = retry*secondLinkRetry/linkRetry, &l.lanes[1]
		select {
		case <-l.first:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
		if err := pause(ctx, cmp.Or(l.apart, apart)); err != nil {
			return nil, nil, err
		}
	}
	p.value = cmp.Or(p.value, rand.Text())
	for {
		ok, err := l.claim(ctx, p)
		if ctx.Err() == nil {
			l.found(first, ok, err)
		}
		if ok {
			held, leave = l.hold(ctx, p)
			return held, leave, nil
		}
		if err := pause(ctx, retry); err != nil {
			return nil, nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// found notes whether a lane found a place. That there is none is said once.
func (l *links) found(first, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.log.Warn("looking for a place for a connection to Slack", "err", err)
	case !ok && first && !l.full:
		l.full = true
		l.metrics.spare(true)
		l.log.Warn("Slack lets an app have 10 connections, and other replicas have all of them: this one answers what they receive, and connects as soon as it can")
	case ok && first:
		l.full = false
		l.metrics.spare(false)
		if !l.begun {
			l.begun = true
			close(l.first)
		}
	}
}

// A link is the place that a lane has.
type link struct {
	key, value string
	revision   uint64
	renewed    time.Time // it is kept for linkLife from then on, at least
}

// claim takes a place that is free, or the one that p has in spite of all: the
// engine was away for so long that it was given up, or did not say that it was
// taken.
func (l *links) claim(ctx context.Context, p *link) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.life, linkLife)/3)
	defer cancel()
	p.renewed = time.Now()
	taken, err := l.bucket.Keys(ctx)
	if err != nil {
		return false, err
	}
	if slices.Contains(taken, p.key) {
		if err := l.renew(ctx, p); !errors.Is(err, engine.ErrConflict) {
			return err == nil, err
		}
	}
	for i := range maxLinks {
		p.key = strconv.Itoa(i)
		if slices.Contains(taken, p.key) {
			continue
		}
		p.revision, err = l.bucket.Create(ctx, p.key, []byte(p.value))
		if !errors.Is(err, engine.ErrConflict) {
			return err == nil, err
		}
	}
	return false, nil
}

// hold renews a place until leave is called. It is given up before it may be
// another's: when it could not be renewed for too long.
func (l *links) hold(ctx context.Context, p *link) (held context.Context, leave func()) {
	held, end := context.WithCancelCause(ctx)
	life := cmp.Or(l.life, linkLife)
	lost := time.AfterFunc(time.Until(p.renewed.Add(life*5/6)), func() { end(errNoPlace) })
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for pause(held, life/12) == nil {
			began := time.Now()
			if began.Sub(p.renewed) < life/3 {
				continue
			}
			switch err := l.renew(held, p); {
			case err == nil:
				p.renewed = began
				lost.Reset(time.Until(began.Add(life * 5 / 6)))
			case errors.Is(err, engine.ErrConflict):
				end(errNoPlace)
			case held.Err() == nil:
				l.log.Warn("keeping the place of a connection to Slack", "err", err)
			}
		}
	})
	return held, func() {
		lost.Stop()
		end(nil)
		renewing.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), life/30)
		defer cancel()
		_ = l.bucket.DeleteRevision(ctx, p.key, p.revision) // its end comes without that, too
	}
}

// renew writes a place anew. The error is [engine.ErrConflict] if it is
// another's by now, or nobody's.
func (l *links) renew(ctx context.Context, p *link) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.life, linkLife)/6)
	defer cancel()
	for {
		revision, err := l.bucket.Update(ctx, p.key, []byte(p.value), p.revision)
		if err == nil {
			p.revision = revision
		}
		if !errors.Is(err, engine.ErrConflict) {
			return err
		}
		value, seen, err := l.bucket.Get(ctx, p.key)
		switch {
		case errors.Is(err, engine.ErrNotFound):
			return engine.ErrConflict
		case err != nil:
			return err
		case string(value) != p.value:
			return engine.ErrConflict
		}
		p.revision = seen // of a try whose answer was lost
	}
}
