package bot

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"auditbot/bot/engine"
	"auditbot/bot/slacksim"
	"auditbot/commands"
)

// The request with an answer was on its way when the bot died, and arrives when
// the next one has taken over.
func TestATakeoverWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	s := newStage(t, says("the answer"))
	s.stopsAfter(time.Nanosecond)
	s.slack.Fail(slacksim.Stray("chat.postMessage", 700*time.Millisecond))
	asked := s.say("U0ADA", test)
	s.until(func() bool { return s.slack.Unspent() == 0 })
	s.restart(stopsIn, says("the answer"))
	s.until(func() bool { // the one under way has arrived, and somebody has looked for it
		return s.slack.Calls("conversations.replies") > 0 && !slices.ContainsFunc(s.slack.Requests(), func(r slacksim.Request) bool {
			return r.Method == "chat.postMessage" && r.Status == 0
		})
	})
	s.stop()
	s.wantAnswers(asked, "the answer", 1)
}

// A workspace may drop the metadata of a message, or its blocks.
func TestAnAnswerIsRecognisedByAnyOfItsMarks(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*stage){
		"the best form": func(*stage) {},
		"the second":    func(s *stage) { s.slack.Refuse("markdown") },
		"plain text":    func(s *stage) { s.slack.Refuse("markdown", "rich_text") },
		"no metadata": func(s *stage) {
			for range 3 {
				s.slack.Fail(slacksim.APIError("chat.postMessage", "metadata_too_large"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, says("the answer & <more>"))
			refuse(s)
			asked := s.say("U0ADA", test)
			s.reply(asked, "the answer")
			s.stop() // once that is written down
			task := s.bot.newTask(engine.Item{ID: Message{Team: "T0CONTOSO", Channel: incidents, TS: asked.TS}.ID()})
			task.Message = Message{Channel: incidents, TS: asked.TS}
			if err := s.bot.load(t.Context(), task); err != nil {
				t.Fatal(err)
			}
			if found, err := s.bot.answered(t.Context(), task); !found || err != nil {
				t.Errorf("answered = %v, %v", found, err)
			}
			task.state.Step, s.bot.heard = unsure, newHearing() // as a process has it that takes over
			if err := s.bot.look(t.Context(), task); err != nil || !slices.Equal(s.bot.heard.answers.Threads, []string{incidents + "/" + asked.TS}) {
				t.Errorf("the threads to look into after an outage are %q, %v", s.bot.heard.answers.Threads, err)
			}
			var marked, plain bool
			for _, m := range s.slack.History(incidents) {
				if m.ThreadTS == asked.TS {
					marked = strings.Contains(string(m.Blocks), `"block_id":"auditbot_answer/`+task.id+`"`)
					plain = len(m.Metadata) == 0
				}
			}
			if marked != (name == "the best form" || name == "the second") || plain != (name == "no metadata") {
				t.Errorf("in a block: %v; without metadata: %v", marked, plain)
			}
			other := s.bot.newTask(engine.Item{ID: "another"})
			other.Message = task.Message
			if found, err := s.bot.answered(t.Context(), other); found || err != nil {
				t.Errorf("another command is answered: %v, %v", found, err)
			}
		})
	}
}

func TestAMarkIsSeenInMetadataOrABlock(t *testing.T) {
	m := answerMark("T1.C1.1700000000.000100")
	in := m.put(form{text: "x", blocks: []slack.Block{slack.NewMarkdownBlock("", "x")}})
	byBlock := slack.Message{Msg: slack.Msg{Blocks: slack.Blocks{BlockSet: in.blocks[1:]}}}
	byMetadata := slack.Message{Msg: slack.Msg{Metadata: m.metadata()}}
	if !m.on(byBlock) || !m.on(byMetadata) || m.on(slack.Message{}) || (mark{noteEvent, m.id}).on(byBlock) || answerMark("T1.C1.1700000000.000101").on(byMetadata) {
		t.Error("marks are mixed up")
	}
}

// The bot died between posting that a command runs and writing that down.
func TestTheMessageThatACommandRunsIsFoundAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t, untilCancelled)
	s.slack.Fail(slacksim.Lost("chat.postMessage"))
	asked := s.say("U0ADA", search)
	s.reply(asked, isRunning)
	s.until(func() bool { return s.slack.Unspent() == 0 })
	s.restart(stopsIn, untilCancelled)
	s.until(func() bool { return s.performed.Load() == 2 })
	s.press("U0ADA", s.reply(asked, isRunning), "Cancel")
	s.reply(asked, "partial result")
	s.reply(asked, "was cancelled after")
	s.wantAnswers(asked, isRunning, 0)
	s.wantAnswers(asked, "was cancelled after", 1)
}

// So it is in the same process, if Slack's answer gets lost.
func TestTheMessageThatACommandRunsIsSettledThoughItsPostGotLost(t *testing.T) {
	t.Parallel()
	goOn := make(chan bool)
	s := newStage(t, func(context.Context, commands.Env, string) (commands.Reply, error) {
		<-goOn
		return commands.Reply{Title: "the answer"}, nil
	})
	s.slack.Fail(slacksim.Lost("chat.postMessage"))
	asked := s.say("U0ADA", search)
	s.reply(asked, isRunning)
	close(goOn)
	s.reply(asked, "was answered after")
	s.wantAnswers(asked, isRunning, 0)
	s.wantAnswers(asked, "the answer", 1)
}

func TestNotesAreMadeOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t, withFiles)
	s.slack.Fail(slacksim.APIError("files.getUploadURLExternal", "file_type_not_allowed"),
		slacksim.Nothing("chat.postMessage"), slacksim.Lost("chat.postMessage"))
	asked := s.say("U0ADA", search)
	s.until(func() bool { return strings.Contains(s.thread(asked), "file verdict.json") })
	s.wantAnswers(asked, "auditlog.ndjson.gz is not attached", 1)

	s.slack.Fail(slacksim.APIError("chat.postMessage", "is_archived"), slacksim.Lost("chat.postMessage"), slacksim.APIError("chat.postMessage", "is_archived"))
	s.say("U0ADA", test)
	toldApart := func() (n int) {
		for _, m := range s.slack.History(s.slack.OpenDM("U0ADA")) {
			n += strings.Count(m.Text, "could not be answered there")
		}
		return n
	}
	s.until(func() bool {
		return toldApart() > 0 && s.slack.Unspent() == 0 && s.slack.Calls("conversations.history") > 0
	})
	s.reply(s.say("U0ADA", "!help"), "What you can ask")
	if n := toldApart(); n != 1 {
		t.Errorf("told %d times", n)
	}
}
