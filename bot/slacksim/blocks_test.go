package slacksim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/slack-go/slack"
)

// x is a text of n characters.
func x(n int) string { return strings.Repeat("x", n) }

// list is n times the same, in brackets.
func list(n int, item string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
}

func plain(text string) string  { return `{"type":"plain_text","text":"` + text + `"}` }
func mrkdwn(text string) string { return `{"type":"mrkdwn","text":"` + text + `"}` }
func cell(text string) string   { return `{"type":"raw_text","text":"` + text + `"}` }

func table(rows string) string { return `{"type":"table","rows":` + rows + `}` }

func markdown(text string) string {
	b, _ := json.Marshal(map[string]string{"type": "markdown", "text": text})
	return string(b)
}

const pipes = "| a | b |\n|---|:-:|\n| 1 | 2 |"

func TestBlocks(t *testing.T) {
	button := func(more string) string {
		return `{"type":"actions","elements":[{"type":"button","text":` + plain("x") + more + `}]}`
	}
	richText := func(elements string) string { return `{"type":"rich_text","elements":[` + elements + `]}` }
	richSection := func(elements string) string {
		return richText(`{"type":"rich_text_section","elements":[` + elements + `]}`)
	}
	dataTable := func(rows, more string) string {
		return `{"type":"data_table","caption":"c","rows":` + rows + more + `}`
	}
	chart := func(more string) string { return `{"type":"data_visualization","title":"t","chart":{` + more + `}}` }
	point := func(label string) string { return `{"label":"` + label + `","value":1}` }
	series := func(name string, points ...string) string {
		return `{"name":"` + name + `","data":[` + strings.Join(points, ",") + `]}`
	}
	s := start(t, nil)
	for _, test := range []struct{ blocks, want string }{ // want is in the answer; "" means ok
		{`{"type":"divider"}`, ""},
		{`{"type":"divider","block_id":"` + x(255) + `"}`, ""},
		{`{"type":"divider","block_id":"` + x(256) + `"}`, "must be less than 256 characters [json-pointer:/blocks/0/block_id]"},
		{`{"type":"divider","block_id":"b"},{"type":"divider","block_id":"b"}`, "block_id already exists: b"},
		{`{"type":"actions","elements":` + list(2, `{"type":"button","action_id":"a","text":`+plain("x")+`}`) + `}`, "action_id already exists: a"},
		{`{"type":"divider","text":"x"}`, "invalid additional property: text [json-pointer:/blocks/0]"},
		{`{"type":"card"}`, "unsupported type: card [json-pointer:/blocks/0/type]"},
		{`{}`, "unsupported type:"},
		{`"divider"`, "must be an object [json-pointer:/blocks/0]"},
		{strings.Trim(list(50, `{"type":"divider"}`), "[]"), ""},
		{strings.Trim(list(51, `{"type":"divider"}`), "[]"), "no more than 50 items allowed [json-pointer:/blocks]"},

		{`{"type":"section","text":` + mrkdwn(x(3000)) + `}`, ""},
		{`{"type":"section","text":` + mrkdwn(x(3001)) + `}`, "must be less than 3001 characters [json-pointer:/blocks/0/text/text]"},
		{`{"type":"section","text":` + mrkdwn(strings.Repeat("😀", 1501)) + `}`, "must be less than 3001 characters"},
		{`{"type":"section","text":` + mrkdwn("") + `}`, "must be more than 0 characters [json-pointer:/blocks/0/text/text]"},
		{`{"type":"section","text":"x"}`, "must be an object [json-pointer:/blocks/0/text]"},
		{`{"type":"section","text":{"type":"markdown","text":"x"}}`, "unsupported type: markdown [json-pointer:/blocks/0/text/type]"},
		{`{"type":"section","text":{"type":"mrkdwn","text":"x","emoji":true}}`, "invalid additional property: emoji"},
		{`{"type":"section","text":{"type":"mrkdwn","text":"x","verbatim":true}}`, ""},
		{`{"type":"section"}`, "must define either `text` or `fields` [json-pointer:/blocks/0/type]"},
		{`{"type":"section","fields":` + list(6, mrkdwn(x(2000))) + `}`, ""},
		{`{"type":"section","fields":[` + mrkdwn(x(2001)) + `]}`, "must be less than 2001 characters [json-pointer:/blocks/0/fields/0/text]"},
		{`{"type":"section","fields":` + list(11, mrkdwn("x")) + `}`, "no more than 10 items allowed [json-pointer:/blocks/0/fields]"},
		{`{"type":"section","text":` + mrkdwn("x") + `,"accessory":{"type":"button","action_id":"a","text":` + plain("x") + `}}`, ""},
		{`{"type":"section","text":` + mrkdwn("x") + `,"accessory":{"type":"radio"}}`, "unsupported type: radio"},

		{`{"type":"header","text":` + plain(x(150)) + `}`, ""},
		{`{"type":"header","level":2,"text":` + plain("x") + `}`, ""},
		{`{"type":"header","level":5,"text":` + plain("x") + `}`, "must be between 1 and 4"},
		{`{"type":"header","text":` + plain(x(151)) + `}`, "must be less than 151 characters"},
		{`{"type":"header","text":` + mrkdwn("x") + `}`, "unsupported type: mrkdwn"},
		{`{"type":"header"}`, "missing required field: text [json-pointer:/blocks/0]"},

		{`{"type":"context","elements":` + list(10, mrkdwn("x")) + `}`, ""},
		{`{"type":"context","elements":` + list(11, mrkdwn("x")) + `}`, "no more than 10 items allowed"},
		{`{"type":"context","elements":[]}`, "no less than 1 items allowed"},
		{`{"type":"context","elements":[{"type":"image","image_url":"https://contoso.com/a.png","alt_text":"a"}]}`, ""},

		{button(""), ""},
		{button(`,"value":"` + x(2000) + `","style":"danger","url":"https://contoso.com","confirm":{"title":` + plain("x") + `,"text":` + mrkdwn("x") + `,"confirm":` + plain("Yes") + `,"deny":` + plain("No") + `}`), ""},
		{button(`,"value":"` + x(2001) + `"`), "must be less than 2001 characters [json-pointer:/blocks/0/elements/0/value]"},
		{button(`,"style":"blue"`), "must be one of"},
		{`{"type":"actions","elements":[{"type":"button","text":` + plain(x(76)) + `}]}`, "must be less than 76 characters"},
		{`{"type":"actions","elements":[{"type":"button","text":` + mrkdwn("x") + `}]}`, "unsupported type: mrkdwn"},
		{`{"type":"actions","elements":` + list(26, `{"type":"button","text":`+plain("x")+`}`) + `}`, "no more than 25 items allowed"},
		{`{"type":"actions","elements":[{"type":"static_select","action_id":"a","options":[{"text":` + plain("x") + `,"value":"v"}]}]}`, ""},
		{`{"type":"actions","elements":[{"type":"overflow","action_id":"a","options":` + list(6, `{"text":`+plain("x")+`,"value":"v"}`) + `}]}`, "no more than 5 items allowed"},

		{markdown(x(12000)), ""},
		{markdown(x(12001)), "must be less than 12001 characters [json-pointer:/blocks/0/text]"},
		{markdown(x(6001)) + "," + markdown(x(6000)), `"error":"msg_blocks_too_long"`},
		{markdown(""), "must be more than 0 characters"},
		{markdown(x(10000)) + `,{"type":"section","text":` + mrkdwn(x(3000)) + `},{"type":"section","text":` + mrkdwn(x(200)) + `}`, ""},
		{markdown(x(10000)) + `,{"type":"section","text":` + mrkdwn(x(3000)) + `},{"type":"section","text":` + mrkdwn(x(201)) + `}`, `"error":"msg_blocks_too_long"`},

		{`{"type":"image","image_url":"https://contoso.com/a.png","alt_text":"a","title":` + plain("x") + `}`, ""},
		{`{"type":"image","slack_file":{"id":"F1"},"alt_text":"a"}`, ""},
		{`{"type":"image","alt_text":"a"}`, "must define either `image_url` or `slack_file`"},
		{`{"type":"image","image_url":"https://contoso.com/a.png"}`, "missing required field: alt_text"},
		{`{"type":"file","external_id":"x","source":"remote"}`, ""},
		{`{"type":"file","external_id":"x","source":"local"}`, "must be one of"},
		{`{"type":"video","video_url":"https://contoso.com/v","thumbnail_url":"https://contoso.com/t","alt_text":"a","title":` + plain("x") + `}`, ""},
		{`{"type":"video","alt_text":"a"}`, "missing required field: video_url"},

		{richSection(`{"type":"text","text":"x","style":{"bold":true}},{"type":"link","url":"https://contoso.com","text":"x"},{"type":"user","user_id":"U1"},{"type":"emoji","name":"eyes"},{"type":"broadcast","range":"here"},{"type":"date","timestamp":1700000000,"format":"{date}"}`), ""},
		{richSection(`{"type":"text","text":""}`), "must be more than 0 characters"},
		{richSection(`{"type":"text","text":"x","style":{"blink":true}}`), "invalid additional property: blink"},
		{richSection(`{"type":"broadcast","range":"all"}`), "must be one of"},
		{richSection(`{"type":"secret"}`), "unsupported type: secret"},
		{richText(`{"type":"rich_text_list","style":"bullet","indent":0,"elements":[{"type":"rich_text_section","elements":[]}]}`), ""},
		{richText(`{"type":"rich_text_list","elements":[]}`), "missing required field: style"},
		{richText(`{"type":"rich_text_preformatted","border":0,"elements":[{"type":"text","text":"x"}]},{"type":"rich_text_quote","elements":[]}`), ""},
		{richText(`{"type":"section"}`), "unsupported type: section"},

		{table(list(100, list(20, cell("12345")))), ""},
		{table(list(101, list(1, cell("x")))), "no more than 100 items allowed [json-pointer:/blocks/0/rows]"},
		{table(list(1, list(21, cell("x")))), "no more than 20 items allowed [json-pointer:/blocks/0/rows/0]"},
		{table(list(1, list(1, cell("")))), "must be more than 0 characters [json-pointer:/blocks/0/rows/0/0/text]"},
		{table("[]"), "no less than 1 items allowed"},
		{table(`[[null]]`), "must be an object"},
		{table(`[[{"type":"raw_number","value":1.5,"text":"1,5"}]]`), ""},
		{table(`[[{"type":"raw_number","value":"1"}]]`), "must be a number"},
		{table(`[[{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"x"}]}]}]]`), ""},
		{table(`[[{"type":"new_cell"}]]`), "unsupported type: new_cell"},
		{table(list(10, list(1, cell(x(1000))))), ""},
		{table(list(10, list(1, cell(x(1000)))) + `,"column_settings":[{"align":"right","is_wrapped":true},null]`), ""},
		{table(list(1, list(1, cell("x"))) + `,"column_settings":[{"align":""}]`), "must be one of"},
		{table(list(1, list(1, cell("x"))) + `,"column_settings":` + list(21, `{"align":"left"}`)), "no more than 20 items allowed"},
		{table(list(11, list(1, cell(x(1000))))), "must be less than 10001 characters"},

		{table(list(1, list(1, cell("x")))) + "," + table(list(1, list(1, cell("x")))), "only_one_table_allowed"},
		{table(list(1, list(1, cell("x")))) + "," + markdown("intro\n\n"+pipes), "only_one_table_allowed"},
		{markdown(pipes + "\n\ntext\n\n" + pipes), "only_one_table_allowed"},
		{markdown(pipes) + "," + markdown(pipes), "only_one_table_allowed"},
		{markdown(pipes + "\n\n```\n" + pipes + "\n```\na | b\n\n---"), ""},
		{table(list(1, list(1, cell("x")))) + "," + markdown("a | b"), ""},
		{markdown("a | b\n--|--\n" + x(9000) + " | " + x(1100)), "must be less than 10001 characters"},

		{dataTable(list(2, list(20, cell("x"))), `,"page_size":100,"row_header_column_index":1`), ""},
		{dataTable(list(20, list(1, cell(x(1000)))), ""), ""},
		{dataTable(list(20, list(1, cell(x(1001)))), ""), "must be less than 20001 characters"},
		{dataTable(list(1, list(1, cell("x"))), ""), "no less than 2 items allowed"},
		{dataTable(list(202, list(1, cell("x"))), ""), "no more than 201 items allowed"},
		{dataTable(`[[`+cell("a")+`],[`+cell("b")+`,`+cell("c")+`]]`, ""), "all rows must have the same number of cells [json-pointer:/blocks/0/rows/1]"},
		{dataTable(`[[{"type":"raw_number","value":1}],[`+cell("b")+`]]`, ""), "header cells must be raw_text [json-pointer:/blocks/0/rows/0/0/type]"},
		{dataTable(list(2, list(1, cell("x"))), `,"page_size":101`), "must be between 1 and 100"},
		{`{"type":"data_table","rows":` + list(2, list(1, cell("x"))) + `}`, "missing required field: caption"},
		{dataTable(list(2, list(1, cell("x"))), "") + "," + table(list(1, list(1, cell("x")))), "only_one_table_allowed"},

		{chart(`"type":"pie","segments":[` + point("a") + `]`), ""},
		{chart(`"type":"pie","segments":` + list(7, point("a"))), "no more than 6 items allowed"},
		{chart(`"type":"pie","segments":[{"label":"a","value":0}]`), "must be between"},
		{chart(`"type":"bar","axis_config":{"categories":["a","b"]},"series":[` + series("s", point("a"), point("b")) + `]`), ""},
		{chart(`"type":"bar","axis_config":{"categories":["a","b"]},"series":[` + series("s", point("a")) + `]`), "must have one point for every category [json-pointer:/blocks/0/chart/series/0/data]"},
		{chart(`"type":"line","axis_config":{"categories":["a"]},"series":[` + series("s", point("a")) + "," + series("s", point("a")) + `]`), "must be unique"},
		{chart(`"type":"line","axis_config":{"categories":["` + x(21) + `"]},"series":[` + series("s", point("a")) + `]`), "must be less than 21 characters"},
		{chart(`"type":"donut"`), "unsupported type: donut"},
	} {
		a := post(t, s, "text", "x", "blocks", "["+test.blocks+"]")
		body := a["body"].(string)
		var decoded string // as Slack would write it
		if b, err := json.Marshal(a["response_metadata"]); err == nil {
			decoded = string(b)
		}
		if test.want == "" && a["ok"] != true || !strings.Contains(body+decoded, test.want) {
			t.Errorf("%.200s\nis %s, want %s", test.blocks, body, test.want)
		}
	}
}

