package engine

import (
	"errors"
	"testing"
)

func TestTheDiskHasSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner, client := openTest(t, dir), openTest(t, dir)
	for _, e := range []*Engine{owner, client} {
		free, total, err := e.Space()
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if free < 1<<20 || free > total || err != nil {
			t.Errorf("Space = %d of %d, %v", free, total, err)
		}
	}
}

func TestTheDiskOfAMissingFolderIsAnError(t *testing.T) {
	t.Parallel()
	e := &Engine{dir: t.TempDir() + "/gone"}
	if free, total, err := e.Space(); free != 0 || total != 0 || err == nil {
		t.Errorf("Space = %d of %d, %v", free, total, err)
	}
}
