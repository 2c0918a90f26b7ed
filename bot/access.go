package bot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/slack-go/slack"
)

// Access says who is served where. Whatever it does not allow is refused, and
// so is everything in doubt. The zero Access allows nothing.
type Access struct {
	Channels []string // ids; where commands are answered. DMs with somebody who is allowed always are
	Users    []string // ids of those who may ask
	Groups   []string // ids of user groups whose members may ask
	Admins   []string // ids; they may ask too

	// Everyone lets every full member of the workspace ask, in Channels, or,
	// if there are none, wherever the bot is a member.
	Everyone bool
}

// Set tells whether anybody at all is allowed.
func (a Access) Set() bool {
	return a.Everyone || len(a.Users)+len(a.Groups)+len(a.Admins) > 0
}

// A refusal says why somebody is not served. To people of the own workspace it
// is told, with whom to ask; to others nothing is.
type refusal struct {
	reason string // for the log
	tell   string // for the person; "" for silence
}

// here refuses what can be refused without asking Slack: it is all that stands
// between a message and the inbox. Other teams' people and bots are out before
// (see [readMessage]).
func (a Access) here(m Message) *refusal {
	if m.Shared {
		return &refusal{reason: "the channel is shared with another organisation"}
	}
	if !a.Everyone && !slices.Contains(a.Users, m.User) && !slices.Contains(a.Admins, m.User) && len(a.Groups) == 0 {
		return notListed
	}
	everywhere := a.Everyone && len(a.Channels) == 0
	if !m.Direct() && !everywhere && !slices.Contains(a.Channels, m.Channel) {
		return &refusal{
			reason: "the channel is not on the list",
			tell:   "Commands are not answered in this channel. Write to me in a direct message, or ask an admin of this bot to add the channel to its settings.",
		}
	}
	return nil
}

var notListed = &refusal{
	reason: "the person is not on the list",
	tell:   "You are not on the list of people whom this bot answers. Ask an admin of this bot to add you.",
}

// A Person is somebody of the workspace who asks.
type Person struct {
	ID    string // Slack's user id
	Email string // in Slack; "" if it does not show one
	Admin bool   // of this bot
}

// person is the full member of the workspace with this id.
func (b *Bot) person(id, email string) Person {
	return Person{ID: id, Email: email, Admin: slices.Contains(b.Access.Admins, id)}
}

// A profile is what Slack says about somebody: refused is nil for a full member
// of the workspace.
type profile struct {
	refused *refusal
	name    string // for people: what they call themselves
	email   string // "" if Slack shows none
}

// name is what somebody calls themselves in Slack, or their id while that is not
// known.
func (b *Bot) name(ctx context.Context, user string) string {
	ctx, cancel := context.WithTimeout(ctx, editPatience)
	defer cancel()
	who, err := b.profile(ctx, user)
	if err != nil {
		b.Log.Warn("asking for somebody's name", "err", err)
	}
	return cmp.Or(who.name, user)
}

// admins are the names of the admins of this bot.
func (b *Bot) admins(ctx context.Context) []string {
	var names []string
	for _, id := range b.Access.Admins {
		names = append(names, b.name(ctx, id))
	}
	return names
}

// kept is for how long what Slack says about people and groups is believed.
const kept = 5 * time.Minute

// A people is what Slack said about people and groups of late, to this replica:
// another may believe something else for as long as it is kept, and tell somebody
// once more.
type people struct {
	mu     sync.Mutex
	users  map[string]aged[profile]
	groups map[string]aged[[]string]
	told   map[string]time.Time // when somebody was last told that they are not served, by user and channel
}

// tellAgain is how long somebody who was told that they are not served can go
// on asking there without taking up the inbox.
const tellAgain = 10 * time.Minute

// mayBeTold tells whether it is time to tell somebody in a channel, and counts it
// as done.
func (p *people) mayBeTold(user, channel string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := user + "/" + channel
	if time.Since(p.told[there]) < tellAgain {
		return false
	}
	p.told[there] = time.Now()
	return true
}

// aged is something that was true at a time.
type aged[T any] struct {
	value T
	at    time.Time
}

// look returns what is known under key, or asks.
func look[T any](mu *sync.Mutex, known map[string]aged[T], key string, ask func() (T, error)) (T, error) {
	mu.Lock()
	a, ok := known[key]
	mu.Unlock()
	if ok && time.Since(a.at) < kept {
		return a.value, nil
	}
	value, err := ask()
	if err != nil {
		return value, err
	}
	mu.Lock()
	defer mu.Unlock()
	known[key] = aged[T]{value, time.Now()}
	return value, nil
}

// authorise decides whether m is served, and says who asks. With an error,
// Slack could not be asked, and it is not.
func (b *Bot) authorise(ctx context.Context, m Message) (Person, *refusal, error) {
	if r := b.Access.here(m); r != nil {
		return Person{}, r, nil
	}
	who, err := b.profile(ctx, m.User)
	if err != nil || who.refused != nil {
		return Person{}, who.refused, err
	}
	r, err := b.unlisted(ctx, m.User)
	return b.person(m.User, who.email), r, err
}

// unlisted is nil for somebody on the lists of those who may ask.
func (b *Bot) unlisted(ctx context.Context, user string) (*refusal, error) {
	if b.Access.Everyone || slices.Contains(b.Access.Users, user) || slices.Contains(b.Access.Admins, user) {
		return nil, nil
	}
	for _, group := range b.Access.Groups {
		members, err := look(&b.people.mu, b.people.groups, group, func() ([]string, error) {
			members, err := b.Slack.GetUserGroupMembersContext(ctx, group)
			if refused(err, "no_such_subteam", "subteam_not_found") {
				return nil, nil // deleted: nobody is in it
			}
			return members, err
		})
		if err != nil {
			return nil, fmt.Errorf("asking who is in user group %s: %w", group, err)
		}
		if slices.Contains(members, user) {
			return nil, nil
		}
	}
	return notListed, nil
}

// profile asks who somebody is, unless that is known.
func (b *Bot) profile(ctx context.Context, user string) (profile, error) {
	return look(&b.people.mu, b.people.users, user, func() (profile, error) {
		u, err := b.Slack.GetUserInfoContext(ctx, user)
		if refused(err, "user_not_found", "user_not_visible") {
			return profile{refused: &refusal{reason: "the person is unknown here"}}, nil
		}
		if err != nil {
			return profile{}, fmt.Errorf("asking who %s is: %w", user, err)
		}
		return profile{notAMember(u, b.self.team), cmp.Or(u.Profile.DisplayName, u.RealName, u.Name), u.Profile.Email}, nil
	})
}

func notAMember(u *slack.User, team string) *refusal {
	switch {
	case u.Deleted:
		return &refusal{reason: "the account is deactivated"}
	case u.IsBot || u.ID == "USLACKBOT":
		return &refusal{reason: "it is a bot"}
	case u.IsRestricted || u.IsUltraRestricted:
		return &refusal{reason: "the person is a guest"}
	case u.IsStranger || u.TeamID != team:
		return &refusal{reason: "the person is of another organisation"}
	}
	return nil
}
