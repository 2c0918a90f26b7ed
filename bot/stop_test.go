package bot

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

const test = "!o365-auditlog-auth-test" // a command that is not long

// restart stops the bot, which must not take for longer than most, and starts
// it again with what its commands do then.
func (s *stage) restart(most time.Duration, perform performance) {
	s.t.Helper()
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > most {
		s.t.Errorf("the bot needed %v to stop, more than %v", took, most)
	}
	s.perform = perform
	s.start()
}

// stopsAfter makes the bot one that waits for commands no longer than that when
// it is to stop.
func (s *stage) stopsAfter(most time.Duration) {
	s.t.Helper()
	s.stop()
	s.stopIn = most
	s.start()
}

func says(title string) performance {
	return func(context.Context, commands.Env, string) (commands.Reply, error) {
		return commands.Reply{Title: title}, nil
	}
}

// wantAnswers fails the test unless the thread has that many messages of the
// bot's with the text.
func (s *stage) wantAnswers(to slacksim.Message, text string, n int) {
	s.t.Helper()
	found := 0
	for _, m := range s.slack.History(to.Channel) {
		if m.ThreadTS == to.TS && !m.Deleted && strings.Contains(shownIn(m), text) {
			found++
		}
	}
	if found != n {
		s.t.Errorf("%d messages with %q, want %d:\n%s", found, text, n, s.thread(to))
	}
}

func TestWhatEndsSoonIsAnsweredBeforeTheBotStops(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan bool), make(chan bool)
	s := newStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		began <- true
		<-goOn
		return commands.Reply{Title: "just in time"}, nil
	})
	asked := s.say("U0ADA", test)
	<-began
	context.AfterFunc(s.bot.life, func() { close(goOn) }) // once the bot is to stop
	s.stop()
	s.wantAnswers(asked, "just in time", 1)
}

// Whatever hangs, the bot ends, and the next start answers.
func TestWhatHangsWhenTheBotStopsIsAnsweredByTheNextStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		line    string
		perform performance
		fault   []slacksim.Fault
	}{
		"Microsoft":              {test, untilDone, nil},
		"a command for good":     {test, hung(t), nil},
		"a search for good":      {search, hung(t), nil},
		"Slack with the answer":  {test, says("the first"), []slacksim.Fault{slacksim.Hang("chat.postMessage")}},
		"Slack with who asks":    {test, says("the first"), []slacksim.Fault{slacksim.Hang("users.info")}},
		"Slack with the records": {search, withFiles, []slacksim.Fault{slacksim.Hang("upload")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := make(chan bool, 9)
			s := newStage(t, func(ctx context.Context, env commands.Env, line string) (commands.Reply, error) {
				began <- true
				return c.perform(ctx, env, line)
			})
			s.stopsAfter(time.Second)
			s.slack.Fail(c.fault...)
			asked := s.say("U0ADA", c.line)
			if name != "Slack with who asks" {
				<-began
			}
			s.until(func() bool { return s.slack.Unspent() == 0 })
			s.restart(stopsIn, says("the second"))
			if name == "Slack with the records" {
				s.until(func() bool { return strings.Contains(s.thread(asked), "file ") })
				s.wantAnswers(asked, "found", 1)
				return
			}
			s.reply(asked, "the second")
			s.wantAnswers(asked, "the first", 0)
			s.wantAnswers(asked, "the second", 1)
		})
	}
}

// stopsIn is how long the bot may take to stop when it waits for a second, on a
// busy machine.
const stopsIn = time.Second + heed + 10*time.Second

// hung is a command that takes notice of nothing while the test lasts.
func hung(t *testing.T) performance {
	over := make(chan bool)
	t.Cleanup(func() { close(over) })
	return func(context.Context, commands.Env, string) (commands.Reply, error) {
		<-over
		return commands.Reply{Title: "much too late"}, nil
	}
}

func TestACommandThatDoesNotHeedTheEndOfItsTimeIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		over := make(chan bool)
		b := &Bot{Log: slog.New(slog.NewTextHandler(&log, nil)), Prefix: "!", life: t.Context(), late: t.Context()}
		b.Instances = func(Person) []commands.Instance { return nil }
		b.perform = func(context.Context, commands.Env, string) (commands.Reply, error) {
			<-over
			return commands.Reply{Title: "much too late"}, nil
		}
		task := b.newTask(engine.Item{ID: "x"})
		task.name = "help"
		began := time.Now()
		reply, err := b.try(t.Context(), task)
		if took := time.Since(began); took != quickPatience+heed || err == nil || reply.Title != "" {
			t.Errorf("after %v: %q, %v", took, reply.Title, err)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Error("the person would be told to ask for less")
		}
		if shown := b.explain(task, err); shown.Title != "❌ That did not work" || !strings.Contains(shown.Text, "The log has the reason under") {
			t.Errorf("it is explained by %+v", shown)
		}
		if got := log.String(); !strings.Contains(got, "TestACommandThatDoesNotHeedTheEndOfItsTimeIsGivenUp.func1.2") || strings.Count(got, "created by") != 1 {
			t.Errorf("the log has not its stack alone:\n%s", got)
		}
		close(over)
	})
}
