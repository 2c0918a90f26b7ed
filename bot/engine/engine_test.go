package engine

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
)

var (
	testKey  = bytes.Repeat([]byte{7}, KeySize)
	otherKey = bytes.Repeat([]byte{8}, KeySize)
)

// openTest opens dir with the test's key and closes it when the test ends.
func openTest(t testing.TB, dir string) *Engine {
	t.Helper()
	return openConfig(t, Config{Dir: dir, Key: testKey})
}

func openConfig(t testing.TB, c Config) *Engine {
	t.Helper()
	if strings.HasPrefix(t.Name(), "TestInACluster/") {
		c.Cluster.URL = accountOf[t.Name()]
	}
	e, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return e
}

// shut closes e in the middle of a test.
func shut(t testing.TB, e *Engine) {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill puts one of everything into e.
func fill(t testing.TB, e *Engine) {
	t.Helper()
	if fresh, err := e.File(t.Context(), "item", []byte("an item")); !fresh || err != nil {
		t.Fatalf("File = %v, %v", fresh, err)
	}
	if _, err := e.Bucket(Tokens).Create(t.Context(), "ada", []byte("a token")); err != nil {
		t.Fatal(err)
	}
	writeEvidence(t, e, "evidence", []byte("some evidence"))
	write(t, openJournal(t, e), "some results", "a state")
}

// wantFilled fails the test unless e has what fill put there.
func wantFilled(t testing.TB, e *Engine) {
	t.Helper()
	if fresh, err := e.File(t.Context(), "item", nil); fresh || err != nil {
		t.Errorf("filing the same id again = %v, %v, want false, nil", fresh, err)
	}
	if item := work(t, e); item.ID != "item" || string(item.Data) != "an item" {
		t.Errorf("the inbox hands out %q: %q", item.ID, item.Data)
	}
	if v, _, err := e.Bucket(Tokens).Get(t.Context(), "ada"); string(v) != "a token" {
		t.Errorf("the bucket has %q, %v", v, err)
	}
	if got := readEvidence(t, e, "evidence"); string(got) != "some evidence" {
		t.Errorf("the evidence is %q", got)
	}
	wantJournal(t, openJournal(t, e), "some results", "a state")
}

// files is what is in a folder, by path: the mode, and the bytes of files.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			all[path] += info.ModTime().String() + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// stream is the folder of a stream.
func stream(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, "jetstream", "$G", "streams", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func remove(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	shut(t, e)
	wantFilled(t, openTest(t, dir))
}

func TestEveryWriteIsSynced(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	if c := e.host.server.JetStreamConfig(); !c.SyncAlways {
		t.Errorf("the server runs with %+v", c)
	}
}

func TestAWrongKeyChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	shut(t, e)
	before := files(t, dir)
	for name, key := range map[string][]byte{"another key": otherKey, "none": nil, "half a key": testKey[:16]} {
		if _, err := Open(t.Context(), Config{Dir: dir, Key: key}); !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s: Open = %v, want ErrWrongKey", name, err)
		}
	}
	if !maps.Equal(files(t, dir), before) {
		t.Error("the folder is not what it was")
	}
	wantFilled(t, openTest(t, dir))
}

func TestAMissingKeyMakesNoFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat = %v", err)
	}
}

func TestDataWithoutKeyCheckIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	shut(t, e)
	keyCheck := filepath.Join(dir, keyFile)
	saved, err := os.ReadFile(keyCheck)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, keyCheck)
	before := files(t, dir)
	for _, key := range [][]byte{testKey, otherKey} {
		if _, err := Open(t.Context(), Config{Dir: dir, Key: key}); !errors.Is(err, ErrWrongKey) {
			t.Errorf("Open = %v, want ErrWrongKey", err)
		}
	}
	if !maps.Equal(files(t, dir), before) {
		t.Error("the folder is not what it was")
	}
	if err := os.WriteFile(keyCheck, saved, 0o600); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, openTest(t, dir))
}

func TestABrokenKeyCheckIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shut(t, openTest(t, dir))
	if err := os.WriteFile(filepath.Join(dir, keyFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir, Key: testKey}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v, want ErrWrongKey", err)
	}
}

