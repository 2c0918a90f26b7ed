package commands

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

type testSearch struct {
	Start When     `arg:"start_date" help:"earliest event: \"3 days\""`
	Text  string   `arg:"free_text" help:"text in the record"`
	Users []string `arg:"user_ids" help:"who did it, separated by commas"`
	Size  int      `arg:"result_size" help:"the newest how many, 1 to 5000"`
	Raw   bool     `arg:"raw-response" help:"true: the JSON, no table"`
}

type testNote struct {
	Text   string `arg:"text,required,default" help:"what to write down"`
	Pinned bool   `arg:"pinned" help:"true: keep it at the top"`
	seen   int    // not an argument
}

func TestBind(t *testing.T) {
	table(t, "bind.txt", func(typed string) string {
		found, err := words(typed)
		if err != nil {
			t.Fatalf("words(%q): %v", typed, err)
		}
		args := map[string]any{
			"search": &testSearch{Start: When{"24 hours"}, Size: 10},
			"note":   &testNote{},
			"none":   &struct{}{},
		}[found[0].value]
		if err := bind(args, found[1:]); err != nil {
			return mistake(t, err)
		}
		var set []string
		for field, v := range reflect.ValueOf(args).Elem().Fields() {
			switch {
			case !field.IsExported() || v.IsZero():
			case v.CanInt() || v.Kind() == reflect.Bool:
				set = append(set, fmt.Sprintf("%s: %v", field.Name, v))
			default:
				set = append(set, fmt.Sprintf("%s: %q", field.Name, v))
			}
		}
		return strings.Join(set, "\n")
	})
}

func TestArgumentsAreThoseOfTheTags(t *testing.T) {
	type row struct{ name, help, fallback, marks string }
	var got []row
	for _, args := range []any{testSearch{Start: When{"24 hours"}, Users: []string{"a", "b"}, Size: 10}, testNote{seen: 1}, struct{}{}} {
		for _, a := range arguments(args) {
			marks := ""
			if a.required {
				marks += "required "
			}
			if a.bare {
				marks += "bare"
			}
			got = append(got, row{a.name, a.help, a.fallback, marks})
		}
	}
	want := []row{
		{"start_date", `earliest event: "3 days"`, `"24 hours"`, ""},
		{"free_text", "text in the record", "", ""},
		{"user_ids", "who did it, separated by commas", "a,b", ""},
		{"result_size", "the newest how many, 1 to 5000", "10", ""},
		{"raw-response", "true: the JSON, no table", "", ""},
		{"text", "what to write down", "", "required bare"},
		{"pinned", "true: keep it at the top", "", ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("arguments are\n%v, want\n%v", got, want)
	}
}

// Whatever is typed, every word of it sets a field of its own, or there is a
// mistake that says what to do.
func FuzzBind(f *testing.F) {
	for _, seed := range []string{
		`search start_date="3 days" user_ids=ada,bob result_size=1 raw-response=true`,
		`search start_date = 3 days`, `search user_ids=["a","b"]`, `search user_ids=[`, `search = =a a= b`, `search x${y}`, `search usr_ids=a user_ids`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		found, err := words(line)
		if err != nil {
			return
		}
		args := testSearch{Size: 10}
		err = bind(&args, found)
		if m, ok := err.(*Mistake); err != nil && (!ok || m.Problem == "" || m.Hint == "") {
			t.Fatalf("bind(%q) = %v, which is not a Mistake with a hint", line, err)
		}
		if err == nil {
			checkNames(t, found)
		}
		if err == nil && slices.Contains(args.Users, "") {
			t.Errorf("bind(%q) made a list with an empty item: %q", line, args.Users)
		}
	})
}

func checkNames(t *testing.T, found []word) {
	t.Helper()
	free := argumentNames(arguments(testSearch{}))
	for _, w := range found {
		i := slices.Index(free, w.name)
		if i < 0 {
			t.Fatalf("bind(%v) accepts %v", found, w)
		}
		free = slices.Delete(free, i, i+1)
	}
}
