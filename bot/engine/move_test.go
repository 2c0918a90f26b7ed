package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"auditbot/bot/engine/clustertest"
)

// migrate moves, and returns how many messages were copied.
func migrate(t *testing.T, from, to Config) (messages uint64, err error) {
	t.Helper()
	err = Migrate(t.Context(), from, to, func(m Moved) { messages += m.Messages })
	return messages, err
}

func wantRefusedAs(t *testing.T, c Config, want error) {
	t.Helper()
	e, err := Open(t.Context(), c)
	if err == nil {
		err = e.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("opening the %s = %v, want %v", c.where(), err, want)
	}
}

// What is moved into a cluster and back is what it was, and only the place where
// it is can be opened.
func TestEverythingIsMovedThereAndBack(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	first := Config{Dir: filled(t), Key: testKey}
	there, back := at(t, c.URL()), Config{Dir: t.TempDir(), Key: testKey, AckWait: crashAckWait}

	n, err := migrate(t, first, there)
	if n < 10 || err != nil {
		t.Fatalf("%d messages, %v", n, err)
	}
	wantRefusedAs(t, first, ErrMoved)
	e := openConfig(t, there)
	wantFilled(t, e)
	j := openJournal(t, e)
	write(t, j, " and more", "another state")
	if _, err := e.Bucket(Tokens).Create(t.Context(), "carol", []byte("a token of carol")); err != nil {
		t.Fatal(err)
	}
	if err := e.Bucket(Tokens).Delete(t.Context(), "eve"); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate(t, there, back); !errors.Is(err, ErrInUse) {
		t.Fatalf("while a replica is connected: %v, want ErrInUse", err)
	}
	shut(t, e)

	if _, err := migrate(t, there, first); !errors.Is(err, ErrNotEmpty) {
		t.Fatalf("into a folder that has something: %v, want ErrNotEmpty", err)
	}
	if _, err := migrate(t, there, back); err != nil {
		t.Fatal(err)
	}
	wantRefusedAs(t, there, ErrMoved)
	e = openConfig(t, back)
	if fresh, err := e.File(t.Context(), "item", nil); fresh || err != nil {
		t.Errorf("filing the same id again = %v, %v, want false, nil", fresh, err)
	}
	wantJournal(t, openJournal(t, e), "some results and more", "another state")
	if got := readEvidence(t, e, "evidence"); string(got) != "some evidence" {
		t.Errorf("the evidence is %q", got)
	}
	for key, want := range map[string]string{"ada": "a token", "bob": "a token of bob", "carol": "a token of carol"} {
		if got, err := get(e.Bucket(Tokens), t.Context(), key); string(got) != want || err != nil {
			t.Errorf("%s has %q, %v", key, got, err)
		}
	}
	if _, err := get(e.Bucket(Tokens), t.Context(), "eve"); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was deleted: %v", err)
	}
}

// Chunks are stored under the number of their writer. One in the target must not
// have the number of one in the source.
func TestWritersAfterAMoveHaveNumbersOfTheirOwn(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	from := Config{Dir: t.TempDir(), Key: testKey}
	e := openConfig(t, from)
	var last uint64
	for i := range 5 {
		j := openJournal(t, e)
		write(t, j, fmt.Sprint(i), "")
		last = j.run.Writer
	}
	shut(t, e)
	if _, err := migrate(t, from, at(t, c.URL())); err != nil {
		t.Fatal(err)
	}
	e = openAt(t, c.URL())
	j := openJournal(t, e)
	if j.run.Writer <= last {
		t.Errorf("writer %d comes after %d", j.run.Writer, last)
	}
	write(t, j, "5", "")
	wantJournal(t, openJournal(t, e), "012345", "")
}

// The ring goes with what it opens.
func TestAFolderWhoseKeyWasChangedIsMoved(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	dir := filled(t)
	shut(t, openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey}))
	from, there := Config{Dir: dir, Key: otherKey}, at(t, c.URL())
	there.Key = otherKey
	if _, err := migrate(t, from, there); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, openConfig(t, there))
	wantRefusedAs(t, at(t, c.URL()), ErrWrongKey)
}

func TestAFolderThatIsOpenIsNotMoved(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	dir := t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	if _, err := migrate(t, Config{Dir: dir, Key: testKey}, at(t, c.URL())); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
	if all := streamsAt(t, c.URL()); len(all) > 0 {
		t.Errorf("there are %d streams", len(all))
	}
	wantFilled(t, e)
}

