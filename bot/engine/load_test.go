package engine

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestTheLoadIsWhatIsNotDone(t *testing.T) {
	e := openTest(t, t.TempDir())
	ids := []string{"first", "second", "third"}
	filed := map[string][2]time.Time{} // before and after
	want := func(when string, items int, oldest string) {
		t.Helper()
		span := filed[oldest] // zero for ""
		var l Load
		for began := time.Now(); time.Since(began) < patient; { // the consumer notices an item right after it is filed
			var err error
			if l, err = e.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			if l.Items == items && !l.Oldest.Before(span[0]) && !l.Oldest.After(span[1]) {
				return
			}
		}
		t.Errorf("%s: %+v; want %d items, the oldest of %v", when, l, items, span)
	}
	want("at the start", 0, "")
	for _, id := range ids {
		before := time.Now()
		if _, err := e.File(t.Context(), id, []byte("x")); err != nil {
			t.Fatal(err)
		}
		filed[id] = [2]time.Time{before, time.Now()}
	}
	want("with three in it", 3, "first")

	at, goOn := make(chan string), map[string]chan error{"first": make(chan error), "second": make(chan error), "third": make(chan error)}
	end := working(t, e, 3, func(_ context.Context, item Item) error {
		at <- item.ID
		return <-goOn[item.ID]
	})
	for range ids {
		receive(t, at)
	}
	want("with three being worked on", 3, "first")
	goOn["third"] <- nil
	goOn["first"] <- nil
	goOn["second"] <- errors.New("later")
	receive(t, at) // it comes again after a second, when the others are done
	want("with one that failed", 1, "second")
	goOn["second"] <- nil
	end()
	want("at the end", 0, "")
	if err := e.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheLoadHasTheResults(t *testing.T) {
	e := openTest(t, t.TempDir())
	w, err := e.CreateEvidence(t.Context(), "item/records.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err := e.Load(t.Context()); err != nil || l.Results < 1<<20 || l.Results > 2<<20 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestAnEngineThatIsClosedIsNotHealthy(t *testing.T) {
	e := openTest(t, t.TempDir())
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Healthy(t.Context()); err == nil {
		t.Error("it is")
	}
	if _, err := e.Load(t.Context()); err == nil {
		t.Error("it has a load")
	}
}
