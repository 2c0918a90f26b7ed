package bot

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

const isRunning = "is running, since"

func TestWhoAskedCancelsWithTheButton(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	asked := s.say("U0ADA", search)
	progress := s.reply(asked, isRunning)
	s.press("U0GRACE", progress, "Cancel")
	told := s.reply(asked, "can cancel it")
	if told.EphemeralTo != "U0GRACE" || !strings.Contains(told.Text, "<@U0ADA>") {
		t.Errorf("somebody else is told %+v", told)
	}
	if strings.Contains(s.thread(asked), "partial result") {
		t.Fatal("somebody else has cancelled it")
	}
	s.press("U0ADA", progress, "Cancel")
	s.reply(asked, "partial result")
	settled := s.reply(asked, "was cancelled after")
	if settled.TS != progress.TS || strings.Contains(string(settled.Blocks), "button") {
		t.Errorf("the progress became %s", settled.Blocks)
	}
	if err := s.slack.Press("U0ADA", incidents, progress.TS, "Cancel"); err == nil {
		t.Error("the button can still be pressed")
	}
}

func TestAnAdminCancelsWithTheButton(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	asked := s.say("U0ADA", search)
	s.press("U0LEA", s.reply(asked, isRunning), "Cancel")
	s.reply(asked, "partial result")
}

func TestAStrangerPressesNoButton(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	asked := s.say("U0ADA", search)
	progress := s.reply(asked, isRunning)
	s.press("U0MALLORY", progress, "Cancel")
	if told := s.reply(asked, "not on the list"); told.EphemeralTo != "U0MALLORY" {
		t.Errorf("told: %+v", told)
	}
	s.press("U0GUS", progress, "Cancel") // a guest is told nothing
	s.until(func() bool { return s.slack.Unacknowledged() == 0 })
	s.reply(s.say("U0ADA", "!help"), "What you can ask")
	if got := s.thread(asked); strings.Contains(got, "partial") || strings.Count(got, "\n") > 9 {
		t.Errorf("the thread has\n%s", got)
	}
}

func TestCancelStopsAllOfOnesOwnAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	first, second, other := s.say("U0ADA", search), s.say("U0ADA", search), s.say("U0GRACE", search)
	s.reply(first, isRunning)
	s.reply(second, isRunning)
	s.reply(other, isRunning)
	s.reply(s.say("U0ADA", "!cancel"), "2 commands are being cancelled")
	s.reply(first, "partial result")
	s.reply(second, "partial result")
	s.reply(s.say("U0ADA", "!cancel"), "None of your commands is running")
	if strings.Contains(s.thread(other), "partial") {
		t.Error("somebody else's was cancelled")
	}
}

func TestCancelByID(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	first, second := s.say("U0ADA", search), s.say("U0ADA", search)
	s.reply(second, isRunning)
	id := regexp.MustCompile(`!cancel ([A-Z2-7]{6})`).FindStringSubmatch(s.reply(first, isRunning).Text)[1]
	s.reply(s.say("U0GRACE", "!cancel "+id), "somebody else's")
	s.reply(s.say("U0ADA", "!cancel ZZZZZZ"), "No command ZZZZZZ is running")
	s.reply(s.say("U0ADA", "!cancel "+strings.ToLower(id)), "1 command is being cancelled")
	s.reply(first, "partial result")
	if strings.Contains(s.thread(second), "partial") {
		t.Error("the other one was cancelled too")
	}
	s.reply(s.say("U0LEA", "!cancel "+second.TS), "No command") // it is no id
}

// searches says searches of somebody until as many run as may of one person.
func (s *stage) searches(user string) (all []slacksim.Message) {
	s.t.Helper()
	before := s.performed.Load()
	for range longLimits.person {
		all = append(all, s.say(user, search))
	}
	s.until(func() bool { return int(s.performed.Load()-before) == longLimits.person })
	return all
}

const waitsForOthers = "waits: you have 4 searches running, which is as many as one person may"

func TestManyLongCommandsHoldUpNoQuickOne(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	s.searches("U0ADA")
	first, last := s.say("U0ADA", search), s.say("U0ADA", search)
	s.reply(first, waitsForOthers)
	s.reply(last, waitsForOthers)
	s.reply(s.say("U0ADA", "!help"), "What you can ask")
	others := s.say("U0GRACE", search)
	s.reply(others, isRunning)
	s.reply(s.say("U0ADA", "!cancel"), "6 commands are being cancelled")
	s.reply(last, "was cancelled after")
	if strings.Contains(s.thread(others), "partial") {
		t.Errorf("somebody else's has\n%s", s.thread(others))
	}
}

func TestCancelReachesASearchThatWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	running := s.searches("U0ADA")
	s.searches("U0LEA")
	first, second, third, others := s.say("U0ADA", search), s.say("U0ADA", search), s.say("U0ADA", search), s.say("U0LEA", search)
	s.reply(first, waitsForOthers)
	s.reply(others, waitsForOthers)
	handle := Message{Team: "T0CONTOSO", Channel: incidents, TS: second.TS}.handle()
	s.reply(second, waitsForOthers)
	s.reply(s.say("U0GRACE", "!cancel "+handle), "somebody else's")
	s.reply(s.say("U0ADA", "!cancel "+handle), "1 command is being cancelled")
	s.reply(second, "⏹ Cancelled")
	s.press("U0ADA", s.reply(third, waitsForOthers), "Cancel")
	s.reply(third, "⏹ Cancelled")
	s.reply(s.say("U0ADA", "!cancel"), "5 commands are being cancelled")
	s.reply(first, "was cancelled after")
	for _, m := range running {
		s.reply(m, "partial result")
		s.reply(m, "was cancelled after")
	}
	s.reply(s.say("U0ADA", "!cancel"), "None of your commands is running")
	if got := s.thread(others); strings.Contains(got, "ancelled") || int(s.performed.Load()) > 2*longLimits.person+1 {
		t.Errorf("somebody else's search has\n%s", got)
	}
}

