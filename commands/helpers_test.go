package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/exchange"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

const (
	ada     = "ada@contoso.com"     // may search
	mallory = "mallory@contoso.com" // may not
)

// direct is an [http.RoundTripper] that calls a handler with no network in
// between, so that a synctest bubble can tell when everyone is waiting. A
// handler that panics with an error fails the round trip with it.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	defer func() {
		if broken, ok := recover().(error); ok {
			resp, err = nil, broken
		}
	}()
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// contoso is the demo's audit log as of tuesday.
var contoso = sync.OnceValue(func() *tenantsim.Records { return tenantsim.Contoso(tuesday).Records })

// tenant is contoso with other records.
func tenant(t *testing.T, records *tenantsim.Records) *tenantsim.Server {
	t.Helper()
	s := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: records}}
	t.Cleanup(s.Close)
	return s
}

// records are those of NDJSON lines.
func records(t *testing.T, lines ...string) *tenantsim.Records {
	t.Helper()
	r, err := tenantsim.LoadNDJSON(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// as is a tenant as somebody reaches it who has a token.
func as(s *tenantsim.Server, upn string) Instance {
	i := signedOut(s)
	i.Exchange.Token = func(context.Context, auditlog.Secret) (auditlog.Token, error) {
		return auditlog.Token{Access: auditlog.Secret(s.Token(upn)), Account: upn}, nil
	}
	return i
}

// signedOut is a tenant as Ada reaches it before she has signed in.
func signedOut(s *tenantsim.Server) Instance {
	account := &signin.Account{
		Entra: &signin.Entra{
			HTTP: &http.Client{Transport: direct{s}}, LoginURL: "https://login.microsoftonline.com", Tenant: "contoso.com",
			ClientID: "fb78d390-0c51-40cd-8e17-fdbfab77341b", Resource: "https://outlook.office365.com",
		},
		Store: memory(), Key: "contoso/U1", Expect: ada,
	}
	source := &exchange.Source{
		Tenant: &exchange.Tenant{HTTP: &http.Client{Transport: direct{s}}, URL: "https://outlook.office365.com", ID: "contoso.com"},
		Token:  account.Token,
	}
	return Instance{
		Name: "contoso", Tenant: "contoso.com", Account: account, Exchange: source,
		Log:    &auditlog.Log{Sources: []auditlog.Source{source}, Now: func() time.Time { return tuesday }},
		SignIn: func(context.Context) (string, error) { return "a code was sent", nil },
		Check:  func(context.Context) (string, error) { return "not done yet", nil },
	}
}

// memory is a Store for one key.
func memory() signin.Store {
	var kept []byte
	var at uint64
	return signin.Store{
		Get: func(context.Context, string) ([]byte, uint64, error) { return kept, at, nil },
		Put: func(_ context.Context, _ string, value []byte, revision uint64) (bool, error) {
			if revision != at {
				return false, nil
			}
			kept, at = value, at+1
			return true, nil
		},
		Delete: func(context.Context, string) error {
			kept, at = nil, 0
			return nil
		},
	}
}

// env is what commands typed on tuesday have to work with.
func env(instances ...Instance) Env {
	return Env{Prefix: "!", Now: tuesday, Instances: instances, Keep: keep, Journal: new(journal).open}
}

// A journal is one in memory, which several runs of a command go on with.
type journal struct {
	kept, written []byte
	state         []byte
}

func (j *journal) Write(p []byte) (int, error) {
	j.written = append(j.written, p...)
	return len(p), nil
}

func (j *journal) open(context.Context) (*Journal, error) {
	j.written = bytes.Clone(j.kept)
	return &Journal{
		State: j.state,
		Write: j,
		Checkpoint: func(_ context.Context, state []byte) error {
			j.kept, j.state = bytes.Clone(j.written), bytes.Clone(state)
			return nil
		},
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(j.kept)), nil },
		Size: func() int64 { return int64(len(j.kept)) },
	}, nil
}

// keep keeps files in memory.
func keep(_ context.Context, name string, write func(FileWriter) error) (File, error) {
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return File{}, err
	}
	open := func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}
	return File{Name: name, Type: "json", Size: int64(content.Len()), Open: open}, nil
}

// answer is the reply to a line, which must be one.
func answer(t *testing.T, e Env, line string) Reply {
	t.Helper()
	reply, err := Run(t.Context(), e, line)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return reply
}

// content is what is in a file.
func content(t *testing.T, f *File) string {
	t.Helper()
	if f == nil {
		t.Fatal("there is no file")
	}
	r, err := f.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil || int64(len(data)) != f.Size || !json.Valid(data) {
		t.Fatalf("%d bytes, said to be %d, %v: %s", len(data), f.Size, err, data)
	}
	return string(data)
}

// mistaken is the Mistake that a line must be.
func mistaken(t *testing.T, e Env, line string) *Mistake {
	t.Helper()
	_, err := Run(t.Context(), e, line)
	m, ok := errors.AsType[*Mistake](err)
	if !ok {
		t.Fatalf("%s: %v is no Mistake", line, err)
	}
	return m
}

// says fails unless a text contains all parts.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}
