package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/lab/trial"
)

// story turns what haechi's page shows, again and again, into what is worth
// telling, each thing once. It is a fold: it asks nobody.
type story struct {
	begun  bool
	seq    uint64            // newest line of the journal that was told
	sites  map[string]string // state, as told
	steps  map[string]string // state, by run and step
	closed map[string]bool   // runs whose end was told
	jobs   map[string]string // phase, by store, member and job
}

func newStory() *story {
	return &story{sites: map[string]string{}, steps: map[string]string{}, closed: map[string]bool{}, jobs: map[string]string{}}
}

// opening says how things are before anything happens.
func opening(n trial.Page) (out []string) {
	var sites []string
	for _, s := range n.Sites {
		sites = append(sites, fmt.Sprintf("%s %s", s.ID, s.State))
	}
	out = append(out, "sites: "+strings.Join(sites, ", "))
	for _, s := range n.Stores {
		var followers []string
		for _, m := range s.Members {
			if m.ID != s.Primary {
				followers = append(followers, m.ID)
			}
		}
		out = append(out, fmt.Sprintf("%s (%s): primary %s, followers %s; %d of them must hold a message before its sender hears of it",
			s.ID, s.Engine, s.Primary, strings.Join(followers, " and "), s.Any))
		if len(s.Unmet) > 0 {
			out = append(out, s.ID+" is not as it must be: "+strings.Join(s.Unmet, "; "))
		}
	}
	return append(out, fmt.Sprintf("%s drives haechi, armed for %s, profile %s", n.Driver.Tower, strings.Join(n.Armed, " "), n.Profile))
}

// hear returns what is new. What was there at the first look is not.
func (s *story) hear(n trial.Page) (out []line) {
	for _, site := range n.Sites {
		if before := s.sites[site.ID]; before != site.State {
			s.sites[site.ID] = site.State
			if s.begun && (site.State != "up" || before != "") {
				out = append(out, believed(site.ID, site.State, site.Since, site.Because))
			}
		}
	}
	for _, l := range n.Journal {
		if l.Seq <= s.seq {
			continue
		}
		if s.seq = l.Seq; s.begun && (l.Kind == "decision" || l.Kind == "ask" || l.Kind == "premise") {
			out = append(out, line{at: l.At, word: "decides", text: decision(l.Text)})
		}
	}
	for _, r := range slices.Backward(n.Runs) {
		out = append(out, s.hearRun(r)...)
	}
	out = append(out, s.hearJobs(n)...)
	s.begun = true
	return out
}

// decision leaves the reasons to act on a lost site out: the verdict says them.
func decision(text string) string {
	if act, _, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "haechi starts ") && strings.Contains(act, string(plan.LoseSite)) {
		return act
	}
	return text
}

// believed says what haechi makes of a site, and on which sightings that rests.
func believed(site, state string, since time.Time, because []string) line {
	word := "verdict"
	if state == "suspect" || state == "unknown" {
		word = "sees"
	}
	return line{at: since, word: word, loud: word == "verdict", text: fmt.Sprintf("%s is %s: %s", site, strings.ToUpper(state), strings.Join(because, "; "))}
}

// hearJobs tells what agents are at that takes long, each phase once.
func (s *story) hearJobs(n trial.Page) (out []line) {
	for _, store := range n.Stores {
		for _, m := range store.Members {
			for _, j := range m.Jobs {
				key := store.ID + "/" + m.ID + "/" + j.What
				if s.jobs[key] == j.Phase {
					continue
				}
				if s.jobs[key] = j.Phase; s.begun {
					out = append(out, line{at: n.At, word: "agent", text: fmt.Sprintf("%s %s/%s: %s", j.What, store.ID, m.ID, j.Phase)})
				}
			}
		}
	}
	return out
}

func (s *story) hearRun(r trial.PageRun) (out []line) {
	if _, known := s.steps[r.ID]; !known {
		s.steps[r.ID] = "known"
		if s.begun {
			out = append(out, line{at: r.Started, word: "run", loud: true, text: fmt.Sprintf("%s begins: %s %s, %s, driven by %s", r.ID, r.Kind, r.Subject, count.Of(len(r.Steps), "step"), r.Driver)})
		}
	}
	for _, step := range r.Steps {
		key := fmt.Sprintf("%s/%d", r.ID, step.ID)
		if s.steps[key] == step.State {
			continue
		}
		s.steps[key] = step.State
		if s.begun && step.State != "waiting" && step.State != "running" {
			out = append(out, ended(step))
		}
	}
	if !r.Ended.IsZero() && !s.closed[r.ID] {
		s.closed[r.ID] = true
		if s.begun {
			out = append(out, line{at: r.Ended, word: "run", text: strings.TrimSuffix(fmt.Sprintf("%s is %s after %.2f s: %s", r.ID, r.Status, r.Ended.Sub(r.Started).Seconds(), r.Why), ": ")})
		}
	}
	return out
}

// ended is the end of one step.
func ended(s trial.PageStep) line {
	text := fmt.Sprintf("%-9s %-14s %5.2f s", s.Verb, s.Component, s.Seconds)
	if s.State != "done" {
		text += "  " + strings.ToUpper(s.State)
	}
	if s.Note != "" {
		text += "  " + s.Note
	}
	return line{at: s.Started.Add(time.Duration(s.Seconds * float64(time.Second))), word: "step", text: text}
}
