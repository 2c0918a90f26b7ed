package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is written survives the bot's own death, since the system has it. Only
// what was synced survives the machine's.
func TestAnEventIsOnDiskBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	s := newSurroundings(t)
	bot := s.process(rightKey)
	bot.Args = append([]string{strace, "-D", "-f", "--seccomp-bpf", "-ttt", "-T", "-y", "-e", "trace=fsync,fdatasync", "-o", "/dev/fd/3", bot.Path}, bot.Args[1:]...)
	bot.Path = strace
	trace, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	bot.ExtraFiles = []*os.File{theirs}
	if err := bot.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bot.Process.Kill() })
	theirs.Close()
	lines := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(trace) // until the bot has ended, and strace with it
		lines <- string(all)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.slack.WaitConnected(ctx); err != nil {
		t.Fatal(err)
	}
	m, _ := s.ask("!help") // once: of a second one, what is synced may belong to the first
	bot.Process.Kill()
	bot.Wait()
	synced := syncs(t, <-lines)
	for _, d := range s.slack.Deliveries() {
		if d.TS == m.TS && synced.between(d.Sent, d.Acknowledged) == 0 {
			t.Errorf("it was sent at %v and acknowledged at %v, and the inbox was synced at %v", d.Sent, d.Acknowledged, synced)
		}
	}
}

// A syncTimes is when a file of the inbox was synced, from when to when.
type syncTimes [][2]time.Time

// between counts those that began and ended between two times.
func (s syncTimes) between(from, to time.Time) (n int) {
	for _, at := range s {
		if at[0].After(from) && at[1].Before(to) {
			n++
		}
	}
	return n
}

// A call that another thread's interrupted is two lines of strace's.
var (
	syncCall    = regexp.MustCompile(`^(\d+) +(\d+)\.(\d{6}) (?:fsync|fdatasync)\(\d+<([^>]*)>`)
	syncResumed = regexp.MustCompile(`^(\d+) +\d+\.\d+ <\.\.\. (?:fsync|fdatasync) resumed>`)
	syncTook    = regexp.MustCompile(` = 0 <([\d.]+)>$`)
)

func syncs(t *testing.T, trace string) (all syncTimes) {
	type call struct {
		path  string
		began time.Time
	}
	calls := map[string]call{} // by thread
	for line := range strings.Lines(trace) {
		line = strings.TrimSpace(line)
		thread := ""
		if m := syncCall.FindStringSubmatch(line); m != nil {
			seconds, _ := strconv.ParseInt(m[2], 10, 64)
			micros, _ := strconv.ParseInt(m[3], 10, 64)
			thread = m[1]
			calls[thread] = call{m[4], time.Unix(seconds, micros*1000)}
		} else if m := syncResumed.FindStringSubmatch(line); m != nil {
			thread = m[1]
		}
		took := syncTook.FindStringSubmatch(line)
		if c := calls[thread]; took != nil && strings.Contains(c.path, "auditbot_inbox/msgs") {
			d, err := time.ParseDuration(took[1] + "s")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, [2]time.Time{c.began, c.began.Add(d)})
		}
	}
	if !strings.Contains(trace, "+++") {
		t.Fatalf("strace does not see the bot:\n%s", trace)
	}
	return all
}
