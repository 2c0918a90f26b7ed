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
	var last time.Time
	for _, r := range s.slack.Requests() {
		if r.Method != "chat.postMessage" {
			continue
		}
		if pause := r.Time.Sub(last); pause < 900*time.Millisecond { // some may be slower on their way than others
			t.Errorf("a message came %v after the one before", pause)
		}
		last = r.Time
	}
}