func TestNothingIsMovedOntoSomething(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	e := openAt(t, c.URL())
	fill(t, e)
	shut(t, e)
	from := Config{Dir: filled(t), Key: testKey}
	if _, err := migrate(t, from, at(t, c.URL())); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("%v, want ErrNotEmpty", err)
	}
	wantFilled(t, openAt(t, c.URL()))
	wantFilled(t, openConfig(t, from))
	if _, err := migrate(t, Config{Dir: t.TempDir(), Key: testKey}, at(t, c.URL())); !errors.Is(err, ErrEmpty) {
		t.Errorf("from an empty folder: %v, want ErrEmpty", err)
	}
	wrong := at(t, c.URL())
	wrong.Key = otherKey
	if _, err := migrate(t, wrong, Config{Dir: t.TempDir()}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with another key: %v, want ErrWrongKey", err)
	}
}

// errCut ends a move as a kill does, as far as what is stored goes.
var errCut = errors.New("cut off")

// Cut off at any place, the source can be opened, or the move be finished; the
// target cannot be opened until it is.
func TestAMoveThatIsCutOffIsFinished(t *testing.T) {
	for _, place := range []string{"copied " + evidenceConfig.Name, "the source is moved"} {
		for _, into := range []string{"cluster", "folder"} {
			if place == "the source is moved" && into == "folder" {
				continue // as into a cluster
			}
			t.Run(place+", into a "+into, func(t *testing.T) { cutOff(t, place, into) })
		}
	}
}

func cutOff(t *testing.T, place, into string) {
	c := clustertest.StartNodes(t, 1)
	from, to := Config{Dir: filled(t), Key: testKey, AckWait: crashAckWait}, at(t, c.URL())
	if into == "folder" {
		if _, err := migrate(t, from, to); err != nil {
			t.Fatal(err)
		}
		from, to = to, Config{Dir: t.TempDir(), Key: testKey, AckWait: crashAckWait}
	}
	cut(t, place, func() {
		_, _ = migrate(t, from, to)
	})
	wantRefusedAs(t, to, ErrUnfinished)
	if strings.HasPrefix(place, "copied") {
		e := openConfig(t, from)
		writeEvidence(t, e, "later", []byte("more"))
		shut(t, e)
	} else {
		wantRefusedAs(t, from, ErrMoved)
	}
	if _, err := migrate(t, from, to); err != nil {
		t.Fatal(err)
	}
	wantRefusedAs(t, from, ErrMoved)
	if _, err := migrate(t, from, to); !errors.Is(err, ErrMoved) {
		t.Errorf("once more: %v, want ErrMoved", err)
	}
	e := openConfig(t, to)
	wantFilled(t, e)
	if strings.HasPrefix(place, "copied") && !bytes.Equal(readEvidence(t, e, "later"), []byte("more")) {
		t.Error("what was written after the cut is missing")
	}
}

// cut calls do and has it end at a place, with a panic.
func cut(t *testing.T, place string, do func()) {
	t.Helper()
	before := testOnlyPassing
	defer func() {
		testOnlyPassing = before
		if recover() == nil {
			t.Error("it was not cut off")
		}
	}()
	testOnlyPassing = func(at string) {
		if at == place {
			panic(errCut)
		}
	}
	do()
}

// A replica that had no connection while everything was moved finds out.
func TestAReplicaThatComesBackAfterAMoveEnds(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	e := openAt(t, c.URL())
	if err := e.Bucket(Links).Delete(t.Context(), replicaPrefix+e.cluster.id); err != nil { // as if a minute had passed
		t.Fatal(err)
	}
	if _, err := migrate(t, at(t, c.URL()), Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- e.Work(t.Context(), 1, func(context.Context, Item) error { return nil })
	}()
	if err := e.stay(t.Context()); !errors.Is(err, ErrMoved) {
		t.Errorf("staying = %v, want ErrMoved", err)
	}
	e.stop(ErrMoved)
	if err := <-ended; !errors.Is(err, ErrMoved) {
		t.Errorf("Work = %v, want ErrMoved", err)
	}
}

// While a cluster is moved, nobody may begin to work on it, nor move it too.
func TestAClusterThatIsBeingMovedIsRefused(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	e := openAt(t, c.URL())
	if _, err := e.Bucket(Links).Create(t.Context(), moverKey, nil); err != nil {
		t.Fatal(err)
	}
	shut(t, e)
	wantRefusedAs(t, at(t, c.URL()), ErrUnfinished)
	if _, err := migrate(t, at(t, c.URL()), Config{Dir: t.TempDir()}); !errors.Is(err, ErrInUse) {
		t.Errorf("moving it = %v, want ErrInUse", err)
	}
}
