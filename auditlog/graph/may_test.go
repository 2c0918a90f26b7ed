package graph_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"auditbot/auditlog"
	"auditbot/auditlog/tenantsim"
)

func TestWhoMaySearchIsFoundOutWithoutAQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, source := contoso(t, 1)
		if err := source.MaySearch(t.Context()); err != nil {
			t.Error(err)
		}
		tenant.GraphV1Off = true
		if err := as(tenant, ada).MaySearch(t.Context()); err != nil {
			t.Errorf("with beta alone: %v", err)
		}
		err := as(tenant, "bob@contoso.com").MaySearch(t.Context())
		if r, ok := errors.AsType[*auditlog.Refusal](err); !ok || !errors.Is(err, auditlog.ErrNoAccess) || r.Advice == "" {
			t.Errorf("without the role: %v", err)
		}
		if n := tenant.Asked("graph-create"); n > 0 {
			t.Errorf("%d queries were created", n)
		}
	})
}

func TestWhoMaySearchIsNotKnownIfNothingAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tenant, source := contoso(t, 1)
		for range 20 {
			tenant.Fail(tenantsim.Unavailable.On("graph-list"))
		}
		err := source.MaySearch(t.Context())
		if _, ok := errors.AsType[*auditlog.Refusal](err); !ok {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := source.MaySearch(ctx); err == nil {
			t.Error("nothing is wrong")
		}
	})
}
