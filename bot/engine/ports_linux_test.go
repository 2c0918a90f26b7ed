package engine

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// listening lists the TCP sockets on which this process listens, by inode.
// The fourth field of /proc/net/tcp is the state, 0A meaning listen, and the
// tenth the inode: proc_net_tcp(5).
func listening(t *testing.T) []string {
	t.Helper()
	ours := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, _ := os.Readlink(fd) // Glob's own is gone
		ours[target] = true
	}
	var found []string
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // no IPv6 here
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > 9 && fields[3] == "0A" && ours["socket:["+fields[9]+"]"] {
				found = append(found, fields[1])
			}
		}
	}
	return found
}

func TestNoPortIsOpened(t *testing.T) {
	dir := t.TempDir()
	fill(t, openTest(t, dir))
	wantFilled(t, openTest(t, dir))
	if got := listening(t); len(got) != 0 {
		t.Errorf("listening on %q", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // that this test would see one
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := listening(t); len(got) != 1 {
		t.Errorf("listening on %q, want one", got)
	}
}
