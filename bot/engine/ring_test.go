package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var thirdKey = bytes.Repeat([]byte{9}, KeySize)

// filled is a folder under testKey with one of everything, and more tokens.
func filled(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	e := openTest(t, dir)
	fill(t, e)
	for _, person := range []string{"bob", "eve"} {
		if _, err := e.Bucket(Tokens).Create(t.Context(), person, []byte("a token of "+person)); err != nil {
			t.Fatal(err)
		}
	}
	for _, bucket := range []string{SignIns, Waiting, Commands, Seen} {
		if _, err := e.Bucket(bucket).Create(t.Context(), "one", []byte("in "+bucket)); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, e)
	return dir
}

// copied is a copy of a folder that nobody has open.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func keyCheck(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// wantRefused fails the test unless the keys do not open the folder, and leave
// it as it is.
func wantRefused(t *testing.T, c Config) {
	t.Helper()
	before := files(t, c.Dir)
	if _, err := Open(t.Context(), c); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v, want ErrWrongKey", err)
	}
	if !maps.Equal(files(t, c.Dir), before) {
		t.Error("the folder is not what it was")
	}
}

// wantRekeyed fails the test unless otherKey alone opens what filled made, and
// seals all of its buckets.
func wantRekeyed(t *testing.T, dir string) {
	t.Helper()
	wantRefused(t, Config{Dir: dir, Key: testKey})
	e := openConfig(t, Config{Dir: dir, Key: otherKey, AckWait: crashAckWait})
	wantFilled(t, e)
	for _, bucket := range []string{Tokens, SignIns, Waiting, Commands, Seen} {
		wantSealedUnder(t, e.Bucket(bucket), otherKey)
	}
	shut(t, e)
	if r, err := readRing(t.Context(), Config{Dir: dir, Key: otherKey}, folderNotes(dir)); r.resealing || len(r.keys) != 2 || err != nil {
		t.Errorf("%d keys, resealing %v, %v", len(r.keys), r.resealing, err)
	}
}

func wantSealedUnder(t *testing.T, b *Bucket, key []byte) {
	t.Helper()
	alone := &Bucket{e: b.e, stream: b.stream, kv: b.kv, seal: newSealer(key, "values")}
	keys, err := b.Keys(t.Context())
	if err != nil || len(keys) == 0 {
		t.Errorf("%s has %d keys, %v", b.kv.Bucket(), len(keys), err)
	}
	for _, k := range keys {
		if _, _, err := alone.Get(t.Context(), k); err != nil {
			t.Error(err)
		}
	}
}

func TestTheKeyOfAFolderIsChanged(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	var out lockedBuffer
	e := openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey, Log: slog.New(slog.NewTextHandler(&out, nil))})
	if v, err := get(e.Bucket(Tokens), t.Context(), "bob"); string(v) != "a token of bob" || err != nil {
		t.Errorf("the bucket has %q, %v", v, err)
	}
	shut(t, e)
	wantRekeyed(t, dir)
	text := out.String()
	if !strings.Contains(text, "the key of the data folder was changed") || !strings.Contains(text, "values=7") {
		t.Errorf("the log is\n%s", text)
	}
	for _, key := range [][]byte{testKey, otherKey} {
		for _, secret := range []string{string(key), hex.EncodeToString(key), fmt.Sprint(key), serverKey(key), socketToken(key)} {
			if strings.Contains(text, secret) {
				t.Errorf("the log has %q in it", secret)
			}
		}
	}
}

// v1 is key.check of testKey as it was when there was no other: 12 bytes of
// nonce 00 01 ... 0b, and the text under AES-256-GCM with HKDF-SHA256 of the
// key, made with another implementation (Python's cryptography).
const v1 = "000102030405060708090a0b5046cb74249135f038c127640a6e302d5ab22572eef582ecefcb077c8b9525d3f863dc82cc073a9a4bd3106c5ef4b1a3"

func TestAFolderWhoseKeyWasNeverChangedStaysAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content, err := hex.DecodeString(v1)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, keyFile), content, 0o600); err != nil {
		t.Fatal(err)
	}
	e := openTest(t, dir)
	fill(t, e)
	shut(t, e)
	e = openTest(t, dir)
	wantFilled(t, e)
	wantSealedUnder(t, e.Bucket(Tokens), testKey)
	shut(t, e)
	if keyCheck(t, dir) != string(content) {
		t.Error("key.check was written")
	}
	wantRefused(t, Config{Dir: dir, Key: otherKey})
}

