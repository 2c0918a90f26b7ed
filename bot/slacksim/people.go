package slacksim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Say is somebody typing text into a channel, or into the thread of the
// message with the ts threadTS (any message of the thread will do). The text
// is raw, as typed; it is stored as Slack would store it, and the bot is told.
// The error says why the person cannot do that.
func (s *Server) Say(user, channel, threadTS, text string) (Message, error) {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c, err := s.typing(user, channel)
	if err != nil {
		return Message{}, err
	}
	if threadTS, err = s.threadOf(channel, threadTS); err != nil {
		return Message{}, err
	}
	stored := s.typist(u).store(text)
	if err := sendable(stored); err != nil {
		return Message{}, err
	}
	p := &post{Message: Message{Channel: c.ID, ThreadTS: threadTS, User: u.ID, Text: stored}, unfurls: true}
	if u.Bot {
		p.BotID = "B" + strings.TrimPrefix(u.ID, "U")
	} else {
		p.clientMsgID = newUUID()
		p.Blocks = richText(stored)
	}
	s.keep(p)
	s.announce(p)
	return p.clone(), nil
}

// Edit is somebody changing what they said.
func (s *Server) Edit(user, channel, ts, text string) error {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	u, _, err := s.typing(user, channel)
	if err != nil {
		return err
	}
	p := s.find(channel, ts)
	if p == nil || p.User != user {
		return fmt.Errorf("%s has no message %s in %s to edit", user, ts, channel)
	}
	stored := s.typist(u).store(text)
	if err := sendable(stored); err != nil {
		return err
	}
	before := s.eventMessage(p)
	p.Text, p.Blocks, p.Edited = stored, richText(stored), true
	p.lastEdit = s.nextTS()
	s.show(p)
	s.announceChange(p, before)
	return nil
}

// Delete is somebody deleting what they said.
func (s *Server) Delete(user, channel, ts string) error {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.find(channel, ts)
	if p == nil || p.User != user {
		return fmt.Errorf("%s has no message %s in %s to delete", user, ts, channel)
	}
	s.remove(p)
	return nil
}

// remove marks p as deleted, and tells the bot.
func (s *Server) remove(p *post) {
	before := s.eventMessage(p)
	p.Deleted = true
	s.show(p)
	s.announceDeletion(p, before)
}

// typing finds who types and where, or says why they cannot.
func (s *Server) typing(user, channel string) (*User, *Channel, error) {
	u, c, err := s.member(user, channel)
	if err == nil && c.Kind == "im" && c.has(BotUserID) && (!s.app.tab || s.app.readOnlyTab) {
		err = errors.New("sending messages to this app has been turned off (messages_tab_enabled, messages_tab_read_only_enabled in the manifest)")
	}
	return u, c, err
}

// member finds who does something and where, or says why they cannot.
func (s *Server) member(user, channel string) (*User, *Channel, error) {
	u, c := s.user(user), s.channel(channel)
	switch {
	case u == nil:
		return nil, nil, fmt.Errorf("there is no user %q", user)
	case c == nil:
		return nil, nil, fmt.Errorf("there is no channel %q", channel)
	case u.Deleted:
		return nil, nil, fmt.Errorf("the account of %s is deactivated", u.Name)
	case !c.has(user):
		return nil, nil, fmt.Errorf("%s is not in %s", u.Name, c.ID)
	case c.Archived:
		return nil, nil, fmt.Errorf("%s is archived", c.ID)
	}
	return u, c, nil
}

// threadOf is the ts of the parent of the thread that the message ts is in.
func (s *Server) threadOf(channel, ts string) (string, error) {
	if ts == "" {
		return "", nil
	}
	p := s.trace(channel, ts)
	if p == nil || p.EphemeralTo != "" || p.Deleted && len(s.replies(channel, ts)) == 0 {
		return "", fmt.Errorf("there is no message %s in %s to reply to", ts, channel)
	}
	if p.ThreadTS != "" {
		return p.ThreadTS, nil
	}
	return ts, nil
}

// longestTyped is how many characters people's messages may have.
const longestTyped = 12000

// sendable says why Slack's clients would not send what was typed as a message.
func sendable(stored string) error {
	switch {
	case stored == "":
		return errors.New("there is nothing to send")
	case strings.HasPrefix(stored, "/"):
		word, _, _ := strings.Cut(stored, " ")
		return fmt.Errorf("%s is not a valid command: what starts with / is for Slack", word)
	case characters(stored) > longestTyped:
		return fmt.Errorf("the message has more than %d characters", longestTyped)
	}
	return nil
}

