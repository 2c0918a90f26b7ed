package main

import (
	"testing"
	"time"

	"auditbot/bot/slacksim"
)

func TestTheProgramSaysOneThingASecond(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	t.Cleanup(s.start())
	var asked []slacksim.Message
	for range 4 {
		asked = append(asked, s.say("!help"))
	}
	for _, m := range asked {
		s.await(func() bool { return s.answers(m) == 1 })
	}
	var came []time.Time
	for _, r := range s.slack.Requests() {
		if r.Method == "chat.postMessage" {
			came = append(came, r.Time)
		}
	}
	pauses := len(came) - 1
	if took := came[pauses].Sub(came[0]); took < time.Duration(pauses)*time.Second-500*time.Millisecond { // the first may be slower on its way than the last
		t.Errorf("%d messages came within %v", len(came), took)
	}
}
