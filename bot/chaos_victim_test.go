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

// start starts it, and starts it again when it ends by itself.
func (v *victim) start() {
	v.mu.Lock()
	defer v.mu.Unlock()
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
	v.note("bot%s starts, life %d", v.name, v.lives)
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
		v.note("bot%s ended by itself: %v", v.name, err)
		v.live()
		cmd = v.cmd
		v.mu.Unlock()
	}
}

// kill ends it with SIGKILL.
func (v *victim) kill(why string) {
	v.mu.Lock()
	v.note("bot%s is killed: %s", v.name, why)
	v.kills++
	v.mu.Unlock()
	v.end((*os.Process).Kill)
}

// stop ends it as an operator does. It may be called again.
func (v *victim) stop() {
	if v.over == nil {
		return
	}
	v.end(func(p *os.Process) error { return p.Signal(syscall.SIGTERM) })
}

func (v *victim) end(by func(*os.Process) error) {
	v.mu.Lock()
	v.ending = true
	p, over := v.cmd.Process, v.over
	_ = by(p) // it may have ended
	v.mu.Unlock()
	select {
	case <-over:
	case <-time.After(time.Minute):
		v.t.Error("the bot does not stop")
		_ = p.Kill()
		<-over
	}
}

// note puts down what happened to it. It expects mu to be held.
func (v *victim) note(format string, args ...any) {
	v.story = append(v.story, moment{time.Now(), fmt.Sprintf(format, args...)})
}
