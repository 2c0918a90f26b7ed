package commands

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A When is a date as it was typed. What it means depends on when it was
// typed: "3 days" counts back from there. The zero When is none at all.
type When struct {
	Text string
}

// IsZero tells whether there is no date.
func (w When) IsZero() bool { return w.Text == "" }

// Relative tells whether the date is a distance back from now, as "3 days" is.
func (w When) Relative() bool { return distanceBack.MatchString(w.plain()) }

// firstYear is the earliest year that a date may be in. The audit log has
// nothing that old, so an earlier one is a slip of the pen, as is a date more
// than a year ahead.
const firstYear = 2000

// End is Time for the end of a range, which is not in it: a fraction of a second
// is rounded up.
func (w When) End(now time.Time) (time.Time, error) {
	t, err := w.moment(now)
	return t.Add(time.Second - 1).Truncate(time.Second), err
}

// Time is the moment that the date meant when it was typed, which was at now.
// It is in UTC, without fractions of seconds. What can be read is
//
//   - "24 hours", "3 days", "1 year", "2 weeks ago": calendar units back from
//     now. A month back from March 31 is the last day of February.
//   - now, today and yesterday (at 00:00 UTC), "yesterday 14:00"
//   - 01/31/21 and 01/31/2021, which are month/day/year
//   - ISO 8601 and what is like it: 2026-11-01, 2026-11-01T09:00:00.123+01:00,
//     "2026-11-01 9:00 pm", 20261101T090000Z
//   - the month in English: "Jan 5, 2026 2:30 pm"
//   - seconds (10 digits) and milliseconds (13 digits) since 1970
//
// A date alone is 00:00, and what names no zone is UTC. Everything else is a
// [*Mistake]: dates that do not exist, that can be read in two ways, or lack
// their year.
func (w When) Time(now time.Time) (time.Time, error) {
	t, err := w.moment(now)
	return t.Truncate(time.Second), err
}

func (w When) moment(now time.Time) (time.Time, error) {
	text := w.plain()
	t, ok := readDate(text, now.UTC())
	if !ok {
		return time.Time{}, unreadable(Shorten(w.Text, 60), text)
	}
	if _, offset := t.Zone(); offset < -maxOffset || offset > maxOffset {
		return time.Time{}, mistakef("%q has a zone that is more than 14 hours from UTC", Shorten(w.Text, 60)).hintf("%s", dateHint)
	}
	t = t.UTC()
	if t.Year() < firstYear || t.After(now.AddDate(1, 0, 0)) {
		return time.Time{}, mistakef("%q is %s UTC: the audit log cannot have that", Shorten(w.Text, 60), t.Format(time.DateTime)).hintf("%s", dateHint)
	}
	return t, nil
}

// maxOffset is how far a zone can be from UTC, in seconds: that of Kiribati.
const maxOffset = 14 * 60 * 60

const dateHint = `write "3 days" for so long ago, yesterday, 2026-11-01, "2026-11-01 09:00", 2026-11-01T09:00:00+01:00 or 11/01/2026 (month/day/year); UTC unless a zone is given`

// plain is the text in lower case, with one space where there were some and
// hyphens for dashes.
func (w When) plain() string {
	visible := strings.Map(func(r rune) rune {
		if isInvisible(r) {
			return -1
		}
		return r
	}, plainDashes(w.Text))
	return strings.ToLower(strings.Join(strings.FieldsFunc(visible, isSpace), " "))
}

