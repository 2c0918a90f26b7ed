package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// roles are what this test program can be as a child process, in the folder
// ENGINE_DIR. A role writes lines for its parent to read, and waits to be
// killed.
var roles = map[string]func(ctx context.Context, e *Engine) error{
	"filer":    fileForever,
	"finisher": finishOne,
	"worker":   workForever,
	"writer":   writeForever,
	"searcher": searchForever,
	"client":   fileAsClient,
	"full":     fileOnAFullDisk,
	"rekeyer":  sayOpened,
}

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv("ENGINE_ROLE")]
	if !ok {
		os.Exit(m.Run())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // should the parent be gone
	defer cancel()
	c := Config{Dir: os.Getenv("ENGINE_DIR"), Key: testKey, AckWait: crashAckWait, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if place := os.Getenv("ENGINE_DIES"); place != "" {
		c.Key, c.OldKey = otherKey, testKey
		dieAt(place)
	}
	e, err := Open(ctx, c)
	if err == nil {
		err = role(ctx, e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// crashAckWait is the AckWait of the children and of who comes after them.
const crashAckWait = time.Second

func openAfterCrash(t *testing.T, dir string) *Engine {
	t.Helper()
	return openConfig(t, Config{Dir: dir, Key: testKey, AckWait: crashAckWait})
}

// A child is another process in the same folder.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	err   bytes.Buffer
}

func start(t *testing.T, role, dir string, env ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), "ENGINE_ROLE="+role, "ENGINE_DIR="+dir,
		"GORACE=atexit_sleep_ms=0") // else -race keeps a child that is done for a second
	c.cmd.Env = append(c.cmd.Env, env...)
	c.cmd.Stderr = &c.err
	out, in, err := os.Pipe() // of StdoutPipe's, what was not read yet is lost when the child is waited for
	if err == nil {
		c.cmd.Stdout = in
		t.Cleanup(func() { out.Close() })
		err = errors.Join(c.cmd.Start(), in.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.lines = bufio.NewScanner(out)
	return c
}

// line is the next line that the child writes.
func (c *child) line() string {
	c.t.Helper()
	if !c.lines.Scan() {
		_ = c.cmd.Wait()
		c.t.Fatalf("the child ended: %s", &c.err)
	}
	return c.lines.Text()
}

// kill ends the child at once (SIGKILL).
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

func fileForever(ctx context.Context, e *Engine) error {
	for i := 0; ; i++ {
		if fresh, err := e.File(ctx, fmt.Sprint(i), []byte("data")); !fresh || err != nil {
			return fmt.Errorf("File = %v, %w", fresh, err)
		}
		fmt.Println(i)
	}
}

// What File has confirmed is there, and nothing else than the one that was
// under way.
func TestWhatWasFiledSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, "filer", dir)
	last := ""
	for range 50 {
		last = c.line()
	}
	c.kill()
	for c.lines.Scan() {
		last = c.lines.Text()
	}
	e := openAfterCrash(t, dir)
	n := 0
	for id := ""; id != last; n++ {
		id = fmt.Sprint(n)
		if fresh, err := e.File(t.Context(), id, nil); fresh || err != nil {
			t.Errorf("File(%q) = %v, %v", id, fresh, err)
		}
	}
	if n < 50 {
		t.Errorf("%d were filed", n)
	}
	for i := range n {
		if item := work(t, e); item.ID != fmt.Sprint(i) || string(item.Data) != "data" {
			t.Errorf("got %q with %q, want %d", item.ID, item.Data, i)
		}
	}
}

// finishOne works on items and says when the server has been told that one is
// done.
func finishOne(ctx context.Context, e *Engine) error {
	go e.Work(ctx, 1, func(context.Context, Item) error { return nil })
	for i := 0; ; i++ {
		if _, err := e.File(ctx, fmt.Sprint(i), nil); err != nil {
			return err
		}
		place := 2*uint64(i) + 1 // in the stream: after the other items and their marks
		for done := uint64(0); done < place; {
			info, err := e.worker.Info(ctx)
			if err != nil {
				return err
			}
			done = info.AckFloor.Stream
		}
		fmt.Println(i)
	}
}

func TestWhatIsDoneIsNotRunAgainAfterAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 3 {
		c := start(t, "finisher", dir)
		for range 20 {
			c.line()
		}
		c.kill()
		last := 19
		for c.lines.Scan() {
			last++
		}
		e := openAfterCrash(t, dir)
		for i := range last + 1 {
			if fresh, err := e.File(t.Context(), fmt.Sprint(i), nil); fresh || err != nil {
				t.Errorf("File(%d) = %v, %v", i, fresh, err)
			}
		}
		// The child may have filed one more, and not have finished it.
		fresh, err := e.File(t.Context(), fmt.Sprint(last+1), nil)
		if err != nil {
			t.Fatal(err)
		}
		next := fmt.Sprint(last + 1)
		items := make(chan Item, 100)
		end := working(t, e, 1, func(_ context.Context, item Item) error {
			items <- item
			return nil
		})
		file(t, e, "sentinel")
		for item := receive(t, items); item.ID != "sentinel"; item = receive(t, items) {
			if item.ID != next {
				t.Errorf("%q was run again (try %d, %q was fresh: %v)", item.ID, item.Tries, next, fresh)
			}
		}
		end()
		shut(t, e)
		dir = t.TempDir()
	}
}

func workForever(ctx context.Context, e *Engine) error {
	return e.Work(ctx, 1, func(ctx context.Context, item Item) error {
		fmt.Println(item.ID, item.Tries)
		<-ctx.Done()
		return ctx.Err()
	})
}

