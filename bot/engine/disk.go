package engine

import "fmt"

// Space is what the file system of the data folder has for this user, and its
// size, in bytes.
func (e *Engine) Space() (free, total uint64, err error) {
	free, total, err = space(e.dir)
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the space on disk: %w", err)
	}
	return free, total, nil
}
