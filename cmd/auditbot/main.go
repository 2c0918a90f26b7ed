// Auditbot puts Microsoft 365's unified audit log into Slack. This is the
// operator's door: it reads settings and secrets, puts the parts together
// (wire.go), and runs them as a bot (run.go), as a demo on this machine
// (demo.go), or for one command on a terminal (exec.go), or looks whether they
// fit together (doctor.go).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"auditbot/bot"
	"auditbot/commands"
)

// gcPercent is how far the heap may grow between two collections: half as far
// as usual. What a large search leaves behind is nearly all garbage at once,
// and the collections cost little.
const gcPercent = 50

// ballast is memory in bytes that is never touched, and so takes none, but
// counts as part of the heap when the next collection is planned. A bot that
// answers short commands holds 6 MiB; with half of that for garbage there were
// seven collections a second at 50 commands a second, and the slowest commands
// waited for one. It costs 8 MiB.
const ballast = 16 << 20

func main() {
	debug.SetGCPercent(gcPercent)
	defer runtime.KeepAlive(make([]byte, ballast))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	p := &program{ctx: ctx, getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(os.Args[1:]))
}

// A program is auditbot with its surroundings, for tests to set.
type program struct {
	ctx    context.Context
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// Exit statuses. Where there are several commands, the worst one counts.
const (
	answered    = 0
	ourFailure  = 1
	userMistake = 2
)

type commandLine struct {
	Run      runCommand      `cmd:"" help:"Connect to Slack and serve until SIGINT or SIGTERM."`
	Demo     demoCommand     `cmd:"" help:"Try it: a simulated tenant, a simulated Slack, and the real bot between them."`
	Exec     execCommand     `cmd:"" help:"Answer commands on this terminal, without Slack."`
	Doctor   doctorCommand   `cmd:"" help:"Check the settings, Slack, the data folder and each instance; a line for each check."`
	Migrate  migrateCommand  `cmd:"" help:"Move everything from the data folder into a NATS cluster, or back. No bot may run."`
	Manifest manifestCommand `cmd:"" help:"Print the manifest of the Slack app."`
	Version  versionCommand  `cmd:"" help:"Print the version."`
}

// run is main with its surroundings as parameters. It returns the exit status.
func (p *program) run(args []string) int {
	exit := -1
	parser, err := kong.New(&commandLine{},
		kong.Name("auditbot"),
		kong.Description("Microsoft 365's unified audit log in Slack. Secrets come from the environment; README.md lists them."),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(status int) { exit = status }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return p.fail(err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help was answered
		return exit
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "auditbot: %v\nauditbot --help lists commands and flags\n", err)
		return userMistake
	}
	return p.fail(parsed.Run(p))
}

// fail tells of an error, if there is one, and returns its exit status.
func (p *program) fail(err error) int {
	if err == nil {
		return answered
	}
	if told, ok := errors.AsType[*toldError](err); ok {
		return told.status
	}
	fmt.Fprintln(p.stderr, "auditbot:", err)
	if commands.IsMistake(err) {
		return userMistake
	}
	return ourFailure
}

// A toldError has been told to the person already.
type toldError struct{ status int }

func (e *toldError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

type manifestCommand struct{}

func (manifestCommand) Run(p *program) error {
	_, err := io.WriteString(p.stdout, bot.Manifest())
	return err
}

type versionCommand struct{}

func (versionCommand) Run(p *program) error {
	_, err := fmt.Fprintln(p.stdout, "auditbot", version())
	return err
}

// version is what the go command knows of this build: a release's tag, or the
// commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
