package slacksim

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A method is one of the Web API.
type method struct {
	// run does it, while mu is held, and returns the answer. A method that
	// succeeds need not say ok.
	run func(*Server, *call) object

	scope string // that it needs; "" for none, or one that depends on the arguments
	app   bool   // it takes the app-level token, in the header only
	get   bool   // it may be asked with GET; such methods take no JSON
	tier  int    // requests a minute that EnforceRate lets pass; 0: all
}

// methods is every method there is.
var methods = map[string]method{
	"auth.test":                    {run: authTest, tier: hundreds},
	"apps.connections.open":        {run: connectionsOpen, app: true},
	"chat.postMessage":             {run: postMessage, scope: "chat:write", tier: hundreds},
	"chat.postEphemeral":           {run: postEphemeral, scope: "chat:write", tier: 100},
	"chat.update":                  {run: updateMessage, scope: "chat:write", tier: 50},
	"chat.delete":                  {run: deleteMessage, scope: "chat:write", tier: 50},
	"chat.getPermalink":            {run: permalink, get: true, tier: hundreds},
	"conversations.open":           {run: conversationsOpen, tier: 50},
	"conversations.info":           {run: conversationsInfo, get: true, tier: 50},
	"conversations.history":        {run: conversationsHistory, get: true, tier: 50},
	"conversations.replies":        {run: conversationsReplies, get: true, tier: 50},
	"users.conversations":          {run: usersConversations, get: true, tier: 50},
	"users.info":                   {run: usersInfo, scope: "users:read", get: true, tier: 100},
	"usergroups.users.list":        {run: userGroupUsers, scope: "usergroups:read", get: true, tier: 20},
	"reactions.add":                {run: addReaction, scope: "reactions:write", tier: 50},
	"reactions.remove":             {run: removeReaction, scope: "reactions:write", tier: 20},
	"files.getUploadURLExternal":   {run: uploadURL, scope: "files:write", get: true, tier: 100},
	"files.completeUploadExternal": {run: completeUpload, scope: "files:write", tier: 100},
	"files.info":                   {run: filesInfo, scope: "files:read", get: true, tier: 100},
}

// A call is a request for a method.
type call struct {
	url.Values
	base string // the server's address, for whoever asks
	json bool   // the arguments came as JSON
}

// flag is a boolean argument: true, 1, or what is the default if it is missing.
func (c *call) flag(name string, otherwise bool) bool {
	if v, err := strconv.ParseBool(c.Get(name)); err == nil {
		return v
	}
	return otherwise
}

// A reply is what is sent back.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    string // for the record
}

func jsonReply(answer object) *reply {
	r := &reply{status: http.StatusOK, header: http.Header{}, body: encode(answer)}
	r.header.Set("Content-Type", "application/json; charset=utf-8")
	r.err, _ = answer["error"].(string)
	return r
}

// failed is the answer for an error.
func failed(name string) object { return object{"ok": false, "error": name} }

// failedBecause is the answer for an error that has reasons.
func failedBecause(name string, reasons ...string) object {
	var messages []string
	for _, r := range reasons {
		messages = append(messages, "[ERROR] "+r)
	}
	return object{"ok": false, "error": name, "errors": reasons, "response_metadata": object{"messages": messages}}
}

// missing is the answer when a required argument is not there.
func missing(argument string) object {
	return failedBecause("invalid_arguments", "missing required field: "+argument)
}

// maxBody is the size of the largest request that is read, in bytes. A message
// of the largest size is far smaller.
const maxBody = 4 << 20

// serveAPI answers a request for a method. It takes mu.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("method")
	c := &call{base: s.base(r)}
	problem := c.read(w, r)
	s.serve(w, r, name, c.Values, func() *reply {
		if problem != nil {
			return jsonReply(problem)
		}
		return s.answer(name, c, r)
	})
}

// serve answers a request with what work returns, or with a fault that waits
// for it, and puts it on record. It takes mu, and calls work without.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, name string, values url.Values, work func() *reply) {
	record := s.record(r, name, values)
	fault := s.takeFault(name)
	if !fault.done && !s.hold(r, fault) {
		panic(http.ErrAbortHandler)
	}
	answer := fault.instead()
	if answer == nil || fault.done {
		answer = cmp.Or(answer, work())
		s.served(record)
	}
	if fault.done && !s.hold(r, fault) || fault.lost {
		panic(http.ErrAbortHandler)
	}
	s.answered(record, answer.status, answer.err)
	maps.Copy(w.Header(), answer.header)
	w.Header().Set("X-Slack-Req-Id", newUUID())
	w.WriteHeader(answer.status)
	w.Write(answer.body) // whoever asked may be gone, which is not our problem
}

