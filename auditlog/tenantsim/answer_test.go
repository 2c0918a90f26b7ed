package tenantsim_test

import (
	"net/http"
	"testing"

	"auditbot/auditlog/tenantsim"
)

// discard is the [http.ResponseWriter] of somebody who reads nothing.
type discard struct {
	header http.Header
	n      int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return len(p), nil
}

// What an answer with 2,500 rows of a window costs the tenant, without the
// network.
func BenchmarkAnswer(b *testing.B) {
	records := open(b, generated(b, 2500))
	for name, plain := range map[string]bool{"plain": true, "packed": false} {
		b.Run(name, func(b *testing.B) {
			s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}, URL: "https://outlook.example", Plain: plain}
			asked := invocation(b, s, "Search-UnifiedAuditLog", params{
				"StartDate": noon.AddDate(0, 0, -1), "EndDate": noon, "ResultSize": 5000, "SessionCommand": "ReturnLargeSet",
			}, func(r *http.Request) {
				wanting(5000)(r)
				r.Header.Set("Accept-Encoding", "gzip")
			})
			b.ReportAllocs()
			d := &discard{header: http.Header{}}
			for b.Loop() {
				s.ServeHTTP(d, again(asked))
			}
			b.SetBytes(d.n / int64(b.N))
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/2.5, "µs/1000rows")
		})
	}
}
