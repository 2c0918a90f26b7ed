package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// work takes one item, says that it is done and returns it.
func work(t testing.TB, e *Engine) (got Item) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	came := false
	err := e.Work(ctx, 1, func(_ context.Context, item Item) error {
		got, came = item, true
		cancel()
		return nil
	})
	if err != nil {
		t.Fatalf("Work = %v", err)
	}
	if !came {
		t.Fatal("nothing came")
	}
	return got
}

// patient is how long a test waits for what must come. It is less than the
// default AckWait: what comes only because that has passed is too late.
const patient = 20 * time.Second

// working runs Work until end is called, which the test must not forget.
func working(t testing.TB, e *Engine, workers int, do func(context.Context, Item) error) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Work(ctx, workers, do) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Work = %v", err)
		}
	}
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patient):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// wantIdle fails the test unless nothing is left to hand out: a sentinel filed
// now is the next item, and nothing else is.
func wantIdle(t testing.TB, e *Engine) {
	t.Helper()
	id := fmt.Sprint("sentinel ", time.Now().UnixNano())
	if fresh, err := e.File(t.Context(), id, nil); !fresh || err != nil {
		t.Fatalf("File = %v, %v", fresh, err)
	}
	if item := work(t, e); item.ID != id {
		t.Errorf("%q was handed out again (try %d)", item.ID, item.Tries)
	}
}

func file(t testing.TB, e *Engine, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if fresh, err := e.File(t.Context(), id, []byte("data of "+id)); !fresh || err != nil {
			t.Fatalf("File(%q) = %v, %v", id, fresh, err)
		}
	}
}

func TestAnItemIsHandedOutOnce(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	began := time.Now()
	file(t, e, "one")
	item := work(t, e)
	if item.ID != "one" || string(item.Data) != "data of one" || item.Tries != 1 {
		t.Errorf("got %+v", item)
	}
	if off := item.Received.Sub(began); off < -time.Second || off > time.Minute || item.Received.Location() != time.UTC {
		t.Errorf("received %v, filed %v", item.Received, began)
	}
	wantIdle(t, e)
}

func TestAnIDIsFiledOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	again := func(when string) {
		t.Helper()
		if fresh, err := e.File(t.Context(), "one", []byte("other data")); fresh || err != nil {
			t.Errorf("%s: File = %v, %v, want false, nil", when, fresh, err)
		}
	}
	file(t, e, "one")
	again("before it is done")
	if item := work(t, e); string(item.Data) != "data of one" {
		t.Errorf("got %q", item.Data)
	}
	again("after it is done")
	wantIdle(t, e)
	for range 2 {
		shut(t, e)
		e = openTest(t, dir)
		again("after a restart")
		wantIdle(t, e)
	}
}

func TestTheInboxKnowsAnIDForADay(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	c := e.inbox.CachedInfo().Config
	if c.Retention != jetstream.LimitsPolicy || c.MaxAge != 24*time.Hour || c.Duplicates != 24*time.Hour || c.Storage != jetstream.FileStorage {
		t.Errorf("the stream is %+v", c)
	}
}

