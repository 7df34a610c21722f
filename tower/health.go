package tower

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/etcd"
	"github.com/haechi/haechi/tower/web"
)

// quorum says whether this tower reaches a majority of the voters.
func (n *Node) quorum() web.Quorum {
	if n.member == nil && !n.answered.Load() {
		return web.Quorum{Why: "the etcd cluster at " + fmt.Sprint(n.cfg.Etcd.Endpoints) + " does not answer"}
	}
	if by := n.outlived(); by != "" {
		return web.Quorum{Why: "the towers go on without this one: " + by + " has newer records; see haechi doctor"}
	}
	if n.member == nil {
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

// warnings are what is unsafe about this tower itself, and certificates; the page adds what it shows anyway.
func (n *Node) warnings(b *beliefs, at time.Time) []web.Warning {
	var out []web.Warning
	for _, f := range slices.Concat(n.own(at), n.lineFindings(), n.seatFindings(b), b.expiring(n.cfg.Name, at)) {
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
	out = append(out, n.strangers()...)
	if n.member == nil {
		return out
	}
	if f, slow := slowElection(n.cfg, n.beliefs().profile); slow {
		out = append(out, f)
	}
	return append(out, judgeMember(n.cfg, n.member.Status(), gaveUp{n.member.Failure(), n.member.Removed(), n.member.OldCopy()}))
}

// gaveUp is why an etcd member does nothing more; why "": it has not.
type gaveUp struct {
	why              string
	removed, oldCopy bool
}

// judgeMember says how this tower's own member is, and what helps where it is not well.
func judgeMember(c Config, s etcd.Status, f gaveUp) web.Finding {
	out := web.Finding{Subject: c.Name, Level: web.Fine, Text: fmt.Sprintf("etcd: leader %s, %d MB stored, %d MB free on its disk", cmp.Or(s.Leader, "not known"), s.DBBytes>>20, s.FreeBytes>>20)}
	room := "make room on the disk of " + c.Data
	switch dir := c.etcd(nil).DataDir; {
	case f.removed:
		out.Level, out.Text, out.Do = web.Warn, f.why, "nothing: its data is set aside, and it starts anew by itself and waits to be seated"
	case f.oldCopy:
		out.Level, out.Text = web.Bad, "its etcd member has stopped: "+f.why
		out.Do = fmt.Sprintf("stop the tower, mv %s %s.old, start it; it then waits until it is seated anew", dir, dir)
	case f.why != "" && (s.FreeBytes < etcd.LeastFree || strings.Contains(f.why, syscall.ENOSPC.Error())):
		out.Level, out.Text, out.Do = web.Bad, "its etcd member has stopped: "+f.why, room+": the tower then starts anew by itself"
	case f.why != "":
		out.Level, out.Text, out.Do = web.Bad, "its etcd member has stopped: "+f.why, "it starts anew by itself; where that comes again, look at the disk of "+c.Data+" and at the tower's log"
	case !s.HasLeader:
		out.Level, out.Do = web.Bad, "bring the other towers back; until then nothing is started, and nothing that is guarded is touched"
	case s.FreeBytes < etcd.LeastFree:
		out.Level, out.Do = web.Warn, room+" before etcd cannot write"
	}
	return out
}

// strangers are other towers whose certificate is of another authority than this one's. Whoever reaches a majority all the
// same is right; where that is not this tower, its own is the wrong one.
func (n *Node) strangers() (out []web.Finding) {
	contacts := n.sender.Contacts()
	for _, name := range slices.Sorted(maps.Keys(contacts)) {
		why := contacts[name].Error
		if !strings.Contains(why, pki.ErrOtherCA.Error()) {
			continue
		}
		f := web.Finding{Subject: name, Level: web.Bad, Text: "it and this tower do not believe each other: " + why, Do: "haechi pki issue tower " + name + ", with the authority of the others"}
		if !n.quorum().Have {
			f.Do = "haechi pki issue tower " + n.cfg.Name + ", with the authority of the others"
		}
		out = append(out, f)
	}
	return out
}

// seatFindings are what is missing until the loss of any one site leaves a majority of the towers.
func (n *Node) seatFindings(b *beliefs) (out []web.Finding) {
	if n.member == nil || !n.member.HasLeader() {
		return nil
	}
	all := n.seated(b)
	missing := seats.Missing(all)
	if _, better := seats.Next(all); len(missing) > 0 {
		f := web.Finding{Subject: "towers", Level: web.Warn, Text: "the next loss of a site may leave no majority: " + strings.Join(missing, "; "), Do: "bring back what is missing, or add a tower in another site"}
		if better {
			f.Do = "haechi reseat; where haechi is armed it does so by itself once that lasts"
		}
		out = append(out, f)
	}
	for _, tower := range response.Strangers(b.estate, n.members(n.member.Status().Seats)) {
		if b.snap.Estate.Version > 0 {
			out = append(out, web.Finding{Subject: string(tower), Level: web.Warn, Text: "it is a member of the towers' cluster, and the estate does not name it", Do: "name it under towers: in the estate"})
		}
	}
	return out
}

// slowElection says that the towers find a new leader later than the profile calls a site lost,
// so that what follows a loss waits for it.
func slowElection(c Config, p situation.Profile) (web.Finding, bool) {
	if p.Silence == 0 || c.Etcd.Election < p.Silence {
		return web.Finding{}, false
	}
	set := etcd.Default
	if set.Election >= p.Silence {
		set = etcd.Fast
	}
	return web.Finding{Subject: c.Name, Level: web.Warn,
		Text: fmt.Sprintf("etcd finds a new leader only after %v (etcd.election), profile %s calls a site lost after %v: a failover waits for that", c.Etcd.Election, p.Name, p.Silence),
		Do:   fmt.Sprintf("set etcd: {heartbeat: %v, election: %v} in every tower's file, and restart the towers one after the other", set.Heartbeat, set.Election)}, true
}

// expiry judges the end of a certificate. Its words do not change from hour to hour, so that
// what several towers say of it is the same.
func expiry(subject string, end, at time.Time) web.Finding {
	f := web.Finding{Subject: subject, Level: web.Fine, Text: "its certificate is valid until " + end.UTC().Format(time.DateOnly)}
	switch left := end.Sub(at); {
	case left <= 0:
		f.Level, f.Text, f.Do = web.Bad, "its certificate expired on "+end.UTC().Format(time.DateTime), renew
	case left < pki.ExpiresSoon:
		f.Level, f.Text, f.Do = web.Warn, "its certificate ends on "+end.UTC().Format(time.DateOnly), renew
	}
	return f
}

const renew = "haechi pki renew; it is read anew without a restart"

// expiring are the certificates of others that end soon, by what agents say of theirs, and
// towers and observers in their views.
func (b *beliefs) expiring(self string, at time.Time) (out []web.Finding) {
	look := func(subject string, end time.Time) {
		if f := expiry(subject, end, at); f.Level != web.Fine {
			out = append(out, f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.views)) {
		if end := b.views[name].view.Ends; name != self && !end.IsZero() {
			look(name, end)
		}
	}
	for _, t := range b.targets {
		if end, err := time.Parse(time.RFC3339, b.host(t.ID, agent.FactEnds)); err == nil {
			look(t.ID, end)
		}
	}
	return out
}

// etcdHealth asks the quorum, and looks at what may soon go wrong.
func (n *Node) etcdHealth(ctx context.Context) etcd.Health {
	if n.member == nil {
		return etcd.ClientHealth(ctx, n.client)
	}
	return n.member.Health(ctx)
}

// sortedIDs are the keys of runs in the order in which they were opened.
func sortedIDs[V any](m map[run.ID]V) []run.ID { return slices.Sorted(maps.Keys(m)) }
