package exchange

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// through counts how many of n get through the gate within a second.
func through(t *testing.T, g *gate, n int) int {
	t.Helper()
	var in atomic.Int32
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for range n {
		go func() {
			if g.enter(ctx) == nil {
				in.Add(1)
			}
		}()
	}
	<-ctx.Done()
	synctest.Wait()
	for range in.Load() {
		g.mu.Lock()
		g.inside--
		g.mu.Unlock()
	}
	return int(in.Load())
}

func TestTheGateLetsTenThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if n := through(t, new(gate), 20); n != 10 {
			t.Errorf("%d", n)
		}
	})
}

func TestARefusalHalvesWhatGoesThroughAndSuccessesBringItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		for range 10 {
			if err := g.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		sent := time.Now()
		time.Sleep(time.Second)
		for range 10 { // all were sent before the service said anything: one halving
			g.leave(sent, false, 3*time.Second)
		}
		if n := through(t, g, 20); n != 0 {
			t.Errorf("%d got through while the service is to be left alone", n)
		}
		time.Sleep(2 * time.Second)
		if n := through(t, g, 20); n != 5 {
			t.Errorf("%d after a refusal, want 5", n)
		}
		for range 100 {
			if err := g.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.leave(time.Now(), true, 0)
		}
		if n := through(t, g, 20); n != 10 {
			t.Errorf("%d after a hundred successes", n)
		}
	})
}

func TestTheGateNeverCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		for range 20 {
			if err := g.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.leave(time.Now(), false, 0)
		}
		if n := through(t, g, 5); n != 1 {
			t.Errorf("%d, want 1", n)
		}
	})
}

func TestWhoeverLeavesLetsTheNextIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1}
		if err := g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		entered := make(chan error)
		go func() { entered <- g.enter(t.Context()) }()
		synctest.Wait()
		g.leave(time.Now(), true, 0)
		if err := <-entered; err != nil {
			t.Error(err)
		}
	})
}

func TestWaitingAtTheGateEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{limit: 1, inside: 1}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := g.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
