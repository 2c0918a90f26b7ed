package transport_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"auditbot/auditlog/internal/transport"
)

func TestWhyNoAnswerCameIsToldApart(t *testing.T) {
	for _, c := range []struct {
		err     error
		problem string
		advice  string
		passing bool
	}{
		{&tls.CertificateVerificationError{Err: errors.New("x509: unknown authority")}, "the certificate of outlook.office365.com is not trusted", "proxy", false},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, "Exchange Online (outlook.office365.com) could not be reached: there is no such host", "exchange_url: in its settings", false},
		{&net.DNSError{Err: "server misbehaving"}, "Exchange Online (outlook.office365.com) could not be reached", "network", true},
		{context.DeadlineExceeded, "Exchange Online (outlook.office365.com) did not answer in time", "firewall", true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "Exchange Online (outlook.office365.com) could not be reached: the connection was refused", "firewall", true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "Exchange Online (outlook.office365.com) broke off the connection", "some minutes", true},
		{io.ErrUnexpectedEOF, "Exchange Online (outlook.office365.com) broke off the connection", "some minutes", true},
		{errors.New("something new"), "Exchange Online (outlook.office365.com) could not be reached", "network", true},
	} {
		e := &transport.Unreachable{Host: "outlook.office365.com", Call: "id", Err: c.err}
		r := e.Refusal("Exchange Online", "exchange_url:")
		if r.Problem != c.problem || !strings.Contains(r.Advice, c.advice) || e.Passing() != c.passing {
			t.Errorf("%v: %q, %q, passing %t", c.err, r.Problem, r.Advice, e.Passing())
		}
	}
}

func TestALostCallIsSaidWithoutItsAddress(t *testing.T) {
	err := transport.Lost(t.Context(), "outlook.office365.com", "id-7", &url.Error{Op: "Get", URL: "https://outlook.office365.com/?$skiptoken=LONG", Err: io.EOF})
	e, ok := errors.AsType[*transport.Unreachable](err)
	if !ok || !errors.Is(err, io.EOF) || e.Error() != "asking outlook.office365.com (client-request-id id-7): EOF" {
		t.Errorf("got %v", err)
	}
}

func TestALostCallOfAnEndedContextIsNotTheServicesFault(t *testing.T) {
	stopped := errors.New("somebody typed !cancel")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	err := transport.Lost(ctx, "outlook.office365.com", "id-7", context.Canceled)
	if _, ok := errors.AsType[*transport.Unreachable](err); ok || !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
}

func TestABodyThatIsWrongIsNotOneThatBrokeOff(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want bool
	}{
		"read to its end":     {ended, nil, false},
		"not JSON":            {t.Context(), errors.New("invalid character"), false},
		"cut off":             {t.Context(), io.ErrUnexpectedEOF, true},
		"reset":               {t.Context(), &net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		"no longer asked":     {ended, errors.New("whatever"), true},
		"not within its time": {t.Context(), context.DeadlineExceeded, true},
	} {
		if got := transport.BrokenOff(c.ctx, c.err); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestTheClientStaysWhereItWasSent(t *testing.T) {
	visited := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer elsewhere.Close()
	service := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer service.Close()
	for _, c := range []*http.Client{nil, {}} {
		resp, err := transport.Client(c).Get(service.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTemporaryRedirect || visited {
			t.Errorf("status %d, went elsewhere: %t", resp.StatusCode, visited)
		}
	}
}
