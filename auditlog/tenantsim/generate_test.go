package tenantsim_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"auditbot/auditlog/tenantsim"
)

func TestGeneratedRecordsAreLikeRealOnes(t *testing.T) {
	t.Parallel()
	const n = 20_000
	from := noon.AddDate(0, 0, -7).Add(time.Millisecond)
	var lines bytes.Buffer
	if err := tenantsim.Generate(&lines, n, from, noon, 1); err != nil {
		t.Fatal(err)
	}
	ids, operations, night, previous := map[string]bool{}, map[string]int{}, 0, from
	size := lines.Len() / n
	for line := range bytes.Lines(lines.Bytes()) {
		var r struct{ ID, CreationTime, Operation string }
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		at, err := time.Parse("2006-01-02T15:04:05", r.CreationTime)
		if err != nil || at.Before(previous) || !at.Before(noon) {
			t.Fatalf("%s after %v, %v", r.CreationTime, previous, err)
		}
		if h := at.Hour(); h < 6 || h > 20 {
			night++
		}
		ids[r.ID], previous = true, at
		operations[r.Operation]++
	}
	if len(ids) != n {
		t.Errorf("%d different ids, want %d", len(ids), n)
	}
	if size < 1200 || size > 1400 {
		t.Errorf("%d bytes each", size)
	}
	if night == 0 || night > n/20 {
		t.Errorf("%d at night", night)
	}
	for _, operation := range []string{"MailItemsAccessed", "FileAccessed", "UserLoggedIn", "Set-Mailbox", "Update user."} {
		if operations[operation] < n/1000 {
			t.Errorf("%d of %s", operations[operation], operation)
		}
	}
}

func TestGeneratedRecordsDependOnTheSeedAlone(t *testing.T) {
	t.Parallel()
	made := func(seed uint64) string {
		var lines bytes.Buffer
		if err := tenantsim.Generate(&lines, 500, noon.AddDate(0, 0, -7), noon, seed); err != nil {
			t.Fatal(err)
		}
		return lines.String()
	}
	first, again, other := made(1), made(1), made(2)
	if first != again {
		t.Error("the same seed makes other records")
	}
	if first == other {
		t.Error("another seed makes the same records")
	}
}

func TestABurstIsInOneSecond(t *testing.T) {
	t.Parallel()
	at := noon.Add(-90 * time.Minute)
	records := open(t, generated(t, 1000,
		tenantsim.Burst{At: noon, N: 3}, tenantsim.Burst{At: at.Add(time.Second / 2), N: 6000}, tenantsim.Burst{At: noon.AddDate(0, 0, -2), N: 2}))
	count := func(from, to time.Time) (n int) {
		for range records.Find(tenantsim.Wanted{From: from, To: to}) {
			n++
		}
		return n
	}
	if n := count(at, at.Add(time.Second)); n < 6000 || n > 6050 {
		t.Errorf("%d in the second of the burst", n)
	}
	if n := count(noon.AddDate(0, 0, -1), noon); n != 7000 || records.Len() != 7005 {
		t.Errorf("%d in the day, %d in all", n, records.Len())
	}
}

func TestRecordsCanBeGeneratedForASingleSecond(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	if err := tenantsim.Generate(&lines, 10, noon, noon.Add(time.Second), 1); err != nil || bytes.Count(lines.Bytes(), []byte(`"CreationTime":"2026-11-05T12:00:00"`)) != 10 {
		t.Errorf("%v: %s", err, lines.Bytes())
	}
	if err := tenantsim.Generate(io.Discard, 10, noon.Add(1), noon.Add(time.Second), 1); err == nil {
		t.Error("less than a second has records")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestGeneratingSaysThatTheDiskIsFull(t *testing.T) {
	t.Parallel()
	if err := tenantsim.Generate(full{}, 1000, noon.AddDate(0, 0, -1), noon, 1); err == nil || err.Error() != "generating records: the disk is full" {
		t.Errorf("%v", err)
	}
}