func TestARefusalOfBlocksSaysWhere(t *testing.T) {
	s := start(t, nil)
	a := post(t, s, "text", "x", "blocks", `[{"type":"divider"},{"type":"section","text":`+mrkdwn(x(3001))+`}]`)
	const problem = "must be less than 3001 characters [json-pointer:/blocks/1/text/text]"
	if a.outcome() != "invalid_blocks" || fmt.Sprint(a["errors"]) != "["+problem+"]" || fmt.Sprint(a["response_metadata"]) != "map[messages:[[ERROR] "+problem+"]]" {
		t.Errorf("%s", a["body"])
	}
	if a := post(t, s, "text", "x", "blocks", "["+table(`[[`+cell("x")+`]]`)+","+markdown(pipes)+"]"); a.outcome() != "invalid_attachments" {
		t.Errorf("%s", a["body"])
	}
}

func TestTablesInAttachments(t *testing.T) {
	s := start(t, nil)
	attachment := `[{"blocks":[` + table(`[[`+cell("x")+`]]`) + `]}]`
	post(t, s, "text", "x", "attachments", attachment).must(t)
	if a := post(t, s, "text", "x", "attachments", attachment, "blocks", "["+table(`[[`+cell("x")+`]]`)+"]"); !strings.Contains(a["body"].(string), "only_one_table_allowed") {
		t.Errorf("%s", a["body"])
	}
	if a := post(t, s, "text", "x", "attachments", `[{"blocks":[`+table(`[[`+cell("")+`]]`)+`]}]`); a.outcome() != "invalid_attachments" || !strings.Contains(a["body"].(string), "/attachments/0/blocks/0/rows/0/0/text") {
		t.Errorf("%s", a["body"])
	}
}

