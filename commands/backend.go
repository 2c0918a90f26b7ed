package commands

import (
	"context"
	"fmt"
	"strings"
)

// largeForGraph is from how many records on Graph is the better way, if there
// is a choice: Exchange Online returns as many of one search, while a query at
// Graph takes minutes whatever it finds.
const largeForGraph = 50_000

// choose sets the way in which the hunt asks: as the command says, or the
// settings, or what fits.
func (h *hunt) choose(ctx context.Context) error {
	way := strings.ToLower(h.Backend)
	if way == "" {
		way = h.instance.Backend
	}
	graph, configured := h.env.graphOf(h.instance)
	switch way {
	case "exchange":
		return nil
	case "graph":
		if h.instance.National {
			return mistakef("Graph can be asked for the audit log in the global cloud only, and %s is in another", h.instance.Name).hintf("write backend=exchange")
		}
		if !configured {
			return mistakef("%s cannot be searched through Graph: no application is configured for it", h.instance.Name).
				hintf("leave backend=graph out, or whoever runs this bot sets graph_client_id: to an own app that may use AuditLogsQuery.Read.All")
		}
		if len(h.Sites) > 0 {
			return mistakef("site_ids: Graph cannot search by site").hintf(`write backend=exchange, or object_ids="https://contoso.sharepoint.com/sites/finance/*"`)
		}
		h.instance = graph
		h.backendNote = "searched through Microsoft Graph"
	case "", "auto":
		if !configured || len(h.Sites) > 0 || !h.large() {
			return nil
		}
		if _, err := graph.Account.Token(ctx, ""); err != nil {
			return nil // nobody is made to sign in for what the other way can do
		}
		h.instance = graph
		h.backendNote = "searched through Microsoft Graph, since more than 50,000 records were asked for; backend=exchange takes the other way"
	default:
		return mistakef("backend: %q is not a backend", Shorten(h.Backend, 60)).hintf("write backend=exchange, backend=graph or backend=auto")
	}
	return nil
}

// large tells whether so many records may be fetched that Graph is better.
func (h *hunt) large() bool {
	most := h.query.Newest
	if most == 0 {
		most = h.query.MaxFetch
	}
	return most == 0 || most > largeForGraph
}

// graphOf is the Graph side of an instance, which may be that side itself.
func (e Env) graphOf(i Instance) (Instance, bool) {
	if i.GraphOf != "" {
		return i, true
	}
	for _, g := range e.Instances {
		if g.GraphOf == i.Name {
			return g, true
		}
	}
	return Instance{}, false
}

// submissions tells how many queries Graph has had of this tenant.
func (h *hunt) submissions() string {
	if h.instance.Budget == nil {
		return ""
	}
	used, limit := h.instance.Budget()
	return fmt.Sprintf("this bot has created %d of the about %d Graph queries that a tenant may create in 24 hours", used, limit)
}

// tenants is how many tenants there are to choose from.
func (e Env) tenants() int {
	n := 0
	for _, i := range e.Instances {
		if i.GraphOf == "" {
			n++
		}
	}
	return n
}
