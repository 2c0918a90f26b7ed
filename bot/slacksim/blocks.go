package slacksim

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The limits of what a message is made of. Lengths are in characters.
// https://docs.slack.dev/reference/block-kit/blocks
const (
	maxBlocks    = 50
	maxMarkdown  = 12000 // of the markdown blocks of a message together
	maxAllBlocks = 13200 // of all blocks of a message together; measured, https://github.com/slackapi/bolt-js/issues/2509
	maxTable     = 10000 // of the tables of a message together
	maxDataTable = 20000 // of the data tables of a message together
	maxBlockID   = 255
)

// readBlocks returns the blocks that a request gives, nil if there are none, or
// the answer that refuses them.
func (s *Server) readBlocks(text string) (json.RawMessage, object) {
	if text == "" {
		return nil, nil
	}
	var list []any
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, failed("invalid_blocks_format")
	}
	if len(list) == 0 {
		return nil, nil
	}
	v := newInspection(s.refused)
	v.blocks("/blocks", list)
	if refusal := v.refusal("invalid_blocks"); refusal != nil {
		return nil, refusal
	}
	return numbered(list), nil
}

// numbered is the blocks with an id for each, as Slack adds them.
func numbered(list []any) json.RawMessage {
	for _, b := range list {
		if block := b.(object); block["block_id"] == nil || block["block_id"] == "" {
			block["block_id"] = newID("b")
		}
	}
	return encode(list)
}

// readAttachments returns the attachments that a request gives, nil if there
// are none, or the answer that refuses them. Of an attachment, only the blocks
// are looked at.
func (s *Server) readAttachments(text string) (json.RawMessage, object) {
	if text == "" {
		return nil, nil
	}
	var list []struct{ Blocks []any }
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, failed("invalid_attachments")
	}
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxAttachments {
		return nil, failed("too_many_attachments")
	}
	v := newInspection(s.refused)
	for i, a := range list {
		v.blocks(fmt.Sprintf("/attachments/%d/blocks", i), a.Blocks)
	}
	if refusal := v.refusal("invalid_attachments"); refusal != nil {
		return nil, refusal
	}
	return json.RawMessage(text), nil
}

// oneTable returns the answer to a message with more than one table, or nil. A
// pipe table in a markdown block becomes a table, and counts.
func (s *Server) oneTable(k content) object {
	v := newInspection(nil)
	var blocks []any
	var attachments []struct{ Blocks []any }
	json.Unmarshal(k.blocks, &blocks) // both were good before
	json.Unmarshal(k.attachments, &attachments)
	v.blocks("", blocks)
	for _, a := range attachments {
		v.blocks("", a.Blocks)
	}
	if v.tables > 1 {
		return failedBecause("invalid_attachments", "only_one_table_allowed")
	}
	return nil
}

// An inspection is a look at the blocks of one message.
type inspection struct {
	problems []string
	refused  map[string]bool
	ids      map[string]bool

	// Of all blocks together: characters, and how many tables there are.
	chars, markdown, table, dataTable, tables int
}

func newInspection(refused map[string]bool) *inspection {
	return &inspection{refused: refused, ids: map[string]bool{}}
}

// report notes that something is wrong with what is at a JSON pointer.
func (v *inspection) report(at, format string, args ...any) {
	v.problems = append(v.problems, fmt.Sprintf(format, args...)+" [json-pointer:"+at+"]")
}

// blocks looks at a list of blocks.
func (v *inspection) blocks(at string, list []any) {
	if len(list) > maxBlocks {
		v.report(at, "no more than %d items allowed", maxBlocks)
	}
	for i, b := range list {
		v.block(fmt.Sprintf("%s/%d", at, i), b)
	}
}

func (v *inspection) block(at string, b any) {
	o, ok := b.(object)
	if !ok {
		v.report(at, "must be an object")
		return
	}
	kind, _ := o["type"].(string)
	schema, known := blockTypes[kind]
	if !known || v.refused[kind] {
		v.report(at+"/type", "unsupported type: %s", kind)
		return
	}
	if id, ok := o["block_id"].(string); ok && id != "" {
		if v.ids[id] {
			v.report(at+"/block_id", "block_id already exists: %s", id)
		}
		v.ids[id] = true
	}
	before := v.chars
	schema.inspect(v, at, o)
	if kind == "data_table" { // it may have more characters than all blocks together
		v.chars = before
	}
	if special := blockRules[kind]; special != nil {
		special(v, at, o)
	}
}

// refusal is the answer to blocks that are not good, or nil.
func (v *inspection) refusal(name string) object {
	switch {
	case v.problems != nil:
		return failedBecause(name, v.problems...)
	case v.markdown > maxMarkdown, v.chars > maxAllBlocks:
		return failed("msg_blocks_too_long")
	case v.table > maxTable:
		return failedBecause(name, fmt.Sprintf("the tables of a message must be less than %d characters", maxTable+1))
	case v.dataTable > maxDataTable:
		return failedBecause(name, fmt.Sprintf("the data tables of a message must be less than %d characters", maxDataTable+1))
	}
	return nil
}

