package response

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// want is a cause to act, before anybody asked whether it may be.
type want struct {
	kind    plan.Kind
	subject string
	member  estate.MemberID
	site    estate.SiteID // whose arming and holds count
	lost    []estate.SiteID
	stores  []estate.StoreID
	traffic bool      // answers of names have to leave
	deaf    bool      // of a member: it runs, and only receives nothing
	since   time.Time // when the cause began; zero: not known
	anew    time.Time // runs that ended before it were no tries: what stood in their way was not there any more
	because []string
	refuse  string // why it is never done by itself
	ask     string // why a person has to say so first
}

func (in Input) wants() []want {
	out := slices.Concat(in.lostSites(), in.deadPrimaries(), in.cutUsers())
	for _, w := range slices.Concat(in.oldPrimaries(), in.acknowledgers()) {
		if !slices.ContainsFunc(out, func(o want) bool { return moves(o.kind) && slices.Contains(o.stores, w.stores[0]) }) {
			out = append(out, w)
		}
	}
	for _, w := range in.strays() {
		busy := func(o want) bool {
			return slices.Contains(o.stores, w.stores[0]) && (moves(o.kind) || o.kind == plan.FenceOld || o.kind == plan.LetGo)
		}
		if !slices.ContainsFunc(out, busy) {
			out = append(out, w)
		}
	}
	out = slices.Concat(out, in.lockedServers(), in.reseat())
	out = append(out, in.returns(out)...)
	return append(out, in.comparisons(out)...)
}

// lostSites wants one run for all that is lost: its stores' primaries move and its
// answers leave. It is about the site that was lost last, of those where something is to be done.
func (in Input) lostSites() []want {
	w := want{kind: plan.LoseSite, lost: in.Now.Gone()}
	for _, site := range w.lost {
		v := in.Now.Sites[site]
		stores, traffic := append(in.primariesIn(site), in.cutShort(site)...), len(in.answersOf(site)) > 0
		if len(stores) == 0 && !traffic {
			continue
		}
		w.stores = append(w.stores, stores...)
		w.traffic = w.traffic || traffic
		w.because = append(w.because, fmt.Sprintf("%s is %s", site, v.State))
		w.because = append(w.because, v.Because...)
		if w.subject == "" || v.Since.After(w.since) {
			w.subject, w.site, w.since = string(site), site, v.Since
		}
	}
	slices.Sort(w.stores)
	w.stores = slices.Compact(w.stores)
	if w.subject == "" {
		return nil
	}
	return []want{w}
}

// primariesIn lists the stores whose primary stands in a site, by the record, or by
// the file where there is no record yet.
func (in Input) primariesIn(site estate.SiteID) (out []estate.StoreID) {
	for _, id := range slices.Sorted(maps.Keys(in.Estate.Stores)) {
		if in.siteOf(id, in.primary(id)) == site {
			out = append(out, id)
		}
	}
	return out
}

// cutShort lists the stores with a member in a lost site whose primary, elsewhere, was halted by a
// planned move that goes on: the loss takes them over as they stand.
func (in Input) cutShort(site estate.SiteID) (out []estate.StoreID) {
	for _, id := range in.storeIDs() {
		f := in.facts(id, in.primary(id))
		halted := f[situation.FactHalted] != "" && f[situation.FactRole] != situation.RolePrimary
		if halted && in.standsIn(id, site) && slices.ContainsFunc(in.Open, func(o OpenRun) bool { return o.open() && planned(o.Kind) && in.concerns(o, id) }) {
			out = append(out, id)
		}
	}
	return out
}

// planned says that people wanted it, and nothing had to be lost for it.
func planned(k plan.Kind) bool { return k == plan.Evacuate || k == plan.Failover }

func (in Input) primary(id estate.StoreID) estate.MemberID {
	if r := in.Stores[id]; r.Epoch > 0 {
		return r.Primary
	}
	return in.Estate.Stores[id].Primary
}

