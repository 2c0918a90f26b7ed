package commands

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var updateTables = flag.Bool("update-tables", false, "write what came out into the tables of testdata")

// table checks a file of testdata: answer says what a line typed after "> "
// becomes, in the lines below it.
func table(t *testing.T, file string, answer func(typed string) string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	var out []string
	for block := range strings.SplitSeq(strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")), "\n\n") {
		typed, ok := strings.CutPrefix(block, "> ")
		if !ok {
			out = append(out, block)
			continue
		}
		typed, want, _ := strings.Cut(typed, "\n= ")
		got := answer(characters(typed))
		if want = strings.TrimSpace(want); got != want && !*updateTables {
			t.Errorf("%s\nbecomes\n%s\nwant\n%s", typed, got, want)
		}
		out = append(out, "> "+typed+"\n= "+got)
		checked++
	}
	if checked == 0 {
		t.Errorf("%s has no lines to check", path)
	}
	if *updateTables {
		if err := os.WriteFile(path, []byte(strings.TrimSpace(strings.Join(out, "\n\n"))+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

var codePoint = regexp.MustCompile(`\{[0-9A-F]{4}\}`)

// characters puts the character U+00A0 in place of {00A0}.
func characters(s string) string {
	return codePoint.ReplaceAllStringFunc(s, func(code string) string {
		n, _ := strconv.ParseInt(code[1:5], 16, 32)
		return string(rune(n))
	})
}

// mistake is an error as the tables show it.
func mistake(t *testing.T, err error) string {
	t.Helper()
	m, ok := err.(*Mistake)
	if !ok {
		t.Fatalf("%v is not a Mistake", err)
	}
	return fmt.Sprintf("mistake: %s\nhint: %s", m.Problem, m.Hint)
}
