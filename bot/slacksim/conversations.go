package slacksim

import (
	"cmp"
	"slices"
	"strings"
)

// conversationsOpen opens or finds a DM, with one person or with several.
func conversationsOpen(s *Server, c *call) object {
	if id := c.Get("channel"); id != "" {
		channel := s.channel(id)
		switch {
		case channel == nil || !channel.has(BotUserID):
			return failed("channel_not_found")
		case channel.Kind != "im" && channel.Kind != "mpim":
			return failed("method_not_supported_for_channel_type")
		}
		return s.opened(c, channel, false)
	}
	users := strings.FieldsFunc(c.Get("users"), func(r rune) bool { return r == ',' || r == ' ' })
	if refusal := s.invitable(users); refusal != nil {
		return refusal
	}
	if len(users) == 1 {
		if refusal := s.scoped("im:write"); refusal != nil {
			return refusal
		}
		channel, isNew := s.openDM(users[0])
		return s.opened(c, channel, isNew)
	}
	if refusal := s.scoped("mpim:write"); refusal != nil {
		return refusal
	}
	channel, isNew := s.openGroupDM(users)
	return s.opened(c, channel, isNew)
}

// invitable returns the answer to a request to open a DM with people that
// cannot be written to, or nil.
func (s *Server) invitable(users []string) object {
	if len(users) == 0 {
		return failed("users_list_not_supplied")
	}
	if len(users) > 8 {
		return failed("too_many_users")
	}
	for _, id := range users {
		switch u := s.user(id); {
		case u == nil:
			return failed("user_not_found")
		case u.Deleted:
			return failed("user_disabled")
		case u.Bot:
			return failed("cannot_dm_bot")
		case u.Stranger:
			return failed("invalid_user_combination")
		}
	}
	return nil
}

func (s *Server) opened(c *call, channel *Channel, isNew bool) object {
	answer := object{"channel": object{"id": channel.ID}}
	if c.flag("return_im", false) && channel.Kind == "im" {
		answer["channel"] = s.conversation(channel)
	}
	if !isNew {
		answer["no_op"], answer["already_open"] = true, true
	}
	return answer
}

// conversation is a channel as answers show it.
func (s *Server) conversation(c *Channel) object {
	o := object{
		"id": c.ID, "created": 1700000000, "is_archived": c.Archived, "is_member": c.has(BotUserID), "context_team_id": s.Workspace.ID,
		"is_channel": c.Kind == "channel", "is_group": c.Kind == "group", "is_im": c.Kind == "im", "is_mpim": c.Kind == "mpim",
		"is_private": c.Kind != "channel", "is_shared": c.Shared, "is_ext_shared": c.Shared, "is_org_shared": false,
	}
	if c.Kind != "im" {
		o["name"], o["name_normalized"], o["num_members"] = c.Name, c.Name, len(c.Members)
		return o
	}
	for _, id := range c.Members {
		if id != BotUserID {
			o["user"] = id
		}
	}
	return o
}

// readable finds the conversation that a request is about, or returns the
// answer that refuses it: one that the bot may not know of, or for which it
// does not have the scope "read" or "history".
func (s *Server) readable(c *call, scope string) (*Channel, object) {
	if c.Get("channel") == "" {
		return nil, missing("channel")
	}
	channel := s.channel(c.Get("channel"))
	if channel == nil || channel.Kind != "channel" && !channel.has(BotUserID) {
		return nil, failed("channel_not_found")
	}
	if refusal := s.scoped(kinds[channel.Kind] + ":" + scope); refusal != nil {
		return nil, refusal
	}
	return channel, nil
}

func conversationsInfo(s *Server, c *call) object {
	channel, refusal := s.readable(c, "read")
	if refusal != nil {
		return refusal
	}
	return object{"channel": s.conversation(channel)}
}

