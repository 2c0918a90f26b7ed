package engine

import (
	"context"
	"slices"
	"strings"
)

// Notes are what an engine keeps about itself beside its streams: key.check,
// ready, and what [Migrate] writes down. In a data folder they are files, in a
// cluster the keys of a bucket.
type notes struct {
	read func(ctx context.Context, name string) ([]byte, error) // nil if there is none

	// write returns [ErrConflict], in a cluster, if another process has written
	// it since it was read here.
	write   func(ctx context.Context, name string, text []byte) error
	remove  func(ctx context.Context, name string) error // what is not there is no error
	hasData func(ctx context.Context) (bool, error)      // tells whether there is anything beside key.check
}

// ready lists the parts that were created. Where a first start did not come to
// its end there are none: there is nothing in them yet.
func (n notes) ready(ctx context.Context) ([]string, error) {
	text, err := n.read(ctx, readyFile)
	return strings.Fields(string(text)), err
}

func (n notes) setReady(ctx context.Context, parts []string) error {
	return n.write(ctx, readyFile, []byte(strings.Join(slices.Sorted(slices.Values(parts)), "\n")+"\n"))
}
