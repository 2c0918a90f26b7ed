package tenantsim_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
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

// Whatever line is taken for a record, it comes back as it is, in JSON.
func FuzzAnswer(f *testing.F) {
	for _, line := range mixed {
		f.Add([]byte(line))
	}
	f.Add([]byte(`{"CreationTime":"2026-11-05T09:00:00","Id":"\\\"\u00e9","UserId":{"a":["}"]},"Operation":null,	"Big":1e9}`))
	f.Add([]byte(`{"Id":7,"Operation":"","CreationTime":"2026-11-05T09:00:00","Padding":"` + strings.Repeat(`\"`, 50) + `"}`))
	asked := invocation(f, &tenantsim.Server{URL: "https://outlook.example"}, "Search-UnifiedAuditLog", params{"StartDate": "0001-01-02", "EndDate": "9999-12-31"}, nil)
	f.Fuzz(func(t *testing.T, line []byte) {
		records, err := tenantsim.LoadNDJSON(bytes.NewReader(line))
		if err != nil || records.Len() != 1 {
			return
		}
		w := httptest.NewRecorder()
		s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}, URL: "https://outlook.example"}
		s.ServeHTTP(w, again(asked))
		want := string(bytes.Trim(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")), " \t\r\n"))
		for _, got := range rows(t, answer{w.Result(), w.Body.Bytes()}) { // none if it is of the year 0
			if got.AuditData != want {
				t.Errorf("%q\nis answered as %+v", want, got)
			}
		}
	})
}
