package exchange_test

import (
	"bytes"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
)

// everyFault makes [TestNoFaultMakesTheVerdictUntrue] try all faults, which
// takes minutes with the race detector:
//
//	go test ./auditlog/exchange -run Untrue -every-fault
var everyFault = flag.Bool("every-fault", false, "try every fault of a tenant, not only those that look like an end")

// endings are the faults that look like the end of a search.
var endings = []string{"silent", "gave up", "repeated"}

// busyDay is a tenant with 9,000 records on one day, 5,500 of them in one
// second, which only a search without sorting returns.
func busyDay(t *testing.T) *tenantsim.Server {
	t.Helper()
	tenant := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: busyRecords()}, Plain: true}
	t.Cleanup(tenant.Close)
	return tenant
}

var busyRecords = sync.OnceValue(func() *tenantsim.Records {
	day := noon.Truncate(24 * time.Hour)
	var text bytes.Buffer
	err := tenantsim.Generate(&text, 3500, day, day.AddDate(0, 0, 1), 5, tenantsim.Burst{At: day.Add(9 * time.Hour), N: 5500})
	if err != nil {
		panic(err)
	}
	records, err := tenantsim.LoadNDJSON(&text)
	if err != nil {
		panic(err)
	}
	return records
})

// missing reads everything, and counts what the truth has and the answer has
// not, or twice.
func missing(t *testing.T, tenant *tenantsim.Server, verify bool) (lost, twice int, v auditlog.Verdict) {
	t.Helper()
	day := noon.Truncate(24 * time.Hour)
	res := logOf(as(tenant, ada)).Search(t.Context(), auditlog.Query{Start: day, End: day.AddDate(0, 0, 1), Verify: verify})
	seen := map[string]int{}
	for r, err := range res.All() {
		if err != nil {
			t.Fatal(err)
		}
		seen[string(r.Raw)]++
	}
	for _, raw := range tenant.Tenant.Records.Find(tenantsim.Wanted{From: day, To: day.AddDate(0, 0, 1)}) {
		switch seen[string(raw)] {
		case 0:
			lost++
		case 1:
		default:
			twice++
		}
	}
	return lost, twice, res.Verdict()
}

// Whatever goes wrong, wherever in a search: a verdict that says complete is
// true. Only rows that the service drops without a word cannot be seen.
func TestNoFaultMakesTheVerdictUntrue(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]tenantsim.Fault{
		"throttled": tenantsim.Throttled(time.Second), "unavailable": tenantsim.Unavailable, "unauthorized": tenantsim.Unauthorized,
		"forbidden": tenantsim.Forbidden, "gave up": tenantsim.GaveUp, "silent": tenantsim.Silent, "timed out": tenantsim.TimedOut,
		"unsorted": tenantsim.Unsorted, "repeated": tenantsim.Repeated, "again": tenantsim.Again(20), "garbled": tenantsim.Garbled,
		"warned": tenantsim.Warned("Some results are left out."), "linked elsewhere": tenantsim.Linked("https://fabrikam.com/next"),
		"reset": tenantsim.Reset, "not JSON": tenantsim.NotJSON, "mislabelled": tenantsim.Mislabelled, "hung": tenantsim.Hung,
	} {
		if !*everyFault && !slices.Contains(endings, name) {
			continue
		}
		for _, before := range []int{1, 5} {
			t.Run(fmt.Sprintf("%s after %d", name, before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tenant := busyDay(t)
					for range before {
						tenant.Fail(tenantsim.Nothing)
					}
					between := 1
					if name == "unauthorized" || name == "forbidden" {
						between = 20 // requests under way at once may come before the one with a new token, and two refusals of one request end the search
					}
					tenant.Fail(fault)
					tenant.Fail(slices.Repeat([]tenantsim.Fault{tenantsim.Nothing}, between)...)
					tenant.Fail(fault)
					lost, twice, v := missing(t, tenant, false)
					if v.Status() == auditlog.Complete && lost > 0 || twice > 0 {
						t.Errorf("%d records are missing and %d there twice: %v", lost, twice, v)
					}
					if v.Windows < 2 {
						t.Errorf("%d windows", v.Windows)
					}
				})
			})
		}
	}
}

func TestASecondPassSeesWhatWasDroppedWithoutAWord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant := busyDay(t)
		tenant.Odds = []tenantsim.Odds{{Share: 0.2, Fault: tenantsim.Missing(3)}}
		if _, twice, v := missing(t, tenant, true); twice > 0 || v.Status() != auditlog.Partial || v.Differ == 0 {
			t.Errorf("%d twice: %v", twice, v)
		}
	})
}

func TestASecondWithMoreThanTheServiceReturnsIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		day := noon.Truncate(24 * time.Hour)
		var text bytes.Buffer
		if err := tenantsim.Generate(&text, 100, day, day.AddDate(0, 0, 1), 5, tenantsim.Burst{At: day.Add(9 * time.Hour), N: 50_500}); err != nil {
			t.Fatal(err)
		}
		records, err := tenantsim.LoadNDJSON(&text)
		if err != nil {
			t.Fatal(err)
		}
		tenant := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}}
		t.Cleanup(tenant.Close)
		lost, twice, v := missing(t, tenant, false)
		want := fmt.Sprintf("50000 records of one second are as many as the service returns; there are likely more (%s 09:00:00 to %[1]s 09:00:01 UTC)", day.Format(time.DateOnly))
		if v.Status() != auditlog.Partial || len(v.Lost) != 1 || v.Lost[0] != want || twice > 0 || lost < 500 {
			t.Errorf("%d missing, %d twice: %v\nwant %s", lost, twice, v, want)
		}
	})
}
