package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/rogpeppe/go-internal/testscript"

	"auditbot/auditlog/signin"
	"auditbot/bot/engine"
)

var servedAt = regexp.MustCompile(`"msg":"metrics are served","addr":"([^"]+)"`)

// scrape is "scrape PATH TEXT...": what is served under that path at
// serve.metrics_addr, once all of this is in it. Standard output is that, behind
// its status. With "! scrape" nothing is served at all.
func (s *stage) scrape(ts *testscript.TestScript, neg bool, args []string) {
	at := servedAt.FindAllStringSubmatch(s.log.String(), -1)
	if neg && at == nil {
		return
	}
	if neg || at == nil {
		ts.Fatalf("served: %v; the bot's log:\n%s", at != nil, s.log)
	}
	var seen string
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(50 * time.Millisecond) { // what is counted right after an answer does not show in Slack
		resp, err := http.Get("http://" + at[len(at)-1][1] + args[0])
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		seen = fmt.Sprintf("%d\n%s", resp.StatusCode, body)
		missing := 0
		for _, text := range args[1:] {
			if !strings.Contains(seen, text) {
				missing++
			}
		}
		if missing == 0 {
			fmt.Fprint(ts.Stdout(), seen)
			return
		}
	}
	ts.Fatalf("it is not served:\n%s", seen)
}

