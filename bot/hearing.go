package bot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"auditbot/bot/engine"
)

const (
	// markEvery is how often it is written down that a connection is alive: an
	// fsync each, on a machine that does nothing else.
	markEvery = 10 * time.Second

	// overlap is how far before the last sign of Slack a gap begins: what came
	// then may not have been filed. Slack sends it again at once, after 1 minute
	// and after 5; clocks that differ by less than this do no harm either.
	overlap = time.Minute

	// noteAgain is how long a conversation or a thread that was noted is not
	// noted again. The bucket keeps a note for a day longer than 7 days.
	noteAgain = 24 * time.Hour

	maxNoted = 1000 // threads in one value: 30 KB
)

// Keys of the bucket Heard. The last one is followed by anything.
const (
	markKey  = "connected"
	gapKey   = "gap"
	notedKey = "noted/"
)

// A hearing is when Slack was last listened to, and where what came from there
// was answered. It is in the bucket Heard, so that after an outage it is known
// what to read. The zero hearing knows nothing and writes nothing.
type hearing struct {
	by   string        // this process, among those that write marks
	wake chan struct{} // has something if there is something to write before its time
	read chan struct{} // has something if there is a gap to read

	mu       sync.Mutex
	alive    int       // connections that were greeted and have not ended
	last     time.Time // when something was heard on one of them
	deaf     bool      // nobody listened here until greeted, and no gap says so yet
	greeted  time.Time // when alive was last 0 no more
	unfiled  time.Time // since when what came could not be filed; zero: no gap lacks it
	awaiting uint64    // the revision of another's mark, to see whether it goes on marking

	noted   map[string]time.Time // when what is in answers was last added
	answers answers              // that are not written down yet

	marked time.Time // what the last mark of ours says
}

// A listened says up to when somebody listened.
type listened struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// A gap is a time in which messages may have been missed. It stays in the
// bucket until they were read.
type gap struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"` // when a connection was greeted
}

// with is the time of both.
func (g gap) with(other gap) gap {
	if g.From.IsZero() || other.From.Before(g.From) {
		g.From = other.From
	}
	g.Until = later(g.Until, other.Until)
	return g
}

// Answers are conversations and threads that commands came from, and those that
// were read after an outage.
type answers struct {
	Places  map[string]string    `json:"places,omitempty"`  // their kinds ("im"), by id
	Threads []string             `json:"threads,omitempty"` // "C0123ABCD/1700000000.000100"
	Read    map[string]time.Time `json:"read,omitempty"`    // up to when, by "C0123ABCD/", with its threads, or as in Threads
}

func (a answers) none() bool { return len(a.Places)+len(a.Threads)+len(a.Read) == 0 }

func newHearing() *hearing {
	return &hearing{by: rand.Text(), wake: make(chan struct{}, 1), read: make(chan struct{}, 1)}
}

// connected is that Slack said hello on a connection, and ended that this
// connection is over.
func (h *hearing) connected() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alive++
	h.last = time.Now()
	if h.alive == 1 {
		h.deaf, h.greeted = true, h.last
		signal(h.wake)
	}
}

func (h *hearing) ended() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alive--
}

// something is that something came, if only a ping.
func (h *hearing) something() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.alive > 0 {
		h.last = time.Now()
	}
}

// notFiled is that something came which the inbox did not take. Slack sends it
// again, but not for long.
func (h *hearing) notFiled() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unfiled.IsZero() {
		h.unfiled = time.Now()
	}
}

// deafWhen tells whether nobody may have listened here at a time.
func (h *hearing) deafWhen(t time.Time) bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return t.Before(h.greeted)
}

// came notes where a command came from, with the next mark.
func (h *hearing) came(m Message) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first(m.Channel) {
		if h.answers.Places == nil {
			h.answers.Places = map[string]string{}
		}
		h.answers.Places[m.Channel] = m.Kind
	}
}

// answered notes the thread in which m was answered: at once if it is an old
// one, which is not found by itself.
func (h *hearing) answered(m Message) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if thread := m.Channel + "/" + m.Place(); h.first(thread) {
		h.answers.Threads = append(h.answers.Threads, thread)
		if m.Thread != "" {
			signal(h.wake)
		}
	}
}

