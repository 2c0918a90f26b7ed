package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// maxSocketPath is what fits a socket address with its NUL on every system:
// macOS has 104 bytes, Linux 108 (sun_path in unix(4) and unix(7)).
const maxSocketPath = 100

// errNoSocket means that nobody answers at engine.sock.
var errNoSocket = errors.New("no answer at " + sockFile)

// A socket is where the owner of a folder is reached. It gives connections to
// NATS's client as the server itself does in the owner's process.
type socket struct{ dir string }

// InProcessConn connects to the owner.
func (s socket) InProcessConn() (net.Conn, error) {
	var conn net.Conn
	err := s.withPath(func(path string) (err error) {
		conn, err = net.DialTimeout("unix", path, requestTimeout)
		return err
	})
	return conn, err
}

// try tells whether the owner answers.
func (s socket) try() error {
	conn, err := s.InProcessConn()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoSocket, err)
	}
	return conn.Close()
}

func (s socket) listen() (*net.UnixListener, error) {
	// Whoever left a socket here is gone: we have the lock.
	if err := os.Remove(s.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var l *net.UnixListener
	err := s.withPath(func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its name may be the short one, which is gone
	if err := os.Chmod(s.path(), 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (s socket) path() string { return filepath.Join(s.dir, sockFile) }

// withPath calls use with a path of the socket that fits an address: through
// a short link to the folder if its own is too long.
func (s socket) withPath(use func(path string) error) error {
	if len(s.path()) <= maxSocketPath {
		return use(s.path())
	}
	tmp, err := os.MkdirTemp("", "auditbot")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(s.dir, link); err != nil {
		return fmt.Errorf("the path of the data folder is too long for a socket (%d bytes, %d fit), and linking to it: %w",
			len(s.path()), maxSocketPath, err)
	}
	return use(filepath.Join(link, sockFile))
}

// A door lets other processes of this machine in to the server.
type door struct {
	socket   socket
	listener *net.UnixListener
	server   nats.InProcessConnProvider
	log      *slog.Logger
	inside   sync.WaitGroup
}

func openDoor(c Config, server nats.InProcessConnProvider) (*door, error) {
	d := &door{socket: socket{c.Dir}, server: server, log: c.Log}
	var err error
	if d.listener, err = d.socket.listen(); err != nil {
		return nil, fmt.Errorf("serving %s: %w", sockFile, err)
	}
	d.inside.Go(d.serve)
	return d, nil
}

func (d *door) serve() {
	for {
		conn, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			d.log.Error("accepting a client of the engine", "err", err)
			time.Sleep(100 * time.Millisecond) // most likely out of file descriptors
			continue
		}
		d.inside.Go(func() { d.pipe(conn) })
	}
}

// pipe connects a client to the server until either hangs up.
func (d *door) pipe(client net.Conn) {
	server, err := d.server.InProcessConn()
	if err != nil {
		client.Close()
		return
	}
	hangUp := func() { client.Close(); server.Close() }
	defer hangUp()
	d.inside.Go(func() {
		defer hangUp()
		_, _ = io.Copy(server, client) // ends when either is closed, which is no error
	})
	_, _ = io.Copy(client, server)
}

// lock lets nobody in any more.
func (d *door) lock() {
	_ = os.Remove(d.socket.path())
	_ = d.listener.Close()
}

// wait waits until all have left, which the server's end makes them do.
func (d *door) wait() { d.inside.Wait() }
