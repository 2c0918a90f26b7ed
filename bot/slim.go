package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
)

type slimKey struct{}

// slim makes a [Pace] take out of a list of messages what is only for the eye.
// A block that is newer than package slack makes it refuse the whole list, and
// the other apps in a channel have blocks and attachments of all kinds.
func slim(ctx context.Context) context.Context {
	return context.WithValue(ctx, slimKey{}, true)
}

// read are the fields of a message that are left.
var read = []string{"type", "subtype", "hidden", "edited", "bot_id", "user", "team", "ts", "thread_ts", "text", "reply_count", "latest_reply"}

// slimmed is the response to a request, without what [slim] takes out.
func slimmed(req *http.Request, resp *http.Response) *http.Response {
	if resp == nil || resp.StatusCode != http.StatusOK || req.Context().Value(slimKey{}) == nil {
		return resp
	}
	whole, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	body := io.Reader(bytes.NewReader(slimmedList(whole)))
	if err != nil {
		body = io.MultiReader(body, failing{err})
	}
	resp.Body = io.NopCloser(body)
	return resp
}

// slimmedList is the answer with a list of messages, or what it is if it is not
// one.
func slimmedList(whole []byte) []byte {
	var answer map[string]json.RawMessage
	var messages []map[string]json.RawMessage
	if json.Unmarshal(whole, &answer) != nil || json.Unmarshal(answer["messages"], &messages) != nil {
		return whole
	}
	for _, m := range messages {
		for field := range m {
			if !slices.Contains(read, field) {
				delete(m, field)
			}
		}
	}
	list, err := json.Marshal(messages)
	if err != nil {
		return whole
	}
	answer["messages"] = list
	less, err := json.Marshal(answer)
	if err != nil {
		return whole
	}
	return less
}

// A failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