// OpenDM is the id of the conversation that somebody has with the bot alone,
// which is opened if there is none. It is "" if there is no such user.
func (s *Server) OpenDM(user string) string {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user(user) == nil || user == BotUserID {
		return ""
	}
	c, _ := s.openDM(user)
	return c.ID
}

// openDM is the conversation of somebody with the bot, and whether it is new.
func (s *Server) openDM(user string) (c *Channel, isNew bool) {
	for _, c := range s.channels {
		if c.Kind == "im" && c.has(user) && c.has(BotUserID) {
			return c, false
		}
	}
	c = &Channel{ID: "D" + user[1:], Kind: "im", Members: []string{user, BotUserID}}
	s.channels = append(s.channels, c)
	s.touch()
	return c, true
}

// openGroupDM is the conversation of these people with the bot, and whether it
// is new.
func (s *Server) openGroupDM(users []string) (c *Channel, isNew bool) {
	members := slices.Sorted(slices.Values(append(users, BotUserID)))
	for _, c := range s.channels {
		if c.Kind == "mpim" && slices.Equal(slices.Sorted(slices.Values(c.Members)), members) {
			return c, false
		}
	}
	var names []string
	for _, id := range members {
		names = append(names, s.user(id).Name)
	}
	c = &Channel{ID: fmt.Sprintf("G0MPDM%d", len(s.channels)), Name: "mpdm-" + strings.Join(names, "--") + "-1", Kind: "mpim", Members: members}
	s.channels = append(s.channels, c)
	s.touch()
	return c, true
}

// Press is somebody pressing the button with this action_id, or with this
// label, under a message. The bot gets a block_actions payload, without a
// response_url. The error says why that is not possible.
func (s *Server) Press(user, channel, ts, button string) error {
	s.prepare()
	s.mu.Lock()
	defer s.mu.Unlock()
	u, c, err := s.member(user, channel)
	if err != nil {
		return err
	}
	p := s.trace(channel, ts)
	if p == nil || p.Deleted || p.EphemeralTo != "" && p.EphemeralTo != user {
		return fmt.Errorf("there is no message %s in %s", ts, channel)
	}
	action := findAction(p.Blocks, button)
	if action == nil {
		return fmt.Errorf("the message %s has no button %q", ts, button)
	}
	if !s.app.interactive {
		return errors.New("this app is not configured to handle interactive responses (interactivity in the manifest)")
	}
	action["action_ts"] = s.nextTS()
	container := object{"type": "message", "message_ts": p.TS, "channel_id": c.ID, "is_ephemeral": p.EphemeralTo != ""}
	if p.ThreadTS != "" {
		container["thread_ts"] = p.ThreadTS
	}
	s.interact(object{
		"type": "block_actions", "api_app_id": appID, "token": verificationToken, "trigger_id": "0." + newID("T"),
		"user":      object{"id": u.ID, "username": u.Name, "name": u.Name, "team_id": s.team(u)},
		"team":      object{"id": s.Workspace.ID, "domain": s.Workspace.Domain},
		"channel":   object{"id": c.ID, "name": channelName(c)},
		"message":   s.eventMessage(p),
		"container": container,
		"actions":   []any{action},
	})
	return nil
}

// channelName is how an interaction names a conversation.
func channelName(c *Channel) string {
	if c.Kind == "im" {
		return "directmessage"
	}
	return c.Name
}

// findAction is what a press of a button says of it, or nil if no button in
// the blocks has this action_id or label.
func findAction(blocks json.RawMessage, button string) object {
	var list []struct {
		BlockID   string           `json:"block_id"`
		Elements  []map[string]any `json:"elements"`
		Accessory map[string]any   `json:"accessory"`
	}
	json.Unmarshal(blocks, &list) // what does not fit has no buttons
	for _, b := range list {
		for _, e := range append(b.Elements, b.Accessory) {
			label, _ := e["text"].(object)
			if e["type"] == "button" && (e["action_id"] == button || label["text"] == button) {
				return object{"type": "button", "action_id": e["action_id"], "block_id": b.BlockID, "text": e["text"], "value": e["value"]}
			}
		}
	}
	return nil
}
