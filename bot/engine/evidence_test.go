package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"time"
)

func writeEvidence(t testing.TB, e *Engine, id string, data []byte) {
	t.Helper()
	w, err := e.CreateEvidence(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(data); n != len(data) || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func readEvidence(t testing.TB, e *Engine, id string) []byte {
	t.Helper()
	r, err := e.OpenEvidence(t.Context(), id)
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

// noise is the same bytes for the same seed.
func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return data
}

// wantNoEvidence fails the test unless opening id gives this error.
func wantNoEvidence(t *testing.T, e *Engine, id string, want error) {
	t.Helper()
	if _, err := e.OpenEvidence(t.Context(), id); !errors.Is(err, want) {
		t.Errorf("OpenEvidence = %v, want %v", err, want)
	}
	if _, err := e.EvidenceSize(t.Context(), id); !errors.Is(err, want) {
		t.Errorf("EvidenceSize = %v, want %v", err, want)
	}
}

func TestEvidenceOfAnySizeComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner := openTest(t, dir)
	client := openTest(t, dir)
	for i, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, (maxChunksInFlight+4)*chunkSize + 5} {
		writer, reader := owner, client
		if i%2 == 1 {
			writer, reader = client, owner
		}
		id, data := fmt.Sprint("size ", size), noise(1, size)
		writeEvidence(t, writer, id, data)
		if got := readEvidence(t, reader, id); !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
		if n, err := reader.EvidenceSize(t.Context(), id); n != int64(size) || err != nil {
			t.Errorf("EvidenceSize = %d, %v, want %d", n, err, size)
		}
	}
}

func TestEvidenceReadsAsAReaderShould(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	data := noise(2, 2*chunkSize+77)
	writeEvidence(t, e, "evidence", data)
	r, err := e.OpenEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(r, data); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("reading after Close = %d, %v", n, err)
	}
}

func TestSmallWritesAreOneSequence(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	data := noise(3, chunkSize+1000)
	w, err := e.CreateEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; len(rest) > 0; {
		n, err := w.Write(rest[:min(777, len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	w.Discard()
	if n, err := w.Write([]byte("more")); n != 0 || err == nil {
		t.Errorf("writing after Close = %d, %v", n, err)
	}
	if got := readEvidence(t, e, "evidence"); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
}

func TestEvidenceThatWasNotFinishedDoesNotOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	wantNoEvidence(t, e, "evidence", ErrNotFound)
	w, err := e.CreateEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	wantNoEvidence(t, e, "evidence", ErrIncomplete)
	if _, err := w.Write(noise(4, 3*chunkSize)); err != nil {
		t.Fatal(err)
	}
	wantNoEvidence(t, e, "evidence", ErrIncomplete)
	shut(t, e)
	e = openTest(t, dir)
	wantNoEvidence(t, e, "evidence", ErrIncomplete)

	// The next try starts afresh and leaves nothing of the first.
	writeEvidence(t, e, "evidence", []byte("short"))
	if got := readEvidence(t, e, "evidence"); string(got) != "short" {
		t.Errorf("got %d bytes", len(got))
	}
	wantStored(t, e, 2)
}

// wantStored fails the test unless the stream holds so many messages.
func wantStored(t *testing.T, e *Engine, want uint64) {
	t.Helper()
	info, err := e.evidence.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != want {
		t.Errorf("%d messages are stored, want %d", info.State.Msgs, want)
	}
}

func TestDiscardedEvidenceIsGone(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	w, err := e.CreateEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(5, 2*chunkSize)); err != nil {
		t.Fatal(err)
	}
	if err := w.j.confirm(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	w.Discard()
	if err := w.Close(); err == nil {
		t.Error("closing what was discarded is no error")
	}
	wantNoEvidence(t, e, "evidence", ErrIncomplete)
	wantStored(t, e, 1) // the mark that writing began
}

func TestWritingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	w, err := e.CreateEvidence(ctx, "evidence")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("Close = %v", err)
	}
	if _, err := w.Write(noise(6, chunkSize)); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v", err)
	}
	wantNoEvidence(t, e, "evidence", ErrIncomplete)
}

