// Package direct is for tests: clients and servers with no network between
// them.
package direct

import (
	"net/http"
	"net/http/httptest"
)

// To sends requests to a handler by calling it, so that a synctest bubble can
// tell when everyone is waiting. A handler that panics with an error fails the
// round trip with it.
func To(h http.Handler) http.RoundTripper { return transport{h} }

type transport struct{ http.Handler }

func (t transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if broken, ok := recover().(error); ok {
			resp, err = nil, broken
		}
	}()
	w := httptest.NewRecorder()
	t.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}
