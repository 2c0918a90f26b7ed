package engine

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// A glacier is the way to a server that can be frozen: nothing gets through,
// and nothing fails.
type glacier struct {
	nats.InProcessConnProvider
	mu     sync.Mutex
	frozen bool
	thaws  *sync.Cond
}

func newGlacier(to nats.InProcessConnProvider) *glacier {
	g := &glacier{InProcessConnProvider: to}
	g.thaws = sync.NewCond(&g.mu)
	return g
}

func (g *glacier) freeze(frozen bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = frozen
	g.thaws.Broadcast()
}

func (g *glacier) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.frozen {
		g.thaws.Wait()
	}
}

func (g *glacier) InProcessConn() (net.Conn, error) {
	c, err := g.InProcessConnProvider.InProcessConn()
	return frozenConn{c, g}, err
}

type frozenConn struct {
	net.Conn
	*glacier
}

func (c frozenConn) Write(p []byte) (int, error) { c.wait(); return c.Conn.Write(p) }

func (c frozenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wait()
	return n, err
}

// joinThrough is a client of the folder behind a glacier.
func joinThrough(t *testing.T, dir string) (*Engine, *glacier) {
	t.Helper()
	c := Config{Dir: dir, Key: testKey, Log: slog.New(slog.DiscardHandler)}
	n := folderNotes(dir)
	r, err := readRing(t.Context(), c, n)
	if err != nil {
		t.Fatal(err)
	}
	g := newGlacier(socket{dir})
	e, err := connect(c, n, inProcess(r, g)...)
	if err == nil {
		e.seal = r.sealer()
		err = e.attach(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.freeze(false); e.Close() })
	return e, g
}

// A worker that the inbox does not hear of any more ends before another one
// gets its item, and whatever it returns then does not count.
func TestAWorkerThatIsCutOffEndsBeforeItsItemIsAnothers(t *testing.T) {
	t.Parallel()
	const ackWait = 3 * time.Second
	dir := t.TempDir()
	owner := openConfig(t, Config{Dir: dir, Key: testKey, AckWait: ackWait})
	cutOff, ice := joinThrough(t, dir)
	file(t, owner, "one")
	lost := make(chan time.Time, 1)
	end := working(t, cutOff, 1, func(ctx context.Context, item Item) error {
		if item.Tries > 1 {
			t.Error("it came again to the worker that was cut off")
			return nil
		}
		ice.freeze(true)
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), ErrLost) {
			t.Errorf("the item's context ended with %v", context.Cause(ctx))
		}
		lost <- time.Now()
		return nil
	})
	at := receive(t, lost)
	got := make(chan Item, 1)
	endOwner := working(t, owner, 1, func(_ context.Context, item Item) error {
		if taken := time.Now(); !taken.After(at) {
			t.Errorf("another worker had it at %v, and the first gave it up at %v", taken, at)
		}
		got <- item
		return nil
	})
	ice.freeze(false)
	if item := receive(t, got); item.ID != "one" || item.Tries != 2 || !item.Again {
		t.Errorf("got %+v", item)
	}
	endOwner()
	end()
	wantIdle(t, owner)
}

// A silence that ends in time loses nothing.
func TestAWorkerThatIsHeardAgainInTimeGoesOn(t *testing.T) {
	t.Parallel()
	const ackWait = 6 * time.Second
	dir := t.TempDir()
	owner := openConfig(t, Config{Dir: dir, Key: testKey, AckWait: ackWait})
	worker, ice := joinThrough(t, dir)
	file(t, owner, "one")
	done := make(chan error, 1)
	end := working(t, worker, 1, func(ctx context.Context, _ Item) error {
		ice.freeze(true)
		<-time.After(ackWait * 5 / 12) // longer than until the first heartbeat
		ice.freeze(false)
		<-time.After(ackWait * 8 / 12)
		done <- context.Cause(ctx)
		return nil
	})
	if err := receive(t, done); err != nil {
		t.Errorf("its context ended: %v", err)
	}
	end()
	wantIdle(t, owner)
}

// What is not done when a worker ends, another one has at once.
func TestWhatIsNotDoneIsHandedBackAtTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ending, other := openTest(t, dir), openTest(t, dir)
	file(t, ending, "one")
	tries := make(chan int, 3)
	goOn, letGo := gate(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- ending.Work(ctx, 1, func(_ context.Context, item Item) error {
			tries <- item.Tries
			if item.Tries == 3 {
				<-goOn
			}
			return errors.New("not done")
		})
	}()
	for range 3 {
		receive(t, tries)
	}
	cancel()
	letGo()
	began := time.Now()
	if item := work(t, other); item.ID != "one" || item.Tries != 4 || !item.Again {
		t.Errorf("got %+v", item)
	}
	if took := time.Since(began); took > retryDelay(3)*3/4 {
		t.Errorf("it came after %v", took)
	}
	if err := receive(t, ended); err != nil {
		t.Errorf("Work = %v", err)
	}
}

// A new owner knows that nobody works any more.
func TestWhatAnOwnerThatIsGoneWorkedOnComesAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	file(t, e, "done", "one", "two")
	work(t, e)
	for range 2 {
		if _, err := e.next(t.Context()); err != nil { // and nothing becomes of it
			t.Fatal(err)
		}
	}
	shut(t, e)
	e = openTest(t, dir)
	for _, id := range []string{"one", "two"} {
		if item := work(t, e); item.ID != id || !item.Again {
			t.Errorf("got %+v, want %q", item, id)
		}
	}
	file(t, e, "new")
	if item := work(t, e); item.ID != "new" || item.Again {
		t.Errorf("got %+v", item)
	}
	wantIdle(t, e)
}

// A server that does not answer holds nobody up for the hours that a search may
// take.
func TestARequestDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Hour)
		defer cancel()
		began := time.Now()
		err := new(Engine).insist(ctx, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if took := time.Since(began); took != requestTimeout || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
	})
}
