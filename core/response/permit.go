package response

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// leave is whether a part of a want may be done.
type leave struct {
	act    Act
	people int
	why    string
}

// permit says whether a store may be moved, or otherwise acted on, because of a want.
func (in Input) permit(w want, id estate.StoreID) leave {
	tier := in.Estate.Stores[id].Tier
	if l, no := in.stopped(w, string(id), tier); no {
		return l
	}
	if in.Stores[id].Epoch == 0 {
		return leave{act: Refuse, why: fmt.Sprintf("%s was never adopted, so nobody knows who may acknowledge for it; adopt it (haechi adopt)", id)}
	}
	if returns(w.kind) {
		return in.mayReturn(w)
	}
	if !moves(w.kind) {
		return leave{act: Start}
	}
	people := People(in.Estate.Policy, tier)
	if r := in.Stores[id]; r.Alone || r.LeastAny < 1 {
		return leave{Ask, max(people, 1), fmt.Sprintf("no automatic promotion of %s: %s may have acknowledged alone, so what it wrote last may stand nowhere else; bring it back", id, r.Primary)}
	}
	if unmet := situation.Forbidding(in.Premises[id]); len(unmet) > 0 {
		return leave{Ask, max(people, 1), fmt.Sprintf("no automatic promotion of %s, since a premise does not hold: %s", id, strings.Join(unmet, "; "))}
	}
	if people > 0 {
		return leave{Ask, people, fmt.Sprintf("policy asks %s before %s moves", count(people), id)}
	}
	return leave{act: Start}
}

// traffic says whether answers of names may leave.
func (in Input) traffic(w want) leave {
	if l, no := in.stopped(w, "", -1); no {
		return l
	}
	if returns(w.kind) {
		return in.mayReturn(w)
	}
	if people := People(in.Estate.Policy, -1); people > 0 && w.kind == plan.LoseSite {
		return leave{Ask, people, fmt.Sprintf("policy asks %s before answers of %s leave", count(people), w.subject)}
	}
	return leave{act: Start}
}

// stopped says whether a hold, or that nobody has armed it, stops a want for one store, or for
// traffic where store is empty.
func (in Input) stopped(w want, store string, tier int) (leave, bool) {
	for _, h := range in.Holds {
		if h.Scope == "*" || h.Scope == string(w.site) || h.Scope == w.subject || h.Scope == store && store != "" {
			return leave{act: Refuse, why: fmt.Sprintf("%s holds %s: %s", h.By, scope(h.Scope), h.Why)}, true
		}
	}
	armed := in.Armed["*"] || in.Armed[string(w.site)]
	if tier >= 0 {
		armed = armed || in.Armed[fmt.Sprintf("tier-%d", tier)]
	}
	if armed {
		return leave{}, false
	}
	what := string(w.site)
	if tier >= 0 {
		what = fmt.Sprintf("%s or tier-%d", w.site, tier)
	}
	return leave{act: Would, why: fmt.Sprintf("disarmed: haechi arm %s lets it act", what)}, true
}

func scope(s string) string {
	if s == "*" {
		return "everything"
	}
	return s
}

// moves says whether a kind gives a store another primary.
func moves(k plan.Kind) bool { return k == plan.LoseSite || k == plan.LoseStore }

// People says how many people policy asks before a store of a tier moves; -1 is the
// site as a whole.
func People(p estate.Policy, tier int) int {
	consent, ok := p.SiteLossByTier[tier]
	if !ok || tier < 0 {
		consent = p.SiteLoss
	}
	return asks(consent)
}

// asks is how many people have to agree.
func asks(c estate.Consent) int {
	switch c {
	case estate.OnePerson:
		return 1
	case estate.TwoPeople:
		return 2
	case estate.Auto:
	}
	return 0
}

// mayReturn says whether what was lost may come back by itself.
func (in Input) mayReturn(w want) leave {
	if people := asks(in.Estate.Policy.SiteReturn); people > 0 {
		return leave{Ask, people, fmt.Sprintf("policy asks %s before anything of %s comes back", count(people), w.site)}
	}
	return leave{act: Start}
}

// Loosens says where next asks fewer people than have does, for what is in both.
func Loosens(have, next estate.Estate) (out []string) {
	ask := func(what string, before, after int) {
		if after < before {
			out = append(out, fmt.Sprintf("%s: %s instead of %s", what, count(after), count(before)))
		}
	}
	ask("site-loss", People(have.Policy, -1), People(next.Policy, -1))
	tiers := map[int]bool{}
	for _, p := range []estate.Policy{have.Policy, next.Policy} {
		for tier := range p.SiteLossByTier {
			tiers[tier] = true
		}
	}
	for _, tier := range slices.Sorted(maps.Keys(tiers)) {
		ask(fmt.Sprintf("site-loss of tier %d", tier), People(have.Policy, tier), People(next.Policy, tier))
	}
	for _, id := range have.StoreIDs() {
		old, now := have.Stores[id], next.Stores[id]
		if _, kept := next.Stores[id]; kept && old.Tier != now.Tier {
			ask(fmt.Sprintf("site-loss of %s in tier %d", id, now.Tier), People(have.Policy, old.Tier), People(next.Policy, now.Tier))
		}
		if _, kept := next.Stores[id]; kept && old.Alone != "allow" && now.Alone == "allow" {
			out = append(out, fmt.Sprintf("%s: alone: allow", id))
		}
	}
	ask("site-return", asks(have.Policy.SiteReturn), asks(next.Policy.SiteReturn))
	ask("accept-data-loss", accepting(have.Policy), accepting(next.Policy))
	return out
}

// accepting is how many people have to accept a loss of data.
func accepting(p estate.Policy) int {
	if p.AcceptDataLoss == estate.OnePerson {
		return 1
	}
	return 2
}

func count(people int) string {
	switch people {
	case 0:
		return "nobody"
	case 1:
		return "one person"
	}
	return fmt.Sprintf("%d people", people)
}

// acts is the order in which the parts of a want are decided.
var acts = [...]Act{Start, Ask, Refuse, Would}

// parts are what may be done alike.
type parts struct {
	stores  []estate.StoreID
	traffic bool
	people  int
	why     []string
}

func (p *parts) add(l leave) {
	p.people = max(p.people, l.people)
	if l.why != "" && !slices.Contains(p.why, l.why) {
		p.why = append(p.why, l.why)
	}
}

// sort asks for each part of a want by itself. Traffic goes with what is started.
func (in Input) sort(w want) map[Act]*parts {
	out := map[Act]*parts{}
	at := func(a Act) *parts {
		if out[a] == nil {
			out[a] = &parts{}
		}
		return out[a]
	}
	for _, id := range w.stores {
		l := in.permit(w, id)
		p := at(l.act)
		p.stores = append(p.stores, id)
		p.add(l)
	}
	if (w.traffic || len(w.stores) == 0) && out[Start] == nil {
		l := in.traffic(w)
		p := at(l.act)
		p.traffic = true
		p.add(l)
	}
	return out
}
