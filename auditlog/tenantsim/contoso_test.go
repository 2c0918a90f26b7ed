package tenantsim_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
)

// What there is must not depend on the hour at which somebody looks.
func TestContosoIsTheSameAtAnyTimeOfDay(t *testing.T) {
	t.Parallel()
	sunday := time.Date(2026, time.November, 8, 0, 0, 0, 0, time.UTC) // its first moment
	for _, now := range []time.Time{sunday, sunday.Add(48*time.Hour - time.Nanosecond)} {
		earliest, latest := now.AddDate(0, 0, -14), now.Add(-30*time.Minute)
		n, fraud, previous := 0, 0, time.Time{}
		records := slices.Collect(tenantsim.Contoso(now).Records.All())
		for _, raw := range records {
			_, rest, _ := bytes.Cut(raw, []byte(`"CreationTime":"`)) // reading all of it takes a while
			created, _, _ := strings.Cut(string(rest[:min(len(rest), 20)]), `"`)
			at, err := time.Parse("2006-01-02T15:04:05", created)
			switch {
			case err != nil || at.Before(previous):
				t.Errorf("%v: %s after %v, %v", now, created, previous, err)
			case n == 0 && created != "2021-01-01T23:59:56":
				t.Errorf("%v: the first is of %s", now, created)
			case n > 0 && (at.Before(earliest.Truncate(time.Second)) || at.After(latest)):
				t.Errorf("%v: a record of %v", now, at)
			}
			previous = at
			n++
			if bytes.Contains(raw, []byte("Invoice 20418")) {
				fraud++
			}
		}
		if n < 19_500 || n > 20_500 || fraud != 6 || latest.Sub(previous) > 6*time.Hour {
			t.Errorf("%v: %d records, %d of the fraud, the last one of %v", now, n, fraud, previous)
		}
		if now == sunday {
			again := tenantsim.Contoso(now.Add(time.Second / 2).In(time.FixedZone("", -9*3600))).Records
			if !slices.EqualFunc(records, slices.Collect(again.All()), bytes.Equal) {
				t.Errorf("%v: another time, the records are others", now)
			}
		}
	}
}
