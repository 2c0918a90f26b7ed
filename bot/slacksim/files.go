package slacksim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of uploads.
// https://docs.slack.dev/reference/methods/files.getUploadURLExternal
// https://docs.slack.dev/reference/methods/files.completeUploadExternal
const (
	maxFile         = 1 << 30 // bytes; commonly said, not documented
	maxSnippet      = 1 << 20 // bytes, with a snippet_type
	maxAltText      = 1000    // characters
	maxFileChannels = 100
)

// A file is an upload on its way, or done.
type file struct {
	File
	ticket    string // where its bytes go
	uploaded  bool   // they are there
	completed bool   // and somebody can see them
	created   time.Time
	shares    []*post
}

// fileTypes are what Slack calls some kinds of files.
var fileTypes = map[string]string{
	".json": "json", ".ndjson": "text", ".csv": "csv", ".txt": "text", ".log": "text", ".md": "markdown", ".png": "png", ".zip": "zip", ".pdf": "pdf", ".html": "html",
}

// uploadURL is the first of three steps.
func uploadURL(s *Server, c *call) object {
	length, err := strconv.ParseInt(c.Get("length"), 10, 64)
	switch {
	case c.Get("filename") == "":
		return missing("filename")
	case c.Get("length") == "":
		return missing("length")
	case err != nil || length < 0:
		return failedBecause("invalid_arguments", "must be a valid number [json-pointer:/length]")
	case length == 0:
		return failed("missing_argument")
	case length > maxFile:
		return failed("file_upload_size_restricted")
	case c.Get("snippet_type") != "" && length > maxSnippet:
		return failed("snippet_too_large")
	case characters(c.Get("alt_txt")) > maxAltText:
		return failed("alt_txt_too_large")
	}
	f := &file{ticket: s.ticket(), created: time.Now()}
	f.ID, f.Name, f.Size = newID("F"), path.Base(c.Get("filename")), length
	f.Type = fileType(c.Get("snippet_type"), f.Name)
	s.files[f.ID] = f
	return object{"upload_url": c.base + "/upload/v1/" + f.ticket, "file_id": f.ID}
}

func fileType(snippet, name string) string {
	if snippet != "" {
		return snippet
	}
	if t := fileTypes[strings.ToLower(path.Ext(name))]; t != "" {
		return t
	}
	return "binary"
}

// serveUpload is the second: the bytes, raw or as a form. It takes mu.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request) {
	s.serve(w, r, uploadMethod, url.Values{"ticket": {r.PathValue("ticket")}}, func() *reply { return s.upload(w, r) })
}

