//go:build !windows

package bot

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"auditbot/bot/slacksim"
)

// An asked is a command that somebody has typed, and what became of it.
type asked struct {
	slacksim.Message
	kind, typed string

	answers map[string][]slacksim.Message // by item: a sign-in that it waits for makes another one
	files   int                           // messages with files of its own
	missing int                           // notes in its thread that files are not attached, whosever they are
	over    bool                          // once it had all that it must have
	running int                           // messages that still say that it runs or waits
}

func (a *asked) id() string { return Message{Team: "T0CONTOSO", Channel: a.Channel, TS: a.TS}.Origin() }

// place is the thread that its answer is in.
func (a *asked) place() string {
	if a.ThreadTS != "" {
		return a.ThreadTS
	}
	return a.TS
}

// look finds out what has become of the commands so far.
func (c *chaos) look() {
	byID, byFile, notes := map[string]*asked{}, map[string]*asked{}, map[string]int{}
	for _, a := range c.asked {
		a.answers, a.files, a.running = map[string][]slacksim.Message{}, 0, 0
		byID[a.id()], byFile[a.fileName()] = a, a
	}
	for _, channel := range c.slack.Channels() {
		for _, m := range c.slack.History(channel.ID) {
			if m.BotID == "" || m.Deleted {
				continue
			}
			if id := answerTo(m); id != "" {
				origin, _, _ := strings.Cut(id, ".resumed")
				if a := byID[origin]; a != nil {
					a.answers[id] = append(a.answers[id], m)
				}
			}
			for _, f := range m.Files {
				if a := byFile[f.Name]; a != nil {
					a.files++
				}
			}
			if a := byID[shownRunning(m)]; a != nil {
				a.running++
			}
			if strings.Contains(m.Text, "not attached: ") {
				notes[m.ThreadTS]++
			}
		}
	}
	for _, a := range c.asked {
		a.missing = notes[a.place()]
	}
}

// stillRuns is how a message goes on that shows that a command runs or waits.
var stillRuns = regexp.MustCompile(`^⏳ .* (is running, since|waits: )`)

// shownRunning is the command that still runs according to a message, or "".
func shownRunning(m slacksim.Message) string {
	_, item, ok := strings.Cut(string(m.Blocks), `"value":"`)
	item, _, _ = strings.Cut(item, `"`)
	if !ok || !stillRuns.MatchString(m.Text) {
		return ""
	}
	origin, _, _ := strings.Cut(item, ".resumed")
	return origin
}

// open is how many commands have no answer yet, or not their files.
func (c *chaos) open() (n int) {
	c.look()
	for _, a := range c.asked {
		a.over = a.over || a.final() != nil && (!a.filesDue() || a.files+a.missing > 0)
		if !a.over {
			n++
		}
	}
	return n
}

// final is the last answer, after any sign-ins that the command waited for; nil
// if it is not there.
func (a *asked) final() *slacksim.Message {
	latest := ""
	for id := range a.answers {
		if len(id) > len(latest) || len(id) == len(latest) && id > latest {
			latest = id
		}
	}
	if latest == "" {
		return nil
	}
	m := a.answers[latest][0]
	if a.kind == chaosSearch && strings.Contains(m.Text, "🔑") && !strings.Contains(shownIn(m), "reached me only now") {
		return nil // it goes on as another item, unless it came so late that a button is offered
	}
	return &m
}

// filesDue tells whether the answer has records, which are attached then.
func (a *asked) filesDue() bool {
	m := a.final()
	return a.kind == chaosSearch && m != nil && strings.Contains(shownIn(*m), "| 2")
}

// fileName is what its records are attached as.
func (a *asked) fileName() string {
	_, from, _ := strings.Cut(a.typed, "start_date=")
	from, rest, _ := strings.Cut(from, " ")
	_, to, _ := strings.Cut(rest, "end_date=")
	to, _, _ = strings.Cut(to, " ")
	start, err := time.Parse("2006-01-02T15:04:05", from)
	if err != nil {
		return ""
	}
	if len(to) == len(time.DateOnly) {
		to += "T00:00:00"
	}
	end, _ := time.Parse("2006-01-02T15:04:05", to)
	return "auditlog-" + start.Format("20060102T150405Z") + "-" + end.Format("20060102T150405Z") + ".json"
}

// counts are what became of all commands.
type counts struct {
	answered, twice, lost                      int
	files, filesTwice, filesLost, filesMissing int
	running                                    int           // messages that say that something runs which does not
	longest                                    time.Duration // to the first answer
}

func (n counts) String() string {
	return fmt.Sprintf("%d answered, %d twice, %d lost; %d files, %d twice, %d lost, %d said to be missing; %d left running",
		n.answered, n.twice, n.lost, n.files, n.filesTwice, n.filesLost, n.filesMissing, n.running)
}

// bad tells whether anything went wrong that must not. That a message goes on
// saying that something runs, which does not, is not good either, but Slack has
// only so many chances to be told.
func (n counts) bad() bool { return n.twice+n.lost+n.filesTwice+n.filesLost > 0 }

// add counts a command.
func (n *counts) add(a *asked) {
	if a.final() == nil {
		n.lost++
	} else {
		n.answered++
	}
	n.longest = max(n.longest, a.waited())
	n.running += a.running
	for _, all := range a.answers {
		if len(all) > 1 {
			n.twice++
			break
		}
	}
	switch {
	case a.files > 1:
		n.filesTwice++
	case a.files == 1:
		n.files++
	case a.filesDue() && a.missing > 0:
		n.filesMissing++
	case a.filesDue():
		n.filesLost++
	}
}

// waited is how long it took to the first answer, which may be that somebody has
// to sign in; 0 if there is none.
func (a *asked) waited() (d time.Duration) {
	for _, all := range a.answers {
		for _, m := range all {
			if after := (Message{TS: m.TS}).Sent().Sub(Message{TS: a.TS}.Sent()); d == 0 || after < d {
				d = after
			}
		}
	}
	return d
}

// bad tells whether something went wrong with it.
func (a *asked) bad() bool {
	var n counts
	n.add(a)
	return n.bad()
}
