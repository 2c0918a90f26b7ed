package main

import (
	"log/slog"
	"strings"

	"auditbot/commands"
)

type runCommand struct {
	Config string `default:"auditbot.yml" help:"The settings file." placeholder:"FILE"`
}

// Run serves a workspace until it is asked to stop.
func (c runCommand) Run(p *program) error {
	s, err := loadSettings(c.Config, p.getenv)
	if err != nil {
		return err
	}
	if !s.Access.access().Set() {
		return &commands.Mistake{Problem: c.Config + ": nobody is allowed to ask: list people in access.analysts or access.admins, or set access.everyone: true"}
	}
	tokens, err := slackTokens(p.getenv)
	if err != nil {
		return err
	}
	key, err := engineKey(p.getenv)
	if err != nil {
		return err
	}
	return serve(p.ctx, s, p.getenv, tokens, key, p.logger(s.Log))
}

// logger writes to standard error, as JSON.
func (p *program) logger(l logSettings) *slog.Logger {
	level, err := l.level()
	if err != nil {
		level = slog.LevelInfo // it was checked with the settings
	}
	return slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: level}))
}

func slackTokens(getenv func(string) string) (t slackSecrets, err error) {
	if t.Bot, err = needSecret(getenv, "SLACK_BOT_TOKEN", "the app's bot token, which begins with xoxb-"); err != nil {
		return t, err
	}
	if t.App, err = needSecret(getenv, "SLACK_APP_TOKEN", "the app-level token with connections:write, which begins with xapp-"); err != nil {
		return t, err
	}
	switch {
	case !strings.HasPrefix(string(t.Bot), "xoxb-"):
		return t, &commands.Mistake{Problem: "SLACK_BOT_TOKEN does not begin with xoxb-: it is another kind of token"}
	case !strings.HasPrefix(string(t.App), "xapp-"):
		return t, &commands.Mistake{Problem: "SLACK_APP_TOKEN does not begin with xapp-: it is another kind of token"}
	}
	return t, nil
}
