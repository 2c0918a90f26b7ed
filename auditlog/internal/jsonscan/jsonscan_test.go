package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"auditbot/auditlog/internal/jsonscan"
)

// seeds are texts that are JSON, and nearly.
var seeds = []string{
	`{"Id":"x","n":[1,-0.5e+7,0],"o":{"":null,"a":true,"a":false}}`, ` [ ] `, "{ }\n", `"\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00\ud800x\ud800\u0041\udc00"`, "\"a\xff\xed\xa0\x80é\"", "\"\x7f\"",
	"", " ", "{", "[", `"`, `"\`, `"\u`, `"\u00g0"`, `"\x"`, "\"\x1f\"", "\"01234567\x00\"", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `[,]`, `[1,]`, `[1 2]`, `{} {}`, "[1]\x00", "\xef\xbb\xbf{}",
	"01", "-", "-01", "1.", "1.e1", "1e", "1e+", "+1", ".5", "0", "-0", "12", "1e5", "tru", "truE", "true", "nul", "null", "nan", "[0x1]", "{1:2}", `{"a":1]`, `[1}`, "'a'",
}

// scan reads one value and looks for more.
func scan(text string) error {
	t := jsonscan.New([]byte(text), 0)
	t.Skip()
	t.Close()
	return t.Err()
}

// accepts tells whether text is JSON, and shorter than JSON could be. A number
// at the very end may go on.
func accepts(text string) (whole, short bool) {
	err := scan(text)
	if text = strings.TrimRight(text, " \t\r\n"); errors.Is(err, jsonscan.ErrShort) && text != "" && strings.Contains("0123456789", text[len(text)-1:]) {
		return scan(text+" ") == nil, true
	}
	return err == nil, errors.Is(err, jsonscan.ErrShort)
}

// FuzzSkip: what is JSON, and what is not, is as in encoding/json; and a text
// of which more is to come is never refused.
func FuzzSkip(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole, _ := accepts(text)
		if whole != json.Valid([]byte(text)) {
			t.Errorf("%q: JSON is %v, %v", text, json.Valid([]byte(text)), scan(text))
		}
		for n := range len(text) {
			if _, short := accepts(text[:n]); whole && !short && scan(text[:n]) != nil {
				t.Errorf("%q, which goes on as %q: %v", text[:n], text[n:], scan(text[:n]))
			}
		}
	})
}

// FuzzString: a string stands for what it stands for in encoding/json.
func FuzzString(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = `"` + text + `"`
		var want string
		valid := json.Unmarshal([]byte(text), &want) == nil
		s := jsonscan.New([]byte(text), 0)
		got := s.AppendString([]byte("before\xff"))
		s.Close()
		if (s.Err() == nil) != valid {
			t.Fatalf("%q: %v, and in encoding/json %v", text, s.Err(), valid)
		}
		if valid && string(got) != "before\xff"+want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
		if valid && jsonscan.String([]byte(text)) != want {
			t.Errorf("%q is %q, want %q", text, jsonscan.String([]byte(text)), want)
		}
	})
}

// FuzzIs: names are compared as encoding/json compares them.
func FuzzIs(f *testing.F) {
	for _, s := range []string{"Key", "kEY", "\u212aey", `\u004bey`, "Ke", "Keyy", "Ke\xff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		text := `{"` + name + `":1}`
		var want struct{ Key int }
		if json.Unmarshal([]byte(text), &want) != nil {
			return // nothing to compare with
		}
		s := jsonscan.New([]byte(text), 0)
		s.Open('{', '}')
		if got := jsonscan.Is(s.Name(), "Key"); got != (want.Key == 1) && s.Err() == nil {
			t.Errorf("%q is Key: %v", name, got)
		}
	})
}

func TestATextIsNotDeeperThanInEncodingJSON(t *testing.T) {
	for _, depth := range []int{9_999, 10_000, 10_001} {
		for _, brackets := range []string{"[]", `{"a":}`} {
			left, right := brackets[:len(brackets)-1], brackets[len(brackets)-1:]
			text := strings.Repeat(left, depth-1) + "[]" + strings.Repeat(right, depth-1)
			if whole, _ := accepts(text); whole != json.Valid([]byte(text)) {
				t.Errorf("%d deep: %v", depth, scan(text))
			}
		}
	}
	if whole, _ := accepts(strings.Repeat("[[]],", 3) + "[]"); whole {
		t.Error("four values were taken for one")
	}
	text := jsonscan.New([]byte("[[]]"), 9_999)
	if text.Skip(); text.Err() == nil || errors.Is(text.Err(), jsonscan.ErrShort) {
		t.Errorf("inside of 9,999 arrays: %v", text.Err())
	}
}

// A text remembers its first failure, and moves no more.
func TestAFailureStays(t *testing.T) {
	s := jsonscan.New([]byte(`{"a":1 "b":2}`), 0)
	names := 0
	for more := s.Open('{', '}'); more; more = s.Next('}') {
		s.Name()
		s.Skip()
		names++
	}
	first := s.Err()
	s.Skip()
	s.AppendString(nil)
	s.Open('[', ']')
	s.Next(']')
	s.Close()
	if first == nil || !strings.Contains(first.Error(), `'"'`) || s.Err() != first || s.Peek() != 0 || names != 1 {
		t.Errorf("%d names, %v, then %v", names, first, s.Err())
	}
}

func BenchmarkText(b *testing.B) {
	var record bytes.Buffer
	record.WriteString(`{"CreationTime":"2026-11-05T12:00:00","RecordType":15,"ExtendedProperties":[`)
	for record.Len() < 1300 {
		record.WriteString(`{"Name":"UserAuthenticationMethod","Value":"1"},`)
	}
	record.WriteString(`{}]}`)
	quoted, err := json.Marshal(record.String())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Skip", func(b *testing.B) {
		b.SetBytes(int64(record.Len()))
		for b.Loop() {
			if t := jsonscan.New(record.Bytes(), 0); len(t.Skip()) != record.Len() {
				b.Fatal(t.Err())
			}
		}
	})
	b.Run("AppendString", func(b *testing.B) {
		b.SetBytes(int64(len(quoted)))
		var to []byte
		for b.Loop() {
			t := jsonscan.New(quoted, 0)
			if to = t.AppendString(to[:0]); !bytes.Equal(to, record.Bytes()) {
				b.Fatal(t.Err())
			}
		}
	})
}
