package bot

import (
	"context"

	"auditbot/commands"
)

// journal opens the journal of the command in t. It is the same before and
// after the sign-ins that the command waited for.
func (b *Bot) journal(t *task) func(context.Context) (*commands.Journal, error) {
	return func(ctx context.Context) (*commands.Journal, error) {
		j, err := b.Engine.OpenJournal(ctx, t.Origin())
		if err != nil {
			return nil, err
		}
		if j.State() == nil { // what was begun may go on
			if err := commands.CheckRoom(b.Engine.Space()); err != nil {
				return nil, err
			}
		}
		return &commands.Journal{State: j.State(), Write: j, Checkpoint: j.Checkpoint, Open: j.Open, Size: j.Size}, nil
	}
}
