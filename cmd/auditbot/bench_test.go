package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot"
	"auditbot/bot/slacksim"
)

// How large the benchmarks are:
//
//	go test ./cmd/auditbot -run '^$' -bench Search -benchtime 1x -timeout 60m
var (
	benchRecords = flag.Int("records", 1_000_000, "how many records BenchmarkSearch reads")
	slowRecords  = flag.Int("slow-records", 100_000, "how many records BenchmarkSearchOfASlowService reads")
)

// serveTenant is a simulated tenant as a process of its own, so that what the
// bot needs can be told apart: it serves a file of records, prints its address,
// and ends with its standard input.
func serveTenant() {
	latency, err := time.ParseDuration(os.Args[2])
	check(err)
	records, err := tenantsim.OpenNDJSON(os.Args[1])
	check(err)
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}, Latency: latency, Plain: true}
	check(s.Start())
	fmt.Println(s.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A field is what a benchmark runs on: a tenant and a bot, each a process, and
// a workspace in this one.
type field struct {
	b      *testing.B
	slack  *slacksim.Server
	dir    string
	tenant string // its address
	day    time.Time
}

// newField makes a tenant with n records, all of one week.
func newField(b *testing.B, n int, latency time.Duration) *field {
	f := &field{b: b, dir: b.TempDir(), day: time.Now().UTC().AddDate(0, 0, -10).Truncate(24 * time.Hour)}
	file, err := os.Create(filepath.Join(f.dir, "records.ndjson"))
	f.ok(err)
	w := bufio.NewWriterSize(file, 1<<20)
	f.ok(tenantsim.Generate(w, n, f.day, f.day.AddDate(0, 0, 7), 1))
	f.ok(w.Flush())
	f.ok(file.Close())
	f.tenant = f.startTenant(file.Name(), latency)
	f.slack = &slacksim.Server{Workspace: slacksim.Demo()}
	f.slack.Workspace.Manifest = []byte(bot.Manifest())
	f.ok(f.slack.Start())
	b.Cleanup(f.slack.Close)
	settings := fmt.Sprintf(botSettings+"    auth: password\n    upn: ada@contoso.com\nengine: {data_dir: %[2]q}\n", f.tenant, filepath.Join(f.dir, "data"))
	f.ok(os.WriteFile(filepath.Join(f.dir, "auditbot.yml"), []byte(settings), 0o666))
	return f
}

func (f *field) ok(err error) {
	f.b.Helper()
	if err != nil {
		f.b.Fatal(err)
	}
}

// program is this test under another name, which makes it another program.
func (f *field) program(name string, args ...string) *exec.Cmd {
	path := filepath.Join(f.dir, name)
	if _, err := os.Lstat(path); err != nil {
		f.ok(os.Symlink(os.Args[0], path))
	}
	c := exec.Command(path, args...)
	c.Dir = f.dir
	c.Stderr = os.Stderr
	return c
}

func (f *field) startTenant(records string, latency time.Duration) string {
	c := f.program("servetenant", records, latency.String())
	in, err := c.StdinPipe()
	f.ok(err)
	out, err := c.StdoutPipe()
	f.ok(err)
	f.ok(c.Start())
	f.b.Cleanup(func() { in.Close(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	f.ok(err)
	return strings.TrimSpace(line)
}

// An account is what a search cost.
type account struct {
	answered, attached time.Duration // since the command was typed
	cpu                time.Duration
	peak               int // resident bytes
	verdict            struct {
		Verdict                    string
		Records, Windows, Requests int
		Retries                    int
		Duplicates                 int `json:"duplicates_dropped"`
	}
	packed int // bytes of the file
}

// search lets the bot search for everything.
func (f *field) search() (a account) {
	c := f.program("auditbot", "run")
	c.Stderr = io.Discard
	c.Env = append(os.Environ(), "SLACK_API_URL="+f.slack.APIURL(), "SLACK_BOT_TOKEN="+f.slack.BotToken(), "SLACK_APP_TOKEN="+f.slack.AppToken(),
		"AUDITBOT_KEY="+rightKey, "AUDITBOT_PASSWORD_CONTOSO="+tenantsim.ContosoPassword)
	f.ok(c.Start())
	defer c.Process.Kill()
	ctx, cancel := context.WithTimeout(f.b.Context(), 30*time.Minute)
	defer cancel()
	f.ok(f.slack.WaitConnected(ctx))
	began := time.Now()
	asked, err := f.slack.Say("U0ADA", "C0INCIDENTS", "", "!o365-auditlog-search start_date="+f.day.Format(time.DateOnly)+
		" end_date="+f.day.AddDate(0, 0, 7).Format(time.DateOnly)+" result_size=all backend=exchange")
	f.ok(err)
	_, err = f.slack.Wait(ctx, asked.Channel, func(m slacksim.Message) bool { return isAnswer(m, asked) })
	f.ok(err)
	a.answered = time.Since(began)
	m, err := f.slack.Wait(ctx, asked.Channel, func(m slacksim.Message) bool { return m.ThreadTS == asked.TS && len(m.Files) == 2 })
	f.ok(err)
	a.attached = time.Since(began)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
	if found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status); err == nil && found != nil {
		kib, _ := strconv.Atoi(string(found[1]))
		a.peak = kib << 10
	}
	f.ok(c.Process.Kill())
	_ = c.Wait() // it was killed
	a.cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	for _, file := range m.Files {
		full, _ := f.slack.File(file.ID)
		if full.Name == "verdict.json" {
			f.ok(json.Unmarshal(full.Content, &a.verdict))
		} else {
			a.packed = len(full.Content)
		}
	}
	return a
}

// baseline reads the same week one request after the other, window after window
// of as many records as the bot reads, decodes the records and writes them to a
// file: what a careful script would do that knows beforehand how many records
// there are when.
func (f *field) baseline(records *tenantsim.Records) (took time.Duration, requests int) {
	token := f.signIn()
	out, err := os.Create(filepath.Join(f.dir, "baseline.ndjson"))
	f.ok(err)
	defer out.Close()
	w := bufio.NewWriterSize(out, 1<<20)
	began := time.Now()
	for _, window := range f.windows(records) {
		for session := fmt.Sprint(window.from); ; {
			rows := f.page(token, session, window.from, window.to)
			requests++
			for _, row := range rows {
				w.WriteString(row.AuditData)
				w.WriteByte('\n')
			}
			if len(rows) == 0 {
				break
			}
		}
	}
	f.ok(w.Flush())
	return time.Since(began), requests
}

type span struct{ from, to time.Time }

// windows are the spans of 2,500 records or few more.
func (f *field) windows(records *tenantsim.Records) (all []span) {
	end := f.day.AddDate(0, 0, 7)
	from, n := f.day, 0
	last := from
	for raw := range records.All() {
		var head struct{ CreationTime string }
		f.ok(json.Unmarshal(raw, &head))
		at, err := time.Parse("2006-01-02T15:04:05", head.CreationTime)
		f.ok(err)
		if n++; n >= 2500 && at.After(last) {
			all = append(all, span{from, at})
			from, n = at, 1
		}
		last = at
	}
	return append(all, span{from, end})
}

func (f *field) signIn() string {
	resp, err := http.PostForm(f.tenant+"/contoso.onmicrosoft.com/oauth2/v2.0/token", map[string][]string{
		"grant_type": {"password"}, "client_id": {exchangeShellApp}, "username": {"ada@contoso.com"}, "password": {tenantsim.ContosoPassword},
		"scope": {"https://outlook.office365.com/.default"},
	})
	f.ok(err)
	defer resp.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	f.ok(json.NewDecoder(resp.Body).Decode(&token))
	return token.AccessToken
}

type auditRow struct{ AuditData string }

func (f *field) page(token, session string, from, to time.Time) []auditRow {
	body, err := json.Marshal(map[string]any{"CmdletInput": map[string]any{"CmdletName": "Search-UnifiedAuditLog", "Parameters": map[string]any{
		"StartDate": from.Format(time.RFC3339), "EndDate": to.Format(time.RFC3339), "ResultSize": 5000, "SessionId": session, "SessionCommand": "ReturnNextPreviewPage",
	}}})
	f.ok(err)
	req, err := http.NewRequest("POST", f.tenant+"/adminapi/beta/contoso.onmicrosoft.com/InvokeCommand", bytes.NewReader(body))
	f.ok(err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("X-AnchorMailbox", "UPN:ada@contoso.com")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "odata.maxpagesize=5000")
	resp, err := http.DefaultClient.Do(req)
	f.ok(err)
	defer resp.Body.Close()
	var page struct{ Value []auditRow }
	f.ok(json.NewDecoder(resp.Body).Decode(&page))
	if resp.StatusCode != http.StatusOK {
		f.b.Fatal("the baseline was answered with ", resp.Status)
	}
	return page.Value
}

// BenchmarkSearch searches a million records of a service that answers without
// delay, and reads the same pages one after another beside it.
func BenchmarkSearch(b *testing.B) { benchmarkSearch(b, *benchRecords, 0) }

// BenchmarkSearchOfASlowService is the same with 1.5 seconds for each request,
// which is what a search at Microsoft takes at best.
func BenchmarkSearchOfASlowService(b *testing.B) {
	benchmarkSearch(b, *slowRecords, 1500*time.Millisecond)
}

func benchmarkSearch(b *testing.B, n int, latency time.Duration) {
	f := newField(b, n, latency)
	records, err := tenantsim.OpenNDJSON(filepath.Join(f.dir, "records.ndjson"))
	f.ok(err)
	defer records.Close()
	for b.Loop() {
		a := f.search()
		if a.verdict.Records != n || a.verdict.Verdict != "complete" {
			b.Errorf("%d records of %d: %s", a.verdict.Records, n, a.verdict.Verdict)
		}
		alone, requests := f.baseline(records)
		b.ReportMetric(float64(n)/a.answered.Seconds(), "records/s")
		b.ReportMetric(a.answered.Seconds(), "s-answered")
		b.ReportMetric(a.attached.Seconds(), "s-attached")
		b.ReportMetric(a.cpu.Seconds(), "s-cpu")
		b.ReportMetric(float64(a.peak)/(1<<20), "MiB-peak")
		b.ReportMetric(float64(a.packed)/(1<<20), "MiB-file")
		b.ReportMetric(float64(a.verdict.Windows), "windows")
		b.ReportMetric(float64(a.verdict.Requests), "requests")
		b.ReportMetric(float64(a.verdict.Duplicates), "duplicates")
		b.ReportMetric(alone.Seconds(), "s-baseline")
		b.ReportMetric(float64(requests), "requests-baseline")
		b.ReportMetric(alone.Seconds()/a.answered.Seconds(), "times-faster")
		if latency > 0 { // what the same requests, of the same windows, take one after another at least
			b.ReportMetric(float64(a.verdict.Requests)*latency.Seconds()/a.answered.Seconds(), "times-faster-than-itself")
		}
	}
}
