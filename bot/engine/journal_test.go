package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func openJournal(t testing.TB, e *Engine) *Journal {
	t.Helper()
	j, err := e.OpenJournal(t.Context(), "journal")
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// write writes data and makes a checkpoint of it.
func write(t testing.TB, j *Journal, data, state string) {
	t.Helper()
	if n, err := j.Write([]byte(data)); n != len(data) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if err := j.Checkpoint(t.Context(), []byte(state)); err != nil {
		t.Fatal(err)
	}
}

func readJournal(t testing.TB, j *Journal) []byte {
	t.Helper()
	r, err := j.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// wantJournal fails the test unless the last checkpoint of j is this one.
func wantJournal(t testing.TB, j *Journal, data, state string) {
	t.Helper()
	if got := readJournal(t, j); string(got) != data {
		t.Errorf("%d bytes came back, not the %d that were written", len(got), len(data))
	}
	if got := string(j.State()); got != state {
		t.Errorf("State = %q, want %q", got, state)
	}
	if n := j.Size(); n != int64(len(data)) {
		t.Errorf("Size = %d, want %d", n, len(data))
	}
}

// wantConflict fails the test unless j can store no checkpoint any more.
func wantConflict(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Checkpoint(t.Context(), []byte("mine")); !errors.Is(err, ErrConflict) {
		t.Errorf("Checkpoint = %v, want ErrConflict", err)
	}
	if n, err := j.Write([]byte("more")); n != 0 || !errors.Is(err, ErrConflict) {
		t.Errorf("Write = %d, %v, want ErrConflict", n, err)
	}
}

func TestANewJournalIsEmpty(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	for range 2 {
		j := openJournal(t, e)
		wantJournal(t, j, "", "")
		if j.State() != nil {
			t.Errorf("State = %q, want nil", j.State())
		}
	}
}

func TestAJournalGoesOnAfterItsLastCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := ""
	for i, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 0, (maxChunksInFlight+4)*chunkSize + 5, 77} {
		e := openTest(t, dir)
		j := openJournal(t, e)
		if i > 0 {
			wantJournal(t, j, want, fmt.Sprint("state ", i-1))
		}
		for half := range 2 {
			data := string(noise(byte(2*i+half), size))
			want += data
			write(t, j, data, fmt.Sprint("state ", i))
		}
		if _, err := j.Write(noise(99, size)); err != nil { // never checkpointed
			t.Fatal(err)
		}
		wantJournal(t, j, want, fmt.Sprint("state ", i))
		shut(t, e)
	}
}

func TestAJournalIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	first := string(noise(1, 5*chunkSize+1))
	write(t, j, first, "1")
	r, err := j.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	begin := make([]byte, chunkSize/2)
	if _, err := io.ReadFull(r, begin); err != nil {
		t.Fatal(err)
	}
	second := noise(2, 7*chunkSize)
	var writing sync.WaitGroup
	writing.Go(func() {
		_, err := j.Write(second)
		if err == nil {
			err = j.Checkpoint(t.Context(), []byte("2"))
		}
		if err != nil {
			t.Error(err)
		}
	})
	rest, err := io.ReadAll(r)
	if string(begin)+string(rest) != first || err != nil {
		t.Errorf("%d bytes came back, %v, not those of the checkpoint", len(begin)+len(rest), err)
	}
	if state := j.State(); len(state) != 1 || j.Size() < int64(len(first)) {
		t.Errorf("the state is %q, of %d bytes", state, j.Size())
	}
	writing.Wait()
	wantJournal(t, j, first+string(second), "2")
}

func TestTheStateIsACopy(t *testing.T) {
	t.Parallel()
	j := openJournal(t, openTest(t, t.TempDir()))
	state := []byte("state")
	if err := j.Checkpoint(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	state[0] = 'S'
	wantJournal(t, j, "", "state")
}

func TestWhoeverOpensAJournalTakesItOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := openTest(t, dir), openTest(t, dir)
	start := string(noise(1, chunkSize+100))
	a := openJournal(t, one)
	write(t, a, start, "a")
	for range 3 { // a stalls with chunks of which no checkpoint tells
		if _, err := a.Write(noise(2, chunkSize)); err != nil {
			t.Fatal(err)
		}
	}
	b := openJournal(t, two)
	wantJournal(t, b, start, "a")
	ours := string(noise(3, 2*chunkSize+5))
	if _, err := b.Write([]byte(ours)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // a wakes up
		if _, err := a.Write(noise(4, chunkSize)); err != nil {
			t.Fatal(err)
		}
	}
	wantConflict(t, a)
	wantJournal(t, a, start, "a") // what it knew is still there
	write(t, b, "", "b")
	wantJournal(t, b, start+ours, "b")
	wantConflict(t, a)
	wantJournal(t, openJournal(t, one), start+ours, "b")
}

func TestChunksThatNobodyGoesOnFromAreDeleted(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	a := openJournal(t, e)
	if _, err := a.Write(noise(1, 3*chunkSize)); err != nil {
		t.Fatal(err)
	}
	b := openJournal(t, e)
	write(t, b, "ours", "b")
	wantConflict(t, a)
	wantStored(t, e, 1)
	wantJournal(t, b, "ours", "b")
}

