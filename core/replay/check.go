package replay

import (
	"fmt"
	"go/parser"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

var plainName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// check says all that is wrong with a replay.
func (r *Replay) check() []error {
	var errs []error
	say := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var err error
	if r.begun, err = time.Parse("2006-01-02 15:04Z07:00", r.Start.At+r.Zone); err != nil || r.Start.Source == "" {
		say("start: it needs at (for example 2022-10-15 15:19), a zone beside it (+09:00) and a source")
	}
	if len(r.Lose) == 0 || len(r.Readings) == 0 || r.Runs < 1 {
		say("lose, runs and at least one reading are needed")
	}
	seen := map[string]bool{}
	for _, n := range r.Numbers {
		if seen[n.Name] || !plainName.MatchString(n.Name) {
			say("number %q: a name stands once, in small letters, digits and _", n.Name)
		}
		seen[n.Name] = true
		for _, wrong := range n.check() {
			say("number %s: %s", n.Name, wrong)
		}
	}
	used := r.used(func(where, name string) {
		if !seen[name] {
			say("%s: %q is no number of this replay; only numbers with a label count", where, name)
		}
	})
	for _, n := range r.Numbers {
		if !used[n.Name] {
			say("number %s is stated and never used", n.Name)
		}
	}
	r.checkTexts(say)
	if _, err := r.Evaluate(nil, nil); err != nil && len(errs) == 0 {
		say("%w", err)
	}
	return errs
}

// check says what a number's label asks for and is not there.
func (n Number) check() []string {
	var wrong []string
	stated := 0
	for _, s := range []bool{n.Value != nil, n.At != "", n.Is != ""} {
		if s {
			stated++
		}
	}
	if stated != 1 {
		wrong = append(wrong, "say one of value, at and is")
	}
	switch {
	case n.Label == Sourced && (n.Source == "" || n.Is != ""):
		wrong = append(wrong, "sourced: it needs its source, and no arithmetic")
	case n.Label == Derived && n.Is == "":
		wrong = append(wrong, "derived: it needs its arithmetic under is")
	case n.Label == Assumed && (n.Why.En == "" || n.Is != ""):
		wrong = append(wrong, "assumed: it needs a why, and no arithmetic")
	case n.Label != Sourced && n.Label != Derived && n.Label != Assumed:
		wrong = append(wrong, fmt.Sprintf("label is %q; every number is sourced, derived or assumed", n.Label))
	}
	if (n.Fitted == "") && n.Takes == "" && n.Title.En == "" {
		wrong = append(wrong, "it needs a title")
	}
	return wrong
}

// used lists the numbers that anything rests on, and tells of each mention.
func (r *Replay) used(mention func(where, name string)) map[string]bool {
	used := map[string]bool{}
	use := func(where, name string) {
		if name != "" {
			used[name] = true
			mention(where, name)
		}
	}
	for _, n := range r.Numbers {
		if _, err := parser.ParseExpr(n.Is); err == nil {
			for _, name := range regexp.MustCompile(`[a-z][a-z0-9_]*`).FindAllString(n.Is, -1) {
				use("number "+n.Name, name)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.Model)) {
		use("model: "+k, r.Model[k])
	}
	for _, p := range r.Power {
		use("power", p.At)
		use("power", p.Share)
	}
	for _, p := range r.Published {
		use("published "+p.ID, p.At)
		use("published "+p.ID, p.Is)
	}
	for _, m := range r.Milestones {
		use("milestone "+m.Service, m.Out)
		use("milestone "+m.Service, m.By)
	}
	templates := []string{r.template}
	for id, c := range r.changes() {
		templates = append(templates, c.Estate)
		for _, k := range slices.Sorted(maps.Keys(c.Set)) {
			use(id+": set", k)
			use(id+": set", c.Set[k])
		}
		for _, p := range c.Power {
			use(id+": power", p.At)
			use(id+": power", p.Share)
		}
	}
	for _, name := range regexp.MustCompile(`\.[a-z][a-z0-9_]*`).FindAllString(strings.Join(templates, "\n"), -1) {
		used[name[1:]] = true // that it is stated is seen when it is drawn
	}
	return used
}

// changes lists what readings and remedies change.
func (r *Replay) changes() map[string]Change {
	out := map[string]Change{}
	for _, x := range r.Readings {
		out["reading "+x.ID] = x.Change
	}
	for _, x := range r.Remedies {
		out["remedy "+x.ID] = x.Change
	}
	return out
}

// checkTexts says which texts stand in one language only, and which kinds are unknown.
func (r *Replay) checkTexts(say func(string, ...any)) {
	both := func(where string, t Text) {
		if (t.En == "") != (t.Ko == "") {
			say("%s: it stands in one language only", where)
		}
	}
	both("title", r.Title)
	for _, n := range r.Numbers {
		both("number "+n.Name, n.Title)
		both("number "+n.Name+": why", n.Why)
	}
	for _, x := range r.Readings {
		both("reading "+x.ID, x.Title)
		both("reading "+x.ID+": why", x.Why)
	}
	for _, x := range r.Remedies {
		both("remedy "+x.ID, x.Title)
		both("remedy "+x.ID+": what", x.What)
		for k, t := range x.Nothing {
			both("remedy "+x.ID+": "+k, t)
		}
	}
	for _, all := range [][]Text{r.Story, r.Notes, r.Limits} {
		for _, t := range all {
			both("text", t)
		}
	}
	for _, p := range r.Published {
		both("published "+p.ID, p.Title)
		if !slices.Contains([]string{Back, Everything, Servers, Systems}, p.What) || p.Is == "" || p.Within < 0 {
			say("published %s: what is one of %s, %s, %s, %s; is names a number; within is a share", p.ID, Back, Everything, Servers, Systems)
		}
		if (p.What == Back) != (p.Service != "") || (p.What == Servers || p.What == Systems) != (p.At != "") {
			say("published %s: %s goes with service, %s and %s with at", p.ID, Back, Servers, Systems)
		}
	}
}