func TestIDsAndDataAreAnyBytes(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	ids := []string{"", " ", ".", "*", ">", "a.b", "a b", "a\r\nb", "T1.C1.1700000000.000100", "\x00\xff", "ä", strings.Repeat("x", maxID)}
	for _, id := range ids {
		if fresh, err := e.File(t.Context(), id, []byte(id)); !fresh || err != nil {
			t.Fatalf("File(%q) = %v, %v", id, fresh, err)
		}
	}
	for _, id := range ids {
		if fresh, err := e.File(t.Context(), id, nil); fresh || err != nil {
			t.Errorf("File(%q) again = %v, %v", id, fresh, err)
		}
	}
	for _, want := range ids {
		if item := work(t, e); item.ID != want || string(item.Data) != want {
			t.Errorf("got %q with %q, want %q", item.ID, item.Data, want)
		}
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	if _, err := e.File(t.Context(), strings.Repeat("x", maxID+1), nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("File = %v, want ErrTooLong", err)
	}
	if _, err := e.File(t.Context(), "big", make([]byte, MaxValue+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("File = %v, want ErrTooLarge", err)
	}
	longest := strings.Repeat("x", maxID)
	if fresh, err := e.File(t.Context(), longest, make([]byte, MaxValue)); !fresh || err != nil {
		t.Errorf("the largest item: File = %v, %v", fresh, err)
	}
	if item := work(t, e); item.ID != longest || len(item.Data) != MaxValue {
		t.Errorf("got %d bytes", len(item.Data))
	}
}

func TestAnErrorIsTriedAgain(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	file(t, e, "one")
	tries := make(chan int, 10)
	end := working(t, e, 1, func(_ context.Context, item Item) error {
		tries <- item.Tries
		if item.Tries == 1 {
			return errors.New("not yet")
		}
		return nil
	})
	if first, second := receive(t, tries), receive(t, tries); first != 1 || second != 2 {
		t.Errorf("tries %d and %d", first, second)
	}
	end()
	wantIdle(t, e)
}

func TestAPanicIsTriedAgainAndLogged(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	e := openConfig(t, Config{Dir: t.TempDir(), Key: testKey, Log: slog.New(slog.NewTextHandler(&out, nil))})
	file(t, e, "one")
	tries := make(chan int, 10)
	end := working(t, e, 1, func(_ context.Context, item Item) error {
		tries <- item.Tries
		if item.Tries == 1 {
			panic("boom")
		}
		return nil
	})
	if first, second := receive(t, tries), receive(t, tries); first != 1 || second != 2 {
		t.Errorf("tries %d and %d", first, second)
	}
	end()
	if log := out.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "TestAPanicIsTriedAgainAndLogged") {
		t.Errorf("the log has no stack:\n%s", log)
	}
}

// Work begins nothing once it is to end, however much there is to do.
func TestNothingIsBegunAfterTheEnd(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	const n = 30
	for i := range n {
		file(t, e, fmt.Sprint(i))
	}
	for i := range n {
		if item := work(t, e); item.ID != fmt.Sprint(i) || item.Tries != 1 {
			t.Errorf("got %q, try %d, want %d", item.ID, item.Tries, i)
		}
	}
}

// An item that is there comes at once, also right after another one: a client
// that forgets to ask for it finds out by the server's silence.
func TestEachItemIsAskedFor(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	file(t, e, "one", "two", "three")
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	for i := range 3000 {
		began := time.Now()
		msg, err := e.next(ctx)
		if err != nil {
			t.Fatalf("item %d: %v", i, err)
		}
		if late := time.Since(began); late > e.silence()/2 {
			t.Fatalf("item %d came after %v", i, late)
		}
		if err := msg.Nak(); err != nil { // so that it comes again
			t.Fatal(err)
		}
	}
}

func TestDelaysGrowToAMinute(t *testing.T) {
	t.Parallel()
	var got []time.Duration
	for _, tries := range []int{0, 1, 2, 3, 6, 7, 8, 1000} {
		got = append(got, retryDelay(tries)/time.Second)
	}
	if want := []time.Duration{1, 1, 2, 4, 32, 60, 60, 60}; !slices.Equal(got, want) {
		t.Errorf("got %d, want %d", got, want)
	}
}

func TestLongWorkIsNotHandedOutTwice(t *testing.T) {
	t.Parallel()
	const ackWait = 3 * time.Second // a busy machine is late by as much as half of that
	e := openConfig(t, Config{Dir: t.TempDir(), Key: testKey, AckWait: ackWait})
	file(t, e, "one")
	var calls atomic.Int32
	done := make(chan bool, 10)
	end := working(t, e, 2, func(context.Context, Item) error {
		calls.Add(1)
		<-time.After(3 * ackWait / 2)
		done <- true
		return nil
	})
	receive(t, done)
	end()
	wantIdle(t, e)
	if n := calls.Load(); n != 1 {
		t.Errorf("handed out %d times", n)
	}
}

func TestTheOwnerSetsAckWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, want := range []time.Duration{0, time.Second, 0} {
		e := openConfig(t, Config{Dir: dir, Key: testKey, AckWait: want})
		client := openConfig(t, Config{Dir: dir, Key: testKey, AckWait: time.Hour})
		if want == 0 {
			want = 30 * time.Second
		}
		for _, e := range []*Engine{e, client} {
			if got := e.worker.CachedInfo().Config.AckWait; got != want {
				t.Errorf("AckWait = %v, want %v", got, want)
			}
		}
		shut(t, client)
		shut(t, e)
	}
}

