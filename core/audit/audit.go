// Package audit computes what would be lost: it takes components of an estate away, alone and
// together, follows what falls with them, and says what it finds, why, and what would help. It
// is pure: the estate and the day are arguments, and equal arguments give equal reports.
package audit

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// Input is what an audit is about.
type Input struct {
	Estate estate.Estate        // as estate.Load returns it
	Now    time.Time            // for what ends or grows old; the zero time: nothing does
	Depth  int                  // 2 also tries each site with each thing elsewhere
	Proven map[string]time.Time // site or service: when a drill last proved it
	Back   Back                 // how long services take to come back; nil: the rule rto is not asked
	Seen   map[string]bool      // components that are seen live; nil: nobody looked
	Parts  bool                 // also report how services do when one thing smaller than a site is lost
}

// Back says how a service that a scenario interrupts comes back; false where it does not.
type Back func(service string, scenario []string) (Return, bool)

// Return is how a service comes back.
type Return struct {
	Within time.Duration // 95 of 100 cases are sooner
	Waits  string        // what it waits for longest
	Remedy string        // what would shorten that
}

// Report is what an audit found.
type Report struct {
	Estate     string              `json:"estate"`
	Components int                 `json:"components"`
	Scenarios  int                 `json:"scenarios"`
	Findings   []Finding           `json:"findings"`
	Survives   map[string]Survival `json:"survives"`            // by site: how services do when it is lost
	Accidents  map[string]Survival `json:"accidents,omitempty"` // by name: how they do in what the estate names under scenarios
	Parts      map[string]Survival `json:"-"`                   // by thing smaller than a site: the services that its loss touches; where it was asked for
	Unused     []estate.Accepted   `json:"unused,omitempty"`    // accepted risks that nothing found answers to
}

// Survival is how services do in one scenario.
type Survival struct {
	Services  map[string]string  `json:"services"`       // "up", "degraded", "down"
	Shortfall map[string]float64 `json:"shortfall"`      // servers that are missing
	Shed      []string           `json:"shed,omitempty"` // services whose servers others took
}

// Finding is one thing that is wrong with an estate.
type Finding struct {
	Rule      Rule             `json:"rule"`
	Severity  Severity         `json:"severity"`
	Component string           `json:"component"`
	Scenario  []string         `json:"scenario"` // the smallest that shows it; empty where nothing needs to be lost
	Others    int              `json:"others"`   // scenarios besides that show it, or declarers besides the component
	Chain     []string         `json:"chain"`
	Cause     string           `json:"cause"`
	Message   string           `json:"message"`
	Remedy    string           `json:"remedy"`
	Accepted  *estate.Accepted `json:"accepted,omitempty"` // who has taken it on
	Lapsed    *estate.Accepted `json:"lapsed,omitempty"`   // who had, until a day that is past
}

// ID tells a finding apart from the others of any audit: what it says may change, its ID does not.
func (f Finding) ID() string {
	if f.Rule == SharedFate {
		return string(f.Rule) + " " + f.Component + " " + f.Cause
	}
	return string(f.Rule) + " " + f.Component
}

// Open lists the findings that nobody has taken on and that are at least so bad.
func (r Report) Open(least Severity) []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Accepted != nil || !f.Severity.Worse(least) })
}

// Rule names what is looked for. The names are a contract.
type Rule string

// The rules.
const (
	SiteLoss       Rule = "site-loss"
	SPOF           Rule = "spof"
	CommonMode     Rule = "common-mode"
	SharedFate     Rule = "shared-fate"
	Capacity       Rule = "capacity"
	Power          Rule = "power"
	LinkCapacity   Rule = "link-capacity"
	RPO            Rule = "rpo"
	RTO            Rule = "rto"
	Quorum         Rule = "quorum"
	BootstrapCycle Rule = "bootstrap-cycle"
	TierInversion  Rule = "tier-inversion"
	PagePath       Rule = "page-path"
	Backup         Rule = "backup"
	Residual       Rule = "residual"
	Untested       Rule = "untested"
	Stale          Rule = "stale"
)

// Severity is how bad a finding is.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Severities lists them, worst first.
func Severities() []Severity { return []Severity{Critical, High, Medium, Low} }

// Worse says whether s is at least as bad as o.
func (s Severity) Worse(o Severity) bool {
	return slices.Index(Severities(), s) <= slices.Index(Severities(), o)
}

func byTier(tier int) Severity {
	return Severities()[min(max(tier, 0), 3)]
}

// Down is the error of an estate in which services are down with nothing lost.
type Down struct {
	Services []string
	Why      []string // of each
}

// Error says which and why.
func (d *Down) Error() string {
	var out []string
	for i, s := range d.Services {
		out = append(out, s+" is down with nothing lost: "+d.Why[i])
	}
	return strings.Join(append(out, "correct that first: only of what is up with nothing lost can it be said what a loss takes"), "\n")
}

// audit is one audit under way.
type audit struct {
	Input
	g     *graph
	l     *loss
	alone map[id]map[id]bool // see fallWith
	found map[key]*Finding
	order []key
	asked map[string]*Return // of Back; nil: does not come back
}