func TestAnOldKeyThatIsNotNeededChangesNothing(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	before := keyCheck(t, dir)
	for _, old := range [][]byte{otherKey, testKey} {
		var out lockedBuffer
		shut(t, openConfig(t, Config{Dir: dir, Key: testKey, OldKey: old, Log: slog.New(slog.NewTextHandler(&out, nil))}))
		if keyCheck(t, dir) != before {
			t.Error("key.check was written")
		}
		if text := out.String(); !strings.Contains(text, "AUDITBOT_KEY_OLD is not needed any more") {
			t.Errorf("the log is\n%s", text)
		}
	}
	wantFilled(t, openTest(t, dir))
}

func TestTwoWrongKeysChangeNothing(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	wantRefused(t, Config{Dir: dir, Key: otherKey, OldKey: thirdKey})
	wantRefused(t, Config{Dir: dir, Key: otherKey, OldKey: otherKey})
	wantRefused(t, Config{Dir: dir, Key: testKey, OldKey: otherKey[:16]})
	wantFilled(t, openTest(t, dir))
}

func TestANewFolderHasTheNewKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	fill(t, e)
	shut(t, e)
	wantRefused(t, Config{Dir: dir, Key: testKey})
	wantFilled(t, openConfig(t, Config{Dir: dir, Key: otherKey}))
}

func TestTheKeyIsChangedAgainAndBack(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	for _, step := range []struct{ key, old []byte }{{otherKey, testKey}, {thirdKey, otherKey}, {testKey, thirdKey}, {otherKey, testKey}} {
		e := openConfig(t, Config{Dir: dir, Key: step.key, OldKey: step.old})
		wantSealedUnder(t, e.Bucket(Tokens), step.key)
		if got := readEvidence(t, e, "evidence"); string(got) != "some evidence" {
			t.Errorf("the evidence is %q", got)
		}
		shut(t, e)
		wantRefused(t, Config{Dir: dir, Key: step.old})
	}
	wantFilled(t, openConfig(t, Config{Dir: dir, Key: otherKey}))
}

// What was written before the change is read chunk by chunk, and goes on.
func TestAJournalGoesOnAfterTheKeyWasChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	before, after := string(noise(1, 2*chunkSize+5)), string(noise(2, chunkSize+5))
	write(t, openJournal(t, e), before, "before")
	shut(t, e)
	e = openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	j := openJournal(t, e)
	wantJournal(t, j, before, "before")
	write(t, j, after, "after")
	wantJournal(t, openJournal(t, e), before+after, "after")
}

func TestABackupOpensWithTheKeyOfItsTime(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	backup := copied(t, dir)
	shut(t, openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey}))
	wantRefused(t, Config{Dir: backup, Key: otherKey})
	shut(t, openConfig(t, Config{Dir: copied(t, backup), Key: otherKey, OldKey: testKey}))
	wantFilled(t, openTest(t, backup))
}

// The age of a query of Graph is what it counts by.
func TestQueriesAreNotYoungerAfterTheKeyWasChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	rev, err := e.Bucket(Queries).Create(t.Context(), "contoso/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, e)
	e = openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	if _, got, err := e.Bucket(Queries).Get(t.Context(), "contoso/1"); got != rev || err != nil {
		t.Errorf("revision %d, %v, want %d", got, err, rev)
	}
}

func TestAValueThatDoesNotOpenHoldsUpNoChange(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	e := openTest(t, dir)
	if _, err := e.Bucket(Tokens).kv.PutString(t.Context(), "kZXZl", "not sealed"); err != nil { // eve's
		t.Fatal(err)
	}
	shut(t, e)
	var out lockedBuffer
	e = openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey, Log: slog.New(slog.NewTextHandler(&out, nil))})
	if text := out.String(); !strings.Contains(text, "a value does not open under any key") || !strings.Contains(text, "values=6") {
		t.Errorf("the log is\n%s", text)
	}
	wantFilled(t, e)
}

func TestAnotherVersionsKeyCheckIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"v":3}`, "", "{"} {
		c := Config{Dir: t.TempDir(), Key: testKey}
		if err := writeKeyCheck(t.Context(), folderNotes(c.Dir), c.Key, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "another version") {
			t.Errorf("with %q in it: Open = %v", text, err)
		}
	}
}

func TestAClientNeedsTheNewKey(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	if _, err := Open(t.Context(), Config{Dir: dir, Key: testKey}); !errors.Is(err, ErrWrongKey) {
		t.Errorf("Open = %v, want ErrWrongKey", err)
	}
	client := openConfig(t, Config{Dir: dir, Key: otherKey})
	if client.Owner() || openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey}).Owner() {
		t.Error("two own the folder")
	}
	wantFilled(t, client)
}

func TestOnlyTheOwnerChangesTheKey(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	owner := openTest(t, dir)
	before := keyCheck(t, dir)
	_, err := Open(t.Context(), Config{Dir: dir, Key: otherKey, OldKey: testKey})
	if !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "start it once with both keys") {
		t.Errorf("Open = %v", err)
	}
	if keyCheck(t, dir) != before {
		t.Error("key.check was written")
	}
	wantFilled(t, owner)
}

// A client from before the change would write what others must not open.
func TestAClientWithTheOldKeyIsLeftBehind(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	owner := openTest(t, dir)
	client := openTest(t, dir)
	shut(t, owner)
	openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey})
	receive(t, client.gone)
	if _, err := client.Bucket(Tokens).Put(t.Context(), "ada", []byte("another token")); err == nil {
		t.Error("it wrote a value")
	}
}

// dieAt kills this process at a place that [testOnlyPassing] is told, "2 place"
// for the second time.
func dieAt(place string) {
	count, place, _ := strings.Cut(place, " ")
	left, _ := strconv.Atoi(count)
	testOnlyPassing = func(at string) {
		if strings.HasPrefix(at, place) {
			left--
		}
		if left == 0 {
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
	}
}

func sayOpened(ctx context.Context, e *Engine) error {
	fmt.Println("opened")
	return e.Close()
}

// killedAt is a folder like filled's whose change of the key was killed.
func killedAt(t *testing.T, place string) (dir string) {
	t.Helper()
	dir = filled(t)
	rekey(t, dir, place)
	return dir
}

// rekey changes the key in a process that is killed at a place.
func rekey(t *testing.T, dir, place string) {
	t.Helper()
	c := start(t, "rekeyer", dir, "ENGINE_DIES="+place)
	if c.lines.Scan() {
		t.Fatalf("the child says %q", c.lines.Text())
	}
	if _ = c.cmd.Wait(); c.cmd.ProcessState.ExitCode() != -1 { // killed
		t.Fatalf("the child ended by itself: %v: %s", c.cmd.ProcessState, &c.err)
	}
}

func TestAKillBeforeTheKeyIsChangedLeavesTheOldOne(t *testing.T) {
	t.Parallel()
	dir := killedAt(t, "1 before renaming "+keyFile)
	wantRefused(t, Config{Dir: dir, Key: otherKey})
	wantFilled(t, openTest(t, copied(t, dir)))
	shut(t, openConfig(t, Config{Dir: dir, Key: otherKey, OldKey: testKey}))
	wantRekeyed(t, dir)
}

// Whoever starts it next has the new key alone, or still both.
func TestAKillAfterTheKeyIsChangedLeavesTheNewOne(t *testing.T) {
	t.Parallel()
	for _, place := range []string{
		"1 after renaming " + keyFile,
		"1 sealed anew",
		"2 sealed anew",
		"5 sealed anew",
		"7 sealed anew",
		"2 before renaming " + keyFile,
		"2 after renaming " + keyFile,
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			dir := killedAt(t, place)
			both := copied(t, dir)
			wantRekeyed(t, dir)
			wantRefused(t, Config{Dir: both, Key: testKey})
			shut(t, openConfig(t, Config{Dir: both, Key: otherKey, OldKey: testKey}))
			wantRekeyed(t, both)
		})
	}
}

func TestAChangeThatIsKilledAgainAndAgainComesToItsEnd(t *testing.T) {
	t.Parallel()
	dir := killedAt(t, "1 before renaming "+keyFile)
	for _, place := range []string{"1 after renaming " + keyFile, "1 sealed anew", "3 sealed anew", "6 sealed anew", "1 before renaming " + keyFile} {
		rekey(t, dir, place)
	}
	wantRekeyed(t, dir)
}

func TestAChangeThatIsCalledOffGoesOnLater(t *testing.T) {
	t.Parallel()
	dir := filled(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, err := Open(ctx, Config{Dir: dir, Key: otherKey, OldKey: testKey}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open = %v", err)
	}
	wantRekeyed(t, dir)
}
