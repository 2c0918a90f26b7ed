package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"auditbot/commands"
)

// markdown is a reply as it stands on a terminal: Markdown with aligned
// columns. Nothing in it controls the terminal or acts as markup.
func markdown(r commands.Reply) string {
	var b strings.Builder
	b.WriteString("## " + literal(r.Title) + "\n\n")
	if r.Verdict != nil {
		b.WriteString(literal(r.Verdict.String()) + "\n\n")
	}
	if r.Text != "" {
		for line := range strings.SplitSeq(r.Text, "\n") {
			b.WriteString(literal(line) + "\n")
		}
		b.WriteString("\n")
	}
	for _, o := range r.Offers {
		b.WriteString(literal(o.Label) + ":\n\n" + fenced(o.Line))
	}
	b.WriteString(table(r.Table))
	shown, total := commands.Thousands(len(r.Table.Rows)), commands.Thousands(r.Table.Total)
	switch {
	case len(r.Table.Rows) >= r.Table.Total:
	case r.Table.Rest != "":
		fmt.Fprintf(&b, "The table shows %s of %s; with --out DIR, %s has all.\n\n", shown, total, r.Table.Rest)
	default:
		fmt.Fprintf(&b, "The table shows %s of %s; --json prints all, and --out DIR keeps them.\n\n", shown, total)
	}
	if r.Code != "" {
		b.WriteString(fenced(r.Code))
	}
	return b.String()
}

// literal is one line of text without what Markdown or the terminal would
// read as more.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "<", "&lt;", "[", `\[`, "|", `\|`).Replace(commands.Visible(s))
}

func table(t commands.Table) string {
	if len(t.Rows) == 0 {
		return ""
	}
	lines := [][]string{t.Columns, make([]string, len(t.Columns))}
	lines = append(lines, t.Rows...)
	widths := make([]int, len(t.Columns))
	for i, line := range lines {
		lines[i] = make([]string, len(line))
		for c, cell := range line {
			lines[i][c] = literal(cell)
			widths[c] = max(widths[c], utf8.RuneCountInString(lines[i][c]), 3)
		}
	}
	var b strings.Builder
	for i, line := range lines {
		for c, cell := range line {
			fill := " "
			if i == 1 {
				fill = "-"
			}
			b.WriteString("| " + cell + strings.Repeat(fill, widths[c]-utf8.RuneCountInString(cell)) + " ")
		}
		b.WriteString("|\n")
	}
	return b.String() + "\n"
}

// fenced is a block of code whose fence is longer than any in the code.
func fenced(code string) string {
	fence := "```"
	for strings.Contains(code, fence) {
		fence += "`"
	}
	return fence + "\n" + commands.VisibleLines(strings.TrimRight(code, "\n")) + "\n" + fence + "\n\n"
}
