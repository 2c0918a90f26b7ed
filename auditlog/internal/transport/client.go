package transport

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"auditbot/auditlog"
)

// patient is the client of whoever has none. It gives each request 110
// seconds: Exchange Online breaks off searches "well under 100 s".
var patient = &http.Client{
	Timeout:   110 * time.Second,
	Transport: http.DefaultTransport.(*http.Transport).Clone(),
}

// Client is c with redirects left alone: wherever they lead to, the token is
// not for it. Nil means one that gives each request 110 seconds.
func Client(c *http.Client) *http.Client {
	own := *cmp.Or(c, patient)
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// SetHeader sets what every call carries: its token, its id (a [NewGUID]), and
// that the answer is to be JSON, packed or not.
func SetHeader(h http.Header, token auditlog.Token, call string) {
	h.Set("Authorization", "Bearer "+string(token.Access))
	h.Set("User-Agent", "auditbot")
	h.Set("Accept", "application/json")
	h.Set("Accept-Encoding", "gzip") // set here, net/http leaves the unpacking to us: not all that is declared packed is
	h.Set("Client-Request-Id", call)
}

// NewGUID is a random GUID (RFC 9562, section 5.4).
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
