package bot

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/slack-go/slack"

	"auditbot/bot/slacksim"
	"auditbot/commands"
)

const verdict = `{"status":"complete"}`

// withFiles is a command that answers with its journal and its verdict.
func withFiles(ctx context.Context, env commands.Env, _ string) (commands.Reply, error) {
	j, err := env.Journal(ctx)
	if err != nil {
		return commands.Reply{}, err
	}
	if j.State == nil {
		if _, err := io.WriteString(j.Write, "the records"); err != nil {
			return commands.Reply{}, err
		}
		if err := j.Checkpoint(ctx, []byte("done")); err != nil {
			return commands.Reply{}, err
		}
	}
	kept, err := env.Keep(ctx, "verdict.json", func(w commands.FileWriter) error {
		_, err := io.WriteString(w, verdict)
		return err
	})
	records := commands.File{Name: "auditlog.ndjson.gz", Size: j.Size(), Journal: true}
	return commands.Reply{Title: "found", Files: []commands.File{records, kept}}, err
}

func TestFilesStandInOneMessageWhateverHappens(t *testing.T) {
	t.Parallel()
	s := newStage(t, withFiles)
	for name, faults := range map[string][]slacksim.Fault{
		"nothing happens":                  nil,
		"the first bytes do not arrive":    {slacksim.HTTPError("upload", 500)},
		"the second bytes do not arrive":   {slacksim.Nothing("upload"), slacksim.HTTPError("upload", 500)},
		"that they arrived is lost":        {slacksim.Lost("upload")},
		"they are not put together":        {slacksim.APIError("files.completeUploadExternal", "internal_error")},
		"that they were put there is lost": {slacksim.Lost("files.completeUploadExternal")},
		"the answer to the answer is lost": {slacksim.Lost("chat.postMessage")},
	} {
		s.slack.Fail(faults...)
		before := s.performed.Load()
		asked := s.say("U0ADA", search)
		s.until(func() bool { return strings.Contains(s.thread(asked), "file ") })
		s.reply(s.say("U0ADA", "!help"), "What you can ask") // what would come twice has had its time
		var files []slacksim.File
		messages := 0
		for _, m := range s.slack.History(incidents) {
			if m.ThreadTS == asked.TS && len(m.Files) > 0 {
				messages++
				files = append(files, m.Files...)
			}
		}
		if messages != 1 || len(files) != 2 || strings.Count(s.thread(asked), "found") != 2 { // in its text and its block
			t.Fatalf("%s: the thread has\n%s", name, s.thread(asked))
		}
		if files[0].Name != "auditlog.ndjson.gz" || string(files[0].Content) != "the records" || files[1].Name != "verdict.json" || string(files[1].Content) != verdict {
			t.Errorf("%s: files %q %q, %q %q", name, files[0].Name, files[0].Content, files[1].Name, files[1].Content)
		}
		if n := s.performed.Load() - before; n != 1 || s.slack.Unspent() > 0 {
			t.Errorf("%s: the command ran %d times; %d faults left", name, n, s.slack.Unspent())
		}
	}
}

func TestAFileThatSlackRefusesLeavesTheOthers(t *testing.T) {
	t.Parallel()
	s := newStage(t, withFiles)
	s.slack.Fail(slacksim.APIError("files.getUploadURLExternal", "file_type_not_allowed"))
	asked := s.say("U0ADA", search)
	s.reply(asked, "auditlog.ndjson.gz is not attached: the workspace does not allow files like it")
	s.until(func() bool { return strings.Contains(s.thread(asked), "file verdict.json") })
	s.slack.Fail(slacksim.APIError("files.completeUploadExternal", "storage_limit_reached"))
	s.reply(s.say("U0ADA", search), "The records are not attached: the workspace has no room for it")
}

// endless are zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAFileIsSentAsItIsRead(t *testing.T) {
	const size = 64 << 20
	var received int64
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	mux.HandleFunc("/api/files.getUploadURLExternal", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "upload_url": server.URL + "/upload", "file_id": "F1"})
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		parts, err := r.MultipartReader()
		if err == nil {
			if part, err := parts.NextPart(); err == nil {
				received, _ = io.Copy(io.Discard, part)
			}
		}
	})
	b := &Bot{Slack: slack.New("xoxb-0", slack.OptionAPIURL(server.URL+"/api/"), slack.OptionRetry(3))}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	id, err := b.send(t.Context(), upload{Name: "a", Size: size}, io.LimitReader(endless{}, size))
	runtime.ReadMemStats(&after)
	if id != "F1" || err != nil || received != size {
		t.Errorf("%q, %v, %d bytes", id, err, received)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("%d bytes of memory for a file of %d", used, size)
	}
}
