//go:build !windows

package bot

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"auditbot/bot/slacksim"
)

// A moment is something that happened at a time.
type moment struct {
	at   time.Time
	text string
}

// toldStories is how many stories are printed; all are written to the folder.
const toldStories = 3

// tellStories tells everything that is known of the commands that something
// went wrong with, and writes down that of the others that are not as they
// should be, and of the one that waited longest.
func (c *chaos) tellStories() {
	logs, requests, deliveries := c.logs(), c.slack.Requests(), c.slack.Deliveries()
	told, slowest := 0, slices.MaxFunc(c.asked, func(a, b *asked) int { return cmp.Compare(a.waited(), b.waited()) })
	for _, a := range c.asked {
		if !a.bad() && a.running == 0 && a != slowest {
			continue
		}
		all := slices.Concat(a.delivered(deliveries), a.requested(requests), a.logged(logs), c.posted(a))
		sent := Message{TS: a.TS}.Sent()
		last := sent
		for _, l := range all {
			if l.at.After(last) {
				last = l.at
			}
		}
		for _, v := range c.bots {
			for _, l := range v.story {
				if l.at.Before(last.Add(2 * time.Second)) {
					all = append(all, l)
				}
			}
		}
		slices.SortStableFunc(all, func(a, b moment) int { return a.at.Compare(b.at) })
		var text strings.Builder
		fmt.Fprintf(&text, "%s: %q of %s, in the thread %s; items %v, %d messages with its files\n", a.id(), a.typed, a.User, a.place(), a.itemCounts(), a.files)
		for _, l := range all {
			if l.at.After(sent.Add(-5 * time.Second)) {
				fmt.Fprintf(&text, "%9.3f  %s\n", l.at.Sub(sent).Seconds(), l.text)
			}
		}
		_ = os.WriteFile(filepath.Join(c.dir, "story-"+a.id()+".txt"), []byte(text.String()), 0o666) // it is printed, too
		if !a.bad() {
			continue
		}
		if told++; told <= toldStories {
			c.t.Log(text.String())
		}
	}
}

// tellOfCodes tells what is known of direct messages with codes.
func (c *chaos) tellOfCodes(all []slacksim.Message) {
	requests := c.slack.Requests()
	for _, m := range all {
		c.t.Logf("left standing, in %s, at %v: %s", m.Channel, Message{TS: m.TS}.Sent(), shownIn(m))
		for _, r := range requests {
			near := r.Time.Sub(Message{TS: m.TS}.Sent()).Abs() < chaosSlackWait && r.Method == "chat.postMessage"
			if r.Values.Get("channel") == m.Channel && (r.Values.Get("ts") == m.TS || near) {
				c.t.Logf("%v asked for %s: status %d %s, served %v: %s", r.Time.UTC(), r.Method, r.Status, r.Error, r.Served, r.Values.Get("text"))
			}
		}
	}
}

func (a *asked) itemCounts() map[string]int {
	n := map[string]int{}
	for id, all := range a.answers {
		n[id] = len(all)
	}
	return n
}

func (a *asked) delivered(all []slacksim.Delivery) (lines []moment) {
	for _, d := range all {
		if d.Channel != a.Channel || d.TS != a.TS {
			continue
		}
		what := "not acknowledged"
		if !d.Acknowledged.IsZero() {
			what = "acknowledged after " + d.Acknowledged.Sub(d.Sent).Round(time.Millisecond).String()
		}
		lines = append(lines, moment{d.Sent, fmt.Sprintf("slack  event %s, attempt %d, connected %v, %s", d.Event, d.Attempt, d.Open, what)})
	}
	return lines
}

// requested are the requests that name the command or its thread.
func (a *asked) requested(all []slacksim.Request) (lines []moment) {
	for _, r := range all {
		sent := r.Values.Encode()
		if !strings.Contains(sent, a.id()) && !strings.Contains(sent, "="+a.place()) {
			continue
		}
		ours := ""
		if strings.Contains(sent, a.id()) {
			ours = ", of this command"
		}
		lines = append(lines, moment{r.Time, fmt.Sprintf("slack  asked for %s: status %d %s, served %v%s: %s",
			r.Method, r.Status, r.Error, r.Served, ours, cmp.Or(r.Values.Get("text"), r.Values.Get("files"), r.Values.Get("ts")))})
	}
	return lines
}

// posted is what the bot has in the command's thread.
func (c *chaos) posted(a *asked) (lines []moment) {
	for _, m := range c.slack.History(a.Channel) {
		if m.ThreadTS != a.place() {
			continue
		}
		text, _, _ := strings.Cut(m.Text, "\n")
		for _, f := range m.Files {
			text += " file " + f.Name
		}
		lines = append(lines, moment{Message{TS: m.TS}.Sent(), fmt.Sprintf("thread %s by %s, answer to %q, deleted %v: %s", m.TS, m.User, answerTo(m), m.Deleted, text)})
	}
	return lines
}

// An itemLine is a line of a bot's log.
type itemLine struct {
	moment
	item string
}

// logs are the lines of all logs that have an item.
func (c *chaos) logs() (all []itemLine) {
	names, _ := filepath.Glob(filepath.Join(c.dir, "bot*.log"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			c.t.Error(err)
		}
		for l := range bytes.Lines(text) {
			_, at, _ := strings.Cut(string(l), "time=")
			at, rest, _ := strings.Cut(at, " ")
			_, item, ok := strings.Cut(rest, "item=")
			item, _, _ = strings.Cut(strings.TrimSpace(item), " ")
			if when, err := time.Parse(time.RFC3339, at); err == nil && ok {
				all = append(all, itemLine{moment{when, filepath.Base(name) + "  " + strings.TrimSpace(rest)}, item})
			}
		}
	}
	return all
}

func (a *asked) logged(all []itemLine) (lines []moment) {
	for _, l := range all {
		if l.item == a.id() || strings.HasPrefix(l.item, a.id()+".") {
			lines = append(lines, l.moment)
		}
	}
	return lines
}
