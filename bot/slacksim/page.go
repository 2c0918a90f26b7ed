package slacksim

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"time"
)

//go:embed page/*.html page/*.js page/*.css
var pageFiles embed.FS

// maxSaid is how many bytes of JSON a message that is typed may take: what
// Slack lets people type, with each character escaped, fits.
const maxSaid = 256 << 10

// page is where people type. Who they are is theirs to say (as=U0ADA): it is a
// simulation, and only [Server.ServeHTTP]'s own machine gets here. It takes
// messages from itself only, so that no other web page can type.
func (s *Server) page() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pageFiles, "page/index.html")
	})
	mux.HandleFunc("GET /page/{file}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pageFiles, "page/"+r.PathValue("file"))
	})
	mux.HandleFunc("GET /page/state", s.pageState)
	mux.HandleFunc("GET /page/events", s.pageEvents)
	mux.HandleFunc("POST /page/say", s.pageSay)
	mux.HandleFunc("POST /page/press", s.pagePress)
	mux.HandleFunc("GET /page/files/{id}", s.pageFile)
	fromItself := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxSaid)
		fromItself.ServeHTTP(w, r)
	})
}

// A view is the workspace as one of its people sees it.
type view struct {
	Workspace string        `json:"workspace"`
	As        string        `json:"as"` // user id
	Users     []viewUser    `json:"users"`
	Channels  []viewChannel `json:"channels"`
	Messages  []viewMessage `json:"messages"`
}

type viewUser struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Badge   string `json:"badge"` // what is special about them, or ""
	Bot     bool   `json:"bot"`
	CanType bool   `json:"can_type"`
}

type viewChannel struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Members []string `json:"members"`
	Shared  bool     `json:"shared"`
}

// A viewMessage is a message that somebody may see. Of a deleted one only
// Channel, TS and Deleted are left.
type viewMessage struct {
	Channel     string          `json:"channel"`
	TS          string          `json:"ts"`
	Deleted     bool            `json:"deleted,omitempty"`
	ThreadTS    string          `json:"thread_ts,omitempty"`
	User        string          `json:"user,omitempty"`
	Text        string          `json:"text,omitempty"`
	Blocks      json.RawMessage `json:"blocks,omitempty"`
	Attachments json.RawMessage `json:"attachments,omitempty"`
	Files       []viewFile      `json:"files,omitempty"`
	Edited      bool            `json:"edited,omitempty"`
	OnlyYou     bool            `json:"only_you,omitempty"` // ephemeral
	Reactions   []string        `json:"reactions,omitempty"`
}

type viewFile struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
	Type  string `json:"type"`
	Size  int64  `json:"size"`
}

