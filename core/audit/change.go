package audit

import (
	"cmp"
	"slices"
	"strings"
)

// Change is what a change of an estate makes better or worse, as its audits before and after see it.
type Change struct {
	New     []Finding `json:"new"`
	Gone    []Finding `json:"gone"`
	Changed []Changed `json:"changed"` // found in both, not as bad, not for the same cause, or taken on in one only
	Moved   []Moved   `json:"moved"`   // services that do better or worse when a site is lost
}

// Changed is one finding before and after.
type Changed struct {
	Was Finding `json:"was"`
	Is  Finding `json:"is"`
}

// Moved is how a service does when a site is lost, before and after.
type Moved struct {
	Site    string `json:"site"`
	Service string `json:"service"`
	Was     Fate   `json:"was"`
	Is      Fate   `json:"is"`
}

// Fate is how a service does in one scenario.
type Fate struct {
	State     string  `json:"state"`     // "up", "degraded", "down"
	Shortfall float64 `json:"shortfall"` // servers that are missing
}

// Diff compares two audits. Findings are the same where their IDs are; services are compared where
// both estates have them and the site.
func Diff(was, is Report) Change {
	c := Change{New: []Finding{}, Gone: []Finding{}, Changed: []Changed{}, Moved: []Moved{}}
	before, after := byID(was.Findings), byID(is.Findings)
	for _, f := range is.Findings {
		old, had := before[f.ID()]
		switch {
		case !had:
			c.New = append(c.New, f)
		case old.Severity != f.Severity || old.Cause != f.Cause || (old.Accepted == nil) != (f.Accepted == nil):
			c.Changed = append(c.Changed, Changed{Was: old, Is: f})
		}
	}
	for _, f := range was.Findings {
		if _, has := after[f.ID()]; !has {
			c.Gone = append(c.Gone, f)
		}
	}
	for site, old := range was.Survives {
		now, has := is.Survives[site]
		for s := range old.Services {
			if _, both := now.Services[s]; has && both && old.fate(s) != now.fate(s) {
				c.Moved = append(c.Moved, Moved{Site: site, Service: s, Was: old.fate(s), Is: now.fate(s)})
			}
		}
	}
	slices.SortFunc(c.Moved, func(a, b Moved) int {
		return cmp.Or(strings.Compare(a.Site, b.Site), strings.Compare(a.Service, b.Service))
	})
	return c
}

func byID(fs []Finding) map[string]Finding {
	out := map[string]Finding{}
	for _, f := range fs {
		out[f.ID()] = f
	}
	return out
}

func (s Survival) fate(service string) Fate {
	return Fate{State: s.Services[service], Shortfall: s.Shortfall[service]}
}

// Worse says whether the service does worse than before.
func (m Moved) Worse() bool {
	order := []string{"up", "degraded", "down"}
	return cmp.Or(
		cmp.Compare(slices.Index(order, m.Is.State), slices.Index(order, m.Was.State)),
		cmp.Compare(m.Is.Shortfall, m.Was.Shortfall),
	) > 0
}

// Worse says whether the finding is graver than before, or no longer taken on.
func (c Changed) Worse() bool {
	return c.Is.Severity != c.Was.Severity && c.Is.Severity.Worse(c.Was.Severity) || c.Was.Accepted != nil && c.Is.Accepted == nil
}

// Open lists what is new or worse, at least so bad, and taken on by nobody.
func (c Change) Open(least Severity) []Finding {
	worse := slices.Clone(c.New)
	for _, x := range c.Changed {
		if x.Worse() {
			worse = append(worse, x.Is)
		}
	}
	return Report{Findings: worse}.Open(least)
}

// Empty says whether the audits see no difference.
func (c Change) Empty() bool {
	return len(c.New)+len(c.Gone)+len(c.Changed)+len(c.Moved) == 0
}
