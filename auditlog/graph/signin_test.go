package graph_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/graph"
	"auditbot/auditlog/internal/direct"
	"auditbot/auditlog/signin"
	"auditbot/auditlog/tenantsim"
)

// account signs in at a tenant for Microsoft Graph, with an application.
func account(tenant *tenantsim.Server, clientID string) *signin.Account {
	var value []byte
	var revision uint64
	return &signin.Account{
		Entra: &signin.Entra{
			HTTP: &http.Client{Transport: direct.To(tenant)}, LoginURL: "https://login.microsoftonline.com",
			Tenant: "contoso.com", ClientID: clientID, Resource: "https://graph.microsoft.com",
		},
		Store: signin.Store{
			Get: func(context.Context, string) ([]byte, uint64, error) { return value, revision, nil },
			Put: func(_ context.Context, _ string, v []byte, _ uint64) (bool, error) {
				value, revision = v, revision+1
				return true, nil
			},
			Delete: func(context.Context, string) error { value = nil; return nil },
		},
		Key: "contoso/U1", Expect: ada,
	}
}

func TestSigningInForGraphTakesAnOwnApplication(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, _ := contoso(t, 3)
		_, err := account(tenant, tenantsim.MicrosoftApps()[0].ClientID).Start(t.Context())
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !strings.Contains(r.Problem, "its own application") || !strings.Contains(r.Advice, "graph_client_id:") {
			t.Errorf("with Microsoft's application: %v", err)
		}

		a := account(tenant, tenantsim.OwnApp().ClientID)
		code, err := a.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := tenant.Approve(string(code.UserCode), ada); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Wait(t.Context(), code); err != nil {
			t.Fatal(err)
		}
		tenant.GraphDelay = 5 * time.Hour / 2 // longer than an access token lasts
		s := &graph.Source{Tenant: source(tenant).Tenant, Token: a.Token}
		if ids, v, err := search(t, s, everything()); err != nil || len(ids) != 3 || v.Status() != auditlog.Complete || tenant.Refreshes() == 0 {
			t.Errorf("%d records, %v, %v; %d refreshes", len(ids), v, err, tenant.Refreshes())
		}
	})
}