// readDate tries the ways to write a date. They are exact on purpose:
// go-dateparser, tried for what these do not cover, takes 13/01/21 for January
// 13 and a Tuesday for a Monday, and costs 0.3 s and 50 MB at every start.
func readDate(text string, now time.Time) (time.Time, bool) {
	if len(text) > 100 {
		return time.Time{}, false
	}
	if text == "now" {
		return now, true
	}
	day, rest, _ := strings.Cut(text, " ")
	switch day {
	case "today":
		text = now.Format(time.DateOnly) + " " + rest
	case "yesterday":
		text = now.AddDate(0, 0, -1).Format(time.DateOnly) + " " + rest
	}
	if t, ok := back(text, now); ok {
		return t, true
	}
	if t, ok := epoch(text); ok {
		return t, true
	}
	if t, ok := inDigits(strings.TrimSpace(text)); ok {
		return t, true
	}
	return inWords(text)
}

var distanceBack = regexp.MustCompile(`^(?:(?:last|past) )?(\d{1,6}) ?(s|secs?|seconds?|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|months?|y|yrs?|years?)(?: ago)?$`)

// back reads "3 days".
func back(text string, now time.Time) (time.Time, bool) {
	found := distanceBack.FindStringSubmatch(text)
	if found == nil {
		return time.Time{}, false
	}
	n, err := strconv.Atoi(found[1])
	if err != nil || n == 0 {
		return time.Time{}, false
	}
	switch unit := found[2]; {
	case unit[0] == 's':
		return now.Add(-time.Duration(n) * time.Second), true
	case strings.HasPrefix(unit, "min"):
		return now.Add(-time.Duration(n) * time.Minute), true
	case unit[0] == 'h':
		return now.Add(-time.Duration(n) * time.Hour), true
	case unit[0] == 'd':
		return now.AddDate(0, 0, -n), true
	case unit[0] == 'w':
		return now.AddDate(0, 0, -7*n), true
	case unit[0] == 'y':
		n *= 12
	}
	return monthsBack(now, n), true
}

