package slacksim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// An object is a JSON object.
type object = map[string]any

// verificationToken is the deprecated one that payloads still carry.
const verificationToken = "verification-token"

// newID makes up an id that starts with prefix.
func newID(prefix string) string { return prefix + "0" + rand.Text()[:9] }

func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

// announce tells the bot of a new message, if it may hear it: by a message
// event, an app_mention as well if it is mentioned, and, if there is a link, a
// message_changed right after, when Slack has looked at that.
func (s *Server) announce(p *post) {
	c := s.channel(p.Channel)
	event := s.event(p)
	if s.app.hears(c.Kind) {
		s.send(c, event)
	}
	if s.mentions(p, c) {
		mention := s.event(p)
		mention["type"] = "app_mention"
		delete(mention, "channel_type")
		s.send(c, mention)
	}
	if url := firstLink(p); p.unfurls && url != "" {
		before := s.eventMessage(p)
		after := s.eventMessage(p)
		after["attachments"] = []any{object{"id": 1, "from_url": url, "original_url": url, "fallback": url, "title": url}}
		s.change(p, after, before)
	}
}

// mentions tells whether p makes an app_mention: in DMs and for the bot's own
// messages there are none.
func (s *Server) mentions(p *post, c *Channel) bool {
	return c.Kind != "im" && p.User != BotUserID && s.app.mentioned() && strings.Contains(p.Text, "<@"+BotUserID)
}

// announceChange tells the bot that a message has changed from what it was
// before.
func (s *Server) announceChange(p *post, before object) { s.change(p, s.eventMessage(p), before) }

func (s *Server) change(p *post, after, before object) {
	s.sendHidden(p, object{"subtype": "message_changed", "message": after, "previous_message": before})
}

// announceDeletion tells the bot that a message is gone.
func (s *Server) announceDeletion(p *post, before object) {
	s.sendHidden(p, object{"subtype": "message_deleted", "deleted_ts": p.TS, "previous_message": before})
}

// sendHidden sends a message event about a message. Its ts is its own.
func (s *Server) sendHidden(p *post, event object) {
	c := s.channel(p.Channel)
	if !s.app.hears(c.Kind) || p.EphemeralTo != "" {
		return
	}
	ts := s.nextTS()
	event["type"], event["hidden"], event["ts"], event["event_ts"] = "message", true, ts, ts
	event["channel"], event["channel_type"] = c.ID, c.Kind
	s.send(c, event)
}

// event is the message event for p.
func (s *Server) event(p *post) object {
	c := s.channel(p.Channel)
	e := s.eventMessage(p)
	e["channel"], e["channel_type"], e["event_ts"] = c.ID, c.Kind, p.TS
	if c.Shared {
		team := s.team(s.user(p.User))
		e["user_team"], e["source_team"] = team, team
	}
	if parent := s.trace(p.Channel, p.ThreadTS); parent != nil && p.subtype == "thread_broadcast" {
		e["root"] = s.eventMessage(parent)
	}
	return e
}

// eventMessage is p as events and answers show it, without where it is.
func (s *Server) eventMessage(p *post) object {
	u := s.user(p.User)
	m := object{"type": "message", "user": p.User, "text": p.Text, "ts": p.TS, "team": s.team(u)}
	if p.BotID != "" {
		m["bot_id"] = p.BotID
	}
	if p.User == BotUserID {
		m["app_id"], m["bot_profile"] = appID, s.botProfile()
	}
	if p.clientMsgID != "" {
		m["client_msg_id"] = p.clientMsgID
	}
	if p.subtype != "" {
		m["subtype"] = p.subtype
	}
	if p.lastEdit != "" {
		m["edited"] = object{"user": p.User, "ts": p.lastEdit}
	}
	if p.Blocks != nil {
		m["blocks"] = p.Blocks
	}
	if p.Attachments != nil {
		m["attachments"] = p.Attachments
	}
	if p.Metadata != nil {
		m["metadata"] = p.Metadata
	}
	if len(p.Files) > 0 {
		m["files"], m["upload"] = s.filesJSON(p.Files), false
	}
	s.addThread(m, p)
	return m
}

// addThread adds to m what says which thread p is in, as a reply or a parent.
func (s *Server) addThread(m object, p *post) {
	if p.ThreadTS != "" {
		m["thread_ts"] = p.ThreadTS
		if parent := s.trace(p.Channel, p.ThreadTS); parent != nil {
			m["parent_user_id"] = parent.User
		}
		return
	}
	replies := s.replies(p.Channel, p.TS)
	if len(replies) == 0 {
		return
	}
	var users []string
	for _, r := range replies {
		if !slices.Contains(users, r.User) {
			users = append(users, r.User)
		}
	}
	m["thread_ts"], m["reply_count"], m["latest_reply"] = p.TS, len(replies), replies[len(replies)-1].TS
	m["reply_users"], m["reply_users_count"] = users, len(users)
}

func (s *Server) botProfile() object {
	bot := s.user(BotUserID)
	return object{"id": botID, "app_id": appID, "name": bot.Name, "deleted": false, "updated": 1700000000, "team_id": s.Workspace.ID, "icons": object{}}
}

// PostEvent sends the bot an event of any kind, whether or not it has
// subscribed to it: a join, a message of another bot, an app_mention on its
// own. An event without a type is a message; event_ts and ts are made up if
// they are missing.
func (s *Server) PostEvent(event map[string]any) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := object{"type": "message", "event_ts": s.nextTS()}
	e["ts"] = e["event_ts"]
	maps.Copy(e, event)
	id, _ := e["channel"].(string)
	c := s.channel(id)
	if c == nil {
		c = &Channel{ID: id, Kind: "channel"}
	}
	if e["type"] == "message" && e["channel_type"] == nil {
		e["channel_type"] = c.Kind
	}
	s.deliver(c, e)
}

// send delivers an event, if the bot is in the conversation.
func (s *Server) send(c *Channel, event object) {
	if c.has(BotUserID) {
		s.deliver(c, event)
	}
}