func (in Input) siteOf(id estate.StoreID, m estate.MemberID) estate.SiteID {
	return in.Estate.Stores[id].Members[m].Site
}

// answersOf lists the names whose answers of a site can leave: those not gone
// already, and never a name's last.
func (in Input) answersOf(site estate.SiteID) (out []estate.NameID) {
	for _, id := range slices.Sorted(maps.Keys(in.Estate.Names)) {
		n := in.Estate.Names[id]
		if len(n.Answers[site]) == 0 || slices.Contains(in.Withdrawn[id], site) && !slices.Contains(in.Returning[id], site) {
			continue
		}
		for other, answers := range n.Answers {
			if other != site && len(answers) > 0 && !slices.Contains(in.Withdrawn[id], other) && in.reaches(other) {
				out = append(out, id)
				break
			}
		}
	}
	return out
}

// reaches says that nobody believes that users would not get to a site.
func (in Input) reaches(site estate.SiteID) bool {
	v := in.Now.Sites[site]
	return !v.Gone() && v.State != situation.CutOff
}

// deadPrimaries wants the failover of each store whose primary is dead in a site
// that lives. A member is judged by itself only there.
func (in Input) deadPrimaries() (out []want) {
	for _, id := range slices.Sorted(maps.Keys(in.Stores)) {
		if _, ok := in.Estate.Stores[id]; !ok || in.Stores[id].Epoch == 0 {
			continue
		}
		p := in.primary(id)
		v, ok := in.Now.Things[situation.DatabaseTarget(in.Estate, id, p)]
		if !ok || v.State != situation.Dead {
			continue
		}
		out = append(out, want{
			kind: plan.LoseStore, subject: string(id), site: v.Site, lost: in.lostOf(id), stores: []estate.StoreID{id}, since: v.Since,
			because: append([]string{fmt.Sprintf("the primary %s of %s is dead, its site %s is not", p, id, v.Site)}, v.Because...),
		})
	}
	return out
}

// lostOf lists the lost sites in which a store has members.
func (in Input) lostOf(id estate.StoreID) (out []estate.SiteID) {
	for _, site := range in.Now.Gone() {
		if in.standsIn(id, site) {
			out = append(out, site)
		}
	}
	return out
}

func (in Input) standsIn(id estate.StoreID, site estate.SiteID) bool {
	for _, m := range in.Estate.Stores[id].Members {
		if m.Site == site {
			return true
		}
	}
	return false
}

// cutUsers wants the answers of sites out that users do not reach.
func (in Input) cutUsers() (out []want) {
	for _, site := range in.Now.In(situation.CutOff) {
		v := in.Now.Sites[site]
		if len(in.answersOf(site)) == 0 {
			continue
		}
		out = append(out, want{
			kind: plan.CutUsers, subject: string(site), site: site, traffic: true, since: v.Since,
			because: append([]string{fmt.Sprintf("users do not reach %s, the other sites do", site)}, v.Because...),
		})
	}
	return out
}

// lockedServers wants name servers level that came back and answer nothing before that.
func (in Input) lockedServers() (out []want) {
	seen := map[estate.HostID]bool{}
	for _, name := range slices.Sorted(maps.Keys(in.Estate.Names)) {
		for _, host := range in.Estate.Names[name].Servers {
			site := in.Estate.Hosts[host].Site
			facts := in.Now.Facts[situation.DNSTarget(in.Estate, host)]
			if seen[host] || facts[situation.FactLocked] != "true" || in.Now.Sites[site].Gone() {
				continue
			}
			seen[host] = true
			out = append(out, want{
				kind: plan.LevelDNS, subject: string(host), site: site, anew: in.reached(site, situation.DNSTarget(in.Estate, host)),
				because: []string{fmt.Sprintf("the name server %s in %s came back and answers nothing before it is level with the others", host, site)},
			})
		}
	}
	slices.SortFunc(out, func(a, b want) int { return compare(a.subject, b.subject) })
	return out
}