// monthsBack is the same day n months earlier, or the last of that month if it
// is too short. (AddDate would go on into the next month. XSOAR's commands do
// as we do: https://learn.microsoft.com/dotnet/api/system.datetime.addmonths)
func monthsBack(t time.Time, n int) time.Time {
	last := time.Date(t.Year(), t.Month()-time.Month(n)+1, 0, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	return last.AddDate(0, 0, min(t.Day(), last.Day())-last.Day())
}

var (
	epochSeconds = regexp.MustCompile(`^(\d{10})(\.\d+)?$`)
	epochMillis  = regexp.MustCompile(`^\d{13}$`)
)

// epoch reads seconds and milliseconds since 1970.
func epoch(text string) (time.Time, bool) {
	if found := epochSeconds.FindStringSubmatch(text); found != nil {
		n, err := strconv.ParseInt(found[1], 10, 64)
		return time.Unix(n, 0).UTC(), err == nil
	}
	if epochMillis.MatchString(text) {
		n, err := strconv.ParseInt(text, 10, 64)
		return time.UnixMilli(n).UTC(), err == nil
	}
	return time.Time{}, false
}

var (
	digitLayouts = []string{"2006-1-2", "2006/1/2", "1/2/2006", "1/2/06", "20060102"}
	wordLayouts  = []string{"2 Jan 2006", "Jan 2 2006", "2006 Jan 2"}
	clockLayouts = []string{"15:04:05", "15:04", "3:04:05PM", "3:04PM", "3PM", "150405"}
	zoneLayouts  = []string{"", "Z07:00", "Z0700", "Z07"}
)

// inDigits reads dates without the name of a month.
func inDigits(text string) (time.Time, bool) {
	i := strings.IndexAny(text, " t")
	if i < 0 {
		return parse(digitLayouts, text, "")
	}
	clock := strings.TrimPrefix(text[i+1:], "at ")
	if clock == "" {
		return time.Time{}, false
	}
	return parse(digitLayouts, strings.TrimSuffix(text[:i], ","), clock)
}

var (
	joined  = regexp.MustCompile(`^(\w+)[-/](\w+)[-/](\w+):?`) // 05-Jan-2026, and 05/Jan/2026:14:00:00 of web servers
	ordinal = regexp.MustCompile(`^(\d{1,2})(?:st|nd|rd|th)$`)
	fillers = []string{"the", "of", "at"}
)

// inWords reads dates that name their month in English, with or without a
// weekday, which then has to be the right one.
func inWords(text string) (time.Time, bool) {
	text = joined.ReplaceAllString(text, "$1 $2 $3 ")
	text = strings.NewReplacer("a.m.", "am", "p.m.", "pm", ",", " ", "@", " ").Replace(text)
	weekday := time.Weekday(-1)
	var parts []string
	for i, part := range strings.Fields(text) {
		part = strings.TrimSuffix(part, ".")
		if d := weekdayNamed(part); i == 0 && d >= 0 {
			weekday = d
			continue
		}
		if m := monthNamed(part); m != 0 {
			part = m.String()[:3]
		}
		if !slices.Contains(fillers, part) {
			parts = append(parts, ordinal.ReplaceAllString(part, "$1"))
		}
	}
	if len(parts) < 3 {
		return time.Time{}, false
	}
	t, ok := parse(wordLayouts, strings.Join(parts[:3], " "), strings.Join(parts[3:], ""))
	return t, ok && (weekday < 0 || t.Weekday() == weekday)
}

var zoneNames = strings.NewReplacer("UTC+", "+", "UTC-", "-", "GMT+", "+", "GMT-", "-", "UTC", "Z", "GMT", "Z", " ", "")

// parse reads a date and, unless it is "", the time of day and zone after it.
// Go's layouts take what is written or nothing.
func parse(dateLayouts []string, date, clock string) (time.Time, bool) {
	clock = zoneNames.Replace(strings.ToUpper(clock))
	for _, dateLayout := range dateLayouts {
		if clock == "" {
			if t, err := time.Parse(dateLayout, date); err == nil {
				return t, true
			}
			continue
		}
		for _, clockLayout := range clockLayouts {
			for _, zoneLayout := range zoneLayouts {
				if t, err := time.Parse(dateLayout+" "+clockLayout+zoneLayout, date+" "+clock); err == nil {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}

// monthNamed is the month with this English name or abbreviation, or 0.
func monthNamed(name string) time.Month {
	for m := time.January; m <= time.December; m++ {
		full := strings.ToLower(m.String())
		if name == full || name == full[:3] || name == "sept" && m == time.September {
			return m
		}
	}
	return 0
}

// weekdayNamed is the weekday with this English name or abbreviation, or -1.
func weekdayNamed(name string) time.Weekday {
	for d := time.Sunday; d <= time.Saturday; d++ {
		full := strings.ToLower(d.String())
		if name == full || name == full[:3] {
			return d
		}
	}
	return -1
}

var (
	slashes   = regexp.MustCompile(`^(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})\b`)
	ambiguous = regexp.MustCompile(`^(\d{1,2})[-.](\d{1,2})[-.](\d{4}|\d{2})\b`)
	mAlone    = regexp.MustCompile(`^(\d+) ?m$`)
)

// unreadable says what is wrong with a date.
func unreadable(typed, plain string) *Mistake {
	m := mistakef("%q is not a date that can be read without guessing", typed)
	if d := slashes.FindStringSubmatch(plain); d != nil && len(d[1]) == 2 && d[1] > "12" && d[2] <= "12" {
		return mistakef("%q has no month: dates with slashes are month/day/year", typed).hintf("%s", dateHint)
	}
	if ambiguous.MatchString(plain) {
		return mistakef("%q can be read as day and month or as month and day", typed).hintf("%s", dateHint)
	}
	if distanceBack.MatchString(plain) {
		return mistakef("%q is no distance back from now", typed).hintf("%s", dateHint)
	}
	if d := mAlone.FindStringSubmatch(plain); d != nil {
		return m.hintf(`write "%[1]s minutes" or "%[1]s months"`, d[1])
	}
	return m.hintf("%s", dateHint)
}
