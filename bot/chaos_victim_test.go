//go:build !windows

package bot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A victim is a bot in a process of its own, which is killed, and started again
// whenever it ends.
type victim struct {
	t    *testing.T
	dir  string // for its logs
	env  []string
	name string // of several

	kills, ends int // how often it was killed, and how often it ended otherwise
	lives       int

	mu     sync.Mutex
	ending bool // it is not to be started again
	cmd    *exec.Cmd
	over   chan struct{} // closed when the process has ended and is not started again
	story  []moment      // of its lives
}

// start starts it, unless it lives, and starts it again when it ends by itself.
func (v *victim) start() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cmd != nil && !v.ending {
		return
	}
	v.ending, v.over = false, make(chan struct{})
	v.live()
	go v.relive(v.cmd, v.over)
}

// live makes a process. It expects mu to be held.
func (v *victim) live() {
	v.lives++
	log, err := os.Create(filepath.Join(v.dir, fmt.Sprintf("bot%s-%04d.log", v.name, v.lives)))
	if err != nil {
		panic(err)
	}
	defer log.Close() // the process has its own
	v.cmd = exec.Command(os.Args[0])
	v.cmd.Env, v.cmd.Stdout, v.cmd.Stderr = v.env, log, log
	if _, err := v.cmd.StdinPipe(); err != nil { // closed with this process
		panic(err)
	}
	if err := v.cmd.Start(); err != nil {
		panic(err)
	}
	v.tell(fmt.Sprintf("bot%s starts, life %d", v.name, v.lives))
}

func (v *victim) relive(cmd *exec.Cmd, over chan struct{}) {
	defer close(over)
	for {
		err := cmd.Wait()
		v.mu.Lock()
		if v.ending {
			v.mu.Unlock()
			return
		}
		v.ends++
		v.tell(fmt.Sprintf("bot%s ended by itself: %v", v.name, err))
		v.live()
		cmd = v.cmd
		v.mu.Unlock()
	}
}

// kill ends it with SIGKILL.
func (v *victim) kill(why string) {
	v.note("bot" + v.name + " is killed: " + why)
	v.kills++
	v.end(syscall.SIGKILL)
}

// freeze makes it stand still for a while, its connections open.
func (v *victim) freeze(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.cmd.Process
	v.tell(fmt.Sprintf("bot%s stands still for %v", v.name, d.Round(time.Millisecond)))
	_ = p.Signal(syscall.SIGSTOP) // it may have ended
	time.AfterFunc(d, func() { _ = p.Signal(syscall.SIGCONT) })
}

// stop ends it as an operator does. It may be called again.
func (v *victim) stop() { v.end(syscall.SIGTERM) }

// end ends it for good, or until the next start.
func (v *victim) end(by syscall.Signal) {
	v.mu.Lock()
	v.ending = true
	cmd, over := v.cmd, v.over
	v.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(by) // it may have ended
	select {
	case <-over:
	case <-time.After(time.Minute):
		v.t.Error("the bot does not stop")
		_ = cmd.Process.Kill()
		<-over
	}
}

// signal sends it a signal, if it lives.
func (v *victim) signal(s syscall.Signal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.cmd.Process.Signal(s)
}

// note puts down what happened, for the stories.
func (v *victim) note(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tell(text)
}

// tell is note, while mu is held.
func (v *victim) tell(text string) { v.story = append(v.story, moment{time.Now(), text}) }
