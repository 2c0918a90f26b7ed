package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
)

// codes are the device codes that wait for somebody to type them and that this
// replica looks after.
//
// Each code is in the bucket SignIns until all is done that follows from it:
// first under its key, so that there is one at a time for each sign-in, and
// once it is known what came of it under key and id, so that the next one can
// begin. The messages that wait for it are in the bucket Waiting.
//
// One replica looks after a code: its Owner, which polls it, shows it, and
// writes the value anew before codeLease is over. The others read it there, and
// write nothing but that it was cancelled. Where its owner has let it go, or has
// died, another one adopts it. Whoever writes has seen the revision before, so
// two that believe to be the owner do not stay two for long.
type codes struct {
	life    context.Context // of the bot: polling outlives the command that began it
	replica string          // what this one is called as an owner
	polling sync.WaitGroup

	mu   sync.Mutex
	open map[string]*code // by key: those that can be typed
	ours map[string]*code // by id: those, those that are still asked for, and those that are over
	seen map[string]sight // by place: what others look after
}

// A sight is what was seen of a code that another replica looks after.
type sight struct {
	revision uint64
	since    time.Time // when it had that revision first, by our clock
	bad      bool      // it cannot be read
}

// codeLease is after how long a code that its owner has not written anew is
// another's. An owner that cannot do so gives it up somewhat sooner. In all, a
// replica that dies costs a sign-in half a minute; where nobody shares the
// engine, a new start goes on at once.
const codeLease = 30 * time.Second

// lease is codeLease, but for tests.
func (b *Bot) lease() time.Duration { return cmp.Or(b.codeLease, codeLease) }

// find is the code under key that this replica looks after and that can be
// typed, or nil.
func (c *codes) find(key string) *code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[key]
}

// all are the codes that this replica looks after and that can be typed.
func (c *codes) all() []*code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.open))
}

// byID is the code with this id that this replica looks after, or nil.
func (c *codes) byID(id string) *code {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ours[id]
}

// add makes n the open code of its key.
func (c *codes) add(n *code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[n.key] = n
}

func (c *codes) remove(n *code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[n.key] == n {
		delete(c.open, n.key)
	}
}

// own makes n one that this replica looks after.
func (c *codes) own(n *code) {
	n.polling, n.stop = context.WithCancel(c.life)
	n.over, n.free = make(chan struct{}), func() {}
	n.Owner = c.replica
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ours[n.ID] = n
}

func (c *codes) disown(n *code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ours, n.ID)
}

var (
	// errTaken means that somebody else asks for a code of the same key.
	errTaken = errors.New("another code is sent for the same sign-in")

	// errNotOurs means that another replica looks after a code by now.
	errNotOurs = errors.New("another replica goes on with the sign-in")

	// errCrossed means that a code was cancelled as it ended.
	errCrossed = errors.New("the sign-in was cancelled meanwhile")
)

// storedCode is the code at a place of the bucket as it is there, or nil.
func (b *Bot) storedCode(ctx context.Context, place string) (*code, error) {
	value, revision, err := b.Engine.Bucket(engine.SignIns).Get(ctx, place)
	if errors.Is(err, engine.ErrNotFound) {
		return nil, nil
	}
	n := &code{elsewhere: true}
	if err == nil {
		err = json.Unmarshal(value, n)
	}
	if err == nil && len(n.Sealed) > 0 {
		n.device, err = signin.OpenCode(n.Sealed)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a sign-in: %w", err)
	}
	n.key, n.place, n.revision = strings.TrimSuffix(place, "/"+n.ID), place, revision
	return n, nil
}

// openCode is the code under key that can be typed, whichever replica looks
// after it, or nil.
func (b *Bot) openCode(ctx context.Context, key string) (*code, error) {
	if n := b.codes.find(key); n != nil {
		return n, nil
	}
	n, err := b.storedCode(ctx, key)
	if err != nil || n == nil || n.device == nil || n.Came != nil {
		return nil, err
	}
	return n, nil
}

// codeByID is the code with this id, whichever replica looks after it, or nil.
func (b *Bot) codeByID(ctx context.Context, id string) (*code, error) {
	if n := b.codes.byID(id); n != nil {
		return n, nil
	}
	places, err := b.Engine.Bucket(engine.SignIns).Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for a sign-in: %w", err)
	}
	var unread error // of others, which are in nobody's way, unless this is one
	for _, place := range places {
		n, err := b.storedCode(ctx, place)
		if n != nil && n.ID == id {
			return n, nil
		}
		unread = cmp.Or(unread, err)
	}
	return nil, unread
}

// lookAgain is how often a value is read that another replica is about to
// change.
const lookAgain = 250 * time.Millisecond

// current is the open code under key, or nil. One that is still asked for, in
// whatever replica, is waited for, and so is the end of one that was cancelled:
// what it may still bring is deleted then.
func (b *Bot) current(ctx context.Context, key string) (*code, error) {
	for {
		n := b.codes.find(key)
		if n == nil {
			var err error
			if n, err = b.storedCode(ctx, key); n == nil || err != nil {
				return nil, err
			}
		}
		if n.isOpen() {
			return n, nil
		}
		select {
		case <-n.over:
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the sign-in before: %w", context.Cause(ctx))
		}
	}
}