func TestAMissingStreamEndsTheStart(t *testing.T) {
	t.Parallel()
	for _, p := range parts() {
		t.Run(p.name, func(t *testing.T) {
			dir := t.TempDir()
			e := openTest(t, dir)
			fill(t, e)
			shut(t, e)
			name, consumer, isConsumer := strings.Cut(p.name, "/")
			missing := stream(t, dir, name)
			if isConsumer {
				missing = filepath.Join(missing, "obs", consumer)
			}
			aside := filepath.Join(t.TempDir(), "aside")
			if err := os.Rename(missing, aside); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), Config{Dir: dir, Key: testKey}); err == nil || !strings.Contains(err.Error(), p.name) {
				t.Errorf("Open = %v, want that %s is missing", err, p.name)
			}
			if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it was made again: Stat = %v", err)
			}
			if err := os.Rename(aside, missing); err != nil {
				t.Fatal(err)
			}
			wantFilled(t, openTest(t, dir))
		})
	}
}

// A first start can be cut off anywhere. The next one finishes it.
func TestAnInterruptedFirstStartIsFinished(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, dir string){
		"before the server started": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "jetstream"))
		},
		"before the first stream": func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "jetstream", "$G"))
		},
		"before the last stream": func(t *testing.T, dir string) {
			remove(t, stream(t, dir, "KV_auditbot_queries"))
		},
		"within a stream": func(t *testing.T, dir string) {
			remove(t, filepath.Join(stream(t, dir, "auditbot_evidence"), "meta.sum"))
		},
		"within a stream, earlier": func(t *testing.T, dir string) {
			remove(t, filepath.Join(stream(t, dir, "auditbot_evidence"), "meta.inf"))
			remove(t, filepath.Join(stream(t, dir, "auditbot_evidence"), "meta.sum"))
		},
		"before the consumer": func(t *testing.T, dir string) {
			remove(t, filepath.Join(stream(t, dir, "auditbot_inbox"), "obs"))
		},
		"within the consumer": func(t *testing.T, dir string) {
			remove(t, filepath.Join(stream(t, dir, "auditbot_inbox"), "obs", "worker", "meta.sum"))
		},
		"before it was marked as ready": func(*testing.T, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			shut(t, openTest(t, dir))
			remove(t, filepath.Join(dir, readyFile))
			cut(t, dir)
			e := openTest(t, dir)
			fill(t, e)
			shut(t, e)
			wantFilled(t, openTest(t, dir))
		})
	}
}

func TestALostReadyFileLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	shut(t, e)
	remove(t, filepath.Join(dir, readyFile))
	wantFilled(t, openTest(t, dir))
}

// What is broken is not an interrupted start, even if it looks like one.
func TestABrokenStreamIsNotReplaced(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"KV_auditbot_tokens", "auditbot_inbox/obs/worker"} {
		dir := t.TempDir()
		e := openTest(t, dir)
		fill(t, e)
		shut(t, e)
		remove(t, filepath.Join(dir, readyFile))
		sum := filepath.Join(stream(t, dir, part), "meta.sum")
		saved, err := os.ReadFile(sum)
		if err != nil {
			t.Fatal(err)
		}
		remove(t, sum)
		if _, err := Open(t.Context(), Config{Dir: dir, Key: testKey}); err == nil || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: Open = %v", part, err)
		}
		if err := os.WriteFile(sum, saved, 0o600); err != nil {
			t.Fatal(err)
		}
		wantFilled(t, openTest(t, dir))
	}
}

func TestAnOldFolderGetsWhatANewVersionAdds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	if _, err := e.Bucket(Tokens).Create(t.Context(), "ada", []byte("a token")); err != nil {
		t.Fatal(err)
	}
	writeEvidence(t, e, "evidence", []byte("some evidence"))
	config := e.evidence.CachedInfo().Config
	config.MaxAge = 30 * 24 * time.Hour // as it was before there was Sweep
	if _, err := e.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	shut(t, e)
	ready, err := folderNotes(dir).ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	added := []string{"auditbot_journals", "KV_auditbot_seen", "KV_auditbot_queries"}
	for _, part := range added {
		remove(t, stream(t, dir, part))
	}
	if err := folderNotes(dir).setReady(t.Context(), slices.DeleteFunc(ready, func(s string) bool { return slices.Contains(added, s) })); err != nil {
		t.Fatal(err)
	}

	e = openTest(t, dir)
	for _, bucket := range []string{Seen, Queries} {
		if _, err := e.Bucket(bucket).Create(t.Context(), "contoso", nil); err != nil {
			t.Error(err)
		}
	}
	write(t, openJournal(t, e), "some results", "a state")
	if v, err := get(e.Bucket(Tokens), t.Context(), "ada"); string(v) != "a token" {
		t.Errorf("the bucket has %q, %v", v, err)
	}
	if got := readEvidence(t, e, "evidence"); string(got) != "some evidence" {
		t.Errorf("the evidence is %q", got)
	}
	if age := e.evidence.CachedInfo().Config.MaxAge; age != 0 {
		t.Errorf("evidence is deleted after %v", age)
	}
	shut(t, e)
	now, err := folderNotes(dir).ready(t.Context())
	for _, part := range added {
		if err != nil || !slices.Contains(now, part) {
			t.Errorf("ready lists %q without %s, %v", now, part, err)
		}
	}
	wantJournal(t, openJournal(t, openTest(t, dir)), "some results", "a state")
}

