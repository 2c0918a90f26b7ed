package bot

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// An upload is a file on its way into a thread.
type upload struct {
	Name  string `json:"name"`
	Size  int64  `json:"size"`
	ID    string `json:"id,omitempty"` // Slack's, once all bytes are there
	Tries int    `json:"tries,omitempty"`
}

// newUpload is what is to be attached to a reply: its records, if there are
// any.
func newUpload(r commands.Reply) *upload {
	if r.Context == nil || r.Verdict != nil && r.Verdict.Records == 0 {
		return nil
	}
	return &upload{Name: r.Context.Name, Size: r.Context.Size}
}

// uploadTries is how often a file that does not get through is tried.
const uploadTries = 5

// attach puts the file under the answer. If that cannot be done, the answer
// stands, and the thread says what is missing.
func (b *Bot) attach(ctx context.Context, t *task) error {
	if t.state.Upload == nil {
		return nil
	}
	t.state.Upload.Tries++
	if err := b.save(ctx, t); err != nil {
		return err
	}
	err := b.upload(ctx, t)
	if passing(err) && t.state.Upload.Tries < uploadTries {
		return err
	}
	if err != nil {
		id := rand.Text()[:8]
		t.log.Error("attaching a file", "id", id, "err", err)
		if err := b.sayMissing(ctx, t, err, id); err != nil {
			return err
		}
	}
	t.state.Upload = nil
	return b.save(ctx, t)
}

// upload brings the file to Slack in Slack's three steps. Its id is durable
// before the last one, which can be done once only.
// https://docs.slack.dev/messaging/working-with-files#upload
func (b *Bot) upload(ctx context.Context, t *task) error {
	u := t.state.Upload
	takenOver := u.ID != ""
	if !takenOver {
		id, err := b.sendBytes(ctx, t, u)
		if err != nil {
			return err
		}
		u.ID = id
		if err := b.save(ctx, t); err != nil {
			return err
		}
	}
	_, err := b.Slack.CompleteUploadExternalContext(ctx, slack.CompleteUploadExternalParameters{
		Files:           []slack.FileSummary{{ID: u.ID, Title: u.Name}},
		Channel:         t.Channel,
		ThreadTimestamp: t.Place(),
	})
	if takenOver && refused(err, "file_not_found") { // which is what Slack says to a second time
		return nil
	}
	if err != nil {
		return fmt.Errorf("sharing the file: %w", err)
	}
	return nil
}

func (b *Bot) sendBytes(ctx context.Context, t *task, u *upload) (id string, err error) {
	content, err := b.Engine.OpenEvidence(ctx, t.id+"/"+u.Name)
	if err != nil {
		return "", err
	}
	defer content.Close()
	where, err := b.Slack.GetUploadURLExternalContext(ctx, slack.GetUploadURLExternalParameters{FileName: u.Name, FileSize: int(u.Size)})
	if err != nil {
		return "", fmt.Errorf("asking where to upload the file: %w", err)
	}
	err = b.Slack.UploadToURL(ctx, slack.UploadToURLParameters{UploadURL: where.UploadURL, Reader: content, Filename: u.Name})
	if err != nil {
		return "", fmt.Errorf("uploading the file: %w", err)
	}
	return where.FileID, nil
}

// sayMissing says in the thread that the records are not attached, and why.
func (b *Bot) sayMissing(ctx context.Context, t *task, why error, id string) error {
	reason := "Slack did not take it"
	switch {
	case refused(why, "missing_scope"):
		reason = "the Slack app lacks the scope files:write: an admin reinstalls it with this bot's manifest"
	case refused(why, "storage_limit_reached", "file_upload_size_restricted"):
		reason = "the workspace has no room for it"
	case refused(why, "file_uploads_disabled", "file_type_not_allowed", "file_uploads_except_images_disabled"):
		reason = "the workspace does not allow files like it"
	}
	text := fmt.Sprintf("⚠️ The records are not attached: %s. What stands above is still right. The log has more under %s.", reason, id)
	if _, err := b.say(ctx, t.Channel, t.Place(), section(text), slack.SlackMetadata{}); passing(err) {
		return fmt.Errorf("saying that the file is missing: %w", err)
	}
	return nil
}