func TestAnItemWhoseWorkerWasKilledIsHandedOutAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openAfterCrash(t, dir)
	file(t, e, "one")
	shut(t, e)
	c := start(t, "worker", dir)
	if got := c.line(); got != "one 1" {
		t.Errorf("the child works on %q", got)
	}
	c.kill()
	e = openAfterCrash(t, dir)
	if fresh, err := e.File(t.Context(), "one", nil); fresh || err != nil {
		t.Errorf("File = %v, %v", fresh, err)
	}
	if item := work(t, e); item.ID != "one" || string(item.Data) != "data of one" {
		t.Errorf("got %q with %q", item.ID, item.Data)
	}
	wantIdle(t, e)
}

func TestAnItemWhoseClientWasKilledIsHandedOutAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openAfterCrash(t, dir)
	c := start(t, "worker", dir)
	file(t, e, "one")
	if got := c.line(); got != "one 1" {
		t.Errorf("the child works on %q", got)
	}
	c.kill()
	if item := work(t, e); item.ID != "one" || item.Tries != 2 {
		t.Errorf("got %q, try %d", item.ID, item.Tries)
	}
}

func writeForever(ctx context.Context, e *Engine) error {
	if _, err := e.Bucket(Tokens).Put(ctx, "ada", []byte("a token")); err != nil {
		return err
	}
	w, err := e.CreateEvidence(ctx, "evidence")
	for err == nil {
		_, err = w.Write(noise(1, chunkSize))
		fmt.Println(w.j.size)
	}
	return err
}

func TestEvidenceCutOffByAKillDoesNotOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, "writer", dir)
	for range 40 {
		c.line()
	}
	c.kill()
	e := openAfterCrash(t, dir)
	wantNoEvidence(t, e, "evidence", ErrIncomplete)
	if v, err := get(e.Bucket(Tokens), t.Context(), "ada"); string(v) != "a token" {
		t.Errorf("the token is %q, %v", v, err)
	}
	writeEvidence(t, e, "evidence", []byte("whole"))
	if got := readEvidence(t, e, "evidence"); string(got) != "whole" {
		t.Errorf("got %d bytes", len(got))
	}
}

// searchForever makes a checkpoint of every third line. The state is how many
// lines there are.
func searchForever(ctx context.Context, e *Engine) error {
	j, err := e.OpenJournal(ctx, "journal")
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(string(j.State())) // 0 if there is none
	for ; ; n++ {
		if n%3 == 0 {
			if err := j.Checkpoint(ctx, []byte(strconv.Itoa(n))); err != nil {
				return err
			}
			fmt.Println(n)
		}
		if _, err := j.Write(journalLine(n)); err != nil {
			return err
		}
	}
}

// journalLine is a line of 100 kB, so that some fill a chunk and some do not.
func journalLine(n int) []byte {
	return fmt.Appendf(nil, "%099999d\n", n)
}

func TestAJournalSurvivesKillsUpToItsLastCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 4 {
		c := start(t, "searcher", dir)
		last := ""
		for range 7 {
			last = c.line()
		}
		c.kill()
		for c.lines.Scan() {
			last = c.lines.Text()
		}
		e := openAfterCrash(t, dir)
		j := openJournal(t, e)
		atLeast, err := strconv.Atoi(last)
		n, err2 := strconv.Atoi(string(j.State()))
		// One more may have been stored before the child could say so.
		if err != nil || err2 != nil || n != atLeast && n != atLeast+3 {
			t.Fatalf("the child said %q, and the state is %q", last, j.State())
		}
		var want []byte
		for i := range n {
			want = append(want, journalLine(i)...)
		}
		if got := readJournal(t, j); !bytes.Equal(got, want) || j.Size() != int64(len(want)) {
			t.Errorf("%d bytes came back, not the %d of %d lines; Size = %d", len(got), len(want), n, j.Size())
		}
		shut(t, e)
	}
}

func fileAsClient(ctx context.Context, e *Engine) error {
	_, err := e.File(ctx, "from a client", []byte("data"))
	fmt.Println(e.Owner(), err)
	return errors.Join(err, e.Close())
}

func TestAnotherProcessIsAClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openAfterCrash(t, dir)
	c := start(t, "client", dir)
	if got := c.line(); got != "false <nil>" {
		t.Errorf("the child says %q", got)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the child: %v: %s", err, &c.err)
	}
	if item := work(t, e); item.ID != "from a client" {
		t.Errorf("got %q", item.ID)
	}
}

func TestTheFolderOfAKilledOwnerIsFree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, "filer", dir)
	c.line()
	client := openAfterCrash(t, dir)
	if client.Owner() {
		t.Fatal("two own the folder")
	}
	shut(t, client)
	c.kill()
	if e := openAfterCrash(t, dir); !e.Owner() {
		t.Error("it is still owned by the dead")
	}
}

func fileOnAFullDisk(ctx context.Context, e *Engine) error {
	if _, err := e.File(ctx, "before", []byte("data")); err != nil {
		return err
	}
	if err := limitFiles(64 << 10); err != nil {
		fmt.Println("skip", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second/2) // no answer comes
	defer cancel()
	fresh, err := e.File(ctx, "too much", noise(1, 200<<10))
	fmt.Println(fresh, err != nil)
	<-context.WithoutCancel(ctx).Done()
	return nil
}

func TestFileFailsWhenTheDiskDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := start(t, "full", dir)
	got := c.line()
	if strings.HasPrefix(got, "skip") {
		t.Skip(got)
	}
	if got != "false true" {
		t.Errorf("File = %s, want false and an error", got)
	}
	c.kill()
	e := openAfterCrash(t, dir)
	for id, want := range map[string]bool{"before": false, "too much": true} {
		if fresh, err := e.File(t.Context(), id, []byte("data")); fresh != want || err != nil {
			t.Errorf("File(%q) = %v, %v, want %v", id, fresh, err, want)
		}
	}
}
