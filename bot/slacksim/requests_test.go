package slacksim_test

import (
	"slices"
	"strings"
	"testing"

	"auditbot/bot/slacksim"
)

func TestWhatTheServerWasToldIsKnown(t *testing.T) {
	s := start(t, nil)
	c := connect(t, s)
	say(t, s, "U0ADA", incidents, "", "hello")
	e := c.event()
	waitUntil(t, s, func() bool { return s.Unacknowledged() == 0 })
	if frames := s.Frames(); len(frames) != 1 || !strings.Contains(string(frames[0]), e.ID) {
		t.Errorf("%q", frames)
	}
	address, _ := announceFile(t, s, "filename", "a.json", "length", "2")
	s.Fail(slacksim.HTTPError("upload", 500))
	sendFile(t, address, raw, "[]")
	if all := s.Uploads(); len(all) != 0 {
		t.Errorf("%q", all)
	}
	sendFile(t, address, raw, "{}")
	if all := s.Uploads(); len(all) != 1 || string(all[0]) != "{}" {
		t.Errorf("%q", all)
	}
	tickets := s.Tickets()
	if len(tickets) != 2 || !strings.HasSuffix(address, "/"+tickets[1]) || slices.Contains(tickets, "") {
		t.Errorf("%s is not in %q", address, tickets)
	}
	for _, r := range s.Requests() {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Content-Type") == "" || !strings.HasSuffix(r.URL, "/"+r.Method) && r.Method != "upload" {
			t.Errorf("%+v", r)
		}
	}
}