func TestNoMoreWorkersThanAskedFor(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	const workers, items = 3, 12
	for i := range items {
		file(t, e, fmt.Sprint(i))
	}
	var now, most atomic.Int32
	started := make(chan bool, items)
	goOn, letGo := gate(t)
	end := working(t, e, workers, func(context.Context, Item) error {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		started <- true
		<-goOn
		now.Add(-1)
		return nil
	})
	for range workers {
		receive(t, started)
	}
	letGo()
	for range items - workers {
		receive(t, started)
	}
	end()
	if n := most.Load(); n != workers {
		t.Errorf("%d at once, want %d", n, workers)
	}
}

// An item that a busy worker has in its pocket would be late, and would be
// handed out twice if it is very late.
func TestABusyWorkerTakesNothingInAdvance(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	busy, idle := openTest(t, dir), openTest(t, dir)
	file(t, busy, "one", "two")
	got := make(chan Item, 10)
	goOn, letGo := gate(t)
	end := working(t, busy, 1, func(_ context.Context, item Item) error {
		got <- item
		<-goOn
		return nil
	})
	if item := receive(t, got); item.ID != "one" {
		t.Errorf("got %q", item.ID)
	}
	if item := work(t, idle); item.ID != "two" || item.Tries != 1 {
		t.Errorf("got %q, try %d", item.ID, item.Tries)
	}
	letGo()
	end()
}

// Workers that are about to end let others have what is filed meanwhile.
func TestWorkThatEndsTakesNothingMore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ending, other := openTest(t, dir), openTest(t, dir)
	file(t, ending, "one")
	started := make(chan bool)
	goOn, letGo := gate(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- ending.Work(ctx, 2, func(context.Context, Item) error {
			started <- true
			<-goOn
			return nil
		})
	}()
	receive(t, started)
	cancel()
	for i := range 3 {
		id := fmt.Sprint(i)
		file(t, other, id)
		if item := work(t, other); item.ID != id {
			t.Errorf("got %q, want %q", item.ID, id)
		}
	}
	letGo()
	if err := receive(t, ended); err != nil {
		t.Errorf("Work = %v", err)
	}
}

// gate is what calls of do wait at until they are let go, at the latest when
// the test ends.
func gate(t *testing.T) (goOn <-chan bool, letGo func()) {
	c := make(chan bool)
	letGo = sync.OnceFunc(func() { close(c) })
	t.Cleanup(letGo)
	return c, letGo
}

func TestWorkEndsWhenTheRunningCallsHaveEnded(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Engine, context.CancelFunc) error{
		"with its context": func(_ *Engine, cancel context.CancelFunc) error { cancel(); return nil },
		"with Close":       func(e *Engine, _ context.CancelFunc) error { return e.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := openTest(t, dir)
			file(t, e, "one")
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "kept"))
			defer cancel()
			started := make(chan context.Context)
			goOn, letGo := gate(t)
			ended := make(chan error, 1)
			go func() {
				ended <- e.Work(ctx, 1, func(ctx context.Context, _ Item) error {
					started <- ctx
					<-goOn
					return ctx.Err()
				})
			}()
			doCtx := receive(t, started)
			closed := make(chan error, 1)
			go func() { closed <- end(e, cancel) }()
			if name == "with Close" {
				<-e.closing.Done()
			} else {
				<-ctx.Done()
			}
			if doCtx.Err() != nil || doCtx.Value(ctxKey{}) != "kept" {
				t.Errorf("the context of do: %v, %v", doCtx.Err(), doCtx.Value(ctxKey{}))
			}
			select {
			case err := <-ended:
				t.Fatalf("Work = %v while do was running", err)
			default:
			}
			letGo()
			if err := receive(t, ended); err != nil {
				t.Errorf("Work = %v", err)
			}
			if err := receive(t, closed); err != nil {
				t.Errorf("Close = %v", err)
			}
			shut(t, e)
			wantIdle(t, openTest(t, dir))
		})
	}
}

