package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestABucketKeepsValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := openTest(t, dir)
	b := e.Bucket(Tokens)
	ctx := t.Context()

	if _, _, err := b.Get(ctx, "ada"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
	first, err := b.Create(ctx, "ada", []byte("1"))
	if err != nil || first == 0 {
		t.Fatalf("Create = %d, %v", first, err)
	}
	second, err := b.Update(ctx, "ada", []byte("2"), first)
	if err != nil || second <= first {
		t.Fatalf("Update = %d, %v", second, err)
	}
	third, err := b.Put(ctx, "ada", []byte("3"))
	if err != nil || third <= second {
		t.Fatalf("Put = %d, %v", third, err)
	}
	shut(t, e)
	b = openTest(t, dir).Bucket(Tokens)
	if v, rev, err := b.Get(ctx, "ada"); string(v) != "3" || rev != third || err != nil {
		t.Errorf("Get = %q, %d, %v", v, rev, err)
	}
	if err := b.Delete(ctx, "ada"); err != nil {
		t.Error(err)
	}
	if _, _, err := b.Get(ctx, "ada"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v, want ErrNotFound", err)
	}
	if _, err := b.Create(ctx, "ada", []byte("4")); err != nil {
		t.Errorf("creating it again: %v", err)
	}
}

func TestOneOfTwoWritersHasAConflict(t *testing.T) {
	t.Parallel()
	b := openTest(t, t.TempDir()).Bucket(Commands)
	ctx := t.Context()
	rev, err := b.Create(ctx, "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "c", nil); !errors.Is(err, ErrConflict) {
		t.Errorf("Create = %v, want ErrConflict", err)
	}
	if _, err := b.Update(ctx, "c", nil, rev); err != nil {
		t.Error(err)
	}
	if _, err := b.Update(ctx, "c", nil, rev); !errors.Is(err, ErrConflict) {
		t.Errorf("Update = %v, want ErrConflict", err)
	}
	if err := b.Delete(ctx, "c"); err != nil {
		t.Error(err)
	}
	if _, err := b.Update(ctx, "c", nil, rev+1); !errors.Is(err, ErrConflict) {
		t.Errorf("Update of what was deleted = %v, want ErrConflict", err)
	}
	if err := b.Delete(ctx, "never"); err != nil {
		t.Errorf("Delete of what never was = %v", err)
	}
}

func TestOnlyTheValueThatWasSeenIsDeleted(t *testing.T) {
	t.Parallel()
	b := openTest(t, t.TempDir()).Bucket(Tokens)
	ctx := t.Context()
	seen, err := b.Create(ctx, "ada", nil)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := b.Update(ctx, "ada", []byte("newer"), seen)
	if err != nil {
		t.Fatal(err)
	}
	for name, revision := range map[string]uint64{"an older revision": seen, "none": 0} {
		if err := b.DeleteRevision(ctx, "ada", revision); !errors.Is(err, ErrConflict) {
			t.Errorf("deleting %s = %v, want ErrConflict", name, err)
		}
	}
	if v, _, err := b.Get(ctx, "ada"); string(v) != "newer" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
	if err := b.DeleteRevision(ctx, "ada", newer); err != nil {
		t.Error(err)
	}
	if err := b.DeleteRevision(ctx, "ada", newer); !errors.Is(err, ErrConflict) {
		t.Errorf("deleting it again = %v, want ErrConflict", err)
	}
	if _, err := b.Update(ctx, "ada", []byte("late"), newer); !errors.Is(err, ErrConflict) {
		t.Errorf("updating what was deleted = %v, want ErrConflict", err)
	}
	if keys, err := b.Keys(ctx); len(keys) != 0 || err != nil {
		t.Errorf("Keys = %q, %v", keys, err)
	}
	if _, err := b.Create(ctx, "ada", []byte("again")); err != nil {
		t.Errorf("creating it again: %v", err)
	}
}

func TestCompareAndSwapLosesNoChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	engines := []*Engine{openTest(t, dir), openTest(t, dir)}
	if _, err := engines[0].Bucket(Commands).Create(t.Context(), "sum", []byte("0")); err != nil {
		t.Fatal(err)
	}
	const each, adders = 20, 4
	var adding sync.WaitGroup
	for i := range adders {
		adding.Go(func() {
			b := engines[i%2].Bucket(Commands)
			for added := 0; added < each; {
				v, rev, err := b.Get(t.Context(), "sum")
				if err != nil {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(v))
				_, err = b.Update(t.Context(), "sum", []byte(strconv.Itoa(n+1)), rev)
				if err == nil {
					added++
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	adding.Wait()
	if v, _, err := engines[1].Bucket(Commands).Get(t.Context(), "sum"); string(v) != fmt.Sprint(each*adders) {
		t.Errorf("the sum is %q, %v", v, err)
	}
}

func TestKeysAreAnyString(t *testing.T) {
	t.Parallel()
	b := openTest(t, t.TempDir()).Bucket(SignIns)
	keys := []string{"", " ", ".", "*", ">", "a.b", "contoso/ada@contoso.com", "\x00\xff", "ä", strings.Repeat("x", maxID)}
	if got, err := b.Keys(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("Keys of an empty bucket = %q, %v", got, err)
	}
	for _, key := range append(keys, "deleted") {
		if _, err := b.Put(t.Context(), key, []byte(key)); err != nil {
			t.Fatalf("Put(%q): %v", key, err)
		}
	}
	if err := b.Delete(t.Context(), "deleted"); err != nil {
		t.Error(err)
	}
	for _, key := range keys {
		if v, _, err := b.Get(t.Context(), key); string(v) != key {
			t.Errorf("Get(%q) = %q, %v", key, v, err)
		}
	}
	got, err := b.Keys(t.Context())
	slices.Sort(got)
	slices.Sort(keys)
	if err != nil || !slices.Equal(got, keys) {
		t.Errorf("Keys = %q, %v, want %q", got, err, keys)
	}
	tooLong := strings.Repeat("x", maxID+1)
	_, getErr := get(b, t.Context(), tooLong)
	_, putErr := b.Put(t.Context(), tooLong, nil)
	for _, err := range []error{getErr, putErr, b.Delete(t.Context(), tooLong)} {
		if !errors.Is(err, ErrTooLong) {
			t.Errorf("a longer key: %v, want ErrTooLong", err)
		}
	}
}

func get(b *Bucket, ctx context.Context, key string) ([]byte, error) {
	v, _, err := b.Get(ctx, key)
	return v, err
}

func TestKeysOfACancelledCallAreAnError(t *testing.T) {
	t.Parallel()
	b := openTest(t, t.TempDir()).Bucket(SignIns)
	if _, err := b.Put(t.Context(), "ada", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if keys, err := b.Keys(ctx); err == nil {
		t.Errorf("Keys = %q", keys)
	}
}

func TestALargeValueIsRefused(t *testing.T) {
	t.Parallel()
	b := openTest(t, t.TempDir()).Bucket(Tokens)
	longest := strings.Repeat("x", maxID)
	if _, err := b.Put(t.Context(), longest, make([]byte, MaxValue)); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	if v, err := get(b, t.Context(), longest); len(v) != MaxValue {
		t.Errorf("the largest value has %d bytes, %v", len(v), err)
	}
	if _, err := b.Put(t.Context(), "ada", make([]byte, MaxValue+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Put = %v, want ErrTooLarge", err)
	}
}

func TestBucketsAreApart(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	names := []string{Tokens, SignIns, Waiting, Commands}
	for _, name := range names {
		if _, err := e.Bucket(name).Create(t.Context(), "key", []byte(name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range names {
		if v, err := get(e.Bucket(name), t.Context(), "key"); string(v) != name {
			t.Errorf("%s has %q, %v", name, v, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a bucket that does not exist is no panic")
		}
	}()
	e.Bucket("tokesn")
}

// Someone who can write to JetStream cannot give Ada's token to Bob.
func TestAValueThatWasMovedDoesNotOpen(t *testing.T) {
	t.Parallel()
	e := openTest(t, t.TempDir())
	tokens, signIns := e.Bucket(Tokens), e.Bucket(SignIns)
	if _, err := tokens.Put(t.Context(), "ada", []byte("a token")); err != nil {
		t.Fatal(err)
	}
	ada, _ := token("ada")
	bob, _ := token("bob")
	entry, err := tokens.kv.Get(t.Context(), ada)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.kv.Put(t.Context(), bob, entry.Value()); err != nil {
		t.Fatal(err)
	}
	if _, err := signIns.kv.Put(t.Context(), ada, entry.Value()); err != nil {
		t.Fatal(err)
	}
	if v, err := get(tokens, t.Context(), "bob"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("under another key it is %q, %v", v, err)
	}
	if v, err := get(signIns, t.Context(), "ada"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("in another bucket it is %q, %v", v, err)
	}
	if v, err := get(tokens, t.Context(), "ada"); string(v) != "a token" {
		t.Errorf("in its place it is %q, %v", v, err)
	}
}
