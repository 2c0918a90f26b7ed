package slacksim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// A Workspace is what there is before anything happens.
type Workspace struct {
	// ID is "T…", Name is for people ("Contoso SOC"), Domain is the name in
	// addresses ("contoso-soc"); what is "" is as in [Demo].
	ID, Name, Domain string

	// Users and Channels are who and what there is. Without both, they and the
	// messages are Demo's.
	Users    []User
	Channels []Channel

	// Messages are there from the beginning; no event tells of them. They are
	// in their channel's order, and one without a TS gets the current one.
	Messages []Message

	// Manifest is the app's manifest as YAML (manifest.yml): scopes and events
	// are granted from it. Nil means that everything is granted.
	Manifest []byte
}

// orDemo fills in what is not there.
func (w Workspace) orDemo() Workspace {
	demo := Demo()
	if w.Users == nil && w.Channels == nil {
		w.Users, w.Channels, w.Messages = demo.Users, demo.Channels, demo.Messages
	}
	w.ID, w.Name, w.Domain = cmp.Or(w.ID, demo.ID), cmp.Or(w.Name, demo.Name), cmp.Or(w.Domain, demo.Domain)
	return w
}

// BotUserID is the user id of the app's own bot, for [Channel.Members]. A
// Workspace without that user gets one.
const BotUserID = "U0AUDITBOT"

// What else the app is known as.
const (
	appID = "A0AUDITBOT"
	botID = "B0AUDITBOT"
)

// A User is a person or a bot.
type User struct {
	ID       string // "U…" or "W…"
	Name     string // what an @ is followed by: "ada"
	RealName string // "Ada Example"
	Email    string

	Bot             bool // a bot's user: the app's own if the ID is [BotUserID], another app's otherwise
	Restricted      bool // a guest
	UltraRestricted bool // a guest of one channel; Restricted as well
	Deleted         bool // the account is deactivated
	Stranger        bool // of another organisation, with no channel in common

	TeamID      string   // "" means the workspace's
	CurlyQuotes bool     // their keyboard makes "…" into “…”, ' into ’, -- into —
	Groups      []string // user groups ("S…") they are in
}

// A Channel is a conversation of any kind.
type Channel struct {
	ID, Name string   // C…, G… or D…; a DM has no name
	Kind     string   // "channel", "group", "im", "mpim"
	Members  []string // user ids; the bot must be one to be heard and to post
	Shared   bool     // with another organisation: is_ext_shared
	Archived bool
}

func (c Channel) clone() Channel {
	c.Members = slices.Clone(c.Members)
	return c
}

func (c Channel) has(user string) bool { return slices.Contains(c.Members, user) }

// A Message is one message as the workspace keeps it.
type Message struct {
	Channel, TS, ThreadTS string // ThreadTS is "" unless it is a reply, and then its parent's TS

	User        string          // user id of the author, also for the bot's own (its bot user id)
	BotID       string          // "" for people
	Text        string          // as Slack stores and sends it (mrkdwn, entities)
	Blocks      json.RawMessage // array or nil
	Attachments json.RawMessage // array or nil
	Files       []File
	Metadata    json.RawMessage // object or nil

	Edited, Deleted bool
	EphemeralTo     string   // user id; "" for a normal one
	Reactions       []string // names of emoji, without colons
}

func (m Message) clone() Message {
	m.Files = slices.Clone(m.Files)
	m.Reactions = slices.Clone(m.Reactions)
	return m
}

// A File is something that was uploaded.
type File struct {
	ID, Name, Title string
	Type            string // "json", "csv", "text", "png" and so on
	Size            int64
	Content         []byte // not to be changed
}

// Channels is every conversation there is now, opened DMs included.
func (s *Server) Channels() []Channel {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Channel
	for _, c := range s.channels {
		all = append(all, c.clone())
	}
	return all
}

// Users is everyone there is now, the bot included.
func (s *Server) Users() []User {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.users)
}

// ChangeUser changes somebody while the server runs: makes them a guest,
// deactivates them. It panics if there is no such user.
func (s *Server) ChangeUser(id string, change func(*User)) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.user(id)
	if u == nil {
		panic("slacksim: there is no user " + id)
	}
	change(u)
	s.touch()
}

// ChangeChannel changes a conversation while the server runs: its members,
// whether it is shared or archived. It panics if there is no such channel.
func (s *Server) ChangeChannel(id string, change func(*Channel)) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channel(id)
	if c == nil {
		panic("slacksim: there is no channel " + id)
	}
	change(c)
	s.touch()
}

// user is the user with this id, or nil.
func (s *Server) user(id string) *User {
	if i := slices.IndexFunc(s.users, func(u User) bool { return u.ID == id }); i >= 0 {
		return &s.users[i]
	}
	return nil
}

// channel is the conversation with this id, or nil.
func (s *Server) channel(id string) *Channel {
	if i := slices.IndexFunc(s.channels, func(c *Channel) bool { return c.ID == id }); i >= 0 {
		return s.channels[i]
	}
	return nil
}

// team is the id of the workspace that somebody is from.
func (s *Server) team(u *User) string {
	if u == nil || u.TeamID == "" {
		return s.Workspace.ID
	}
	return u.TeamID
}

// consistent says what in the workspace refers to something that is not there.
func (s *Server) consistent() error {
	for _, c := range s.channels {
		if !slices.Contains([]string{"channel", "group", "im", "mpim"}, c.Kind) {
			return fmt.Errorf("the channel %s is of kind %q, which there is not", c.ID, c.Kind)
		}
		for _, id := range c.Members {
			if s.user(id) == nil {
				return fmt.Errorf("the channel %s has a member %s, who is not a user", c.ID, id)
			}
		}
		for _, p := range s.posts[c.ID] {
			if s.user(p.User) == nil {
				return fmt.Errorf("the channel %s has a message of %s, who is not a user", c.ID, p.User)
			}
		}
	}
	for id := range s.posts {
		if s.channel(id) == nil {
			return fmt.Errorf("there is a message in %s, which is not a channel", id)
		}
	}
	return nil
}
