package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
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

	Cluster string   // the name of the cluster, or of a single server; "" for a folder
	Copies  int      // in a cluster: how many servers have a copy of what has the fewest
	Behind  []string // in a cluster: servers that are away, or do not have everything; nil if there are none
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

// IsNewCluster is IsNew for a cluster.
func IsNewCluster(ctx context.Context, c Config) (bool, error) {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	e, err := dial(ctx, c)
	if err != nil {
		return false, fmt.Errorf("looking at the %s: %w", c.where(), err)
	}
	defer e.Close()
	there, err := e.hasMeta(ctx)
	if err == nil && !there {
		there, err = e.notes.hasData(ctx)
	}
	return !there, err
}

// Inspect looks through the data folder or the cluster, and changes nothing.
func (e *Engine) Inspect(ctx context.Context) (Inspection, error) {
	i := Inspection{OlderKeys: len(e.seal.keys) - 1}
	if e.cluster != nil {
		i.Cluster = cmp.Or(e.nc.ConnectedClusterName(), e.nc.ConnectedServerName())
	}
	for _, p := range parts() {
		if strings.Contains(p.name, "/") {
			continue // a consumer, whose files are among its stream's
		}
		i.Parts++
		var stream jetstream.Stream
		err := e.insist(ctx, func(ctx context.Context) (err error) {
			stream, err = e.js.Stream(ctx, p.name)
			return err
		})
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
		if e.cluster != nil {
			i.look(stream.CachedInfo())
			continue
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

// look notes how a stream stands in its cluster.
func (i *Inspection) look(info *jetstream.StreamInfo) {
	if i.Copies == 0 || info.Config.Replicas < i.Copies {
		i.Copies = info.Config.Replicas
	}
	if info.Cluster == nil {
		return
	}
	for _, peer := range info.Cluster.Replicas {
		if (peer.Offline || !peer.Current) && !slices.Contains(i.Behind, peer.Name) {
			i.Behind = append(i.Behind, peer.Name)
		}
	}
}

func isThere(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