// endOf waits for the end of n, and tells whether it came before that of ctx.
// The outcome is nil if nobody knows it any more.
func (b *Bot) endOf(ctx context.Context, n *code) (came *outcome, over bool) {
	for {
		select {
		case <-n.over:
			return n.Came, true
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, false
		}
		if n.elsewhere {
			if came, over = b.endedElsewhere(ctx, n); over {
				return came, true
			}
		}
	}
}

func (b *Bot) endedElsewhere(ctx context.Context, n *code) (came *outcome, over bool) {
	for _, place := range []string{n.key, n.aside()} { // in the order in which it stands there
		stored, err := b.storedCode(ctx, place)
		switch {
		case err != nil:
			return nil, false
		case stored != nil && stored.ID == n.ID:
			return stored.Came, stored.Came != nil
		}
	}
	return nil, true
}

// isOpen tells whether n can be typed.
func (n *code) isOpen() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.device != nil && n.Came == nil && n.Cancelled.IsZero()
}

// aside is where n stands once it is known what came of it.
func (n *code) aside() string { return n.key + "/" + n.ID }

// claim makes n the one code of its key, before it is asked for. The error is
// errTaken if there is another one.
func (b *Bot) claim(ctx context.Context, n *code) error {
	n.place = n.key
	b.codes.own(n)
	value, err := json.Marshal(n)
	if err == nil {
		n.revision, err = b.Engine.Bucket(engine.SignIns).Create(ctx, n.place, value)
	}
	if err != nil {
		n.stop()
		b.codes.disown(n)
	}
	switch {
	case errors.Is(err, engine.ErrConflict):
		return errTaken
	case err != nil:
		return fmt.Errorf("writing down a sign-in: %w", err)
	}
	b.hold(n)
	return nil
}

// keepCode makes durable what is known of a code that we look after.
func (b *Bot) keepCode(ctx context.Context, n *code) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return b.putCode(ctx, n)
}

// putCode is keepCode for who holds n.mu. That the code was cancelled meanwhile
// is no error, unless it is over: then that is errCrossed, and Came is nil
// again.
func (b *Bot) putCode(ctx context.Context, n *code) error {
	for {
		value, err := json.Marshal(n)
		if err != nil {
			return fmt.Errorf("writing down a sign-in: %w", err)
		}
		revision, err := b.Engine.Bucket(engine.SignIns).Update(ctx, n.place, value, n.revision)
		if err == nil {
			n.revision = revision
			return nil
		}
		if !errors.Is(err, engine.ErrConflict) {
			return fmt.Errorf("writing down a sign-in: %w", err)
		}
		before := n.Cancelled
		if err := b.seeCode(ctx, n); err != nil {
			return err
		}
		if n.Came != nil && before.IsZero() && !n.Cancelled.IsZero() {
			n.Came = nil
			return errCrossed
		}
	}
}

// seeCode reads what others have written into a code that we look after, for
// who holds n.mu.
func (b *Bot) seeCode(ctx context.Context, n *code) error {
	stored, err := b.storedCode(ctx, n.place)
	if err != nil {
		return err
	}
	if stored == nil || stored.ID != n.ID || stored.Owner != b.codes.replica {
		n.lost = true
		return errNotOurs
	}
	n.revision, n.Cancelled = stored.revision, stored.Cancelled
	return nil
}

// insistOnCode is insist, but for what no other try can mend.
func insistOnCode(ctx context.Context, try func() error) (err error) {
	var final error
	err = insist(ctx, func() error {
		err := try()
		if errors.Is(err, errNotOurs) || errors.Is(err, errCrossed) {
			final = err
			return nil
		}
		return err
	})
	return cmp.Or(final, err)
}

// hold sees to it, until the code is let go, that no other replica adopts it,
// and that we notice when one has, or has cancelled it. Where nobody shares the
// engine, there is nothing to do.
func (b *Bot) hold(n *code) {
	if !b.shared {
		return
	}
	ctx, free := context.WithCancel(b.codes.life) // what is done after that takes less than a lease
	n.free = free
	b.codes.polling.Go(func() {
		for renewed := time.Now(); !b.isLost(n, renewed); {
			select {
			case <-time.After(b.lease() / 15):
			case <-ctx.Done():
				return
			}
			renewed = b.renew(ctx, n, renewed)
		}
	})
}

