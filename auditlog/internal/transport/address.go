package transport

import (
	"net/netip"
	"net/url"
	"strings"
)

// MayGo tells whether secrets may go to an address: one of https, or of plain
// http on this machine.
func MayGo(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && Loopback(u.Hostname()))
}

// Loopback tells whether a host, without a port, is this machine: "localhost"
// or an address such as "127.0.0.1" or "::1". It asks no name server.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Owns resolves a link that the service at base sent, if it leads back there:
// to the same scheme, host and port, and without a user name. Otherwise a
// token must not follow it, and ok is false.
func Owns(base *url.URL, link string) (address string, ok bool) {
	u, err := base.Parse(link)
	if err != nil || u.User != nil || u.Scheme != base.Scheme || !strings.EqualFold(u.Hostname(), base.Hostname()) || port(u) != port(base) {
		return "", false
	}
	return u.String(), true
}

func port(u *url.URL) string {
	if u.Port() == "" && u.Scheme == "https" {
		return "443"
	}
	return u.Port()
}
