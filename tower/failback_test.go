package tower

import (
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/web"
)

// moved are beliefs in which talk-db was moved to ansan, and all is whole again.
func moved(t *testing.T) beliefs {
	t.Helper()
	b := seen(t)
	b.snap.Stores["talk-db"] = situation.Store{Epoch: 2, Primary: "ansan", Sync: []estate.MemberID{"anyang", "pangyo"}, Any: 1, LeastAny: 1, Verified: time.Unix(1, 0)}
	b.now.Facts["ansan/database/talk-db/ansan"] = map[string]string{"role": "primary", "running": "true", "answers": "true",
		"client/pangyo": "streaming quorum bytes=0", "client/anyang": "streaming quorum bytes=0"}
	b.now.Facts["pangyo/database/talk-db/pangyo"]["role"] = "follower"
	return b
}

// The way home is proposed, and waits for a person; while anything speaks against it nobody can take it.
func TestTheWayHome(t *testing.T) {
	b := moved(t)
	n := bare(t, b)
	f, err := n.Failback(within(t), "talk-db")
	must(t, err)
	if !f.Possible() || f.To != "pangyo" {
		t.Fatalf("%+v", f)
	}
	if s := b.webStore("talk-db"); !strings.Contains(s.Home, "For it: its members were found to hold the same") || !strings.Contains(s.Home, "Against it: writes pause") {
		t.Errorf("it is not proposed with its reasons: %q", s.Home)
	}
	bad := moved(t)
	rec := bad.snap.Stores["talk-db"]
	rec.Differs = "3 rows of public.w on anyang"
	bad.snap.Stores["talk-db"] = rec
	n.believed.Store(&bad)
	if s := bad.webStore("talk-db"); s.Home != "" {
		t.Errorf("proposed: %s", s.Home)
	}
	_, err = n.Home(within(t), "operator", "talk-db")
	refusedAs(t, err, web.Unmet, "3 rows of public.w on anyang")
	_, err = n.planInput(web.Ask{Kind: plan.Failover, Subject: "talk-db", To: "pangyo"}) // by another name
	refusedAs(t, err, web.Unmet, "3 rows of public.w on anyang")
	if _, err = n.planInput(web.Ask{Kind: plan.Failover, Subject: "talk-db", To: "anyang"}); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	rec.DiffersOn = []estate.MemberID{"anyang"}
	bad.snap.Stores["talk-db"] = rec
	_, err = n.planInput(web.Ask{Kind: plan.Failover, Subject: "talk-db", To: "anyang"}) // what it lacks was acknowledged
	refusedAs(t, err, web.Unmet, "3 rows of public.w on anyang")
	if _, err = n.planInput(web.Ask{Kind: plan.Failover, Subject: "talk-db"}); err != nil {
		t.Errorf("to the best one: %v", err)
	}
	_, err = n.Home(within(t), "operator", "files")
	refusedAs(t, err, web.NotFound, `no store "files"`)
	n.believed.Store(&beliefs{})
	_, err = n.Failback(within(t), "talk-db")
	refusedAs(t, err, web.Unmet, "there is no estate yet")
}