// renew looks what others have written into n and, when it is time, writes it
// anew. It returns when that was done last.
func (b *Bot) renew(ctx context.Context, n *code, renewed time.Time) time.Time {
	ctx, cancel := context.WithTimeout(ctx, b.lease()/3)
	defer cancel()
	write, began := b.seeCode, time.Now()
	if began.Sub(renewed) >= b.lease()/3 {
		write = b.putCode
	}
	n.mu.Lock()
	err := write(ctx, n)
	n.mu.Unlock()
	if err != nil && !errors.Is(err, errNotOurs) && !errors.Is(err, errCrossed) && ctx.Err() == nil {
		b.Log.Warn("looking after a sign-in", "instance", n.Instance, "user", n.User, "err", err)
	}
	if n.isCancelled() {
		n.stop()
	}
	if err == nil && began.Sub(renewed) >= b.lease()/3 {
		return began
	}
	return renewed
}

// isLost tells whether n is another's, or may be one's soon since we could not
// write it anew for so long. It is not polled any more then.
func (b *Bot) isLost(n *code, renewed time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = n.lost || time.Since(renewed) > b.lease()*5/6
	if n.lost {
		n.stop()
	}
	return n.lost
}

// letGo ends that we look after n. Unless all is done, another replica, or the
// next start, goes on at once.
func (b *Bot) letGo(n *code, done bool) {
	n.free()
	n.stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	defer b.codes.disown(n)
	log := b.Log.With("instance", n.Instance, "user", n.User)
	switch {
	case done:
	case n.lost:
		b.codes.remove(n)
		log.Warn("another replica goes on with a sign-in")
	default:
		ctx, cancel := b.lasting()
		defer cancel()
		n.Owner = ""
		if err := b.putCode(ctx, n); err != nil {
			log.Warn("handing over a sign-in", "err", err)
		}
	}
}

// setAside makes room under the key of a code of which it is known what came.
func (b *Bot) setAside(ctx context.Context, n *code) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.place != n.key {
		return nil
	}
	value, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("setting a sign-in aside: %w", err)
	}
	bucket := b.Engine.Bucket(engine.SignIns)
	_, err = bucket.Create(ctx, n.aside(), value)
	if err == nil || errors.Is(err, engine.ErrConflict) { // then a try before has
		err = bucket.DeleteRevision(ctx, n.key, n.revision)
	}
	if errors.Is(err, engine.ErrConflict) { // also if a try before has deleted it
		err = nil
	}
	if err != nil {
		return fmt.Errorf("setting a sign-in aside: %w", err)
	}
	n.place = n.aside()
	return b.seeCode(ctx, n)
}

// adoptEvery is how often it is looked for codes that nobody looks after. Alone
// on an engine, we have adopted all there are at the start, and later there are
// only those with which something went wrong.
func (b *Bot) adoptEvery() time.Duration {
	if b.shared {
		return b.lease() / 6
	}
	return time.Minute
}

// adoptCodes adopts codes at every tick until ctx is done.
func (b *Bot) adoptCodes(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ticks:
		case <-ctx.Done():
			return
		}
		if err := b.adoptOnce(ctx); err != nil && ctx.Err() == nil {
			b.Log.Error("looking for interrupted sign-ins", "err", err)
		}
	}
}

// adoptOnce goes on with the sign-ins that nobody looks after: those of the time
// before a restart, and those of replicas that have ended.
func (b *Bot) adoptOnce(ctx context.Context) error {
	places, err := b.Engine.Bucket(engine.SignIns).Keys(ctx)
	if err != nil {
		return fmt.Errorf("looking for interrupted sign-ins: %w", err)
	}
	seen := map[string]sight{}
	for _, place := range places {
		before := b.codes.seen[place]
		n, err := b.storedCode(ctx, place)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			if !before.bad {
				b.Log.Error("resuming a sign-in", "err", err)
			}
			seen[place] = sight{bad: true}
		case n == nil, b.codes.byID(n.ID) != nil:
		case !b.shared, n.Owner == "", n.revision == before.revision && time.Since(before.since) >= b.lease():
			if err := b.adopt(ctx, n); err != nil {
				return err
			}
		case n.revision != before.revision:
			seen[place] = sight{revision: n.revision, since: time.Now()}
		default:
			seen[place] = before
		}
	}
	b.codes.seen = seen
	return nil
}

// adopt makes a code ours, unless somebody has changed it since it was read.
func (b *Bot) adopt(ctx context.Context, n *code) error {
	if n.device == nil { // whoever asked for it died over that
		err := b.Engine.Bucket(engine.SignIns).DeleteRevision(ctx, n.place, n.revision)
		if errors.Is(err, engine.ErrConflict) {
			err = nil
		}
		return err
	}
	n.resumed, n.tried, n.elsewhere = true, true, false
	b.fit(n)
	b.codes.own(n)
	value, err := json.Marshal(n)
	if err == nil {
		n.revision, err = b.Engine.Bucket(engine.SignIns).Update(ctx, n.place, value, n.revision)
	}
	if err != nil {
		n.stop()
		b.codes.disown(n)
		if errors.Is(err, engine.ErrConflict) {
			return nil
		}
		return fmt.Errorf("resuming a sign-in: %w", err)
	}
	b.hold(n)
	if n.Came == nil {
		b.codes.add(n)
	}
	b.poll(n)
	return nil
}
