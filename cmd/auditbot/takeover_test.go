package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

// arrived tells whether nothing that was sent with this method is under way.
func (s *surroundings) arrived(method string) bool {
	return s.slack.Unspent() == 0 && !slices.ContainsFunc(s.slack.Requests(), func(r slacksim.Request) bool {
		return r.Method == method && r.Status == 0
	})
}

// The bot is killed with a request under way, which arrives after it has started
// again. Nothing stands in the thread twice, and it does not take long.
func TestAKillWithARequestUnderWay(t *testing.T) {
	t.Parallel()
	s := signedIn(t)
	for _, method := range []string{"chat.postMessage", "upload", "files.completeUploadExternal"} {
		s.slack.Fail(slacksim.Stray(method, 2*time.Second))
		asked := s.say(example)
		s.await(func() bool { return s.slack.Unspent() == 0 })
		s.kill()
		began := time.Now()
		s.kill = s.start()
		s.await(func() bool { return s.filesUnder(asked) == 2 })
		if took := time.Since(began); took > 25*time.Second { // less than the inbox waits for a worker that is dead
			t.Errorf("%s: it took %v", method, took)
		}
		s.await(func() bool { return s.arrived(method) })
		s.ask("!help") // what would come twice has had its time
		if a, f := s.answers(asked), s.filesUnder(asked); a != 1 || f != 2 {
			t.Errorf("%s: %d answers, %d files", method, a, f)
		}
	}
}

// The message that says that a search runs is the same one before and after a
// kill, though the bot was killed before it knew which one that is.
func TestAKillWithProgressUnderWay(t *testing.T) {
	t.Parallel()
	s := signedIn(t)
	s.tenant.Fail(tenantsim.Hung)
	s.slack.Fail(slacksim.Stray("chat.postMessage", 500*time.Millisecond))
	asked := s.say(example)
	s.await(func() bool { return s.slack.Unspent() == 0 })
	s.kill()
	s.await(func() bool { return s.arrived("chat.postMessage") })
	s.kill = s.start()
	s.await(func() bool { return s.filesUnder(asked) == 2 })
	running, settled := 0, 0
	for _, m := range s.slack.History(asked.Channel) {
		if m.ThreadTS == asked.TS && !m.Deleted {
			running += strings.Count(blockText(m.Blocks), "is running, since")
			settled += strings.Count(blockText(m.Blocks), "was answered after")
		}
	}
	if a := s.answers(asked); a != 1 || running != 0 || settled != 1 {
		t.Errorf("%d answers; %d messages say that it runs, %d that it was answered", a, running, settled)
	}
}
