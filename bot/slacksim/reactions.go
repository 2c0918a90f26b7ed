package slacksim

import (
	"regexp"
	"slices"
)

// isEmoji is the form of an emoji's name.
var isEmoji = regexp.MustCompile(`^[a-z0-9_+'-]+(::skin-tone-[2-6])?$`).MatchString

// addReaction is the bot reacting to a message. Reactions of people are not
// kept.
func addReaction(s *Server, c *call) object {
	p, refusal := s.target(c)
	if refusal != nil {
		return refusal
	}
	name := c.Get("name")
	switch {
	case !isEmoji(name):
		return failed("invalid_name")
	case slices.Contains(p.Reactions, name):
		return failed("already_reacted")
	}
	p.Reactions = append(slices.Clone(p.Reactions), name)
	s.show(p)
	return object{}
}

func removeReaction(s *Server, c *call) object {
	p, refusal := s.target(c)
	if refusal != nil {
		return refusal
	}
	i := slices.Index(p.Reactions, c.Get("name"))
	if i < 0 {
		return failed("no_reaction")
	}
	p.Reactions = slices.Delete(slices.Clone(p.Reactions), i, i+1)
	s.show(p)
	return object{}
}

// target finds the message that a reaction is about, or returns the answer that
// refuses it.
func (s *Server) target(c *call) (*post, object) {
	channel := s.channel(c.Get("channel"))
	switch {
	case c.Get("name") == "":
		return nil, failed("invalid_name")
	case c.Get("channel") == "" || c.Get("timestamp") == "":
		return nil, failed("no_item_specified")
	case channel == nil || !channel.has(BotUserID):
		return nil, failed("channel_not_found")
	case channel.Archived:
		return nil, failed("is_archived")
	case !isTS(c.Get("timestamp")):
		return nil, failed("bad_timestamp")
	}
	p := s.find(channel.ID, c.Get("timestamp"))
	if p == nil {
		return nil, failed("message_not_found")
	}
	return p, nil
}
