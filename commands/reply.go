package commands

import (
	"context"
	"io"

	"auditbot/auditlog"
)

// A Reply is the answer to a command, in the words of the audit log. Whoever
// shows it (bot in Slack, auditbot exec on a terminal) decides how it looks.
// All of its text is plain: nothing in it is markup, and much of it was
// written by attackers.
type Reply struct {
	Title   string            // one line
	Text    string            // paragraphs under the title; "" for none
	Verdict *auditlog.Verdict // whether this is everything; nil where nothing was searched
	Table   Table
	Code    string  // shown with fixed width, unchanged; "" for none
	Context *File   // what the command adds to the context, as JSON; nil for nothing
	Files   []File  // what is attached, in this order
	Offers  []Offer // what one would ask next; shown as buttons, and as lines to type
}

// An Offer is a command that is likely wanted after this one.
type Offer struct {
	Label string // for a button: at most 75 characters
	Line  string // the command line that it equals
}

// A Table is what a person reads first; the files have the rest. The zero
// Table is none.
type Table struct {
	Columns []string
	Rows    [][]string // each as long as Columns
	Total   int        // how many rows there would be without a limit; len(Rows) if nothing was cut
	Rest    string     // what has all of them, such as "counts.csv"; "" means the file of the records
}

// A File is an attachment.
type File struct {
	Name string // "auditlog-2026-11-24T100000Z.json"
	Type string // "json"
	Size int64  // bytes

	Journal bool // it is the command's journal, as that was at its end

	// Open reads the content from its start. It may be called again.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// A FileWriter receives the content of a File.
type FileWriter = io.Writer
