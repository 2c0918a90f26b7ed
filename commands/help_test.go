package commands

import (
	"slices"
	"strings"
	"testing"
)

func TestHelpListsEveryCommand(t *testing.T) {
	reply := answer(t, env(), "!help")
	if reply.Title != "What you can ask" || reply.Table.Total != len(All()) {
		t.Errorf("%q, %d commands", reply.Title, reply.Table.Total)
	}
	says(t, reply.Text, `start_date="3 days"`, "!help o365-auditlog-search")
	for i, c := range All() {
		if want := []string{"!" + c.Name, c.Short}; !slices.Equal(reply.Table.Rows[i], want) {
			t.Errorf("row %v, want %v", reply.Table.Rows[i], want)
		}
	}
}

func TestHelpExplainsACommand(t *testing.T) {
	for _, line := range []string{"!help o365-auditlog-search", "!help !o365-auditlog-search", "!HELP command=O365-Auditlog-Search"} {
		reply := answer(t, env(), line)
		if reply.Title != "!o365-auditlog-search: search the unified audit log" {
			t.Errorf("%s: %q", line, reply.Title)
		}
		rows := map[string][]string{}
		for _, row := range reply.Table.Rows {
			rows[row[0]] = row
		}
		if rows["start_date"][2] != `"24 hours"` || rows["result_size"][2] != "10" || rows["end_date"][2] != "" || rows["using"] == nil {
			t.Errorf("%s: %v", line, reply.Table.Rows)
		}
		if _, err := words(reply.Code); err != nil {
			t.Errorf("the example cannot be typed: %v", err)
		}
	}
	if reply := answer(t, env(), "!help help"); len(reply.Table.Rows) != 1 || reply.Code != "" {
		t.Errorf("%+v", reply)
	}
}

func TestHelpOnWhatIsNoCommand(t *testing.T) {
	m := mistaken(t, env(), "!help o365-auditlog-serach")
	says(t, m.Problem, `there is no command "!o365-auditlog-serach"`)
	says(t, m.Hint, "did you mean !o365-auditlog-search?")
	says(t, mistaken(t, env(), "!help o365-auditlog-search please").Problem, `"please"`)
}

func TestHelpUsesThePrefixInForce(t *testing.T) {
	e := env()
	e.Prefix = "/"
	reply := answer(t, e, "/help")
	if strings.Contains(reply.Text, "!") || reply.Table.Rows[0][0] != "/o365-auditlog-search" {
		t.Errorf("%+v", reply)
	}
	says(t, mistaken(t, e, "!help").Hint, "commands start with /: /help lists them")
}

// What a newcomer reads of a command: a verb, help for each argument, no
// trailing full stops.
func TestEveryCommandAndArgumentIsDescribed(t *testing.T) {
	for _, c := range All() {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") || strings.ToLower(c.Short[:1]) != c.Short[:1] {
			t.Errorf("%s: %q", c.Name, c.Short)
		}
		for _, a := range arguments(c.args) {
			if a.help == "" || strings.HasSuffix(a.help, ".") {
				t.Errorf("%s %s: %q", c.Name, a.name, a.help)
			}
		}
	}
}

func TestNameIsWhatALineCalls(t *testing.T) {
	for line, want := range map[string]string{
		"!help": "help", "  !HELP x": "help", "!o365–auditlog–search": "o365-auditlog-search", "!he\u200blp": "help", "!ärger": "ärger", "!a=b": "a=b",
		"": "", "!": "", "! help": "", "help": "", "!!": "", "!?": "", "!3": "", "!😀": "", "!\xff": "", "hello!help": "", `!"help"`: "",
	} {
		if got, ok := Name("!", line); got != want || ok != (want != "") {
			t.Errorf("Name(%q) = %q, %v", line, got, ok)
		}
	}
}

func TestAddressesTellsOursFromOthers(t *testing.T) {
	for name, want := range map[string]bool{
		"help": true, "hlep": true, "o365-auditlog-search": true, "o365-auditlog-nonsense": true, "case-open": true, "o365-auditlog-serach": true,
		"deploy": false, "cases-closed": false, "remind": false, "": false, strings.Repeat("a", 40000): false,
	} {
		if got := Addresses(name); got != want {
			t.Errorf("Addresses(%.40q) = %v", name, got)
		}
	}
}
