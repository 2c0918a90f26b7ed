package commands

import (
	"strings"
	"testing"
	"time"
)

var tuesday = time.Date(2026, time.November, 24, 9, 30, 15, 999, time.UTC)

func TestWhen(t *testing.T) {
	table(t, "when.txt", func(typed string) string {
		got, err := When{typed}.Time(tuesday)
		if err != nil {
			return strings.ReplaceAll(mistake(t, err), dateHint, "(examples)")
		}
		return got.Format("2006-01-02 15:04:05 MST")
	})
}

func TestCalendarUnitsStayWithinTheirMonth(t *testing.T) {
	for _, c := range []struct{ now, text, want string }{
		{"2026-03-31", "1 month", "2026-02-28"},
		{"2024-03-31", "1 month", "2024-02-29"},
		{"2024-02-29", "1 year", "2023-02-28"},
		{"2024-02-29", "4 years", "2020-02-29"},
		{"2026-12-31", "6 months", "2026-06-30"},
		{"2026-01-31", "2 months", "2025-11-30"},
		{"2026-03-01", "1 day", "2026-02-28"},
		{"2026-01-15", "13 months", "2024-12-15"},
		{"2026-05-31", "12 months", "2025-05-31"},
	} {
		now, err := time.Parse(time.DateOnly, c.now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := When{c.text}.Time(now)
		if err != nil || got.Format(time.DateOnly) != c.want {
			t.Errorf("%s before %s is %v, %v, want %s", c.text, c.now, got, err, c.want)
		}
	}
}

func TestNowIsTheMomentOfTypingWhateverItsZone(t *testing.T) {
	tokyo := time.FixedZone("JST", 9*60*60)
	now := time.Date(2026, time.November, 24, 3, 0, 0, 500, tokyo) // 18:00 UTC the day before
	for text, want := range map[string]string{
		"now":       "2026-11-23T18:00:00Z",
		"today":     "2026-11-23T00:00:00Z",
		"yesterday": "2026-11-22T00:00:00Z",
		"1 day":     "2026-11-22T18:00:00Z",
	} {
		got, err := When{text}.Time(now)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
}

func TestOnlyDistancesAreRelative(t *testing.T) {
	for text, want := range map[string]bool{
		"3 days": true, "24 hours ago": true, "Last 2 Weeks": true,
		"": false, "now": false, "yesterday": false, "2026-11-01": false, "soonish": false,
	} {
		if got := (When{text}).Relative(); got != want {
			t.Errorf("When{%q}.Relative() = %v, want %v", text, got, want)
		}
	}
}

// What can be read is one moment: written out in full it is read as the same
// again, it is within bounds, and the text around it does not matter.
func FuzzWhen(f *testing.F) {
	for _, seed := range []string{
		"3 days", "1 month ago", "yesterday 14:00", "01/31/21", "2026-11-01T09:00:00.5+01:00", "20261101T090000Z", "Jan 5, 2026 2:30 pm",
		"Mon, 05 Jan 2026 14:00:00 +0000", "1700000000", "1700000000123", "soonish", "5 Jan 2026 14", "05 05 may 2026",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := When{text}.Time(tuesday)
		if err != nil {
			if m, ok := err.(*Mistake); !ok || m.Problem == "" || m.Hint == "" {
				t.Errorf("When{%q} = %v, which is not a Mistake with a hint", text, err)
			}
			return
		}
		if got.Location() != time.UTC || got.Nanosecond() != 0 || got.Year() < firstYear || got.After(tuesday.AddDate(1, 0, 0)) {
			t.Errorf("When{%q} = %v, which is out of bounds", text, got)
		}
		for _, layout := range []string{time.RFC3339, time.DateTime, "01/02/2006 3:04:05 PM", "2 January 2006 15:04:05", "Mon Jan 2 2006 15:04:05 -0700"} {
			again, err := When{got.Format(layout)}.Time(tuesday)
			if err != nil || !again.Equal(got) {
				t.Errorf("When{%q} = %v, but %q is %v, %v", text, got, got.Format(layout), again, err)
			}
		}
		if spaced, err := (When{" " + strings.ToUpper(text) + "\u00A0"}).Time(tuesday); err != nil || !spaced.Equal(got) {
			t.Errorf("When{%q} = %v, but %v, %v with spaces and in upper case", text, got, spaced, err)
		}
	})
}