func TestWhatIsServedCanBeRead(t *testing.T) {
	t.Parallel()
	e, err := openReplica(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	var log lockedBuffer
	m, err := openMonitor(serveSettings{"127.0.0.1:0"}, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + m.listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	m.serve(ctx, e, nil)
	ask := func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	_, text := ask(http.MethodGet, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if families, err := parser.TextToMetricFamilies(strings.NewReader(text)); err != nil || families["auditbot_slack_connections"] == nil {
		t.Errorf("%v in\n%s", err, text)
	}
	for request, want := range map[[2]string]string{
		{http.MethodGet, "/healthz"}:  "200 ok\n",
		{http.MethodHead, "/healthz"}: "200 ",
		{http.MethodGet, "/readyz"}:   "503 there is no connection to Slack\n",
		{http.MethodPost, "/readyz"}:  "405 Method Not Allowed\n",
		{http.MethodGet, "/"}:         "404 404 page not found\n",
	} {
		if status, body := ask(request[0], request[1]); fmt.Sprint(status, " ", body) != want {
			t.Errorf("%v: %d %q, want %q", request, status, body, want)
		}
	}
	stop()
	if status, body := ask(http.MethodGet, "/readyz"); status != http.StatusServiceUnavailable || body != "auditbot is stopping\nthere is no connection to Slack\n" {
		t.Errorf("when it stops: %d %q", status, body)
	}
	if status, _ := ask(http.MethodGet, "/healthz"); status != http.StatusOK {
		t.Errorf("when it stops, it is called sick: %d", status)
	}
	m.close()
	if _, err := http.Get(address + "/healthz"); err == nil {
		t.Error("it is still served after the end")
	}
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("the log has a warning:\n%s", log.String())
	}
}

func TestReadinessHasItsReasons(t *testing.T) {
	t.Parallel()
	down := func(context.Context) error { return errors.New("secret details") }
	up := func(context.Context) error { return nil }
	open, closed := make(chan struct{}), make(chan struct{})
	close(closed)
	for _, c := range []struct {
		connected bool
		engine    func(context.Context) error
		stopping  chan struct{}
		ready     string // "" if it is
	}{
		{true, up, open, ""},
		{false, up, open, "there is no connection to Slack\n"},
		{true, down, open, "the engine does not answer\n"},
		{true, up, closed, "auditbot is stopping\n"},
		{false, down, closed, "auditbot is stopping\nthere is no connection to Slack\nthe engine does not answer\n"},
	} {
		h := health{connected: func() bool { return c.connected }, engine: c.engine, stopping: c.stopping}
		seen := httptest.NewRecorder()
		h.ready(seen, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if body := seen.Body.String(); c.ready == "" && (seen.Code != http.StatusOK || body != "ok\n") || c.ready != "" && (seen.Code != http.StatusServiceUnavailable || body != c.ready) {
			t.Errorf("%+v: %d %q", c, seen.Code, body)
		}
		seen = httptest.NewRecorder()
		h.alive(seen, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if healthy := c.engine(t.Context()) == nil; healthy != (seen.Code == http.StatusOK) {
			t.Errorf("%+v: alive says %d", c, seen.Code)
		}
		h.clustered = true // one that is away is waited for
		seen = httptest.NewRecorder()
		if h.alive(seen, httptest.NewRequest(http.MethodGet, "/healthz", nil)); seen.Code != http.StatusOK {
			t.Errorf("%+v: alive in a cluster says %d", c, seen.Code)
		}
	}
}

// An engine that hangs is not waited for.
func TestHealthIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := health{engine: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		began := time.Now()
		seen := httptest.NewRecorder()
		h.alive(seen, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		if took := time.Since(began); seen.Code != http.StatusServiceUnavailable || took != healthPatience {
			t.Errorf("%d after %v", seen.Code, took)
		}
	})
}

func TestAnAddressInUseEndsTheStart(t *testing.T) {
	t.Parallel()
	first, err := openMonitor(serveSettings{"127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	at := first.listener.Addr().String()
	_, err = openMonitor(serveSettings{at}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "listening on "+at+", as serve.metrics_addr says: ") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	if none, err := openMonitor(serveSettings{}, nil); none != nil || err != nil {
		t.Errorf("without an address: %v, %v", none, err)
	}
}

func TestAnAddressForAllToSeeIsWarnedOf(t *testing.T) {
	t.Parallel()
	for address, warned := range map[string]bool{"127.0.0.1:0": false, "localhost:0": false, "0.0.0.0:0": true, ":0": true} {
		var log bytes.Buffer
		m, err := openMonitor(serveSettings{address}, slog.New(slog.NewJSONHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		m.close()
		if got := strings.Contains(log.String(), "can be reached from other machines"); got != warned {
			t.Errorf("%s: warned is %v", address, got)
		}
	}
}

// savedSignIn is a sign-in as it is stored, renewed an hour before its access
// token ends.
func savedSignIn(upn, refresh string, accessEnds time.Duration) string {
	return fmt.Sprintf(`{"v":1,"upn":%q,"expires":%q,"refresh":%q}`, upn, time.Now().Add(accessEnds).Format(time.RFC3339), refresh)
}

func TestSignInsThatEndSoonAreCounted(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	e, err := openReplica(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	for key, value := range map[string]string{
		"contoso/U1":       savedSignIn("ada@contoso.com", "r", time.Hour),
		"contoso/U2":       savedSignIn("grace@contoso.com", "r", -82*day),
		"contoso/U3":       savedSignIn("lea@contoso.com", "r", -84*day),
		"contoso/U4":       savedSignIn("gus@contoso.com", "r", -91*day),
		"contoso/U5":       savedSignIn("frida@contoso.com", "", time.Hour), // without a refresh token
		"contoso/U6":       "",                                              // that has ended
		"contoso-graph/U1": savedSignIn("ada@contoso.com", "r", time.Hour),
		"app":              savedSignIn("", "", -time.Hour), // which signs in by itself
		"removed/U1":       savedSignIn("ada@contoso.com", "r", time.Hour),
	} {
		if _, err := e.Bucket(engine.Tokens).Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	_, file := newCertificate(t, time.Now().AddDate(0, 0, 40))
	app := instanceSettings{Name: "app", Auth: authCertificate, SignIn: signInInstance, ClientID: ownApp, CertificateFile: file}
	appProof, err := app.proof(none)
	if err != nil {
		t.Fatal(err)
	}
	tenants := []*tenant{
		{instanceSettings: instanceSettings{Name: "contoso"}, entra: new(signin.Entra), graph: &graphSide{entra: new(signin.Entra)}},
		{instanceSettings: app, entra: new(signin.Entra), proof: appProof},
	}
	all := prometheus.NewRegistry()
	all.MustRegister(prometheus.CollectorFunc((&signInCount{bucket: e.Bucket(engine.Tokens), tenants: tenants, log: slog.New(slog.DiscardHandler)}).collect))
	want := fmt.Sprintf(`
# HELP auditbot_certificate_expiry_timestamp_seconds When the certificate that an application signs in with ends.
# TYPE auditbot_certificate_expiry_timestamp_seconds gauge
auditbot_certificate_expiry_timestamp_seconds{instance="app"} %.9e
# HELP auditbot_signins Stored sign-ins. Those that end soon do so within a week if they are not used; Microsoft may end any sooner.
# TYPE auditbot_signins gauge
auditbot_signins{instance="app",state="ended"} 0
auditbot_signins{instance="app",state="ends_soon"} 0
auditbot_signins{instance="app",state="good"} 1
auditbot_signins{instance="contoso",state="ended"} 1
auditbot_signins{instance="contoso",state="ends_soon"} 2
auditbot_signins{instance="contoso",state="good"} 2
auditbot_signins{instance="contoso-graph",state="ended"} 0
auditbot_signins{instance="contoso-graph",state="ends_soon"} 0
auditbot_signins{instance="contoso-graph",state="good"} 1
`, float64(appProof.Certificate.Expires().Unix()))
	if err := testutil.GatherAndCompare(all, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(all); len(problems) > 0 || err != nil {
		t.Errorf("%v, %v", problems, err)
	}
}
