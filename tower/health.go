package tower

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/web"
)

// expireSoon is how long before its end a certificate is spoken of.
const expireSoon = 14 * 24 * time.Hour

// quorum says whether this tower reaches a majority of the voters.
func (n *Node) quorum() web.Quorum {
	if n.member == nil {
		if !n.answered.Load() {
			return web.Quorum{Why: "the etcd cluster at " + fmt.Sprint(n.cfg.Etcd.Endpoints) + " does not answer"}
		}
		return web.Quorum{Have: true}
	}
	if n.member.HasLeader() {
		return web.Quorum{Have: true}
	}
	why := "no leader is known among " + fmt.Sprint(slices.Sorted(maps.Keys(n.cfg.Cluster)))
	if f := n.member.Failure(); f != "" {
		why = "its own member has stopped: " + f
	}
	return web.Quorum{Why: why}
}

// externalEvery is how often an external cluster is asked whether it has a quorum.
const externalEvery = time.Second

// askExternal keeps what quorum says of an external cluster true, until ctx ends.
func (n *Node) askExternal(ctx context.Context) {
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, externalEvery)
		n.answered.Store(etcd.ClientHealth(asking, n.client).Quorum)
		cancel()
		pause(ctx, externalEvery)
	}
}

// silentMS is how long ago an observer's last view came; -1: never.
func (n *Node) silentMS(observer string, at time.Time) int64 {
	if heard, ok := n.receiver.Heard()[observer]; ok {
		return at.Sub(heard).Milliseconds()
	}
	return -1
}

// warnings are what is unsafe about this tower itself; the page adds what it shows anyway.
func (n *Node) warnings(b *beliefs, at time.Time) []web.Warning {
	var out []web.Warning
	for _, f := range n.own(at) {
		if f.Level != web.Fine {
			out = append(out, web.Warning{Severity: f.Level, Text: f.Subject + ": " + f.Text, Do: f.Do})
		}
	}
	if why := n.held.Load(); why != nil && len(b.snap.Holds) == 0 {
		out = append(out, web.Warning{Severity: web.Warn, Text: n.cfg.Name + " alone is held: " + *why, Do: "haechi hold --release"})
	}
	return out
}

// own are this tower's findings about itself.
func (n *Node) own(at time.Time) (out []web.Finding) {
	if end, err := pki.Expiry(n.cfg.TLS.pki()); err != nil {
		out = append(out, web.Finding{Subject: n.cfg.Name, Level: web.Bad, Text: "its certificate cannot be read: " + err.Error(), Do: "haechi pki issue tower " + n.cfg.Name})
	} else {
		out = append(out, expiry(n.cfg.Name, end, at))
	}
	if n.member == nil {
		return out
	}
	s := n.member.Status()
	level, text := web.Fine, fmt.Sprintf("etcd: leader %s, %d MB stored, %d MB free on its disk", cmp.Or(s.Leader, "not known"), s.DBBytes>>20, s.FreeBytes>>20)
	do := ""
	switch {
	case n.member.Failure() != "":
		level, text, do = web.Bad, "its etcd member has stopped: "+n.member.Failure(), "make room on the disk of "+n.cfg.Data+": the tower then starts anew by itself"
	case !s.HasLeader:
		level, do = web.Bad, "bring the other towers back; until then nothing is started, and nothing that is guarded is touched"
	case s.FreeBytes < etcd.LeastFree:
		level, do = web.Warn, "make room on the disk of "+n.cfg.Data+" before etcd cannot write"
	}
	return append(out, web.Finding{Subject: n.cfg.Name, Level: level, Text: text, Do: do})
}

func expiry(subject string, end, at time.Time) web.Finding {
	left := end.Sub(at)
	switch {
	case left <= 0:
		return web.Finding{Subject: subject, Level: web.Bad, Text: "its certificate expired on " + end.UTC().Format(time.DateTime), Do: "haechi pki renew; it is read anew without a restart"}
	case left < expireSoon:
		return web.Finding{Subject: subject, Level: web.Warn, Text: fmt.Sprintf("its certificate ends in %d hours", int(left.Hours())), Do: "haechi pki renew"}
	}
	return web.Finding{Subject: subject, Level: web.Fine, Text: fmt.Sprintf("its certificate is valid for %d days", int(left.Hours()/24))}
}

// etcdHealth asks the quorum, and looks at what may soon go wrong.
func (n *Node) etcdHealth(ctx context.Context) etcd.Health {
	if n.member == nil {
		return etcd.ClientHealth(ctx, n.client)
	}
	return n.member.Health(ctx)
}

// Doctor says what is missing or unsafe, of this tower and of all that it sees.
func (n *Node) Doctor(ctx context.Context) ([]web.Finding, error) {
	b, at := n.beliefs(), n.now()
	out := n.own(at)
	for _, p := range n.etcdHealth(ctx).Problems {
		out = append(out, web.Finding{Subject: n.cfg.Name, Level: web.Bad, Text: "etcd: " + p, Do: "see the tower's log"})
	}
	if b.snap.Estate.Version == 0 {
		return append(out, web.Finding{Subject: "estate", Level: web.Bad, Text: "none was applied", Do: "haechi estate apply FILE"}), nil
	}
	if err := estate.Actionable(b.estate); err != nil {
		out = append(out, web.Finding{Subject: "estate", Level: web.Warn, Text: err.Error(), Do: "complete the file, then haechi estate apply"})
	}
	for _, id := range b.estate.StoreIDs() {
		if b.snap.Stores[id].Epoch == 0 {
			out = append(out, web.Finding{Subject: string(id), Level: web.Warn, Text: "it was never adopted, so it is not failed over", Do: "haechi adopt " + string(id)})
		}
		for _, unmet := range b.premises[id] {
			f := web.Finding{Subject: string(id), Level: web.Bad, Text: unmet.Text, Do: "until then there is no automatic promotion"}
			if unmet.Borne {
				f.Level, f.Do = web.Warn, "until then a promotion takes longer"
			}
			out = append(out, f)
		}
	}
	for _, t := range b.targets {
		if v := b.now.Things[t.ID]; v.State != situation.Up {
			out = append(out, web.Finding{Subject: t.ID, Level: web.Warn, Text: fmt.Sprintf("%s: %s", v.State, strings.Join(v.Because, "; "))})
		}
	}
	return out, nil
}

// sortedIDs are the keys of runs in the order in which they were opened.
func sortedIDs[V any](m map[run.ID]V) []run.ID { return slices.Sorted(maps.Keys(m)) }