// hold holds a request back as a fault says, and tells whether it goes on.
func (s *Server) hold(r *http.Request, f Fault) bool {
	if f.stray {
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	return f.delay == 0 || s.sleep(r, f.delay)
}

// sleep waits for d and tells whether it has passed: not if whoever asked has
// gone, or the server was closed.
func (s *Server) sleep(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.closed:
	}
	return false
}

// read takes the arguments out of a request, from wherever Slack takes them. It
// returns an answer if that is not possible.
func (c *call) read(w http.ResponseWriter, r *http.Request) object {
	c.Values = r.URL.Query()
	c.Del("token") // in an address, Slack takes none
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind == "application/json":
		c.json = true
		return c.readJSON(r.Body)
	case kind == "multipart/form-data":
		if err := r.ParseMultipartForm(maxBody); err != nil {
			return failed("invalid_form_data")
		}
	default:
		if err := r.ParseForm(); err != nil {
			return failed("invalid_form_data")
		}
	}
	c.Values = r.Form
	c.Set("token", r.PostForm.Get("token")) // in an address, Slack takes none
	return nil
}

// readJSON takes the arguments out of a JSON object: text as it is, all else as
// JSON.
func (c *call) readJSON(body io.Reader) object {
	var fields map[string]json.RawMessage
	if err := json.NewDecoder(body).Decode(&fields); err != nil && err != io.EOF {
		return failed("invalid_json")
	}
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		c.Set(name, text)
	}
	c.Del("token") // with JSON, it must be in the header
	return nil
}

// answer does what is asked. It takes mu.
func (s *Server) answer(name string, c *call, r *http.Request) *reply {
	m, ok := methods[name]
	if !ok {
		return jsonReply(object{"ok": false, "error": "unknown_method", "req_method": name})
	}
	if r.Method != http.MethodPost && (r.Method != http.MethodGet || !m.get) {
		if m.app {
			return jsonReply(failed("insecure_request"))
		}
		return &reply{status: http.StatusMethodNotAllowed, header: http.Header{}, err: "method not allowed"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.authorise(m, c, r); refusal != nil {
		return jsonReply(refusal)
	}
	if wait := s.tooMany(name, m); wait > 0 {
		return RateLimited(name, wait).instead()
	}
	if c.json && m.get {
		c.Values = url.Values{} // such a method does not read JSON
	}
	return s.finish(m.run(s, c))
}

// finish makes an answer of what a method returned.
func (s *Server) finish(answer object) *reply {
	if wait, ok := answer["retry_after"].(int); ok {
		return RateLimited("", time.Duration(wait)*time.Second).instead()
	}
	if _, ok := answer["ok"]; !ok {
		answer["ok"] = true
	}
	reply := jsonReply(answer)
	reply.header.Set("X-OAuth-Scopes", s.app.provided())
	return reply
}

// authorise returns the answer to a request whose token is not good for m, or
// nil.
func (s *Server) authorise(m method, c *call, r *http.Request) object {
	token, inHeader := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !inHeader && !m.app {
		token = c.Get("token")
	}
	right, other := s.botToken, s.appToken
	if m.app {
		right, other = other, right
	}
	switch {
	case token == "":
		return failed("not_authed")
	case token == other:
		return failed("not_allowed_token_type")
	case token != right:
		return failed("invalid_auth")
	case m.scope != "":
		return s.scoped(m.scope)
	}
	return nil
}

// scoped returns the answer to a request that needs this scope if the app does
// not have it, or nil.
func (s *Server) scoped(scope string) object {
	if s.app.may(scope) {
		return nil
	}
	return object{"ok": false, "error": "missing_scope", "needed": scope, "provided": s.app.provided()}
}

func authTest(s *Server, c *call) object {
	return object{
		"url": c.base + "/", "team": s.Workspace.Name, "team_id": s.Workspace.ID,
		"user": s.user(BotUserID).Name, "user_id": BotUserID, "bot_id": botID, "is_enterprise_install": false,
	}
}

// paginate cuts the part of all that a request asks for with limit and cursor, and
// returns the cursor of the rest, or "". ok is false if the cursor is not one.
func paginate[T any](c *call, all []T, otherwise int) (part []T, next string, ok bool) {
	limit, err := strconv.Atoi(c.Get("limit"))
	if err != nil || limit < 1 || limit > 1000 {
		limit = otherwise
	}
	from := 0
	if cursor := c.Get("cursor"); cursor != "" {
		from, err = strconv.Atoi(strings.TrimPrefix(cursor, cursorPrefix))
		if err != nil || from < 0 || !strings.HasPrefix(cursor, cursorPrefix) {
			return nil, "", false
		}
	}
	from = min(from, len(all))
	to := min(from+limit, len(all))
	if to < len(all) {
		next = cursorPrefix + strconv.Itoa(to)
	}
	return slices.Clone(all[from:to]), next, true
}

const cursorPrefix = "after:"
