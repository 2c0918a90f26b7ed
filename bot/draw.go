package bot

import (
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"auditbot/commands"
)

// A form is one way to show a reply: blocks, and a text for notifications and
// screen readers, which is all there is where blocks is empty.
type form struct {
	text   string
	blocks []slack.Block
}

// An opening is what stands before a reply. The zero opening is nothing.
type opening struct {
	user string // who is called
	line string // that they ran by pressing a button; "" if they typed
	late string // what is said if it came late; "" if they pressed a button
}

// text is the opening in Slack's older markup, or in Markdown, as encode writes
// it: the mention of a person is the same in both. A line ends with lineBreak.
func (o opening) text(encode func(string) string, lineBreak string) string {
	switch {
	case o.user == "":
		return ""
	case o.late != "":
		return "<@" + o.user + "> " + encode(o.late) + lineBreak
	case o.line == "":
		return "<@" + o.user + "> "
	}
	return "<@" + o.user + "> ran " + fit(o.line, maxRan, encode) + lineBreak
}

// elements are the opening as rich text.
func (o opening) elements() []slack.RichTextSectionElement {
	if o.user == "" {
		return nil
	}
	all := []slack.RichTextSectionElement{slack.NewRichTextSectionUserElement(o.user, nil)}
	if o.late != "" {
		return append(all, slack.NewRichTextSectionTextElement(" "+commands.Visible(o.late)+"\n", nil))
	}
	if o.line == "" {
		return append(all, slack.NewRichTextSectionTextElement(" ", nil))
	}
	return append(all,
		slack.NewRichTextSectionTextElement(" ran ", nil),
		slack.NewRichTextSectionTextElement(commands.Shorten(commands.Visible(o.line), maxRan), &slack.RichTextSectionTextStyle{Code: true}),
		slack.NewRichTextSectionTextElement("\n", nil))
}

// forms are the ways to show a reply, the best first. Each needs less of
// Slack than the one before; the last one is plain text. What is not asked for
// is not drawn.
func forms(r commands.Reply, o opening) iter.Seq2[int, form] {
	return func(yield func(int, form) bool) {
		for i, draw := range []func(commands.Reply, opening) form{markdownForm, codeForm, textForm} {
			if !yield(i, draw(r, o)) {
				return
			}
		}
	}
}

const (
	// maxMarkdown is how many characters the markdown blocks of a message may
	// have together: 12,000. We count bytes, which are never fewer, and leave
	// room for what is said under the table.
	// https://docs.slack.dev/reference/block-kit/blocks/markdown-block/
	maxMarkdown = 11500

	// maxShown is how many characters of cells a message may have: Slack
	// turns a Markdown table into a table block, which holds 10,000.
	// https://docs.slack.dev/reference/block-kit/blocks/table-block/
	maxShown = 9500

	// maxCode is how much of a text with fixed width is shown. Slack refuses
	// messages beyond about 13,200 characters in all blocks.
	// https://github.com/slackapi/bolt-js/issues/2509
	maxCode = 8000

	// maxText is how long the text of a message should be.
	// https://docs.slack.dev/reference/methods/chat.postMessage
	maxText = 3900

	maxPadded = 50  // characters of a cell where columns are padded
	maxRan    = 500 // of a command line that somebody ran by pressing a button
)

// maxCells are how many characters of a cell are shown: the first of them with
// which the whole table fits, or the last, and then not all rows. The file has
// everything.
var maxCells = []int{300, 120, 60}

// markdownForm is a Markdown table in Slack's markdown block.
func markdownForm(r commands.Reply, o opening) form {
	head := o.text(markdown, "  \n") + "**" + fit(r.Title, 1000, markdown) + "**"
	if r.Verdict != nil {
		head += "  \n" + fit(r.Verdict.String(), 2000, markdown)
	}
	if r.Text != "" {
		head += "  \n" + fit(r.Text, 3000, markdownLines)
	}
	table, shown := markdownTable(r.Table, maxMarkdown-len(head)-offersSize(r))
	text := head
	if table != "" {
		text += "\n\n" + table
	}
	if note := leftOut(r, shown); note != "" {
		text += "\n" + markdown(note)
	}
	f := form{text: summary(r, o), blocks: []slack.Block{slack.NewMarkdownBlock("", text)}}
	if r.Code != "" {
		f.blocks = append(f.blocks, slack.NewRichTextBlock("", fixedWidth(r.Code, maxCode-offersSize(r), wholeCode(r))))
	}
	f.blocks = append(f.blocks, offerBlocks(r)...)
	return f
}

// markdownTable writes as many rows as fit into room bytes.
func markdownTable(t commands.Table, room int) (text string, rows int) {
	if len(t.Rows) == 0 {
		return "", 0
	}
	for _, most := range maxCells {
		if text, rows = markdownRows(t, room, most); rows == len(t.Rows) {
			break
		}
	}
	return text, rows
}

// markdownRows is markdownTable with cells of at most that many characters.
func markdownRows(t commands.Table, room, most int) (text string, rows int) {
	var b strings.Builder
	line := func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }
	var heads, rules []string
	for _, c := range t.Columns {
		heads, rules = append(heads, markdown(c)), append(rules, "---")
	}
	b.WriteString(line(heads) + line(rules))
	shown := 0
	for i, row := range t.Rows {
		var cells []string
		for _, cell := range row {
			cell = commands.Shorten(commands.Visible(cell), most)
			shown += utf8.RuneCountInString(cell) + 1
			if cell == "" {
				cell = "–" // Slack refuses empty cells
			}
			cells = append(cells, markdown(cell))
		}
		next := line(cells)
		if b.Len()+len(next) > room || shown > maxShown {
			return b.String(), i
		}
		b.WriteString(next)
	}
	return b.String(), len(t.Rows)
}

