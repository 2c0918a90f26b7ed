// Package clustertest runs real NATS servers for tests: a cluster of three on
// loopback, each a process of its own, to be killed and started again.
//
//	c := clustertest.Start(t)
//	e, err := engine.Open(ctx, engine.Config{Dir: t.TempDir(), Key: key, Cluster: engine.Cluster{URL: c.URL()}})
//	c.Kill(0)    // SIGKILL
//	c.Restart(0) // on the same files; returns once it has caught up with the others
//
// A server is the test program itself, started again: whoever imports this
// package is a NATS server where the environment says so.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/nats-io/nats-server/v2/server"
)

// configVariable names the configuration file of a server.
const configVariable = "AUDITBOT_TEST_NATS_CONFIG"

func init() {
	config := os.Getenv(configVariable)
	if config == "" {
		return
	}
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// By default, a group whose leader was killed chooses another after 4 to 9
// seconds, which tests need not wait for. NATS's own tests set these variables
// likewise.
var (
	//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
	minElectionTimeout time.Duration
	//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
	maxElectionTimeout time.Duration
	//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
	hbInterval time.Duration
)

// serve is a server until its parent is gone.
func serve(config string) error {
	minElectionTimeout, maxElectionTimeout, hbInterval = 1500*time.Millisecond, 3*time.Second, 200*time.Millisecond
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		return err
	}
	options.NoSigs = true
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when the parent does
	s.Shutdown()
	return nil
}

// startPatience bounds the start of a server and its catching up.
const startPatience = 60 * time.Second

// A Cluster is what Start has started.
type Cluster struct {
	t     testing.TB
	nodes []*node
}

type node struct {
	config string // the file
	url    string // of clients
	health string // of the monitor's page

	mu    sync.Mutex
	cmd   *exec.Cmd // nil while it is dead
	stdin io.Closer
	log   bytes.Buffer
}

// Start runs a cluster of three until the test ends. Nothing is encrypted and
// nobody has to sign in. Writes are not synced: a killed process leaves what it
// wrote to the operating system.
func Start(t testing.TB) *Cluster {
	t.Helper()
	return StartNodes(t, 3)
}

// StartNodes is Start for another number of servers. A single one is no
// cluster.
func StartNodes(t testing.TB, n int) *Cluster {
	t.Helper()
	return start(t, n, "")
}

// StartAccounts is Start with a number of accounts, which know nothing of each
// other; see AccountURL.
func StartAccounts(t testing.TB, accounts int) *Cluster {
	t.Helper()
	var more strings.Builder
	for i := range accounts {
		fmt.Fprintf(&more, "a%d { jetstream: enabled, users: [ { user: a%[1]d, password: test } ] }\n", i)
	}
	return start(t, 3, "accounts {\n"+more.String()+"}\n")
}

func start(t testing.TB, n int, more string) *Cluster {
	t.Helper()
	ports := freePorts(t, 3*n)
	var routes []string
	for i := range n {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[3*i+1]))
	}
	var configs []string
	for i := range n {
		config := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream { store_dir: %q, max_mem: 64MB, max_file: 20GB }\n",
			i, ports[3*i], ports[3*i+2], filepath.ToSlash(t.TempDir()))
		if n > 1 {
			config += fmt.Sprintf("cluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }\n", ports[3*i+1], strings.Join(routes, ", "))
		}
		configs = append(configs, config+more)
	}
	return StartConfigs(t, configs)
}

// StartConfigs runs a server with each of these configurations, in NATS's
// language, until the test ends. Each must have a store_dir of its own, and
// addresses of loopback with listen and http.
func StartConfigs(t testing.TB, configs []string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for _, text := range configs {
		n := &node{config: filepath.Join(t.TempDir(), "nats.conf")}
		if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := server.ProcessConfigFile(n.config)
		if err != nil {
			t.Fatal(err)
		}
		n.url = fmt.Sprintf("nats://%s:%d", options.Host, options.Port)
		n.health = fmt.Sprintf("http://%s:%d/healthz", options.HTTPHost, options.HTTPPort)
		c.nodes = append(c.nodes, n)
		t.Cleanup(func() { n.kill() })
	}
	t.Cleanup(func() { // runs before the nodes are killed
		if t.Failed() {
			c.showLogs()
		}
	})
	for i := range c.nodes {
		c.start(i)
	}
	for i := range c.nodes {
		c.AwaitHealthy(i)
	}
	return c
}

// URL is the addresses of all servers, with commas between them.
func (c *Cluster) URL() string {
	var all []string
	for i := range c.nodes {
		all = append(all, c.NodeURL(i))
	}
	return strings.Join(all, ",")
}

// AccountURL is URL for account i, which counts from 0, of StartAccounts.
func (c *Cluster) AccountURL(i int) string {
	return strings.ReplaceAll(c.URL(), "//", fmt.Sprintf("//a%d:test@", i))
}

// NodeURL is the address of server i, which counts from 0.
func (c *Cluster) NodeURL(i int) string { return c.nodes[i].url }

// Nodes is how many servers there are, dead ones counted.
func (c *Cluster) Nodes() int { return len(c.nodes) }

// Kill kills server i with SIGKILL. To kill a dead one is harmless.
func (c *Cluster) Kill(i int) { c.nodes[i].kill() }

// Stop freezes server i until Continue: its connections stay and it answers
// nothing. Only where processes can be stopped.
func (c *Cluster) Stop(i int) { c.signal(i, stopSignal) }

// Continue ends Stop.
func (c *Cluster) Continue(i int) { c.signal(i, continueSignal) }

func (c *Cluster) signal(i int, s syscall.Signal) {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		c.t.Errorf("signalling server %d: %v", i, err)
	}
}

// Restart starts server i again on the same files, and returns once it has all
// that the others have. It must be dead.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.start(i)
	c.AwaitHealthy(i)
}

// Launch is Restart without the waiting.
func (c *Cluster) Launch(i int) {
	c.t.Helper()
	c.start(i)
}

func (c *Cluster) start(i int) {
	c.t.Helper()
	if err := c.nodes[i].start(); err != nil {
		c.t.Errorf("starting server %d: %v", i, err)
	}
}

// AwaitHealthy waits until server i says that it has all that the others have.
func (c *Cluster) AwaitHealthy(i int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	var err error
	for ctx.Err() == nil {
		if err = c.nodes[i].healthy(ctx); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Errorf("server %d did not get well within %s: %v", i, startPatience, err)
}

func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		return errors.New("it runs")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), configVariable+"="+n.config, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = &n.log // where a server logs to by default
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	n.cmd, n.stdin = cmd, stdin
	return nil
}

func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait() // says that it was killed
	_ = n.stdin.Close()
	n.cmd = nil
}

// healthy asks the server's monitor.
// https://docs.nats.io/running-a-nats-service/nats_admin/monitoring#health-healthz
func (n *node) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.health, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it says %s", body)
	}
	return err
}

// showLogs is for a test that failed. The servers must not write any more.
func (c *Cluster) showLogs() {
	for i, n := range c.nodes {
		n.kill()
		text := n.log.String()
		c.t.Logf("the log of server %d ends:\n%s", i, text[max(0, len(text)-8000):])
	}
}

// freePorts finds ports of loopback that nobody listens on. They are held until
// all are found, so that none comes twice.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
