package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

// A day on which everything happens: duplicates, full windows, 6,000 records in
// one second, empty answers with a warning, throttling, broken connections, and
// a bot that is killed in the middle. The answer has every record once.
func TestEveryRecordOfABadDay(t *testing.T) {
	t.Parallel()
	day := time.Now().UTC().AddDate(0, 0, -3).Truncate(24 * time.Hour)
	var text bytes.Buffer
	burst := tenantsim.Burst{At: day.Add(14 * time.Hour), N: 6000}
	if err := tenantsim.Generate(&text, 34_000, day, day.AddDate(0, 0, 1), 7, burst); err != nil {
		t.Fatal(err)
	}
	records, err := tenantsim.LoadNDJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	s := newSurroundingsWith(t, &tenantsim.Server{
		Tenant:   tenantsim.Tenant{Records: records},
		Interval: time.Second,
		Seed:     3,
		Odds: []tenantsim.Odds{
			{Share: 0.05, Fault: tenantsim.GaveUp},
			{Share: 0.10, Fault: tenantsim.Throttled(time.Second)},
			{Share: 0.02, Fault: tenantsim.Reset},
			{Share: 0.10, Fault: tenantsim.Repeated},
		},
	})
	kill := s.start()
	asked, err := s.slack.Say("U0ADA", "C0INCIDENTS", "", fmt.Sprintf("!o365-auditlog-search start_date=%s end_date=%s result_size=all",
		day.Format(time.DateOnly), day.AddDate(0, 0, 1).Format(time.DateOnly)))
	if err != nil {
		t.Fatal(err)
	}
	s.await(func() bool { return len(s.tenant.UserCodes()) == 1 })
	s.signIn()
	s.await(func() bool { return s.tenant.Asked("Search-UnifiedAuditLog") > 30 })
	kill()
	before := s.tenant.Asked("Search-UnifiedAuditLog")
	kill = s.start()
	answer := s.answerWithin(asked, "Audit log from", 3*time.Minute)
	if text := blockText(answer.Blocks); !strings.Contains(text, "40,000 records") || !strings.Contains(text, "Complete") || strings.Contains(text, "⚠️") {
		t.Errorf("the answer is\n%s", text)
	}
	lines, verdict := s.attached(asked)
	seen := map[string]int{}
	for line := range strings.Lines(lines) {
		seen[strings.TrimSuffix(line, "\n")]++
	}
	missing := 0
	for _, raw := range records.Find(tenantsim.Wanted{From: day, To: day.AddDate(0, 0, 1)}) {
		if seen[string(raw)] != 1 {
			missing++
		}
		delete(seen, string(raw))
	}
	if missing > 0 || len(seen) > 0 {
		t.Errorf("%d records are not there once, and %d lines are no records", missing, len(seen))
	}
	var v struct {
		Verdict                    string
		Windows, Requests, Retries int
		Duplicates                 int `json:"duplicates_dropped"`
	}
	if err := json.Unmarshal([]byte(verdict), &v); err != nil || v.Verdict != "complete" || v.Duplicates == 0 || v.Retries == 0 {
		t.Errorf("verdict.json: %v\n%s", err, verdict)
	}
	t.Logf("%d windows, %d requests (%d of them before the kill), %d retries, %d duplicates dropped", v.Windows, v.Requests, before, v.Retries, v.Duplicates)
	kill()
}

// attached is the records and the verdict.json under an answer, unpacked.
func (s *surroundings) attached(to slacksim.Message) (records, verdict string) {
	s.t.Helper()
	var files []slacksim.File
	s.await(func() bool {
		files = nil
		for _, m := range s.slack.History(to.Channel) {
			if m.ThreadTS == to.TS {
				for _, f := range m.Files {
					if full, ok := s.slack.File(f.ID); ok {
						files = append(files, full)
					}
				}
			}
		}
		return len(files) >= 2
	})
	for _, f := range files {
		content := f.Content
		if strings.HasSuffix(f.Name, ".gz") {
			zip, err := gzip.NewReader(bytes.NewReader(content))
			if err != nil {
				s.t.Fatal(err)
			}
			if content, err = io.ReadAll(zip); err != nil {
				s.t.Fatal(err)
			}
		}
		if f.Name == "verdict.json" {
			verdict = string(content)
		} else {
			records += string(content)
		}
	}
	return records, verdict
}

// answerWithin waits for an answer that takes longer than most.
func (s *surroundings) answerWithin(to slacksim.Message, text string, wait time.Duration) slacksim.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), wait)
	defer cancel()
	m, err := s.slack.Wait(ctx, to.Channel, func(m slacksim.Message) bool {
		return isAnswer(m, to) && strings.Contains(blockText(m.Blocks), text)
	})
	if err != nil {
		s.t.Fatalf("no answer to %q: %v", to.Text, err)
	}
	return m
}