func TestBlocksGetIDs(t *testing.T) {
	s := start(t, nil)
	post(t, s, "text", "x", "blocks", `[{"type":"divider"},{"type":"divider","block_id":"mine"}]`).must(t)
	var blocks []struct {
		BlockID string `json:"block_id"`
	}
	if err := json.Unmarshal(last(s, incidents).Blocks, &blocks); err != nil || len(blocks) != 2 || blocks[0].BlockID == "" || blocks[1].BlockID != "mine" {
		t.Errorf("%+v, %v", blocks, err)
	}
}

// What slack-go makes of blocks is taken.
func TestBlocksOfSlackGo(t *testing.T) {
	s := start(t, nil)
	api := slack.New(s.BotToken(), slack.OptionAPIURL(s.APIURL()))
	text := func(kind string) *slack.TextBlockObject { return slack.NewTextBlockObject(kind, "x", false, false) }
	bold := &slack.RichTextSectionTextStyle{Bold: true}
	for name, block := range map[string]slack.Block{
		"section": slack.NewSectionBlock(text("mrkdwn"), []*slack.TextBlockObject{text("plain_text")}, slack.NewAccessory(slack.NewButtonBlockElement("a", "v", text("plain_text")))),
		"header":  slack.NewHeaderBlock(text("plain_text")),
		"context": slack.NewContextBlock("", text("mrkdwn"), slack.NewImageBlockElement("https://contoso.com/a.png", "a")),
		"actions": slack.NewActionBlock("", slack.NewButtonBlockElement("a", "v", text("plain_text")).WithStyle(slack.StylePrimary)),
		"image":   slack.NewImageBlock("https://contoso.com/a.png", "a", "", text("plain_text")),
		"rich text": slack.NewRichTextBlock("",
			slack.NewRichTextSection(slack.NewRichTextSectionTextElement("x", bold), slack.NewRichTextSectionLinkElement("https://contoso.com", "x", nil)),
			slack.NewRichTextList(slack.RTEListBullet, 0, slack.NewRichTextSection(slack.NewRichTextSectionUserElement("U1", nil))),
			&slack.RichTextPreformatted{Type: slack.RTEPreformatted, Elements: []slack.RichTextSectionElement{slack.NewRichTextSectionTextElement("x", nil)}}),
		"table": slack.NewTableBlock("").WithColumnSettings(slack.ColumnSetting{Align: slack.ColumnAlignmentLeft, IsWrapped: true}).
			AddRow(slack.NewTableRichTextCell(slack.NewRichTextSection(slack.NewRichTextSectionTextElement("x", bold)))).
			AddRow(slack.NewTableRawTextCell("x")).AddRow(slack.NewTableRawNumberCell(1)),
		"chart": slack.NewDataVisualizationBlock("t", slack.NewDataVisualizationBarChart(slack.NewDataVisualizationAxisConfig("a"), slack.NewDataVisualizationDataSeries("s", slack.NewDataVisualizationDataPoint("a", 1)))),
	} {
		if _, _, err := api.PostMessageContext(t.Context(), incidents, slack.MsgOptionText("x", false), slack.MsgOptionBlocks(block)); err != nil {
			t.Errorf("%s: %v %+v", name, err, s.Requests()[len(s.Requests())-1].Values)
		}
	}
}