// pageState answers with the [view] of the person in as, or of the first who
// can type if there is none.
func (s *Server) pageState(w http.ResponseWriter, r *http.Request) {
	u, ok := s.whoTypes(r.FormValue("as"))
	if !ok {
		http.Error(w, "nobody of that id can type here", http.StatusNotFound)
		return
	}
	if s.home(u) {
		s.OpenDM(u.ID) // there at all times, as a place to talk to the bot
	}
	v := view{Workspace: s.Workspace.Name, As: u.ID, Channels: []viewChannel{}, Messages: []viewMessage{}}
	for _, other := range s.Users() {
		v.Users = append(v.Users, s.viewUser(other))
	}
	for _, c := range s.Channels() {
		if !c.has(u.ID) {
			continue
		}
		v.Channels = append(v.Channels, viewChannel{ID: c.ID, Name: c.Name, Kind: c.Kind, Members: c.Members, Shared: c.Shared})
		for _, m := range s.History(c.ID) {
			if !m.Deleted && seenBy(u.ID, m) {
				v.Messages = append(v.Messages, viewOf(m))
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		http.Error(w, "the state cannot be told: "+err.Error(), http.StatusInternalServerError)
	}
}

// pageEvents streams every message that is new or has changed and that the
// person in as may see, as a [viewMessage]. The stream begins with a comment,
// from when on nothing is missed.
func (s *Server) pageEvents(w http.ResponseWriter, r *http.Request) {
	u, ok := s.whoTypes(r.FormValue("as"))
	if !ok {
		http.Error(w, "nobody of that id can type here", http.StatusNotFound)
		return
	}
	messages := s.Watch(r.Context())
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	fmt.Fprint(w, ": from now on\n\n")
	for err := out.Flush(); err == nil; err = out.Flush() {
		m, ok := <-messages
		if !ok {
			return
		}
		if !s.inChannel(u.ID, m.Channel) || !seenBy(u.ID, m) {
			continue
		}
		data, err := json.Marshal(viewOf(m))
		if err != nil {
			return // the page asks for the state then, and shows what is wrong
		}
		fmt.Fprintf(w, "data: %s\n\n", data)
	}
}

// pageSay types {as, channel, thread, text}.
func (s *Server) pageSay(w http.ResponseWriter, r *http.Request) {
	var said struct{ As, Channel, Thread, Text string }
	if !readDeed(w, r, &said) || !s.mayAct(w, said.As) {
		return
	}
	_, err := s.Say(said.As, said.Channel, said.Thread, said.Text)
	answerDeed(w, err)
}

// pagePress presses the button {as, channel, ts, button}, which is an action_id.
func (s *Server) pagePress(w http.ResponseWriter, r *http.Request) {
	var pressed struct{ As, Channel, TS, Button string }
	if !readDeed(w, r, &pressed) || !s.mayAct(w, pressed.As) {
		return
	}
	answerDeed(w, s.Press(pressed.As, pressed.Channel, pressed.TS, pressed.Button))
}

// readDeed reads what somebody does on the page, or answers why that is not
// possible.
func readDeed(w http.ResponseWriter, r *http.Request, deed any) bool {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		http.Error(w, "a message is application/json", http.StatusUnsupportedMediaType)
		return false
	}
	err := json.NewDecoder(r.Body).Decode(deed)
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		http.Error(w, "the message is too long", http.StatusRequestEntityTooLarge)
		return false
	}
	if err != nil {
		http.Error(w, "this is no message: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

// mayAct tells whether there is such a person at the page, or answers that
// there is not.
func (s *Server) mayAct(w http.ResponseWriter, user string) bool {
	if _, ok := s.whoTypes(user); !ok || user == "" {
		http.Error(w, "nobody of that id can type here", http.StatusNotFound)
		return false
	}
	return true
}

func answerDeed(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// pageFile downloads a file. Whatever is in it, the browser does not show it.
func (s *Server) pageFile(w http.ResponseWriter, r *http.Request) {
	f, ok := s.File(r.PathValue("id"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.Name}))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Content))
}

// whoTypes is the person with this id, or the first who can type if it is "".
func (s *Server) whoTypes(id string) (User, bool) {
	users := s.Users()
	i := slices.IndexFunc(users, func(u User) bool { return canType(u) && (id == "" || u.ID == id) })
	if i < 0 {
		return User{}, false
	}
	return users[i], true
}

func canType(u User) bool { return !u.Bot && !u.Deleted }

// home tells whether somebody is of this workspace, be it as a guest.
func (s *Server) home(u User) bool { return u.TeamID == "" || u.TeamID == s.Workspace.ID }

// inChannel tells whether somebody is a member of a channel.
func (s *Server) inChannel(user, channel string) bool {
	return slices.ContainsFunc(s.Channels(), func(c Channel) bool { return c.ID == channel && c.has(user) })
}

// seenBy tells whether a member of the message's channel may see it.
func seenBy(user string, m Message) bool { return m.EphemeralTo == "" || m.EphemeralTo == user }

func viewOf(m Message) viewMessage {
	if m.Deleted {
		return viewMessage{Channel: m.Channel, TS: m.TS, Deleted: true}
	}
	v := viewMessage{
		Channel: m.Channel, TS: m.TS, ThreadTS: m.ThreadTS, User: m.User, Text: m.Text, Blocks: m.Blocks, Attachments: m.Attachments,
		Edited: m.Edited, OnlyYou: m.EphemeralTo != "", Reactions: m.Reactions,
	}
	for _, f := range m.Files {
		v.Files = append(v.Files, viewFile{ID: f.ID, Name: f.Name, Title: f.Title, Type: f.Type, Size: f.Size})
	}
	return v
}

func (s *Server) viewUser(u User) viewUser {
	v := viewUser{ID: u.ID, Name: cmp.Or(u.RealName, u.Name), Bot: u.Bot, CanType: canType(u)}
	switch {
	case u.Deleted:
		v.Badge = "deactivated"
	case !s.home(u):
		v.Badge = "other organisation"
	case u.Restricted || u.UltraRestricted:
		v.Badge = "guest"
	}
	return v
}
