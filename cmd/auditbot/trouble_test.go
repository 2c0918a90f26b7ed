package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"auditbot/bot/slacksim"
)

const example = "!o365-auditlog-search start_date=01/01/21 end_date=01/02/21 result_size=1"

// signedIn is a bot with Ada signed in, and everything settled.
func signedIn(t *testing.T) *surroundings {
	t.Helper()
	s := newSurroundings(t)
	s.kill = s.start()
	t.Cleanup(func() { s.kill() })
	first, _ := s.ask(example)
	s.signIn()
	s.answer(first, "UserLoginFailed")
	s.await(func() bool { return s.filesUnder(first) == 2 })
	return s
}

// await waits for something to become true.
func (s *surroundings) await(ok func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 90*time.Second)
	defer cancel()
	if err := s.slack.Until(ctx, ok); err != nil {
		s.t.Fatal("it did not come to that: ", err)
	}
}

func (s *surroundings) say(text string) slacksim.Message {
	s.t.Helper()
	m, err := s.slack.Say("U0ADA", "C0INCIDENTS", "", text)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *surroundings) filesUnder(m slacksim.Message) int {
	n := 0
	for _, r := range s.slack.History(m.Channel) {
		if r.ThreadTS == m.TS {
			n += len(r.Files)
		}
	}
	return n
}

// dm is all that the bot has in its direct messages with Ada, as it stands now.
func (s *surroundings) dm() string {
	var all []string
	for _, m := range s.slack.History(s.slack.OpenDM("U0ADA")) {
		if m.BotID != "" && !m.Deleted {
			all = append(all, blockText(m.Blocks))
		}
	}
	return strings.Join(all, "\n")
}

func TestACommandOutlastsSlacksTroubles(t *testing.T) {
	t.Parallel()
	s := signedIn(t)
	for name, faults := range map[string][]slacksim.Fault{
		"away when it is asked who asks":   {slacksim.HTTPError("chat.postMessage", 503), slacksim.HTTPError("chat.postMessage", 503)},
		"an internal error at the answer":  {slacksim.APIError("chat.postMessage", "internal_error")},
		"throttled":                        {slacksim.RateLimited("chat.postMessage", time.Second)},
		"the answer to the answer is lost": {slacksim.Lost("chat.postMessage")},
		"the file is not taken at once":    {slacksim.HTTPError("files.completeUploadExternal", 503), slacksim.APIError("files.completeUploadExternal", "internal_error")},
		"that the file was taken is lost":  {slacksim.Lost("files.completeUploadExternal")},
		"the bytes are not taken at once":  {slacksim.HTTPError("upload", 500)},
	} {
		s.slack.Fail(faults...)
		asked := s.say(example)
		s.await(func() bool { return s.filesUnder(asked) == 2 })
		s.ask("!help") // what would come twice has had its time
		if a, f := s.answers(asked), s.filesUnder(asked); a != 1 || f != 2 || s.slack.Unspent() > 0 {
			t.Errorf("%s: %d answers, %d files, %d faults left", name, a, f, s.slack.Unspent())
		}
	}
}

func TestACommandOutlastsThatSlackDoesNotSayWhoAsks(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	t.Cleanup(s.start())
	for range 3 {
		s.slack.Fail(slacksim.HTTPError("users.info", 503))
	}
	s.slack.Fail(slacksim.HTTPError("chat.postMessage", 503))
	s.ask("!help")
}

func TestAWorkspaceThatTakesNoFormAtAllIsToldApart(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	t.Cleanup(s.start())
	s.slack.Fail(slacksim.APIError("chat.postMessage", "an_error_of_the_future"), slacksim.APIError("chat.postMessage", "an_error_of_the_future"))
	if _, answer := s.ask("!help"); len(answer.Blocks) > 0 && string(answer.Blocks) != "null" {
		t.Errorf("the plainest form has blocks: %s", answer.Blocks)
	}
	s.slack.Fail(slacksim.APIError("chat.postMessage", "is_archived"))
	s.say("!help")
	s.await(func() bool { return strings.Contains(s.dm(), "could not be answered there") })
}

// While the thread cannot be told that a sign-in is due, the person signs in:
// their command is answered once.
func TestASignInOvertakesItsNotice(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	t.Cleanup(s.start())
	s.slack.Fail(slacksim.Nothing("chat.postMessage")) // the direct message
	for range 3 {
		s.slack.Fail(slacksim.HTTPError("chat.postMessage", 503)) // the notice
	}
	asked := s.say(example)
	s.await(func() bool { return len(s.tenant.UserCodes()) == 1 })
	s.signIn()
	s.answer(asked, "UserLoginFailed")
	s.await(func() bool { return s.filesUnder(asked) == 2 && s.slack.Unspent() == 0 && s.answers(asked) == 2 })
	s.ask("!help")
	tables := 0
	for _, m := range s.slack.History(asked.Channel) {
		if isAnswer(m, asked) && strings.Contains(blockText(m.Blocks), "UserLoginFailed") {
			tables++
		}
	}
	if tables != 1 || s.filesUnder(asked) != 2 {
		t.Errorf("%d tables and %d files", tables, s.filesUnder(asked))
	}
}

func TestACodeIsTakenOutOfItsMessageWhateverHappens(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string][]slacksim.Fault{
		"the answer to the direct message is lost":    {slacksim.Lost("chat.postMessage")},
		"the direct message cannot be opened at once": {slacksim.APIError("conversations.open", "internal_error")},
		"the update fails":                            {slacksim.HTTPError("chat.update", 503)},
	} {
		s := newSurroundings(t)
		t.Cleanup(s.start())
		s.slack.Fail(faults...)
		s.ask("!o365-auditlog-auth-start")
		s.signIn()
		s.await(func() bool {
			return strings.Contains(s.dm(), "Signed in to") && !strings.Contains(s.dm(), "Enter the code")
		})
		if n := strings.Count(s.dm(), "Signed in to"); n != 1 || s.slack.Unspent() > 0 {
			t.Errorf("%s: %d direct messages", name, n)
		}
	}
}

func TestThatACommandDoesNotRunIsSaidWhateverHappens(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	t.Cleanup(s.start())
	asked, _ := s.ask(example)
	s.slack.Fail(slacksim.HTTPError("chat.postMessage", 503))
	if err := s.tenant.Deny(s.tenant.UserCodes()[0]); err != nil {
		t.Fatal(err)
	}
	s.await(func() bool {
		for _, m := range s.slack.History(asked.Channel) {
			if m.ThreadTS == asked.TS && strings.Contains(blockText(m.Blocks), "does not go on") {
				return true
			}
		}
		return false
	})
}

// A sign-in goes on where a kill interrupted it.
func TestASignInOutlastsAKill(t *testing.T) {
	t.Parallel()
	s := newSurroundings(t)
	kill := s.start()
	asked, _ := s.ask(example)
	kill()
	s.signIn()
	t.Cleanup(s.start())
	s.answer(asked, "UserLoginFailed")
	s.await(func() bool {
		return strings.Contains(s.dm(), "Signed in to") && !strings.Contains(s.dm(), "Enter the code")
	})
}
