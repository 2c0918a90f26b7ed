package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// The files of the folder; see the package's documentation.
const (
	lockFile  = "engine.lock"
	sockFile  = "engine.sock"
	keyFile   = "key.check"
	readyFile = "ready"
	dataDir   = "jetstream" // named by the server
)

// folderNotes are files of the folder.
func folderNotes(dir string) notes {
	return notes{
		read: func(_ context.Context, name string) ([]byte, error) {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			return text, err
		},
		write: func(_ context.Context, name string, text []byte) error {
			return writeDurably(filepath.Join(dir, name), text)
		},
		remove: func(_ context.Context, name string) error {
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return syncDir(dir)
		},
		hasData: func(context.Context) (bool, error) {
			return exists(dir, dataDir) || exists(dir, readyFile), nil
		},
	}
}

// sweep removes what an interrupted start left of a part. Where there is data
// it was no interrupted start, and nothing is removed.
func sweep(dir, part string) error {
	stream, consumer, isConsumer := strings.Cut(part, "/")
	stream = filepath.Join(dir, dataDir, "$G", "streams", stream)
	leftover := stream
	if isConsumer {
		leftover = filepath.Join(stream, "obs", consumer)
	}
	if !exists(leftover, "") {
		return nil
	}
	messages, err := os.ReadDir(filepath.Join(stream, "msgs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range messages {
		if filepath.Ext(file.Name()) != ".blk" {
			continue
		}
		if info, err := file.Info(); err != nil || info.Size() > 0 {
			return fmt.Errorf("there is data in %s that cannot be opened; restore the whole folder from a backup", stream)
		}
	}
	return os.RemoveAll(leftover)
}

// writeDurably replaces the file at path: after a crash it holds all of data
// or what it held before.
func writeDurably(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is none
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	testOnlyPassing("before renaming " + filepath.Base(path))
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	testOnlyPassing("after renaming " + filepath.Base(path))
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a folder durable. Windows has no such call and
// does not need it.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// testOnlyPassing is called where a kill would hurt most.
var testOnlyPassing = func(place string) {}

func exists(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}
