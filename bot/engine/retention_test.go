package engine

import (
	"bytes"
	"testing"
	"time"
)

// marked is the mark of a journal ("j") or of evidence ("k") and its token.
func marked(t *testing.T, e *Engine, kind, id string) (string, mark) {
	t.Helper()
	tok, err := token(id)
	if err != nil {
		t.Fatal(err)
	}
	tok = kind + tok[1:]
	m, err := e.getMark(t.Context(), tok)
	if err != nil {
		t.Fatal(err)
	}
	return tok, m
}

// sweepTo deletes what was not used since a time, and fails the test unless
// that is so many.
func sweepTo(t *testing.T, e *Engine, limit time.Time, want int) {
	t.Helper()
	if n, err := e.sweepBefore(t.Context(), limit); n != want || err != nil {
		t.Errorf("swept %d, %v, want %d", n, err, want)
	}
}

func TestSweepDeletesWhatIsOld(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	writeEvidence(t, e, "old", noise(1, 3*chunkSize))
	if _, err := e.CreateEvidence(t.Context(), "abandoned"); err != nil {
		t.Fatal(err)
	}
	old, err := e.OpenJournal(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	write(t, old, string(noise(2, 3*chunkSize)), "state")
	writeEvidence(t, e, "new", []byte("evidence"))
	write(t, openJournal(t, e), "results", "state")
	_, m := marked(t, e, "k", "new")

	sweepTo(t, e, m.at, 3)
	wantNoEvidence(t, e, "old", ErrNotFound)
	wantNoEvidence(t, e, "abandoned", ErrNotFound)
	wantConflict(t, old)
	if got := readEvidence(t, e, "new"); string(got) != "evidence" {
		t.Errorf("the new evidence is %q", got)
	}
	wantJournal(t, openJournal(t, e), "results", "state")
	wantStored(t, e, 3)
	sweepTo(t, e, m.at, 0)
}

func TestSweepKeepsWhatIsYoung(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	fill(t, e)
	if n, err := e.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	wantFilled(t, e)
	if n, err := e.Sweep(t.Context(), -time.Hour); n != 2 || err != nil { // as if that time had gone by
		t.Errorf("Sweep = %d, %v, want 2", n, err)
	}
	wantStored(t, e, 0)
}

func TestWhatIsReadIsKept(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	writeEvidence(t, e, "evidence", []byte("evidence"))
	write(t, openJournal(t, e), "results", "state")
	readEvidence(t, e, "evidence")
	wantStored(t, e, 3) // on the day it was written there is nothing to note

	var first time.Time
	for _, is := range []struct{ kind, id string }{{"k", "evidence"}, {"j", "journal"}} {
		tok, m := marked(t, e, is.kind, is.id)
		m.at = m.at.Add(-2 * useEvery)
		var noted uint64
		for range 2 { // the second time that day it is known
			if err := e.read(t.Context(), is.id, tok, m).Close(); err != nil {
				t.Error(err)
			}
			used, err := e.getLast(t.Context(), e.evidence, usedSubject(tok))
			if err != nil || noted != 0 && used.Sequence != noted {
				t.Fatalf("the note is %+v, %v", used, err)
			}
			noted = used.Sequence
			if first.IsZero() {
				first = used.Time
			}
		}
	}
	wantStored(t, e, 5)
	sweepTo(t, e, first, 0) // the marks are older
	sweepTo(t, e, time.Now().Add(time.Hour), 2)
	wantStored(t, e, 0)
}

// A note that a journal is read must not cost its writer the journal.
func TestReadingDoesNotDisturbTheWriter(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	write(t, j, "results", "1")
	j.last.at = j.last.at.Add(-2 * useEvery)
	wantJournal(t, j, "results", "1")
	wantStored(t, e, 2)
	write(t, j, " and more", "2")
	wantJournal(t, j, "results and more", "2")
}

func TestSweepDeletesWhatNoMarkLists(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	ctx := t.Context()
	publish := func(subject string) {
		t.Helper()
		if _, err := e.js.Publish(ctx, subject, []byte("data")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tok := range []string{"kMQ", "jMQ"} { // there is no mark
		publish(chunkSubject(tok, 1, 0))
		publish(chunkSubject(tok, 1, 1))
		publish(usedSubject(tok))
	}
	publish(usedSubject("kMg"))
	a := openJournal(t, e) // is cut off
	if _, err := a.Write(noise(1, 2*chunkSize)); err != nil {
		t.Fatal(err)
	}
	if err := a.confirm(ctx, 0); err != nil {
		t.Fatal(err)
	}
	b := openJournal(t, e)
	write(t, b, "results", "state")
	writeEvidence(t, e, "evidence", []byte("evidence"))
	wantStored(t, e, 2*3+1+2+1+2)

	if n, err := e.Sweep(ctx, time.Hour); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	wantStored(t, e, 1+2)
	wantJournal(t, b, "results", "state")
	readEvidence(t, e, "evidence")
}

func TestSweepLeavesWritersAlone(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	fresh := openJournal(t, e)
	other, err := e.OpenJournal(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	write(t, other, "", "a state without a chunk")
	evidence, err := e.CreateEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	data := noise(1, 2*chunkSize)
	for _, j := range []*Journal{fresh, other, evidence.j} {
		if _, err := j.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := j.confirm(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := e.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	for _, j := range []*Journal{fresh, other} {
		write(t, j, "", "state")
		wantJournal(t, j, string(data), "state")
	}
	if err := evidence.Close(); err != nil {
		t.Fatal(err)
	}
	if got := readEvidence(t, e, "evidence"); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
}

func TestSweepSaysWhenItCannot(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	fill(t, e)
	shut(t, e)
	if n, err := e.Sweep(t.Context(), 0); n != 0 || err == nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
}
