package tower

import (
	"context"
	"fmt"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/tower/web"
)

// Failback says what speaks for and against the way home of a store's primary.
func (n *Node) Failback(_ context.Context, store string) (response.Failback, error) {
	b := n.beliefs()
	if b.snap.Estate.Version == 0 {
		return response.Failback{}, noEstate()
	}
	id := estate.StoreID(store)
	if _, ok := b.estate.Stores[id]; !ok {
		return response.Failback{}, &web.Refused{Code: web.NotFound, Why: fmt.Sprintf("the estate has no store %q", store), Do: fmt.Sprintf("the stores are %v", b.estate.StoreIDs())}
	}
	return b.input(true, nil, nil).Failback(id), nil
}

// Home moves a store's primary to where the estate declares it, while nothing speaks against that.
func (n *Node) Home(ctx context.Context, by, store string) (run.ID, error) {
	f, err := n.Failback(ctx, store)
	if err != nil {
		return "", err
	}
	if !f.Possible() {
		do := "see to that first; nothing was changed"
		if f.From == f.To {
			do = "nothing was changed"
		}
		return "", &web.Refused{Code: web.Unmet, Why: fmt.Sprintf("%s stays with %s: %s", store, f.From, strings.Join(f.Against, "; ")), Do: do}
	}
	return n.Start(ctx, by, web.Ask{Kind: plan.Failover, Subject: store, To: string(f.To)})
}

// homeward proposes that a store goes home, with what speaks for it and what it costs; empty: it is there, or cannot.
func (b *beliefs) homeward(id estate.StoreID) string {
	f := b.input(true, nil, nil).Failback(id)
	if !f.Possible() {
		return ""
	}
	return fmt.Sprintf("its primary could go home from %s to %s. For it: %s. Against it: %s", f.From, f.To, strings.Join(f.For, "; "), strings.Join(f.Costs, "; "))
}
