package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/core/situation"
)

// Input is everything that a plan depends on.
type Input struct {
	Estate estate.Estate
	Now    situation.Situation
	Stores map[estate.StoreID]situation.Store // what the towers have agreed about each store
	Kind   Kind
	// Subject is the site (lose-site, evacuate, cut-users, serve, recover), the store (lose-store,
	// failover, fence-old, go-alone, end-alone, let-go, adopt, rejoin, count-out, verify, close-reads, open-reads, apply-salvage,
	// discard-salvage), the name server's host (level-dns) or "towers" (reseat).
	Subject string
	// Lost are the sites that a lose-site plan is about; Subject alone where it is empty.
	Lost []estate.SiteID
	// StoresOnly limits which stores may be moved, or brought back; empty means all.
	StoresOnly []estate.StoreID
	// Target is the member that a person wants as primary (failover), or the one to fence, to let go, to bring back or to count out.
	Target    estate.MemberID
	Anew      bool                              // rejoin: Target is copied from its primary, also where it follows and counts
	At        estate.SiteID                     // close-reads, open-reads: the site whose members are meant
	Withdrawn map[estate.NameID][]estate.SiteID // answers that are already out
	Returning map[estate.NameID][]estate.SiteID // of these, the ones that some name servers may give: a run was bringing them back
	Intents   map[estate.SiteID]situation.Intent
	Seats     []seats.Tower // reseat, recover: who votes among the towers, and who should
	Because   []string
	Choice    Choice // apply-salvage, discard-salvage
}

// Make decides the steps. It reads no clock, draws no random number and starts no
// goroutine: equal inputs give equal plans, byte for byte.
//
// What cannot be saved stands in Plan.Blocked, and the rest is planned all the same. Where
// nothing can be planned the error is the first *Stuck, beside a plan that lists them all;
// where nothing has to be done it is [ErrNothing]. An evacuation, which nobody is forced
// to, is planned whole or not at all.
func Make(in Input) (Plan, error) {
	m := &maker{in: in, gone: gone(in), promote: map[estate.StoreID]int{}}
	if stuck := m.fill(); stuck != nil {
		m.blocked = append(m.blocked, *stuck)
	}
	p := Plan{Version: needs(in.Kind, m.steps), Kind: in.Kind, Subject: in.Subject, Lost: []string{}, Steps: m.steps,
		Because: append([]string{}, in.Because...), Blocked: m.blocked}
	for _, s := range slices.Sorted(maps.Keys(m.gone)) {
		p.Lost = append(p.Lost, string(s))
	}
	if in.Kind == Evacuate && len(m.blocked) > 0 {
		p.Steps = nil
	}
	p.Hash = Hash(p)
	switch {
	case len(p.Steps) > 0:
		return p, nil
	case len(p.Blocked) > 0:
		return p, &p.Blocked[0]
	}
	return p, fmt.Errorf("%s %s: %w", in.Kind, in.Subject, ErrNothing)
}

