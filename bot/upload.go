package bot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"sync"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// An upload is a file on its way into a thread.
type upload struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	Journal bool   `json:"journal,omitempty"` // it is the command's journal; else evidence, under its name
	ID      string `json:"id,omitempty"`      // Slack's, once all bytes are there
}

// newUploads are what is to be attached to a reply: its files, or, if it has
// none, its records, if there are any.
func newUploads(r commands.Reply) []upload {
	files := r.Files
	if len(files) == 0 && r.Context != nil && (r.Verdict == nil || r.Verdict.Records > 0) {
		files = []commands.File{*r.Context}
	}
	var all []upload
	for _, f := range files {
		if f.Size > 0 { // Slack takes no empty ones
			all = append(all, upload{Name: f.Name, Size: f.Size, Journal: f.Journal})
		}
	}
	return all
}

// uploadTries is how often files that do not get through are tried.
const uploadTries = 5

// attach puts the files under the answer. If that cannot be done, the answer
// stands, and the thread says what is missing.
func (b *Bot) attach(ctx context.Context, t *task) error {
	if len(t.state.Uploads) == 0 {
		return nil
	}
	t.state.UploadTries++
	if err := b.save(ctx, t); err != nil {
		return err
	}
	err := b.upload(ctx, t)
	if errors.Is(err, errStopping) {
		t.state.UploadTries--
		return errors.Join(err, b.save(ctx, t))
	}
	if passing(err) && t.state.UploadTries < uploadTries {
		return err
	}
	if err != nil {
		if err := b.sayMissing(ctx, t, "", err); err != nil {
			return err
		}
	}
	t.state.Uploads = nil
	return b.save(ctx, t)
}

// upload brings the files to Slack in Slack's three steps. Their ids are
// durable before the last one, which puts all of them into one message and can
// be done once only.
// https://docs.slack.dev/messaging/working-with-files#upload
func (b *Bot) upload(ctx context.Context, t *task) error {
	takenOver := !slices.ContainsFunc(t.state.Uploads, func(u upload) bool { return u.ID == "" })
	if !takenOver {
		if err := b.sendAll(ctx, t); err != nil {
			return err
		}
	}
	var files []slack.FileSummary
	for _, u := range t.state.Uploads {
		files = append(files, slack.FileSummary{ID: u.ID, Title: u.Name})
	}
	if len(files) == 0 {
		return nil // Slack wants none of them
	}
	_, err := b.Slack.CompleteUploadExternalContext(ctx, slack.CompleteUploadExternalParameters{
		Files:           files,
		Channel:         t.Channel,
		ThreadTimestamp: t.Place(),
	})
	if takenOver && refused(err, "file_not_found") { // which is what Slack says to a second time
		return nil
	}
	if err != nil {
		return fmt.Errorf("sharing the files: %w", err)
	}
	return nil
}

// ofOneFile tells whether Slack refused a file for what it is, which it may not
// do with the next one.
func ofOneFile(err error) bool {
	return refused(err, "file_type_not_allowed", "file_upload_size_restricted", "file_uploads_except_images_disabled")
}

// sendAll sends the bytes of all files that are not there yet. One that Slack
// refuses for what it is is left out, and the thread says so, unless it is the
// only one. A shutdown does not wait for it.
func (b *Bot) sendAll(ctx context.Context, t *task) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(b.life, func() { end(errStopping) })()
	for i := 0; i < len(t.state.Uploads); {
		u := &t.state.Uploads[i]
		var err error
		if u.ID == "" {
			u.ID, err = b.sendBytes(ctx, t, *u)
		}
		switch {
		case err != nil && errors.Is(context.Cause(ctx), errStopping):
			return errStopping
		case err != nil && (!ofOneFile(err) || len(t.state.Uploads) == 1):
			return err
		case err != nil:
			if err := b.sayMissing(ctx, t, u.Name, err); err != nil {
				return err
			}
			t.state.Uploads = slices.Delete(t.state.Uploads, i, i+1)
		default:
			i++
		}
		if err := b.save(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// sendBytes sends the content of a file.
func (b *Bot) sendBytes(ctx context.Context, t *task, u upload) (id string, err error) {
	stored, err := b.open(ctx, t, u)
	if err != nil {
		return "", err
	}
	content := &lease{content: stored}
	defer content.Close()
	return b.send(ctx, u, content)
}

// A lease is content that can be read until it is closed. A goroutine of
// slack-go's may go on reading when an upload has failed.
type lease struct {
	mu      sync.Mutex
	content io.ReadCloser // nil once it is closed
}

func (l *lease) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.content == nil {
		return 0, io.ErrClosedPipe
	}
	return l.content.Read(p)
}

func (l *lease) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	content := l.content
	l.content = nil
	return content.Close()
}

// send sends content as it reads it: it may be larger than the memory is.
func (b *Bot) send(ctx context.Context, u upload, content io.Reader) (id string, err error) {
	where, err := b.Slack.GetUploadURLExternalContext(ctx, slack.GetUploadURLExternalParameters{FileName: u.Name, FileSize: int(u.Size)})
	if err != nil {
		return "", fmt.Errorf("asking where to upload %s: %w", u.Name, err)
	}
	err = b.Slack.UploadToURL(ctx, slack.UploadToURLParameters{UploadURL: where.UploadURL, Reader: content, Filename: u.Name})
	if broken, ok := errors.AsType[*url.Error](err); ok {
		err = broken.Err // whoever has the address may upload in our place
	}
	if err != nil {
		return "", fmt.Errorf("uploading %s: %w", u.Name, err)
	}
	return where.FileID, nil
}

// open reads a file from where it is kept. The reply that it came with may be
// from a process that is gone.
func (b *Bot) open(ctx context.Context, t *task, u upload) (io.ReadCloser, error) {
	if !u.Journal {
		return b.Engine.OpenEvidence(ctx, t.id+"/"+u.Name)
	}
	journal, err := b.journal(t)(ctx)
	if err != nil {
		return nil, err
	}
	return journal.Open(ctx)
}

// sayMissing says in the thread that the file with this name is not attached,
// or, without a name, that none of those that are left is, and why.
func (b *Bot) sayMissing(ctx context.Context, t *task, name string, why error) error {
	id := rand.Text()[:8]
	t.log.Error("attaching a file", "id", id, "file", name, "err", why)
	what := mrkdwn(name) + " is"
	if name == "" {
		what = "The records are"
	}
	reason := "Slack did not take it"
	switch {
	case refused(why, "missing_scope"):
		reason = "the Slack app lacks the scope files:write: an admin reinstalls it with this bot's manifest"
	case refused(why, "storage_limit_reached", "file_upload_size_restricted"):
		reason = "the workspace has no room for it"
	case refused(why, "file_uploads_disabled", "file_type_not_allowed", "file_uploads_except_images_disabled"):
		reason = "the workspace does not allow files like it"
	}
	text := fmt.Sprintf("⚠️ %s not attached: %s. What stands above is still right. The log has more under %s.", what, reason, id)
	if _, err := b.sayOnce(ctx, t, section(text), mark{noteEvent, t.id + "/" + name}); passing(err) {
		return fmt.Errorf("saying that a file is missing: %w", err)
	}
	return nil
}
