package bot

import (
	"context"
	"flag"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

var days = flag.Int("days", 1, "for how many days TestCommandsAreAnsweredOnceWhileConnectionsComeAndGo goes on, at 6 seconds each")

// hour is one hour of those days.
const hour = 250 * time.Millisecond

// newHurriedStage is a bot whose connections are renewed once an hour, with
// everything else as much faster.
func newHurriedStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, sockets: Sockets{apart: hour / 10, silence: hour / 2, minute: hour / 100}, instance: commands.Instance{Name: "contoso"}}
	s.perform = func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "here you are"}, nil
	}
	s.slack = &slacksim.Server{
		Workspace: slacksim.Demo(), Lifetime: hour, WarningTime: hour / 10, PingInterval: hour / 10,
		AckTimeout: hour, RetryAfter: []time.Duration{time.Millisecond, hour, hour},
	}
	s.slack.Workspace.Manifest = []byte(Manifest())
	err := s.slack.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.slack.Close)
	if s.engine, err = engine.Open(t.Context(), engine.Config{Dir: t.TempDir(), Key: make([]byte, engine.KeySize)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.engine.Close() })
	s.start()
	return s
}

// In a day, each connection is renewed 24 times, and once an hour something
// worse happens to both at the same time.
func TestCommandsAreAnsweredOnceWhileConnectionsComeAndGo(t *testing.T) {
	s := newHurriedStage(t)
	worse := []func(){
		s.slack.CutSockets,
		func() { s.slack.Disconnect("refresh_requested") },
		func() { s.slack.Disconnect("warning") },
		func() { s.slack.FreezeSockets(true) },
		func() { s.slack.Disconnect("too_many_websockets") },
	}
	var asked []slacksim.Message
	goroutines := 0
	for h := range 24 * *days {
		if h == 2 {
			s.until(func() bool { return s.slack.Sockets() == connections })
			goroutines = runtime.NumGoroutine()
		}
		for range 4 {
			asked = append(asked, s.say("U0ADA", search))
			time.Sleep(hour / 4) // is no waiting for something: it makes the day
		}
		worse[h%len(worse)]()
	}
	s.until(func() bool { return s.slack.Unacknowledged() == 0 && s.slack.Sockets() == connections })
	s.answeredOnce(asked)
	if n := s.slack.Calls("apps.connections.open"); n < connections*24**days {
		t.Errorf("only %d connections were made", n)
	}
	if n := runtime.NumGoroutine(); n > goroutines+20 {
		t.Errorf("%d goroutines became %d", goroutines, n)
	}
	t.Logf("%d commands, %d events sent, %d connections", len(asked), len(s.slack.Deliveries()), s.slack.Calls("apps.connections.open"))
}

func (s *stage) answeredOnce(asked []slacksim.Message) {
	s.t.Helper()
	for _, m := range asked {
		s.reply(m, "here you are")
	}
	s.reply(s.say("U0ADA", search), "here you are") // what would come twice has had its time
	answers := map[string]int{}
	for _, m := range s.slack.History(incidents) {
		if strings.Contains(shownIn(m), "here you are") {
			answers[m.ThreadTS]++
		}
	}
	for _, m := range asked {
		if answers[m.TS] != 1 {
			s.t.Errorf("%d answers to one command", answers[m.TS])
		}
	}
}

// A day in which each connection lives for a minute. What is left is the
// requests that the simulator keeps, and the log: a third of what is allowed.
func TestRenewalsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t, nil, func(s *slacksim.Server, k *Sockets) { s.Lifetime, k.minute = time.Minute, time.Second })
		settle(time.Hour)
		goroutines, bytes := holds()
		settle(23 * time.Hour)
		after, left := holds()
		if after != goroutines || left > bytes+4<<20 {
			t.Errorf("%d goroutines became %d, %d bytes %d", goroutines, after, bytes, left)
		}
		if n := len(l.opened()); n < 2*24*60 {
			t.Errorf("only %d connections were made", n)
		}
	})
}

// holds is what the process holds: goroutines, and bytes that are in use.
func holds() (goroutines int, bytes uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}
