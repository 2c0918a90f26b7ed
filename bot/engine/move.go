package engine

import (
	"context"
	"errors"
	"fmt"
)

// What moving notes down.
const (
	movedFile   = "moved"   // in the source, once all is in the target: the target
	movingFile  = "moving"  // in the source while it is copied: the target
	fillingFile = "filling" // in the target until all is there: the source
)

// Why nothing can be opened that was moved.
var (
	ErrMoved      = errors.New("what was here was moved")
	ErrUnfinished = errors.New("what is here is being moved, or the move was cut off")
)

// refuse returns an error if nobody may work on what is here.
func (n notes) refuse(ctx context.Context) error {
	for _, note := range []struct {
		name string
		err  error
		text string
	}{
		{movedFile, ErrMoved, "to the %s"},
		{movingFile, ErrUnfinished, "to the %s"},
		{fillingFile, ErrUnfinished, "from the %s"},
	} {
		text, err := n.read(ctx, note.name)
		if err != nil {
			return fmt.Errorf("looking whether it was moved: %w", err)
		}
		if text != nil {
			return fmt.Errorf("%w "+note.text, note.err, text)
		}
	}
	return nil
}