// usersConversations lists the conversations of some kinds that the bot is in.
func usersConversations(s *Server, c *call) object {
	types := strings.FieldsFunc(cmp.Or(c.Get("types"), "public_channel"), func(r rune) bool { return r == ',' || r == ' ' })
	var kindsAsked []string
	for _, t := range types {
		kind, ok := map[string]string{"public_channel": "channel", "private_channel": "group", "mpim": "mpim", "im": "im"}[t]
		if !ok {
			return failed("invalid_types")
		}
		if refusal := s.scoped(kinds[kind] + ":read"); refusal != nil {
			return refusal
		}
		kindsAsked = append(kindsAsked, kind)
	}
	var all []*Channel
	for _, channel := range s.channels {
		if channel.has(BotUserID) && slices.Contains(kindsAsked, channel.Kind) && !(channel.Archived && c.flag("exclude_archived", false)) {
			all = append(all, channel)
		}
	}
	part, next, ok := paginate(c, all, 100)
	if !ok {
		return failed("invalid_cursor")
	}
	list := []object{}
	for _, channel := range part {
		o := s.conversation(channel)
		delete(o, "is_member")
		delete(o, "num_members")
		list = append(list, o)
	}
	return object{"channels": list, "response_metadata": object{"next_cursor": next}}
}

// conversationsHistory lists a conversation, newest first, without replies.
func conversationsHistory(s *Server, c *call) object {
	channel, refusal := s.readable(c, "history")
	if refusal != nil {
		return refusal
	}
	var all []*post
	for _, p := range s.posts[channel.ID] {
		if (p.ThreadTS == "" || p.subtype == "thread_broadcast") && s.visible(p) && between(c, p) {
			all = append(all, p)
		}
	}
	slices.Reverse(all)
	return s.listing(c, channel, all, 100)
}

// conversationsReplies lists a thread, oldest first, with its parent. Asked for
// a reply, it is that alone.
func conversationsReplies(s *Server, c *call) object {
	channel, refusal := s.readable(c, "history")
	if refusal != nil {
		return refusal
	}
	ts := c.Get("ts")
	parent := s.trace(channel.ID, ts)
	if parent == nil || !s.visible(parent) {
		return failed("thread_not_found")
	}
	all := []*post{parent}
	for _, p := range s.replies(channel.ID, ts) {
		if between(c, p) {
			all = append(all, p)
		}
	}
	return s.listing(c, channel, all, 1000)
}

// visible tells whether p is there for everyone. A deleted message is as long
// as it has replies.
func (s *Server) visible(p *post) bool {
	return p.EphemeralTo == "" && (!p.Deleted || len(s.replies(p.Channel, p.TS)) > 0)
}

// between tells whether p is in the time that a request asks for.
func between(c *call, p *post) bool {
	oldest, latest, inclusive := c.Get("oldest"), c.Get("latest"), c.flag("inclusive", false)
	if inclusive && (p.TS == oldest || p.TS == latest) {
		return true
	}
	return (oldest == "" || after(p.TS, oldest)) && (latest == "" || after(latest, p.TS))
}

// after tells whether the ts a is later than b. Either may have no fraction.
func after(a, b string) bool {
	aSeconds, aRest, _ := strings.Cut(a, ".")
	bSeconds, bRest, _ := strings.Cut(b, ".")
	if len(aSeconds) != len(bSeconds) {
		return len(aSeconds) > len(bSeconds)
	}
	if aSeconds != bSeconds {
		return aSeconds > bSeconds
	}
	return (aRest + "000000")[:6] > (bRest + "000000")[:6]
}

// listing is the answer with one page of messages.
func (s *Server) listing(c *call, channel *Channel, all []*post, otherwise int) object {
	if !channel.has(BotUserID) {
		return failed("not_in_channel")
	}
	part, next, ok := paginate(c, all, otherwise)
	if !ok {
		return failed("invalid_cursor")
	}
	messages := []object{}
	for _, p := range part {
		messages = append(messages, s.listed(p, c.flag("include_all_metadata", false)))
	}
	answer := object{"messages": messages, "has_more": next != "", "pin_count": 0}
	if next != "" {
		answer["response_metadata"] = object{"next_cursor": next}
	}
	return answer
}

// listed is a message in a listing.
func (s *Server) listed(p *post, metadata bool) object {
	m := s.eventMessage(p)
	if p.Deleted {
		m = object{"type": "message", "subtype": "tombstone", "text": "This message was deleted.", "user": "USLACKBOT", "hidden": true, "ts": p.TS}
		s.addThread(m, p)
		return m
	}
	if p.subtype == "file_share" {
		delete(m, "subtype")
	}
	if !metadata {
		delete(m, "metadata")
	}
	if len(p.Reactions) > 0 {
		var reactions []object
		for _, name := range p.Reactions {
			reactions = append(reactions, object{"name": name, "users": []string{BotUserID}, "count": 1})
		}
		m["reactions"] = reactions
	}
	return m
}