// blockRules are what a kind of block must be beyond its fields.
var blockRules = map[string]func(*inspection, string, object){
	"actions":            actionsRule,
	"section":            sectionRule,
	"image":              imageRule,
	"markdown":           markdownRule,
	"table":              tableRule,
	"data_table":         dataTableRule,
	"data_visualization": chartRule,
}

func actionsRule(v *inspection, at string, o object) {
	elements, _ := o["elements"].([]any)
	ids := map[any]bool{}
	for i, e := range elements {
		element, _ := e.(object)
		if id := element["action_id"]; id != nil {
			if ids[id] {
				v.report(fmt.Sprintf("%s/elements/%d/action_id", at, i), "action_id already exists: %v", id)
			}
			ids[id] = true
		}
	}
}

func sectionRule(v *inspection, at string, o object) {
	if o["text"] == nil && o["fields"] == nil {
		v.report(at+"/type", "must define either `text` or `fields`")
	}
}

func imageRule(v *inspection, at string, o object) {
	if (o["image_url"] == nil) == (o["slack_file"] == nil) {
		v.report(at, "must define either `image_url` or `slack_file`")
	}
}

func markdownRule(v *inspection, at string, o object) {
	text, _ := o["text"].(string)
	v.markdown += characters(text)
	for _, table := range pipeTables(text) {
		v.tables++
		v.table += characters(table)
	}
}

func tableRule(v *inspection, at string, o object) {
	v.tables++
	v.table += cellCharacters(o["rows"])
}

// dataTableRule says that the rows are of one length, and the first a header.
func dataTableRule(v *inspection, at string, o object) {
	v.tables++
	v.dataTable += cellCharacters(o["rows"])
	rows, _ := o["rows"].([]any)
	for i, r := range rows {
		row, _ := r.([]any)
		first, _ := rows[0].([]any)
		if len(row) != len(first) {
			v.report(fmt.Sprintf("%s/rows/%d", at, i), "all rows must have the same number of cells")
		}
		for j, cell := range row {
			if c, _ := cell.(object); i == 0 && c["type"] != "raw_text" {
				v.report(fmt.Sprintf("%s/rows/0/%d/type", at, j), "header cells must be raw_text")
			}
		}
	}
}

// chartRule says that a series has one point for each category, in whatever
// order, and that the names of series differ.
func chartRule(v *inspection, at string, o object) {
	chart, _ := o["chart"].(object)
	axis, _ := chart["axis_config"].(object)
	categories, _ := axis["categories"].([]any)
	series, _ := chart["series"].([]any)
	names := map[any]bool{}
	for i, one := range series {
		s, _ := one.(object)
		if names[s["name"]] {
			v.report(fmt.Sprintf("%s/chart/series/%d/name", at, i), "must be unique")
		}
		names[s["name"]] = true
		points, _ := s["data"].([]any)
		var labels []any
		for _, p := range points {
			point, _ := p.(object)
			labels = append(labels, point["label"])
		}
		missing := slices.ContainsFunc(categories, func(c any) bool { return !slices.Contains(labels, c) })
		if missing || len(labels) != len(categories) {
			v.report(fmt.Sprintf("%s/chart/series/%d/data", at, i), "must have one point for every category")
		}
	}
}

// cellCharacters counts what is shown in the cells of a table.
func cellCharacters(v any) int {
	n := 0
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			n += cellCharacters(x)
		}
	case object:
		for key, x := range v {
			if text, ok := x.(string); ok && (key == "text" || key == "url") {
				n += characters(text)
			} else if key == "value" && v["text"] == nil {
				n += len(fmt.Sprint(x))
			} else {
				n += cellCharacters(x)
			}
		}
	}
	return n
}

// delimiterRow is the second line of a pipe table.
var delimiterRow = regexp.MustCompile(`^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$`)

// pipeTables are the tables of a Markdown text, outside of fences.
func pipeTables(text string) []string {
	var tables []string
	lines := strings.Split(text, "\n")
	fenced := false
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(strings.TrimSpace(lines[i]), "```") {
			fenced = !fenced
		}
		if fenced || i == 0 || !strings.Contains(lines[i], "|") || !strings.Contains(lines[i-1], "|") || !delimiterRow.MatchString(lines[i]) {
			continue
		}
		end := i + 1
		for end < len(lines) && strings.TrimSpace(lines[end]) != "" && strings.Contains(lines[end], "|") {
			end++
		}
		tables = append(tables, strings.Join(append([]string{lines[i-1]}, lines[i+1:end]...), "\n"))
		i = end - 1
	}
	return tables
}
