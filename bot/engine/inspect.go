package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An Inspection is what a data folder is found to have.
type Inspection struct {
	Parts     int      // the streams and buckets there are to be, the inbox's consumer not counted
	Missing   []string // those that are not there, by their names in JetStream; nil if all are
	Plain     []string // those whose files JetStream does not encrypt; what is in them is sealed all the same
	Values    uint64   // how many messages all of them hold
	Bytes     uint64   // how much of the disk that takes
	Evidence  uint64   // how much of it is results
	OlderKeys int      // how many keys the folder had before; some of what it holds may still be sealed under them
}

// serverKeyFile is in the folder of each stream that JetStream encrypts: the
// stream's own key, encrypted.
const serverKeyFile = "meta.key"

// IsNew tells whether there is no data in a folder yet, so that [Open] would
// make one there. Nothing is touched.
func IsNew(dir string) (bool, error) {
	for _, name := range []string{keyFile, dataDir, readyFile} {
		there, err := isThere(filepath.Join(dir, name))
		if there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Inspect looks through the data folder, and changes nothing.
func (e *Engine) Inspect(ctx context.Context) (Inspection, error) {
	i := Inspection{OlderKeys: len(e.seal.keys) - 1}
	for _, p := range parts() {
		if strings.Contains(p.name, "/") {
			continue // a consumer, whose files are among its stream's
		}
		i.Parts++
		stream, err := e.js.Stream(ctx, p.name)
		if isMissing(err) {
			i.Missing = append(i.Missing, p.name)
			continue
		}
		if err != nil {
			return Inspection{}, fmt.Errorf("looking at %s: %w", p.name, err)
		}
		state := stream.CachedInfo().State
		i.Values += state.Msgs
		i.Bytes += state.Bytes
		if p.name == evidenceConfig.Name {
			i.Evidence = state.Bytes
		}
		encrypted, err := isThere(filepath.Join(e.dir, dataDir, "$G", "streams", p.name, serverKeyFile))
		if err != nil {
			return Inspection{}, fmt.Errorf("looking whether %s is encrypted: %w", p.name, err)
		}
		if !encrypted {
			i.Plain = append(i.Plain, p.name)
		}
	}
	return i, nil
}

func isThere(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