// upload takes the bytes of a file. It takes mu.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) *reply {
	s.mu.Lock()
	var f *file
	for _, other := range s.files {
		if other.ticket == r.PathValue("ticket") && !other.uploaded {
			f = other
		}
	}
	s.mu.Unlock()
	if f == nil {
		return textReply(http.StatusNotFound, "the upload does not exist, or was used")
	}
	content, err := bytesOf(w, r, f.Size)
	if err != nil {
		return textReply(http.StatusBadRequest, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.uploaded {
		return textReply(http.StatusNotFound, "the upload was used")
	}
	f.Content, f.uploaded = content, true
	s.touch()
	return textReply(http.StatusOK, fmt.Sprintf("OK - %d", f.Size))
}

func textReply(status int, text string) *reply {
	r := &reply{status: status, header: http.Header{}, body: []byte(text)}
	r.header.Set("Content-Type", "text/plain; charset=utf-8")
	if status != http.StatusOK {
		r.err = text
	}
	return r
}

// bytesOf reads a file of this size out of a request.
func bytesOf(w http.ResponseWriter, r *http.Request, size int64) ([]byte, error) {
	const headers = 64 << 10 // of a form
	r.Body = http.MaxBytesReader(w, r.Body, size+headers)
	body := io.Reader(r.Body)
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/form-data" {
		parts, err := r.MultipartReader()
		if err != nil {
			return nil, err
		}
		part, err := parts.NextPart()
		for err == nil && part.FileName() == "" {
			part, err = parts.NextPart()
		}
		if err != nil {
			return nil, errors.New("there is no file in the form")
		}
		body = part
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(body, content); err != nil {
		return nil, fmt.Errorf("the file is shorter than the %d bytes that were announced", size)
	}
	if n, _ := io.CopyN(io.Discard, body, 1); n > 0 {
		return nil, fmt.Errorf("the file is longer than the %d bytes that were announced", size)
	}
	return content, nil
}

// completeUpload is the third: the file is put where people see it. The answer
// does not say in which message that is.
func completeUpload(s *Server, c *call) object {
	files, refusal := s.uploads(c)
	if refusal != nil {
		return refusal
	}
	channels, refusal := s.shareIn(c)
	if refusal != nil {
		return refusal
	}
	thread := ""
	if len(channels) > 0 {
		if thread, refusal = s.thread(channels[0], c.Get("thread_ts")); refusal != nil {
			return refusal
		}
	}
	k, refusal := s.comment(c)
	if refusal != nil {
		return refusal
	}
	var answer []object
	for _, f := range files {
		f.completed = true
		answer = append(answer, object{"id": f.ID, "title": f.Title})
	}
	for _, channel := range channels {
		s.share(files, s.botPost(channel, thread, k, c))
	}
	return object{"files": answer}
}

// share posts p with files.
func (s *Server) share(files []*file, p *post) {
	p.subtype, p.unfurls = "file_share", true
	for _, f := range files {
		p.Files = append(p.Files, f.File)
		f.shares = append(f.shares, p)
	}
	s.keep(p)
	s.announce(p)
}

// comment is what goes with files.
func (s *Server) comment(c *call) (content, object) {
	k := content{text: c.Get("initial_comment")}
	if k.text != "" {
		return k, nil // and blocks are ignored
	}
	var refusal object
	k.blocks, refusal = s.readBlocks(c.Get("blocks"))
	return k, refusal
}

// uploads finds the files that a request completes, and gives them their
// titles.
func (s *Server) uploads(c *call) ([]*file, object) {
	var list []struct{ ID, Title string }
	if json.Unmarshal([]byte(c.Get("files")), &list) != nil || len(list) == 0 {
		return nil, missing("files")
	}
	var files []*file
	for _, entry := range list {
		f := s.files[entry.ID]
		if f == nil || !f.uploaded || f.completed || slices.Contains(files, f) {
			return nil, failed("file_not_found")
		}
		files = append(files, f)
	}
	for i, f := range files {
		if f.Title = list[i].Title; f.Title == "" {
			f.Title = f.Name
		}
	}
	return files, nil
}

// shareIn finds the conversations that files are put into.
func (s *Server) shareIn(c *call) ([]*Channel, object) {
	ids := strings.FieldsFunc(c.Get("channels"), func(r rune) bool { return r == ',' || r == ' ' })
	if id := c.Get("channel_id"); id != "" {
		ids = []string{id}
	}
	if len(ids) > maxFileChannels {
		return nil, failed("channels_limit_exceeded")
	}
	if len(ids) != 1 && c.Get("thread_ts") != "" {
		return nil, failedBecause("invalid_arguments", "thread_ts needs exactly one channel")
	}
	var channels []*Channel
	for _, id := range ids {
		channel := s.channel(id)
		if refusal := s.mayPost(channel); refusal != nil {
			return nil, refusal
		}
		if !channel.has(BotUserID) {
			return nil, failed("not_in_channel")
		}
		channels = append(channels, channel)
	}
	return channels, nil
}

func filesInfo(s *Server, c *call) object {
	f := s.files[c.Get("file")]
	if f == nil || !f.completed {
		return failed("file_not_found")
	}
	o := s.fileJSON(f)
	public, private := object{}, object{}
	for _, p := range f.shares {
		shares := private
		if s.channel(p.Channel).Kind == "channel" {
			shares = public
		}
		shares[p.Channel] = []any{object{"ts": p.TS, "thread_ts": p.ThreadTS, "share_user_id": BotUserID}}
	}
	o["shares"] = object{"public": public, "private": private}
	return object{"file": o, "comments": []any{}}
}

func (s *Server) filesJSON(files []File) []object {
	var all []object
	for _, f := range files {
		all = append(all, s.fileJSON(s.files[f.ID]))
	}
	return all
}

func (s *Server) fileJSON(f *file) object {
	mode := "hosted"
	if slices.Contains([]string{"json", "text", "csv", "markdown", "html"}, f.Type) && f.Size <= maxSnippet {
		mode = "snippet"
	}
	link := s.URL + "/files-pri/" + f.ID + "/" + url.PathEscape(f.Name)
	return object{
		"id": f.ID, "created": f.created.Unix(), "timestamp": f.created.Unix(), "name": f.Name, "title": f.Title, "user": BotUserID, "user_team": s.Workspace.ID,
		"mimetype": mimeType(f.Name), "filetype": f.Type, "pretty_type": strings.ToUpper(f.Type), "mode": mode, "size": f.Size, "editable": mode == "snippet",
		"is_external": false, "is_public": false, "file_access": "visible", "url_private": link, "url_private_download": link, "permalink": link,
	}
}

func mimeType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// serveFile is the content of a file, for the bot. It takes mu.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	f, ok := s.File(r.PathValue("id"))
	if !ok || r.Header.Get("Authorization") != "Bearer "+s.botToken || !s.app.may("files:read") {
		http.Error(w, "sign in to see this file", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(f.Content)
}

// File is a file that was uploaded and completed.
func (s *Server) File(id string) (File, bool) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || !f.completed {
		return File{}, false
	}
	return f.File, true
}
