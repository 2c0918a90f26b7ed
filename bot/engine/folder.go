package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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

// readReady lists the parts that were created in the folder. A folder whose
// first start did not come to its end has none: it holds nothing yet.
func readReady(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, readyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

func writeReady(dir string, parts []string) error {
	return writeDurably(filepath.Join(dir, readyFile), []byte(strings.Join(slices.Sorted(slices.Values(parts)), "\n")+"\n"))
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