// Hash is sha256 over the plan's JSON without its hash, in hex. JSON sorts the keys of
// maps, so equal plans have equal hashes.
func Hash(p Plan) string {
	p.Hash = ""
	b, err := json.Marshal(p)
	if err != nil { // a Plan holds only strings, numbers, slices and string maps
		panic(fmt.Sprintf("plan: marshal: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// gone are the sites that no step may need: those that the plan is about to give up, and
// those that are believed to be out of reach anyway.
func gone(in Input) map[estate.SiteID]bool {
	out := map[estate.SiteID]bool{}
	for _, id := range in.Now.Gone() {
		out[id] = true
	}
	for _, id := range in.Lost {
		out[id] = true
	}
	if in.Kind == LoseSite && len(in.Lost) == 0 {
		out[estate.SiteID(in.Subject)] = true
	}
	return out
}

// maker collects the steps of one plan. It lives for one call of Make.
type maker struct {
	in      Input
	gone    map[estate.SiteID]bool
	steps   []Step
	blocked []Stuck
	promote map[estate.StoreID]int // the step that makes a store writable again
}

// fill plans what the kind asks for.
func (m *maker) fill() *Stuck {
	switch m.in.Kind {
	case LoseSite:
		return m.loseSite()
	case Evacuate:
		return m.evacuate()
	case LoseStore, Failover:
		return m.oneStore()
	case CutUsers:
		return m.cutUsers()
	case Serve:
		return m.serve()
	case LevelDNS:
		return m.levelDNS()
	case FenceOld:
		return m.fenceOld()
	case CloseReads, OpenReads:
		return m.reads()
	case LetGo:
		return m.letGo()
	case Reseat:
		return m.reseat()
	case AdoptNew, GoAlone, EndAlone:
		return m.wholeStore()
	case Recover:
		return m.recover()
	case BringBack:
		return m.bringBack()
	case Uncount:
		return m.uncount()
	case VerifyAll:
		return m.verifyAll()
	case Restore, GiveUp:
		return m.decided()
	}
	return &Stuck{m.in.Subject, UnknownKind, fmt.Sprintf("there is no kind of plan %q", m.in.Kind), "use one that haechi plan --help lists"}
}

// add appends a step, numbers it, and returns its ID.
func (m *maker) add(s Step, after ...int) int {
	s.ID = len(m.steps) + 1
	after = slices.DeleteFunc(slices.Clone(after), func(id int) bool { return id == 0 })
	slices.Sort(after)
	s.After = slices.Compact(after)
	if len(s.After) == 0 {
		s.After = nil
	}
	m.steps = append(m.steps, s)
	return s.ID
}

// block notes what cannot be saved.
func (m *maker) block(s *Stuck) { m.blocked = append(m.blocked, *s) }

// loseSite moves every store whose primary is in a lost site, or was halted by a move that the
// loss has cut short, and takes the lost sites' answers out. The answers do not wait for the databases: the gateways behind them are
// gone, whether or not a database is found elsewhere.
func (m *maker) loseSite() *Stuck {
	lost := m.lostSites()
	for _, s := range lost {
		if stuck := m.site(s); stuck != nil {
			return stuck
		}
	}
	m.moveAll(func(id estate.StoreID, primary estate.MemberID) bool {
		e := m.in.Estate.Stores[id]
		return slices.Contains(lost, e.Members[primary].Site) || slices.Contains(m.halted(id, e, m.in.Stores[id]), primary)
	}, PrimaryLost, false)
	for _, s := range lost {
		m.withdrawSite(s, m.lossOf(s), nil)
	}
	return nil
}

// lostSites are those that the plan is about, sorted, each once.
func (m *maker) lostSites() []estate.SiteID {
	lost := slices.Clone(m.in.Lost)
	if len(lost) == 0 {
		lost = []estate.SiteID{estate.SiteID(m.in.Subject)}
	}
	slices.Sort(lost)
	return slices.Compact(lost)
}

// lossOf is the reason that a site's verdict gives.
func (m *maker) lossOf(s estate.SiteID) Reason {
	if m.in.Now.Sites[s].State == situation.Isolated {
		return SiteIsolated
	}
	return SiteLost
}

// evacuate moves the stores first and the names after them. The move of a store is the part
// that may fail and be taken back; while it does, users reach what they reached before. Names
// that left first would have to come back, and every resolver would learn both.
func (m *maker) evacuate() *Stuck {
	from := estate.SiteID(m.in.Subject)
	if stuck := m.site(from); stuck != nil {
		return stuck
	}
	if m.gone[from] {
		return &Stuck{string(from), NotReachable, "the site is lost or isolated, so nothing in it can be moved in peace",
			"a lost site is a lose-site plan: haechi plan --lose " + string(from)}
	}
	m.moveAll(func(id estate.StoreID, primary estate.MemberID) bool {
		return m.in.Estate.Stores[id].Members[primary].Site == from
	}, Asked, true)
	m.withdrawSite(from, Asked, m.promotesUnder)
	return nil
}

// cutUsers moves traffic alone.
func (m *maker) cutUsers() *Stuck {
	from := estate.SiteID(m.in.Subject)
	if stuck := m.site(from); stuck != nil {
		return stuck
	}
	m.withdrawSite(from, UsersCutOff, nil)
	return nil
}

// site refuses a site that the estate does not know.
func (m *maker) site(s estate.SiteID) *Stuck {
	if _, ok := m.in.Estate.Sites[s]; ok {
		return nil
	}
	return &Stuck{string(s), NotDeclared, "the estate has no site of this name",
		"the sites are " + list(slices.Sorted(maps.Keys(m.in.Estate.Sites)))}
}

// list joins names for people.
func list[S ~string](ids []S) string {
	if len(ids) == 0 {
		return "none"
	}
	var out []string
	for _, id := range ids {
		out = append(out, string(id))
	}
	return strings.Join(out, ", ")
}
