package commands

import (
	"context"
	"strings"
)

type helpArgs struct {
	Command string `arg:"command,default" help:"the command to explain"`
}

func help(_ context.Context, env Env, a helpArgs) (Reply, error) {
	if a.Command == "" {
		return helpAll(env), nil
	}
	name := strings.ToLower(strings.TrimPrefix(a.Command, env.Prefix))
	c, ok := find(name)
	if !ok {
		return Reply{}, unknown(env.Prefix, name)
	}
	return helpOne(env, c), nil
}

func helpAll(env Env) Reply {
	t := Table{Columns: []string{"Command", "What it does"}}
	for _, c := range All() {
		t.Rows = append(t.Rows, []string{env.Prefix + c.Name, c.Short})
	}
	t.Total = len(t.Rows)
	return Reply{
		Title: "What you can ask",
		Text: "Arguments are name=value; quote values that have spaces: start_date=\"3 days\". " +
			env.Prefix + "help o365-auditlog-search lists the arguments of a command.",
		Table: t,
	}
}

func helpOne(env Env, c Command) Reply {
	t := Table{Columns: []string{"Argument", "Meaning", "Default"}}
	for _, arg := range arguments(c.args) {
		t.Rows = append(t.Rows, []string{arg.name, arg.help, arg.fallback})
	}
	t.Total = len(t.Rows)
	r := Reply{Title: env.Prefix + c.Name + ": " + c.Short, Table: t}
	if c.Name == "o365-auditlog-search" {
		r.Code = env.Prefix + `o365-auditlog-search start_date="3 days" user_ids=ada@contoso.com operations=New-InboxRule,Set-InboxRule`
	}
	return r
}