type ctxKey struct{}

// Work that ends while an item is on its way to it must not sit on the item
// until AckWait is over.
func TestAnItemIsNotHeldUpByWorkThatEnds(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	const n = 200
	got := map[string]bool{}
	items := make(chan Item, n)
	for i := range n {
		end := working(t, e, 1, func(_ context.Context, item Item) error {
			items <- item
			return nil
		})
		file(t, e, fmt.Sprint(i))
		end()
	}
	end := working(t, e, 1, func(_ context.Context, item Item) error {
		items <- item
		return nil
	})
	for range n {
		item := receive(t, items) // within less than AckWait
		if got[item.ID] {
			t.Errorf("%q was handed out twice", item.ID)
		}
		got[item.ID] = true
	}
	end()
}

// What was stored for another id, or by someone without the key, is not run.
func TestAnItemThatWasMovedIsDropped(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	e := openConfig(t, Config{Dir: t.TempDir(), Key: testKey, Log: slog.New(slog.NewTextHandler(&out, nil))})
	tok, _ := token("one")
	sealed := e.seal.seal(inboxConfig.Name, itemSubject+tok, []byte("rm"))
	for subject, data := range map[string][]byte{"kdHdv": sealed, "kdGhyZWU": []byte("plain"), "notours": sealed} {
		if _, err := e.js.Publish(t.Context(), itemSubject+subject, data); err != nil {
			t.Fatal(err)
		}
	}
	wantIdle(t, e)
	if n := strings.Count(out.String(), "dropping an item"); n != 3 {
		t.Errorf("%d were dropped:\n%s", n, out.String())
	}
	info, err := e.worker.Info(t.Context())
	if err != nil || info.NumAckPending != 0 {
		t.Errorf("%d are still to be answered, %v", info.NumAckPending, err)
	}
}

// The server cannot make us believe that an item is done.
func TestAForgedMarkDoesNotHideAnItem(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	file(t, e, "one")
	tok, _ := token("one")
	if _, err := e.js.Publish(t.Context(), doneSubject+tok, []byte("done")); err != nil {
		t.Fatal(err)
	}
	if done, err := e.isDone(t.Context(), itemSubject+tok); done || err == nil {
		t.Errorf("isDone = %v, %v", done, err)
	}
}

// An acknowledgement can be lost; the mark cannot.
func TestADoneItemIsNotRunAgainWhenItsAcknowledgementWasLost(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	file(t, e, "one")
	tok, _ := token("one")
	if err := e.markDone(t.Context(), itemSubject+tok); err != nil {
		t.Fatal(err)
	}
	wantIdle(t, e)
}

func TestFileFailsWhenNobodyConfirms(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	if err := e.js.DeleteStream(t.Context(), inboxConfig.Name); err != nil {
		t.Fatal(err)
	}
	if fresh, err := e.File(t.Context(), "one", nil); fresh || err == nil {
		t.Errorf("File = %v, %v", fresh, err)
	}
}

func TestFileFailsWithItsContext(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if fresh, err := e.File(ctx, "one", nil); fresh || !errors.Is(err, context.Canceled) {
		t.Errorf("File = %v, %v", fresh, err)
	}
}

func FuzzToken(f *testing.F) {
	f.Add("", ".")
	f.Add("T1.C1.1700000000.000100", "T1.C1.1700000000.000101")
	f.Add("a b\r\n*>", "\x00\xff")
	f.Fuzz(func(t *testing.T, a, b string) {
		ta, errA := token(a)
		tb, errB := token(b)
		if (errA != nil) != (len(a) > maxID) {
			t.Fatalf("token(%d bytes) = %v", len(a), errA)
		}
		if errA != nil || errB != nil {
			return
		}
		if strings.ContainsAny(ta, ".*> \r\n\t\x00") || ta == "" {
			t.Errorf("token(%q) = %q, which is not one token", a, ta)
		}
		if got, err := untoken(ta); got != a || err != nil {
			t.Errorf("untoken(token(%q)) = %q, %v", a, got, err)
		}
		if (a == b) != (ta == tb) {
			t.Errorf("token(%q) = %q, token(%q) = %q", a, ta, b, tb)
		}
	})
}