func TestAShutdownInterruptsASearchWithoutAWord(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	asked := s.say("U0ADA", search)
	s.reply(asked, isRunning)
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the bot needed %v to stop", took)
	}
	if got := s.thread(asked); strings.Count(got, "U0AUDITBOT:") != 1 {
		t.Errorf("the thread has\n%s", got)
	}
	s.perform = func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: "all of it"}, nil
	}
	s.start()
	s.reply(asked, "all of it")
	s.reply(asked, "was answered after")
	if got := s.thread(asked); strings.Count(got, "U0AUDITBOT:") != 2 {
		t.Errorf("the thread has\n%s", got)
	}
}

func TestWhatWasCancelledStaysSoAfterARestart(t *testing.T) {
	t.Parallel()
	seen := make(chan struct{}, 1)
	s := newStage(t, func(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
		<-env.Cancelled
		seen <- struct{}{}
		<-ctx.Done() // it needs longer than the bot lives
		return commands.Reply{}, context.Cause(ctx)
	})
	asked := s.say("U0ADA", search)
	s.press("U0ADA", s.reply(asked, isRunning), "Cancel")
	<-seen
	s.stop()
	s.perform = untilCancelled
	s.start()
	s.reply(asked, "partial result")
}

// A bot that is not there when the button is pressed is told when it is.
func TestWhatIsCancelledBetweenTwoRuns(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	asked := s.say("U0ADA", search)
	s.reply(asked, isRunning)
	s.stop()
	id := "T0CONTOSO." + incidents + "." + asked.TS
	s.bot.tasks = tasks{}
	if asker, ran, err := s.bot.cancelByID(t.Context(), id, "U0GRACE"); asker != "U0ADA" || ran || err != nil {
		t.Errorf("somebody else cancels it: %q, %v, %v", asker, ran, err)
	}
	if asker, ran, err := s.bot.cancelByID(t.Context(), id, "U0ADA"); asker != "U0ADA" || !ran || err != nil {
		t.Errorf("%q, %v, %v", asker, ran, err)
	}
	s.start()
	s.reply(asked, "partial result")
}

func TestHowLongACommandMayRun(t *testing.T) {
	for _, c := range []struct {
		name            string
		command         string
		cancelled, stop bool
		after           time.Duration
		why             error
	}{
		{"a quick one", "help", false, false, quickPatience, context.DeadlineExceeded},
		{"one that asks Microsoft", "o365-auditlog-auth-test", false, false, patience, context.DeadlineExceeded},
		{"a quick one, cancelled", "help", true, false, grace, errCancelled},
		{"a quick one when the bot stops", "help", false, true, quickPatience, context.DeadlineExceeded},
		{"a long one", "o365-auditlog-search", false, false, longPatience + longGrace, errCancelled},
		{"a long one, cancelled", "o365-auditlog-search", true, false, longGrace, errCancelled},
		{"a long one when the bot stops", "o365-auditlog-search", false, true, 0, errStopping},
	} {
		synctest.Test(t, func(t *testing.T) {
			life, end := context.WithCancel(t.Context())
			b := &Bot{Log: slog.New(slog.DiscardHandler), life: life}
			task := b.newTask(engine.Item{ID: "x"})
			task.name = c.command
			began := time.Now()
			ctx, release := b.bound(t.Context(), task)
			defer release()
			if c.cancelled {
				task.cancel()
			}
			if c.stop {
				end()
			}
			<-ctx.Done()
			if got := context.Cause(ctx); time.Since(began) != c.after || !errors.Is(got, c.why) {
				t.Errorf("%s ended after %v with %v, want %v and %v", c.name, time.Since(began), got, c.after, c.why)
			}
			if c.name == "a long one" && !task.isCancelled() {
				t.Error("it was not told to answer with what it has")
			}
			end()
		})
	}
}

func TestLongAndQuickCommandsAreCommands(t *testing.T) {
	for _, name := range slices.Concat(long, quick) {
		if !commands.Known(name) && name != unknown {
			t.Errorf("there is no command %q", name)
		}
	}
}

func TestASearchThatWaitsForItsTurnEndsWithTheRightToIt(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	s.searches("U0ADA")
	asked := s.say("U0ADA", search)
	waits := s.reply(asked, waitsForOthers)
	s.slack.ChangeUser("U0ADA", func(u *slacksim.User) { u.Restricted = true })
	s.bot.people.forget() // as it is after some minutes
	settled := s.reply(asked, "is not answered")
	if settled.TS != waits.TS || strings.Contains(string(settled.Blocks), "button") {
		t.Errorf("the message became %s", settled.Blocks)
	}
	if left := s.bot.tasks.of(func(t *task) bool { return t.TS == asked.TS }); len(left) > 0 {
		t.Errorf("%d still wait for their turn", len(left))
	}
}

// A worker that has lost its item ends after another has begun with it.
func TestALateEndDoesNotHideTheWorkerAfterIt(t *testing.T) {
	t.Parallel()
	k := tasks{running: map[string]*task{}, queued: map[string]*task{}}
	before, after := &task{id: "1"}, &task{id: "1"}
	k.begin(before)
	k.begin(after)
	k.end(before)
	if k.find("1") != after {
		t.Error("the one that runs is not found")
	}
	k.queue(after)
	k.drop(before)
	k.end(after)
	if k.find("1") != after {
		t.Error("the one that waits is not found")
	}
}