// wasRead notes, at once, that nothing is missed any more of what was written in
// a conversation or thread until a time.
func (h *hearing) wasRead(name string, until time.Time) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answers.Read == nil {
		h.answers.Read = map[string]time.Time{}
	}
	h.answers.Read[name] = until
	signal(h.wake)
}

// first tells whether what is to be noted was not for a day. It expects mu to
// be held.
func (h *hearing) first(what string) bool {
	if time.Since(h.noted[what]) < noteAgain {
		return false
	}
	if h.noted == nil {
		h.noted = map[string]time.Time{}
	}
	h.noted[what] = time.Now()
	return true
}

// keepHearing writes down what is heard until ctx is done.
func (b *Bot) keepHearing(ctx context.Context) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		if err := b.writeHearing(ctx); err != nil && ctx.Err() == nil {
			b.Log.Error("writing down up to when Slack was heard", "err", err)
		}
		select {
		case <-b.heard.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// endHearing writes down what was heard last, once nothing more is answered.
func (b *Bot) endHearing() {
	ctx, cancel := context.WithTimeout(context.Background(), filingEnd)
	defer cancel()
	if err := b.writeHearing(ctx); err != nil {
		b.Log.Error("writing down up to when Slack was heard", "err", err)
	}
}

func (b *Bot) writeHearing(ctx context.Context) error {
	if known, err := b.openGap(ctx); err != nil || !known {
		return errors.Join(err, b.writeAnswers(ctx)) // a mark would hide the gap
	}
	return errors.Join(b.writeMark(ctx), b.writeAnswers(ctx))
}

// openGap writes down what may have been missed, if anything, before a mark
// says that somebody listens. It is false while it is not known whether another
// replica listened meanwhile.
func (b *Bot) openGap(ctx context.Context) (known bool, err error) {
	h := b.heard
	h.mu.Lock()
	deaf, greeted, unfiled := h.deaf, h.greeted, h.unfiled
	h.mu.Unlock()
	if !deaf && unfiled.IsZero() {
		return true, nil
	}
	missed, known, err := b.missedBefore(ctx, deaf, greeted)
	if err != nil || !known {
		return false, err
	}
	if !unfiled.IsZero() {
		missed = missed.with(gap{From: unfiled.Add(-overlap), Until: time.Now()})
	}
	if !missed.From.IsZero() {
		if err := b.widenGap(ctx, missed); err != nil {
			return false, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = h.deaf && !h.greeted.Equal(greeted)
	if h.unfiled.Equal(unfiled) {
		h.unfiled = time.Time{}
	}
	if deaf || !unfiled.IsZero() {
		signal(h.read) // there may be a gap of a process that was stopped, too
	}
	return !h.deaf, nil
}

// missedBefore is the gap before the greeting of a connection, if there was
// none before; zero if there is no gap, as on the first start of all.
func (b *Bot) missedBefore(ctx context.Context, deaf bool, greeted time.Time) (missed gap, known bool, err error) {
	if !deaf {
		return gap{}, true, nil
	}
	var last listened
	revision, err := b.readHeard(ctx, markKey, &last)
	if err != nil || revision == 0 {
		return gap{}, err == nil, err
	}
	if heard, known := b.heardByOther(last, revision, greeted); heard || !known {
		return gap{}, known, nil
	}
	return gap{From: last.At.Add(-overlap), Until: greeted}, true, nil
}

// heardByOther tells whether another replica listened while this one did not:
// it goes on marking, and those that are in doubt themselves do not.
func (b *Bot) heardByOther(last listened, revision uint64, greeted time.Time) (heard, known bool) {
	h := b.heard
	if b.Engine.Owner() || last.By == h.by || greeted.Sub(last.At) > 2*markEvery {
		return false, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.awaiting == 0:
		h.awaiting = revision
		return false, false
	case h.awaiting != revision:
		h.awaiting = 0
		return true, true
	case time.Since(greeted) < 2*markEvery:
		return false, false
	}
	h.awaiting = 0
	return false, true
}

// widenGap adds g to the gap that is to be read.
func (b *Bot) widenGap(ctx context.Context, g gap) error {
	for {
		var open gap
		revision, err := b.readHeard(ctx, gapKey, &open)
		if err != nil {
			return err
		}
		value, err := json.Marshal(g.with(open))
		if revision == 0 {
			value, err = json.Marshal(g)
		}
		if err != nil {
			return fmt.Errorf("writing down what was missed: %w", err)
		}
		bucket := b.Engine.Bucket(engine.Heard)
		if revision == 0 {
			_, err = bucket.Create(ctx, gapKey, value)
		} else {
			_, err = bucket.Update(ctx, gapKey, value, revision)
		}
		if !errors.Is(err, engine.ErrConflict) {
			return err
		}
	}
}

// readHeard reads a value of the bucket into v. The revision is 0 if there is
// none.
func (b *Bot) readHeard(ctx context.Context, key string, v any) (revision uint64, err error) {
	value, revision, err := b.Engine.Bucket(engine.Heard).Get(ctx, key)
	if errors.Is(err, engine.ErrNotFound) {
		return 0, nil
	}
	if err == nil {
		err = json.Unmarshal(value, v)
	}
	if err != nil {
		return 0, fmt.Errorf("reading up to when Slack was heard: %w", err)
	}
	return revision, nil
}

// writeMark writes down up to when Slack was heard, if that is news.
func (b *Bot) writeMark(ctx context.Context) error {
	h := b.heard
	h.mu.Lock()
	last, marked := h.last, h.marked
	h.mu.Unlock()
	if !last.After(marked) {
		return nil
	}
	value, err := json.Marshal(listened{At: last.UTC(), By: h.by})
	if err == nil {
		_, err = b.Engine.Bucket(engine.Heard).Put(ctx, markKey, value)
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.marked = last
	return nil
}

// writeAnswers writes down where commands came from since it did so last: all
// at once, since each may be from another thread.
func (b *Bot) writeAnswers(ctx context.Context) error {
	h := b.heard
	h.mu.Lock()
	all := h.answers
	h.answers = answers{}
	if !all.none() {
		maps.DeleteFunc(h.noted, func(_ string, at time.Time) bool { return time.Since(at) > noteAgain })
	}
	h.mu.Unlock()
	for !all.none() {
		n := min(len(all.Threads), maxNoted)
		value, err := json.Marshal(answers{all.Places, all.Threads[:n], all.Read})
		if err == nil {
			_, err = b.Engine.Bucket(engine.Heard).Put(ctx, notedKey+rand.Text(), value)
		}
		if err != nil {
			h.putBack(all)
			return err
		}
		all = answers{Threads: all.Threads[n:]}
	}
	return nil
}

// putBack lets what could not be written down be written with the next mark.
func (h *hearing) putBack(all answers) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all.Places == nil {
		all.Places = map[string]string{}
	}
	maps.Copy(all.Places, h.answers.Places)
	if all.Read == nil {
		all.Read = map[string]time.Time{}
	}
	maps.Copy(all.Read, h.answers.Read)
	h.answers = answers{all.Places, append(all.Threads, h.answers.Threads...), all.Read}
}

// answersNoted are the conversations and threads that commands came from in the
// last 7 days. The threads are in the order of what they say, the newest first.
func (b *Bot) answersNoted(ctx context.Context) (answers, error) {
	keys, err := b.Engine.Bucket(engine.Heard).Keys(ctx)
	if err != nil {
		return answers{}, err
	}
	all := answers{Places: map[string]string{}, Read: map[string]time.Time{}}
	for _, key := range keys {
		if !strings.HasPrefix(key, notedKey) {
			continue
		}
		var some answers
		if _, err := b.readHeard(ctx, key, &some); err != nil {
			return answers{}, err
		}
		maps.Copy(all.Places, some.Places)
		for name, until := range some.Read {
			all.Read[name] = later(all.Read[name], until)
		}
		all.Threads = append(all.Threads, some.Threads...)
	}
	slices.SortFunc(all.Threads, func(a, b string) int {
		_, x, _ := strings.Cut(a, "/")
		_, y, _ := strings.Cut(b, "/")
		return strings.Compare(y, x)
	})
	all.Threads = slices.Compact(all.Threads)
	return all, nil
}
