package commands

import "context"

type cancelArgs struct {
	ID string `arg:"id,default" help:"the command to stop, as its progress shows it; all of yours if left out"`
}

// cancel stops commands that run. What they have found so far they answer
// themselves.
func cancel(ctx context.Context, env Env, a cancelArgs) (Reply, error) {
	if env.Cancel == nil {
		return Reply{}, mistakef("there is nothing to cancel here").hintf("where you typed this, Ctrl-C ends a command that runs")
	}
	said, err := env.Cancel(ctx, a.ID)
	if err != nil {
		return Reply{}, err
	}
	return Reply{Title: "Cancel", Text: said}, nil
}
