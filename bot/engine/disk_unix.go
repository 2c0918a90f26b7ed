//go:build linux || darwin

package engine

import "syscall"

// space asks statfs(2), which counts in blocks: bavail is what is free without
// the part that is kept for root.
func space(dir string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	size := uint64(s.Bsize)
	return s.Bavail * size, s.Blocks * size, nil
}
