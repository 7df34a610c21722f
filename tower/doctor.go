package tower

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver/postgres"
	"github.com/haechi/haechi/tower/web"
)

// Doctor says what is missing or unsafe, of this tower and of all that it sees.
func (n *Node) Doctor(ctx context.Context) ([]web.Finding, error) {
	b, at := n.beliefs(), n.now()
	out := slices.Concat(n.own(at), n.lineFindings(), n.seatFindings(b))
	for _, p := range n.etcdHealth(ctx).Problems {
		out = append(out, web.Finding{Subject: n.cfg.Name, Level: web.Bad, Text: "etcd: " + p, Do: "see the tower's log"})
	}
	if b.snap.Estate.Version == 0 {
		return append(out, web.Finding{Subject: "estate", Level: web.Bad, Text: "none was applied", Do: "haechi estate apply FILE"}), nil
	}
	if err := estate.Actionable(b.estate, SettingsChecks()); err != nil {
		out = append(out, web.Finding{Subject: "estate", Level: web.Warn, Text: err.Error(), Do: "complete the file, then haechi estate apply"})
	}
	out = append(out, b.expiring(n.cfg.Name, at)...)
	out = append(out, b.olderFindings(n.cfg.Name)...)
	for _, id := range b.estate.StoreIDs() {
		out = append(out, b.storeFindings(id)...)
		if home := b.homeward(id); home != "" {
			out = append(out, web.Finding{Subject: string(id), Level: web.Fine, Text: home, Do: "when you want it: haechi failback " + string(id)})
		}
	}
	for _, t := range b.targets {
		v := b.now.Things[t.ID]
		if v.State != situation.Up {
			out = append(out, web.Finding{Subject: t.ID, Level: web.Warn, Text: fmt.Sprintf("%s: %s", v.State, strings.Join(v.Because, "; "))})
		}
		if b.host(t.ID, agent.FactHeld) == "true" {
			out = append(out, web.Finding{Subject: t.ID, Level: web.Warn, Text: "its host is held: it carries nothing out", Do: web.EndHeld})
		}
	}
	return out, nil
}

// olderFindings are the towers and agents of the release before, and the runs that are not this tower's to carry.
func (b *beliefs) olderFindings(self string) (out []web.Finding) {
	if tower := b.older(); tower != "" {
		out = append(out, web.Finding{Subject: tower, Level: web.Warn, Text: "it is of the release before: runs that it could not carry on are not opened", Do: "upgrade it"})
	}
	for _, r := range b.snap.OpenRuns() {
		if err := carried(b.snap, r.ID); err != nil {
			out = append(out, web.Finding{Subject: string(r.ID), Level: web.Bad, Text: self + " leaves it to others: " + err.Error(), Do: "upgrade " + self})
		}
	}
	for _, t := range b.targets {
		if t.Kind == situation.KindAgent && len(b.now.Facts[t.ID]) > 0 && b.host(t.ID, agent.FactRelease) == "" {
			out = append(out, web.Finding{Subject: t.ID, Level: web.Warn, Text: "its agent is of the release before: what it does not know cannot be ordered", Do: "upgrade haechi-agent there"})
		}
	}
	return out
}

// storeFindings are what a store's promotion by itself misses, and what its members miss
// beside that; where both say the same, it is said once, with what to do.
func (b *beliefs) storeFindings(id estate.StoreID) (out []web.Finding) {
	adopted := b.snap.Stores[id].Epoch > 0
	if !adopted {
		out = append(out, web.Finding{Subject: string(id), Level: web.Warn, Text: "it was never adopted, so it is not failed over", Do: "haechi adopt " + string(id)})
	}
	out = append(out, b.undecided(id)...)
	type said struct{ member, text string }
	do := map[said]string{}
	members := b.estate.Stores[id].MemberIDs()
	for _, m := range members {
		for _, a := range b.advice(id, m, adopted) {
			do[said{string(m), a.Text}] = a.Do
		}
	}
	spoken := map[said]bool{}
	for _, unmet := range b.premises[id] {
		f := web.Finding{Subject: string(id), Level: web.Bad, Text: unmet.Text, Do: "until then there is no automatic promotion"}
		if unmet.Borne {
			f.Level, f.Do = web.Warn, "until then a promotion takes longer"
		}
		member, text, _ := strings.Cut(unmet.Text, ": ")
		if a := do[said{member, text}]; a != "" {
			f.Do, spoken[said{member, text}] = a+"; "+f.Do, true
		}
		out = append(out, f)
	}
	for _, m := range members {
		for _, a := range b.advice(id, m, adopted) {
			if !spoken[said{string(m), a.Text}] {
				out = append(out, web.Finding{Subject: fmt.Sprintf("%s/%s", id, m), Level: web.Warn, Text: a.Text, Do: a.Do})
			}
		}
	}
	return out
}

// undecided is what people have to decide about what a store's members hold.
func (b *beliefs) undecided(id estate.StoreID) (out []web.Finding) {
	if differs := b.snap.Stores[id].Differs; differs != "" {
		out = append(out, web.Finding{Subject: string(id), Level: web.Bad, Text: "its members do not hold the same: " + differs, Do: web.Mend(string(id))})
	}
	for _, s := range b.snap.Salvages {
		if s.Store == id && s.State == situation.SalvageOpen {
			return append(out, web.Finding{Subject: string(id), Level: web.Warn, Text: "nobody has decided yet about what only a member held", Do: "haechi salvage list"})
		}
	}
	return out
}

// advice is what is wrong with one member by its own facts. Where its agent is not
// there, that is what is wrong.
func (b *beliefs) advice(id estate.StoreID, m estate.MemberID, adopted bool) []postgres.Advice {
	at := situation.AgentTarget(b.estate, b.estate.Stores[id].Members[m].Host)
	if b.now.Things[at].State != situation.Up {
		return nil
	}
	return postgres.Doctor(b.facts(id, m), adopted)
}

// host is what an agent says of its host beside each unit's own facts; empty: nothing.
func (b *beliefs) host(target, fact string) string {
	for key, value := range b.now.Facts[target] {
		if strings.HasSuffix(key, "/"+fact) {
			return value
		}
	}
	return ""
}
