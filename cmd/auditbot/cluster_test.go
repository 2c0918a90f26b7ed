package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"auditbot/bot/engine"
	"auditbot/bot/engine/clustertest"
)

// natsServer is the program nats-server, as far as README uses it. It ends when
// the file that it gets as number 3 does, which the test has the other end of.
func natsServer() {
	options, err := server.ProcessConfigFile(os.Args[len(os.Args)-1]) // -c FILE
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(options)
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	_, _ = io.Copy(io.Discard, os.NewFile(3, "the test"))
	s.Shutdown()
}

var (
	shellBlock = regexp.MustCompile("(?s)```sh\ngo install [^\n]*nats-server[^\n]*\n(.*?)```")
	engineLine = regexp.MustCompile(`(?m)^engine: \{nats_url: .*\}$`)
)

// freePrefix is a number to which 1, 2 or 3 can be appended for a port that
// nobody listens on.
func freePrefix(t *testing.T, not string) string {
	t.Helper()
	for prefix := 1100 + os.Getpid()%900; prefix < 3200; prefix++ {
		free := strconv.Itoa(prefix) != not
		for i := 1; i <= 3 && free; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d%d", prefix, i))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return strconv.Itoa(prefix)
		}
	}
	t.Fatal("no ports are free")
	return ""
}

// The example of several replicas in README is run as it is there, but for the
// ports.
func TestTheExampleOfSeveralReplicasWorks(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block, line := shellBlock.FindSubmatch(readme), engineLine.Find(readme)
	if block == nil || line == nil {
		t.Fatal("README has no such example")
	}
	clients := freePrefix(t, "")
	ports := strings.NewReplacer("422", clients, "622", freePrefix(t, clients))
	s := newSurroundings(t)
	if err := os.Symlink(os.Args[0], filepath.Join(s.dir, "nats-server")); err != nil {
		t.Fatal(err)
	}
	inside, outside, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended, running, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		outside.Close()
		_, _ = io.Copy(io.Discard, ended) // which the servers have the other end of
	})
	shell := exec.CommandContext(t.Context(), "sh", "-e", "-c", ports.Replace(string(block[1])))
	shell.Dir, shell.ExtraFiles = s.dir, []*os.File{inside, running}
	shell.Env = append(os.Environ(), "PATH="+s.dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	if err := shell.Run(); err != nil { // the servers go on, and have no output, whose end would be waited for
		t.Fatal(err)
	}
	inside.Close()
	running.Close()

	settings := fmt.Sprintf(botSettings, s.tenant.URL) + ports.Replace(string(line)) + "\n"
	if err := os.WriteFile(filepath.Join(s.dir, "auditbot.yml"), []byte(settings), 0o666); err != nil {
		t.Fatal(err)
	}
	first := s.startCluster(t)
	_, answer := s.ask("!help")
	if !strings.Contains(blockText(answer.Blocks), "o365-auditlog-search") {
		t.Errorf("the answer is %s", blockText(answer.Blocks))
	}
	second := s.startCluster(t)
	first()
	if asked, _ := s.ask("!help"); s.answers(asked) != 1 {
		t.Errorf("there are %d answers", s.answers(asked))
	}
	second()
}

// startCluster starts a replica when it can have its cluster, and waits until it
// has its connections to Slack.
func (s *surroundings) startCluster(t *testing.T) (kill func()) {
	t.Helper()
	before := s.slack.Sockets()
	deadline := time.Now().Add(30 * time.Second)
	for {
		c := s.process(rightKey)
		var out bytes.Buffer
		c.Stderr = &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		kill = func() { c.Process.Kill(); <-ended; t.Logf("a replica's log:\n%s", out.String()) }
		t.Cleanup(func() { c.Process.Kill() })
		for s.slack.Sockets() <= before && len(ended) == 0 && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		if s.slack.Sockets() > before {
			return kill
		}
		if time.Now().After(deadline) {
			kill()
			t.Fatal("a replica did not connect")
		}
	}
}

// What is asked before a move is known after it, and each side says what to do
// when the other one has everything.
func TestMigrate(t *testing.T) {
	t.Parallel()
	c := clustertest.StartNodes(t, 1)
	patient := newPatient(t)
	dir := patient.dir
	key, err := decodeKey("AUDITBOT_KEY", rightKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := engine.Config{Dir: filepath.Join(dir, "data"), Key: key}
	e, err := engine.Open(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := e.Bucket(engine.Seen).Put(t.Context(), fmt.Sprint(i), []byte("an operation")); err != nil {
			t.Fatal(err)
		}
	}
	run := func(nats, data string, args ...string) (status int, text string) {
		settings := fmt.Sprintf("%sengine: {data_dir: %q%s}\n", patient.settings, filepath.Join(dir, data), nats)
		path := filepath.Join(dir, "auditbot.yml")
		if err := os.WriteFile(path, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		p := &program{ctx: t.Context(), getenv: func(name string) string { return patient.environ[name] }, stdin: strings.NewReader(""), stdout: &out, stderr: &out}
		status = p.run(append(args, "--config", path))
		return status, out.String()
	}
	nats := fmt.Sprintf(", nats_url: %q", c.URL())
	for _, step := range []struct {
		nats, data string
		args       []string
		status     int
		want       string
	}{
		{"", "data", []string{"migrate", "--to", "cluster"}, userMistake, "there is no engine.nats_url"},
		{nats, "data", []string{"migrate", "--to", "cluster"}, userMistake, "stop every auditbot"},
		{nats, "data", []string{"migrate", "--to", "somewhere"}, userMistake, "embedded"},
		{"", "data", []string{"close"}, 0, ""},
		{nats, "data", []string{"exec", "!help"}, userMistake, "move it with auditbot migrate --to cluster"},
		{nats, "data", []string{"doctor"}, ourFailure, "move it with auditbot migrate --to cluster"},
		{nats, "data", []string{"migrate", "--to", "cluster"}, answered, "KV_auditbot_seen: 5 messages"},
		{"", "data", []string{"exec", "!help"}, ourFailure, "set engine.nats_url to go on there"},
		{nats, "data", []string{"exec", "!help"}, answered, "o365-auditlog-search"},
		{nats, "data", []string{"doctor"}, ourFailure, "copies of each: 1"}, // there is no Slack
		{nats, "data", []string{"migrate", "--to", "embedded"}, userMistake, "take an empty engine.data_dir"},
		{nats, "back", []string{"migrate", "--to", "embedded"}, answered, "moved: "},
		{nats, "back", []string{"exec", "!help"}, ourFailure, "take engine.nats_url out of the settings"},
		{"", "back", []string{"exec", "!help"}, answered, "o365-auditlog-search"},
	} {
		if step.args[0] == "close" {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		status, text := run(step.nats, step.data, step.args...)
		if status != step.status || !strings.Contains(text, step.want) {
			t.Errorf("auditbot %s: status %d and not %d, without %q\n%s", strings.Join(step.args, " "), status, step.status, step.want, text)
		}
	}
	folder.Dir = filepath.Join(dir, "back")
	if e, err = engine.Open(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if got, _, err := e.Bucket(engine.Seen).Get(t.Context(), "4"); string(got) != "an operation" || err != nil {
		t.Errorf("the value is %q, %v", got, err)
	}
}