// leftOut says what a table does not show, "" if it shows all.
func leftOut(r commands.Reply, shown int) string {
	if shown >= r.Table.Total {
		return ""
	}
	where := "the file has all"
	if r.Table.Rest != "" {
		where = r.Table.Rest + " has all"
	}
	if !hasFile(r) {
		where = "run it without ignore-outputs to get all as a file"
	}
	if r.Verdict == nil {
		where = "ask for less to see the rest"
	}
	return fmt.Sprintf("The table shows %s of %s; %s.", commands.Thousands(shown), commands.Thousands(r.Table.Total), where)
}

func hasFile(r commands.Reply) bool { return r.Context != nil || len(r.Files) > 0 }

// wholeCode says where all of a reply's code is, for where it is cut.
func wholeCode(r commands.Reply) string {
	if !hasFile(r) {
		return "run it without ignore-outputs to get all as a file"
	}
	return "the file has all"
}

// fixedWidth is a block of code, at most limit bytes of it. Text in it is never
// read as markup.
func fixedWidth(code string, limit int, whole string) slack.RichTextElement {
	code = commands.VisibleLines(cutBytes(strings.TrimRight(code, "\n"), limit+utf8.UTFMax))
	if cut := cutBytes(code, limit); cut != code {
		code = cut + "\n… cut here; " + whole
	}
	return &slack.RichTextPreformatted{
		Type:     slack.RTEPreformatted,
		Elements: []slack.RichTextSectionElement{slack.NewRichTextSectionTextElement(code, nil)},
	}
}

// cutBytes is the start of s, at most n bytes of it and no half characters.
func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// codeForm is an aligned block of code, for workspaces that refuse markdown
// blocks.
func codeForm(r commands.Reply, o opening) form {
	head := append(o.elements(), slack.NewRichTextSectionTextElement(commands.Shorten(plain(r), 3000), nil))
	elements := []slack.RichTextElement{slack.NewRichTextSection(head...)}
	room := maxCode - offersSize(r) - min(len(o.line), maxRan)
	table, shown := aligned(r.Table, room-500)
	if table != "" {
		elements = append(elements, fixedWidth(table, maxCode, ""))
	}
	if r.Code != "" {
		elements = append(elements, fixedWidth(r.Code, room-len(table), wholeCode(r)))
	}
	if note := leftOut(r, shown); note != "" {
		elements = append(elements, slack.NewRichTextSection(slack.NewRichTextSectionTextElement(note, nil)))
	}
	blocks := []slack.Block{slack.NewRichTextBlock("", elements...)}
	return form{text: summary(r, o), blocks: append(blocks, offerBlocks(r)...)}
}

// textForm is plain text, which every workspace takes.
func textForm(r commands.Reply, o opening) form {
	text := o.text(mrkdwn, "\n")
	offers := offerLines(r, maxText/3, mrkdwn)
	text += fit(plain(r), maxText/2-len(text)-len(offers), mrkdwn)
	table, shown := aligned(r.Table, maxText/3)
	for room := maxText / 4; len(mrkdwn(table)) > maxText/3; room /= 2 {
		table, shown = aligned(r.Table, room)
	}
	if table != "" {
		text += "\n" + mrkdwn(table)
	}
	if r.Code != "" {
		text += "\n" + fit(r.Code, maxText/8, mrkdwn)
	}
	if note := leftOut(r, shown); note != "" {
		text += "\n" + note
	}
	return form{text: text + offers}
}

// plain is all of a reply above its table.
func plain(r commands.Reply) string {
	text := r.Title
	if r.Verdict != nil {
		text += "\n" + r.Verdict.String()
	}
	if r.Text != "" {
		text += "\n" + r.Text
	}
	return commands.VisibleLines(text)
}

// summary is what a notification shows of a reply.
func summary(r commands.Reply, o opening) string {
	text := r.Title
	if r.Verdict != nil {
		text += "\n" + r.Verdict.String()
	} else if r.Text != "" {
		text += "\n" + r.Text
	}
	return o.text(mrkdwn, "\n") + fit(text, maxText/2, mrkdwn)
}

// aligned writes a table with padded columns, as many rows as fit into room
// bytes.
func aligned(t commands.Table, room int) (text string, rows int) {
	if len(t.Rows) == 0 {
		return "", 0
	}
	lines := append([][]string{t.Columns}, t.Rows...)
	widths := make([]int, len(t.Columns))
	for i, line := range lines {
		lines[i] = make([]string, len(line))
		for c, cell := range line {
			lines[i][c] = commands.Shorten(commands.Visible(cell), maxPadded)
			widths[c] = max(widths[c], utf8.RuneCountInString(lines[i][c]))
		}
	}
	var b strings.Builder
	for i, line := range lines {
		var padded strings.Builder
		for c, cell := range line {
			padded.WriteString(cell + strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell)+2))
		}
		next := strings.TrimRight(padded.String(), " ") + "\n"
		if b.Len()+len(next) > room {
			return b.String(), max(i-1, 0)
		}
		b.WriteString(next)
	}
	return b.String(), len(t.Rows)
}
