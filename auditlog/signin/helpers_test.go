package signin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/internal/direct"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

const (
	ada      = "ada@contoso.com"
	tenantID = "5c0e1a9d-2f64-4b7e-8a31-0d9b6c47e2f5" // contoso's
	login    = "https://login.microsoftonline.com"
	exchange = "https://outlook.office365.com"
	clientID = "fb78d390-0c51-40cd-8e17-fdbfab77341b"
)

// contoso is a tenant without records.
func contoso(t *testing.T) *tenantsim.Server {
	tenant := &tenantsim.Server{Tenant: tenantsim.Tenant{Records: new(tenantsim.Records)}}
	t.Cleanup(tenant.Close)
	return tenant
}

// entra asks a handler, as the application of Connect-ExchangeOnline.
func entra(h http.Handler) *signin.Entra {
	return &signin.Entra{
		HTTP:     &http.Client{Transport: direct.To(h)},
		LoginURL: login, Tenant: "contoso.com", ClientID: clientID, Resource: exchange,
	}
}

// account is Ada's, at a handler, with a shelf of its own.
func account(h http.Handler) (*signin.Account, *shelf) {
	s := &shelf{}
	return &signin.Account{Entra: entra(h), Store: s.store(), Key: "contoso/U1", Expect: ada}, s
}

// A shelf is a Store in memory.
type shelf struct {
	mu        sync.Mutex
	values    map[string][]byte
	revisions map[string]uint64
	next      uint64

	beforePut func()                            // called once, if set
	fail      func(doing string) (broken error) // if set
}

func (s *shelf) store() signin.Store {
	return signin.Store{Get: s.get, Put: s.put, Delete: s.remove}
}

func (s *shelf) broken(doing string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(doing)
}

func (s *shelf) get(_ context.Context, key string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key], s.revisions[key], s.broken("get")
}

func (s *shelf) put(_ context.Context, key string, value []byte, revision uint64) (bool, error) {
	s.mu.Lock()
	hook := s.beforePut
	s.beforePut = nil
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	doing := "put"
	if len(value) == 0 {
		doing = "forget"
	}
	if err := s.broken(doing); err != nil || s.revisions[key] != revision {
		return false, err
	}
	if s.values == nil {
		s.values, s.revisions = map[string][]byte{}, map[string]uint64{}
	}
	s.next++
	s.values[key], s.revisions[key] = bytes.Clone(value), s.next
	return true, nil
}

func (s *shelf) remove(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.broken("delete"); err != nil {
		return err
	}
	delete(s.values, key)
	delete(s.revisions, key)
	return nil
}

// change rewrites fields of the only value.
func (s *shelf) change(fields map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range s.values {
		all := map[string]any{}
		if err := json.Unmarshal(value, &all); err != nil {
			panic(err)
		}
		maps.Copy(all, fields)
		s.values[key], _ = json.Marshal(all)
	}
}

// field is a field of the only value, "" if there is no value or it is empty.
func (s *shelf) field(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, value := range s.values {
		if len(value) == 0 {
			return ""
		}
		var all map[string]any
		if err := json.Unmarshal(value, &all); err != nil {
			panic(err)
		}
		return fmt.Sprint(all[name])
	}
	return ""
}

func (s *shelf) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, value := range s.values {
		if len(value) > 0 {
			return false
		}
	}
	return true
}

// signedIn is Ada signed in at a tenant.
func signedIn(t *testing.T, tenant *tenantsim.Server) (*signin.Account, *shelf) {
	t.Helper()
	a, s := account(tenant)
	if err := a.SignIn(t.Context(), tenantsim.ContosoPassword); err != nil {
		t.Fatal(err)
	}
	return a, s
}

// start asks for a device code.
func start(t *testing.T, a *signin.Account) *signin.Code {
	t.Helper()
	code, err := a.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// A liar is a tenant that changes answers before they are sent.
type liar struct {
	*tenantsim.Server
	lie    func(path string, answer map[string]any)
	before func(r *http.Request) // if set, called before a request is answered
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.before != nil {
		l.before(r)
	}
	truth := httptest.NewRecorder()
	l.Server.ServeHTTP(truth, r)
	var answer map[string]any
	if l.lie == nil || truth.Code != http.StatusOK || json.Unmarshal(truth.Body.Bytes(), &answer) != nil {
		w.Header().Set("Content-Type", truth.Header().Get("Content-Type"))
		w.WriteHeader(truth.Code)
		w.Write(truth.Body.Bytes())
		return
	}
	path := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	l.lie(path, answer)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// refused is the Refusal that err has to be.
func refused(t *testing.T, err error) *auditlog.Refusal {
	t.Helper()
	r, ok := errors.AsType[*auditlog.Refusal](err)
	if !ok {
		t.Fatalf("%v is no Refusal", err)
	}
	if errors.Is(err, signin.ErrNotSignedIn) {
		t.Errorf("%v is ErrNotSignedIn as well", err)
	}
	if r.Problem == "" || r.Advice == "" || strings.HasSuffix(r.Problem, ".") || strings.HasSuffix(r.Advice, ".") {
		t.Errorf("not for people: %q, %q", r.Problem, r.Advice)
	}
	return r
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

// polls are the times of the polls for a code, counted from the first request.
func polls(tenant *tenantsim.Server) []time.Duration {
	var at []time.Duration
	requests := tenant.Requests()
	for _, r := range requests {
		if r.Name == "token" {
			at = append(at, r.Time.Sub(requests[0].Time))
		}
	}
	return at
}
