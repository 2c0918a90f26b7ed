package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"syscall"

	"auditbot/auditlog"
)

// An Unreachable is a call to which no answer came, or none that is whole.
type Unreachable struct {
	Host string // that was asked, with its port if it has one
	Call string // client-request-id
	Err  error  // of the network
}

func (e *Unreachable) Error() string {
	return fmt.Sprintf("asking %s (client-request-id %s): %v", e.Host, e.Call, e.Err)
}

// Unwrap is what the network said.
func (e *Unreachable) Unwrap() error { return e.Err }

// Passing is false for what stays wrong: a name that does not exist, a
// certificate that is not trusted.
func (e *Unreachable) Passing() bool {
	cause := CauseOf(e.Err)
	return cause != NoSuchHost && cause != Untrusted
}

// Lost is the error of a call that failed with err: an [*Unreachable], or the
// cause of ctx if that has ended.
func Lost(ctx context.Context, host, call string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the URL may be a link with a long token of the service's
	}
	if ctx.Err() != nil {
		return fmt.Errorf("asking %s (client-request-id %s): %w", host, call, context.Cause(ctx))
	}
	return &Unreachable{host, call, err}
}

// BrokenOff tells whether err, from reading a body, means that the rest of it
// did not come, as opposed to its being wrong: then the call is [Lost].
func BrokenOff(ctx context.Context, err error) bool {
	_, broken := errors.AsType[net.Error](err)
	return broken || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && ctx.Err() != nil
}

// A Cause is why no answer came.
type Cause int

// The causes that are told apart.
const (
	Unknown    Cause = iota
	Untrusted        // the host's certificate
	NoSuchHost       // says the DNS
	TimedOut
	NotListening // the connection was refused
	HungUp       // the connection broke off
)

// CauseOf is the cause of an error of the network.
func CauseOf(err error) Cause {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	dns, unnamed := errors.AsType[*net.DNSError](err)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case untrusted:
		return Untrusted
	case unnamed && dns.IsNotFound:
		return NoSuchHost
	case ok && timeout.Timeout():
		return TimedOut
	case errors.Is(err, syscall.ECONNREFUSED):
		return NotListening
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return HungUp
	}
	return Unknown
}

// Unreached is what the cause of an error of the network means to people. The
// service is named as in "Exchange Online", and its setting is the key in the
// settings that has its address, as in "exchange_url:". Connections that were
// refused or broke off are, as unknown causes, only said not to have come
// about; the Refusal's Err is left to the caller.
func Unreached(service, setting, host string, err error) *auditlog.Refusal {
	r := &auditlog.Refusal{
		Problem: service + " (" + host + ") could not be reached",
		Advice:  "whoever runs this bot checks the network, the proxy and the firewall between it and " + host + "; then try again",
	}
	switch CauseOf(err) {
	case Untrusted:
		r.Problem = "the certificate of " + host + " is not trusted"
		r.Advice = "whoever runs this bot checks whether a proxy on the way replaces certificates, and adds its authority to the machine's"
	case NoSuchHost:
		r.Problem += ": there is no such host"
		r.Advice = "whoever runs this bot checks " + setting + " in its settings, and the DNS"
	case TimedOut:
		r.Problem = service + " (" + host + ") did not answer in time"
	}
	return r
}

// Refusal is [Unreached] for e, and also tells connections that were refused
// from those that broke off.
func (e *Unreachable) Refusal(service, setting string) *auditlog.Refusal {
	r := Unreached(service, setting, e.Host, e.Err)
	switch CauseOf(e.Err) {
	case NotListening:
		r.Problem += ": the connection was refused"
	case HungUp:
		r.Problem = service + " (" + e.Host + ") broke off the connection"
		r.Advice = "try again in some minutes"
	}
	return r
}
