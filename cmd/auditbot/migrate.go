package main

import (
	"errors"
	"fmt"

	"auditbot/bot/engine"
	"auditbot/commands"
)

type migrateCommand struct {
	To     string `enum:"embedded,cluster" required:"" help:"Where to: embedded (engine.data_dir) or cluster (engine.nats_url)." placeholder:"embedded|cluster"`
	Config string `default:"auditbot.yml" help:"The settings file, with both places." placeholder:"FILE"`
}

// Run moves everything, says what, and then what to do next.
func (c migrateCommand) Run(p *program) error {
	s, err := loadSettings(c.Config, p.getenv)
	if err != nil {
		return err
	}
	if s.Engine.NATSURL == "" {
		return &commands.Mistake{Problem: c.Config + ": there is no engine.nats_url: set it to the cluster's address; engine.data_dir is the other place"}
	}
	key, err := engineKey(p.getenv)
	if err != nil {
		return err
	}
	cluster := s.Engine.config(key)
	cluster.Log = p.logger(s.Log)
	folder := cluster
	folder.Cluster = engine.Cluster{}
	from, to, next := folder, cluster, "start the bot with these settings; the folder "+folder.Dir+" is a copy from now on, and can be deleted once you are content"
	if c.To == "embedded" {
		from, to, next = cluster, folder, "take engine.nats_url out of the settings and start one bot; the streams in the cluster are a copy from now on, and can be deleted once you are content"
	}
	var total engine.Moved
	err = engine.Migrate(p.ctx, from, to, func(m engine.Moved) {
		total.Messages += m.Messages
		total.Bytes += m.Bytes
		fmt.Fprintf(p.stdout, "%s: %s messages, %s\n", m.Stream, commands.Thousands(int(m.Messages)), bytesText(m.Bytes))
	})
	if err != nil {
		return notMoved(err)
	}
	_, err = fmt.Fprintf(p.stdout, "moved: %s messages, %s, compared on both sides. Now %s.\n", commands.Thousands(int(total.Messages)), bytesText(total.Bytes), next)
	return err
}

// notMoved says what to do about it.
func notMoved(err error) error {
	for _, of := range []struct {
		err  error
		hint string
	}{
		{engine.ErrInUse, "stop every auditbot that runs on it, exec and doctor too, and try again a minute later"},
		{engine.ErrNotEmpty, "take an empty engine.data_dir, or a cluster (or an account of it) without streams of auditbot"},
		{engine.ErrEmpty, "look at engine.data_dir and engine.nats_url, and at --to"},
		{engine.ErrUnfinished, "finish that move first: auditbot migrate with the other --to"},
		{engine.ErrMoved, "look at engine.data_dir and engine.nats_url, and at --to"},
		{engine.ErrWrongKey, restoreKey},
	} {
		if errors.Is(err, of.err) {
			return &commands.Mistake{Problem: err.Error() + "; " + of.hint}
		}
	}
	return fmt.Errorf("%w; what was to be moved is as it was: try again", err)
}