func TestTheLaterOfTwoWritersWins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := openTest(t, dir), openTest(t, dir)
	first, err := one.CreateEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	second, err := two.CreateEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	want := noise(7, 3*chunkSize)
	for range 3 {
		if _, err := first.Write(noise(8, chunkSize)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := second.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); !errors.Is(err, ErrConflict) {
		t.Errorf("the first one's Close = %v, want ErrConflict", err)
	}
	if err := second.Close(); err != nil {
		t.Errorf("the second one's Close = %v", err)
	}
	if got := readEvidence(t, one, "evidence"); !bytes.Equal(got, want) {
		t.Error("other bytes came back")
	}
	wantStored(t, one, 4)
}

func TestDeletedEvidenceIsGone(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	for _, id := range []string{"a", "ab"} {
		writeEvidence(t, e, id, noise(9, 3*chunkSize))
	}
	r, err := e.OpenEvidence(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.DeleteEvidence(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	wantNoEvidence(t, e, "a", ErrNotFound)
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, ErrIncomplete) {
		t.Errorf("reading on = %d, %v, want ErrIncomplete", n, err)
	}
	if got := readEvidence(t, e, "ab"); len(got) != 3*chunkSize {
		t.Errorf("the other one has %d bytes left", len(got))
	}
}

func TestAChunkThatWasMovedDoesNotOpen(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	writeEvidence(t, e, "evidence", noise(10, 2*chunkSize))
	tok, m, err := e.findEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.evidence.GetLastMsgForSubject(t.Context(), chunkSubject(tok, m.Writer, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.Publish(t.Context(), chunkSubject(tok, m.Writer, 0), second.Data); err != nil {
		t.Fatal(err)
	}
	r, err := e.OpenEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err == nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// An older version wrote a mark like this one, which is what its folders have.
func TestEvidenceOfAnOlderVersionComesBack(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	data := noise(11, 2*chunkSize+5)
	writeEvidence(t, e, "evidence", data)
	tok, m, err := e.findEvidence(t.Context(), "evidence")
	if err != nil {
		t.Fatal(err)
	}
	subject := "auditbot.evidence." + tok + ".mark"
	text := fmt.Appendf(nil, `{"complete":true,"writer":%d,"chunks":3,"size":%d}`, m.Writer, len(data))
	if _, err := e.js.Publish(t.Context(), subject, e.seal.seal("auditbot_evidence", subject, text)); err != nil {
		t.Fatal(err)
	}
	if got := readEvidence(t, e, "evidence"); !bytes.Equal(got, data) {
		t.Error("other bytes came back")
	}
}

// The object store had thousands of chunks in flight, and the server refused.
func TestManyWritersStayWithinTheBound(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	const writers, size = 8, 8 * chunkSize // four times the bound
	var data [writers][]byte
	for i := range byte(writers) {
		data[i] = noise(i, size)
	}
	stop := make(chan bool)
	most := make(chan int)
	go func() {
		n := 0
		look := time.NewTicker(100 * time.Microsecond)
		defer look.Stop()
		for {
			select {
			case <-stop:
				most <- n
				return
			case <-look.C:
				n = max(n, e.js.PublishAsyncPending())
			}
		}
	}()
	var writing sync.WaitGroup
	for i := range byte(writers) {
		writing.Go(func() {
			w, err := e.CreateEvidence(t.Context(), fmt.Sprint(i))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := w.Write(data[i]); err != nil {
				t.Error(err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Wait()
	close(stop)
	if n := <-most; n == 0 || n > 16 {
		t.Errorf("%d chunks in flight, want at most 16", n)
	}
	for i := range byte(writers) {
		if got := readEvidence(t, e, fmt.Sprint(i)); !bytes.Equal(got, data[i]) {
			t.Errorf("writer %d: other bytes came back", i)
		}
	}
}
