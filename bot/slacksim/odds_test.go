package slacksim_test

import (
	"context"
	"testing"
	"time"

	"auditbot/bot/slacksim"
)

func TestOddsAreAShareOfTheRequests(t *testing.T) {
	s := start(t, nil)
	s.Odds(1, slacksim.Odds{Share: 0.3, Fault: slacksim.APIError("auth.test", "internal_error")}, slacksim.Odds{Share: 0.3, Fault: slacksim.APIError("", "fatal_error")})
	n := map[string]int{}
	for range 400 {
		n[call(t, s, "auth.test").outcome()]++
	}
	for name, share := range map[string]float64{"internal_error": 0.3, "fatal_error": 0.3, "ok": 0.4} {
		if got := float64(n[name]) / 400; got < share-0.1 || got > share+0.1 {
			t.Errorf("%s: %.2f of the answers, want about %.1f", name, got, share)
		}
	}
	s.Odds(1)
	for range 20 {
		call(t, s, "auth.test").must(t)
	}
}

func TestWhatWasDoneInSpiteOfItsAnswer(t *testing.T) {
	s := start(t, nil)
	s.Fail(slacksim.Done(slacksim.HTTPError("chat.postMessage", 500)), slacksim.Done(slacksim.RateLimited("chat.postMessage", time.Second)))
	for _, status := range []float64{500, 429, 200} {
		if a := call(t, s, "chat.postMessage", "channel", incidents, "text", "hello"); a["status"] != status {
			t.Errorf("the status is %v, want %v", a["status"], status)
		}
	}
	n := 0
	for _, m := range s.History(incidents) {
		if m.Text == "hello" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d messages are there", n)
	}
	for _, r := range s.Requests() {
		if !r.Served {
			t.Errorf("%s %d was not served", r.Method, r.Status)
		}
	}
}

func TestWhatAConnectionHasInStoreForIt(t *testing.T) {
	s := start(t, nil)
	const soon = 100 * time.Millisecond
	s.Fail(slacksim.Dismissed("refresh_requested", soon), slacksim.Cut(soon), slacksim.Frozen(soon))
	if e := connect(t, s).next(); e.Type != "disconnect" || e.Reason != "refresh_requested" {
		t.Errorf("it was sent %+v", e)
	}
	cut := connect(t, s)
	if err := cut.conn.ReadJSON(new(envelope)); err == nil {
		t.Error("the connection is not cut")
	}
	connect(t, s)
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Until(limit(t), func() bool { return s.WaitConnected(now) != nil }); err != nil {
		t.Error("the connection is not frozen: ", err)
	}
}

func TestEventsThatAreLateLostOrNotAcknowledged(t *testing.T) {
	s := start(t, func(s *slacksim.Server) { s.AckTimeout = 800 * time.Millisecond })
	c := connect(t, s)
	s.Fail(slacksim.Late("event", 400*time.Millisecond), slacksim.Nothing("event"), slacksim.Hang("event"))
	for _, text := range []string{"one", "two", "three"} {
		say(t, s, ada, incidents, "", text)
	}
	for _, want := range []struct {
		text    string
		attempt int
	}{{"two", 0}, {"one", 0}, {"three", 1}} {
		if e := c.event(); e.text("text") != want.text || e.Attempt != want.attempt {
			t.Errorf("%q arrived, attempt %d, want %v", e.text("text"), e.Attempt, want)
		}
	}
	s.Fail(slacksim.Lost("event"))
	say(t, s, ada, incidents, "", "four")
	for attempt := range 2 {
		if e := c.event(); e.text("text") != "four" || e.Attempt != attempt {
			t.Errorf("%q arrived, attempt %d, want %d", e.text("text"), e.Attempt, attempt)
		}
	}
}