func TestNobodyElseCanReadTheFolder(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes are not how Windows does it")
	}
	dir := filepath.Join(t.TempDir(), "data")
	e := openTest(t, dir)
	fill(t, e)
	for path, mode := range files(t, dir) {
		if group := mode[4:10]; group != "------" {
			t.Errorf("%s has mode %s", path, mode[:10])
		}
	}
	if err := openTest(t, dir).Close(); err != nil { // as a client, while the socket is in use
		t.Error(err)
	}
}

func TestNothingIsWrittenInPlainText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	secrets := []string{"an item", "a token", "some evidence", "some results", "a state", string(testKey), serverKey(testKey), socketToken(testKey), checked}
	for _, id := range []string{"item", "ada", "evidence"} { // the server's own encryption hides even these
		tok, _ := token(id)
		secrets = append(secrets, tok)
	}
	check := func() {
		for path, content := range files(t, dir) {
			for _, s := range secrets {
				if strings.Contains(content, s) {
					t.Errorf("%s has %q in it", path, s)
				}
			}
		}
	}
	check()
	shut(t, e)
	check()
	for _, key := range [][]byte{testKey, otherKey} {
		secrets = append(secrets, string(key), serverKey(key), socketToken(key), base64.StdEncoding.EncodeToString(key), hex.EncodeToString(key))
	}
	e = openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	check()
	shut(t, e)
	check()
}

// Whoever runs a cluster reads JetStream's messages, so they are sealed too.
func TestJetStreamSeesNoPlainText(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	fill(t, e)
	sub, err := e.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.File(t.Context(), "another item", []byte("an item")); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, e)
	if err := e.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	n, _, err := sub.Pending()
	if err != nil || n < 4 {
		t.Fatalf("overheard %d messages, %v", n, err)
	}
	for range n {
		m, err := sub.NextMsg(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"an item", "a token", "some evidence", "some results", "a state"} {
			if bytes.Contains(m.Data, []byte(s)) || strings.Contains(fmt.Sprint(m.Header), s) {
				t.Errorf("%s says %q", m.Subject, s)
			}
		}
	}
}

func TestASecondEngineIsAClientOfTheFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner := openTest(t, dir)
	client := openTest(t, dir)
	if !owner.Owner() || client.Owner() {
		t.Fatalf("Owner = %v and %v", owner.Owner(), client.Owner())
	}
	fill(t, client)
	wantFilled(t, owner)
	shut(t, client)

	// Its end is not the owner's.
	if fresh, err := owner.File(t.Context(), "afterwards", nil); !fresh || err != nil {
		t.Errorf("File = %v, %v", fresh, err)
	}
	again := openTest(t, dir)
	if fresh, err := again.File(t.Context(), "afterwards", nil); fresh || err != nil {
		t.Errorf("File = %v, %v", fresh, err)
	}
}

func TestAClientTakesItemsToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner := openTest(t, dir)
	client := openTest(t, dir)
	fill(t, owner)
	wantFilled(t, client)
}

func TestAClientNeedsTheKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openTest(t, dir)
	if _, err := Open(t.Context(), Config{Dir: dir, Key: otherKey}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v, want ErrWrongKey", err)
	}
	for name, option := range map[string]nats.Option{
		"no token":    nats.Name("intruder"),
		"wrong token": nats.Token(socketToken(otherKey)),
	} {
		nc, err := nats.Connect("", nats.InProcessServer(socket{dir}), option)
		if err == nil { // the server may hang up before it has said why
			t.Errorf("%s: Connect worked", name)
		}
		if nc != nil {
			nc.Close()
		}
	}
	nc, err := nats.Connect("", nats.InProcessServer(socket{dir}), nats.Token(socketToken(testKey)))
	if err != nil {
		t.Fatalf("the right token: %v", err)
	}
	nc.Close()
}

func TestAClientSurvivesItsOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner := openTest(t, dir)
	client := openTest(t, dir)
	fill(t, client)
	shut(t, owner)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.File(ctx, "lost", nil); err == nil {
		t.Error("filing without an owner is said to have worked")
	}
	openTest(t, dir)
	if err := client.nc.FlushTimeout(requestTimeout); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, client)
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shut(t, openTest(t, dir))
	l, err := socket{dir}.listen()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil { // as after a crash: the file stays
		t.Fatal(err)
	}
	if !exists(dir, sockFile) {
		t.Fatal("there is no stale socket")
	}
	openTest(t, dir)
	if openTest(t, dir).Owner() {
		t.Error("the second one owns the folder too")
	}
}

func TestAFolderMayHaveALongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	owner := openTest(t, dir)
	if path := (socket{dir}).path(); len(path) <= maxSocketPath {
		t.Fatalf("%s is not long", path)
	}
	client := openTest(t, dir)
	if !owner.Owner() || client.Owner() {
		t.Errorf("Owner = %v and %v", owner.Owner(), client.Owner())
	}
	shut(t, client)
	shut(t, owner)
	if exists(dir, sockFile) {
		t.Error("the socket is still there")
	}
}

func TestOpenWaitsForAnOwnerThatStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := flock.New(filepath.Join(dir, lockFile))
	if ok, err := l.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	var opened sync.WaitGroup
	opened.Go(func() {
		e, err := Open(t.Context(), Config{Dir: dir, Key: testKey})
		if err != nil {
			t.Error(err)
			return
		}
		if !e.Owner() {
			t.Error("it is not the owner")
		}
		shut(t, e)
	})
	time.AfterFunc(100*time.Millisecond, func() {
		if err := l.Unlock(); err != nil {
			t.Error(err)
		}
	})
	opened.Wait()
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := flock.New(filepath.Join(dir, lockFile))
	if ok, err := l.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	defer l.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, Config{Dir: dir, Key: testKey}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open = %v", err)
	}
}

func TestManyOpenAtOnceAndOneOwns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	engines := make([]*Engine, 8)
	var opening sync.WaitGroup
	for i := range engines {
		opening.Go(func() {
			var err error
			if engines[i], err = Open(t.Context(), Config{Dir: dir, Key: testKey}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	owners := 0
	for _, e := range engines {
		if e.Owner() {
			owners++
		}
	}
	if owners != 1 {
		t.Errorf("%d own the folder", owners)
	}
	fill(t, engines[0])
	wantFilled(t, engines[7])
	slices.SortFunc(engines, func(a, b *Engine) int { // clients first
		return map[bool]int{false: 0, true: 1}[a.Owner()] - map[bool]int{false: 0, true: 1}[b.Owner()]
	})
	for _, e := range engines {
		shut(t, e)
	}
}

func TestAClosedEngineRefuses(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	shut(t, e)
	if err := e.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := e.File(t.Context(), "item", nil); err == nil {
		t.Error("File worked")
	}
	if err := e.Work(t.Context(), 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Work = %v, want ErrClosed", err)
	}
	if _, err := e.CreateEvidence(t.Context(), "evidence"); err == nil {
		t.Error("CreateEvidence worked")
	}
	if _, _, err := e.Bucket(Tokens).Get(t.Context(), "ada"); err == nil {
		t.Error("Get worked")
	}
}

func TestTheServerLogsForDebugging(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e := openConfig(t, Config{Dir: t.TempDir(), Key: testKey, Log: log})
	fill(t, e)
	shut(t, e)
	if text := out.String(); !strings.Contains(text, "jetstream") || strings.Contains(text, "level=ERROR") || strings.Contains(text, "level=WARN") {
		t.Errorf("the log is\n%s", text)
	}
	for _, secret := range []string{string(testKey), serverKey(testKey), socketToken(testKey), "a token"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("the log has %q in it", secret)
		}
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