// Each writer adds one line to those that the state counts. Whoever loses the
// journal opens it again, so that no line is there twice and none is missing.
func TestManyWritersOfAJournalLoseNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	engines := []*Engine{openTest(t, dir), openTest(t, dir)}
	const writers, lines = 4, 40
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for {
				j, err := engines[i%2].OpenJournal(t.Context(), "journal")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(j.State()))
				for ; n < lines; n++ {
					_, err := fmt.Fprintf(j, "%d\n", n)
					if err == nil {
						err = j.Checkpoint(t.Context(), []byte(strconv.Itoa(n+1)))
					}
					if errors.Is(err, ErrConflict) {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
				if n == lines {
					return
				}
			}
		})
	}
	writing.Wait()
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, i)
	}
	wantJournal(t, openJournal(t, engines[0]), want.String(), strconv.Itoa(lines))
}

func TestADeletedJournalIsGone(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	write(t, j, string(noise(1, 3*chunkSize)), "state")
	r, err := j.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.DeleteJournal(t.Context(), "journal"); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, ErrIncomplete) {
		t.Errorf("reading on = %d, %v, want ErrIncomplete", n, err)
	}
	if _, err := j.Write(noise(2, 2*chunkSize)); err != nil {
		t.Fatal(err)
	}
	wantConflict(t, j)
	wantStored(t, e, 0)
	wantJournal(t, openJournal(t, e), "", "")
}

func TestAJournalIsNotEvidence(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	write(t, j, "results", "state")
	wantNoEvidence(t, e, "journal", ErrNotFound)
	writeEvidence(t, e, "journal", []byte("evidence"))
	wantJournal(t, openJournal(t, e), "results", "state")
	if err := e.DeleteJournal(t.Context(), "journal"); err != nil {
		t.Error(err)
	}
	if got := readEvidence(t, e, "journal"); string(got) != "evidence" {
		t.Errorf("the evidence is %q", got)
	}
	write(t, openJournal(t, e), "results", "state")
	if err := e.DeleteEvidence(t.Context(), "journal"); err != nil {
		t.Error(err)
	}
	wantJournal(t, openJournal(t, e), "results", "state")
}

func TestAJournalHasLimits(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	long := strings.Repeat("x", maxID+1)
	if _, err := e.OpenJournal(t.Context(), long); !errors.Is(err, ErrTooLong) {
		t.Errorf("OpenJournal = %v, want ErrTooLong", err)
	}
	if err := e.DeleteJournal(t.Context(), long); !errors.Is(err, ErrTooLong) {
		t.Errorf("DeleteJournal = %v, want ErrTooLong", err)
	}
	j, err := e.OpenJournal(t.Context(), long[:maxID])
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Checkpoint(t.Context(), make([]byte, MaxState+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Checkpoint = %v, want ErrTooLarge", err)
	}
	state := string(noise(1, MaxState))
	write(t, j, "still writing", state)
	wantJournal(t, j, "still writing", state)
}

func TestWritingAJournalEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	j, err := e.OpenJournal(ctx, "journal")
	if err != nil {
		t.Fatal(err)
	}
	write(t, j, "before", "state")
	cancel()
	if _, err := j.Write(noise(1, chunkSize)); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v", err)
	}
	if err := j.Checkpoint(t.Context(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Checkpoint = %v", err)
	}
	wantJournal(t, openJournal(t, e), "before", "state")
}

func TestACheckpointEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	write(t, j, "before", "state")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Checkpoint(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Checkpoint = %v", err)
	}
	if err := j.Checkpoint(t.Context(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the error did not stay: Checkpoint = %v", err)
	}
	wantJournal(t, openJournal(t, e), "before", "state")
}

// Who can use the connection and has another key reads nothing, and does not
// take the journal away from its writer.
func TestAJournalNeedsTheKey(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	write(t, j, "results", "state")
	thief := &Engine{js: e.js, evidence: e.evidence, journals: e.journals, log: e.log, seal: newSealer(otherKey, "values")}
	if _, err := thief.OpenJournal(t.Context(), "journal"); err == nil {
		t.Error("OpenJournal worked")
	}
	r := thief.read(t.Context(), j.name, j.tok, j.checkpoint())
	if got, err := io.ReadAll(r); len(got) != 0 || err == nil {
		t.Errorf("read %q, %v", got, err)
	}
	write(t, j, ", more of them", "state 2")
	wantJournal(t, j, "results, more of them", "state 2")
}

func TestALongJournalKeepsFewChunksInMemory(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	j := openJournal(t, e)
	var want bytes.Buffer
	for i := range byte(60) { // more than fit in flight
		data := noise(i, chunkSize)
		want.Write(data)
		if _, err := j.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	write(t, j, "", "state")
	wantJournal(t, j, want.String(), "state")
	if n := len(j.free); n > maxChunksInFlight {
		t.Errorf("%d chunks are kept for use again, at most %d were in flight", n, maxChunksInFlight)
	}
}