// key tells findings apart.
type key struct {
	rule             Rule
	component, cause string // the cause only where one component may have several
}

// Audit tries every scenario and applies every rule. The error is a [*Down].
func Audit(in Input) (Report, error) {
	g := compile(in.Estate)
	a := &audit{Input: in, g: g, l: newLoss(g), alone: map[id]map[id]bool{}, found: map[key]*Finding{}, asked: map[string]*Return{}}
	if err := a.downAlready(); err != nil {
		return Report{}, err
	}
	all := g.scenarios(max(1, in.Depth))
	rest := a.atRest()
	r := Report{Estate: in.Estate.Name, Components: len(g.by), Scenarios: len(all), Survives: map[string]Survival{}, Accidents: map[string]Survival{}, Parts: map[string]Survival{}}
	for _, s := range all {
		back := a.l.take(s.takes...)
		a.look(s)
		if s.name != "" {
			r.Accidents[s.name] = a.l.survival()
		}
		if len(s.takes) == 1 && g.kinds[s.takes[0]] == site {
			r.Survives[g.names[s.takes[0]]] = a.l.survival()
		}
		if rest != nil && s.class == oneSmall && s.name == "" {
			if touched := a.l.survival().besides(*rest); len(touched.Services) > 0 {
				r.Parts[g.names[s.takes[0]]] = touched
			}
		}
		back()
	}
	a.still()
	r.Findings = a.sorted()
	r.Unused = accept(in.Estate.Accepted, r.Findings, in.Now)
	return r, nil
}

// atRest is how services do with nothing lost, where it is asked what parts do to that.
func (a *audit) atRest() *Survival {
	if !a.Parts {
		return nil
	}
	out := a.l.survival()
	return &out
}

// besides keeps the services that do otherwise than at rest.
func (s Survival) besides(rest Survival) Survival {
	for n, state := range s.Services {
		if state == rest.Services[n] && s.Shortfall[n] == rest.Shortfall[n] {
			delete(s.Services, n)
			delete(s.Shortfall, n)
		}
	}
	return s
}

func (a *audit) downAlready() error {
	d := &Down{}
	for _, s := range a.g.services {
		if a.l.gone[s] {
			d.Services = append(d.Services, a.g.names[s])
			d.Why = append(d.Why, a.g.sentence(a.l.reason(s)))
		}
	}
	if len(d.Services) == 0 {
		return nil
	}
	return d
}

// look applies the rules that a scenario may show something for.
func (a *audit) look(s scenario) {
	switch s.class {
	case oneSite:
		a.lookServices(s, SiteLoss)
		a.lookSite(s)
		a.lookReturn(s)
	case oneSmall:
		a.lookServices(s, SPOF)
		a.lookReturn(s)
		a.lookAlternatives(s)
		a.lookLink(s)
	case oneWhole:
		a.lookWhole(s)
	case twoSites, siteAndOne:
		a.lookResidual(s)
	}
	if s.class != twoSites && s.class != siteAndOne {
		a.lookPages(s)
	}
}

// survival is how every service does now.
func (l *loss) survival() Survival { return l.survivalIn(l.rooms()) }

func (l *loss) survivalIn(r room) Survival {
	out := Survival{Services: map[string]string{}, Shortfall: map[string]float64{}}
	for _, s := range l.g.services {
		n := l.g.names[s]
		switch {
		case l.gone[s]:
			out.Services[n] = "down"
		case r.short[s] > 0 || slices.ContainsFunc(l.g.wants[s], func(w id) bool { return l.gone[w] }):
			out.Services[n] = "degraded"
		default:
			out.Services[n] = "up"
		}
		if r.short[s] > 0 {
			out.Shortfall[n] = rounded(r.short[s])
		}
		if r.shed[s] {
			out.Shed = append(out.Shed, n)
		}
	}
	slices.Sort(out.Shed)
	return out
}

// rounded is a number of servers to a thousandth, so that sums in another order print the same.
func rounded(x float64) float64 {
	return float64(int64(x*1000+0.5)) / 1000
}

// add raises a finding, or counts a further scenario for one that stands. The first is the one that
// is shown: scenarios come smallest first. Say fills in what is said, for the first only.
func (a *audit) add(k key, s scenario, severity Severity, say func(*Finding)) {
	if f, ok := a.found[k]; ok {
		if k.rule != SharedFate { // which counts declarers
			f.Others++
		}
		return
	}
	f := &Finding{Rule: k.rule, Severity: severity, Component: k.component, Cause: k.cause, Scenario: a.g.said(s)}
	say(f)
	a.found[k] = f
	a.order = append(a.order, k)
}

// sorted lists the findings, worst first, then by rule, component and cause.
func (a *audit) sorted() []Finding {
	out := make([]Finding, 0, len(a.order))
	for _, k := range a.order {
		out = append(out, *a.found[k])
	}
	slices.SortFunc(out, func(x, y Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Severities(), x.Severity), slices.Index(Severities(), y.Severity)),
			strings.Compare(string(x.Rule), string(y.Rule)),
			strings.Compare(x.Component, y.Component),
			strings.Compare(x.Cause, y.Cause),
		)
	})
	return out
}
