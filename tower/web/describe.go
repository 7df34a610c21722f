package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// Describe returns n with what follows from it: the headline, and the warnings that
// its other fields amount to, the worst first. It changes nothing that n points to.
func Describe(n Now) Now {
	n.Headline = headline(n)
	n.Warnings = slices.Concat(n.Warnings, quorumWarnings(n), consentWarnings(n), hostWarnings(n), storeWarnings(n), observerWarnings(n))
	slices.SortStableFunc(n.Warnings, func(a, b Warning) int { return badness(b.Severity) - badness(a.Severity) })
	return n
}

func badness(l Level) int { return slices.Index([]Level{Fine, Acting, Warn, Bad}, l) }

// headline picks the one thing that a person has to know first.
func headline(n Now) Headline {
	for _, say := range []func(Now) (Headline, bool){
		sayQuorum, sayAsking, sayRunning, sayWrites, saySites, sayAlone, sayDead, sayHeld, sayDisarmed, sayComparing,
	} {
		if h, yes := say(n); yes {
			return h
		}
	}
	return Headline{Fine, allUp(n), stores(n)}
}

func allUp(n Now) string {
	if len(n.Sites) == 0 {
		return "NO ESTATE YET"
	}
	return "ALL SITES UP"
}

func sayQuorum(n Now) (Headline, bool) {
	if n.Quorum.Have {
		return Headline{}, false
	}
	text := "NO QUORUM"
	if gone := troubled(n); len(gone) > 0 {
		text = strings.Join(gone, ", ") + " — " + text
	}
	return Headline{Bad, text, join(n.Tower+" starts nothing", n.Quorum.Why, "what it watches over goes on without it")}, true
}

func sayAsking(n Now) (Headline, bool) {
	for _, r := range n.Runs {
		if r.Open() && r.Status == RunAsking {
			return Headline{Bad, "A PERSON IS NEEDED", join(r.ID+" of "+r.Subject, r.Ask)}, true
		}
	}
	return Headline{}, false
}

func sayRunning(n Now) (Headline, bool) {
	for _, r := range n.Runs {
		if r.Open() && plan.Kind(r.Kind) != plan.VerifyAll {
			return Headline{urgency(n, r), cause(n, r), join("haechi acts", runStatus(r), progress(r))}, true
		}
	}
	return Headline{}, false
}

// sayComparing comes last: a comparison takes hours, changes nothing, and must hide nothing.
func sayComparing(n Now) (Headline, bool) {
	for _, r := range n.Runs {
		if r.Open() {
			return Headline{Acting, allUp(n), join("comparing "+r.Subject, runStatus(r), progress(r))}, true
		}
	}
	return Headline{}, false
}

// urgency is Bad while a store stands still because of what the run is about.
func urgency(n Now, r Run) Level {
	switch plan.Kind(r.Kind) {
	case plan.LoseSite, plan.LoseStore:
		for _, s := range n.Stores {
			if s.Writes != WritesAcknowledged && s.Writes != WritesAlone {
				return Bad
			}
		}
	}
	return Acting
}

func runStatus(r Run) string {
	if r.Status == RunRunning {
		return ""
	}
	return r.ID + " is " + r.Status
}

// cause says what a run is about, as loudly as a headline has to.
func cause(n Now, r Run) string {
	subject := strings.ToUpper(r.Subject)
	switch plan.Kind(r.Kind) {
	case plan.LoseSite, plan.CutUsers:
		for _, s := range n.Sites {
			if s.ID == r.Subject {
				return subject + " " + strings.ToUpper(stateWords(s.State))
			}
		}
		return subject + " LOST"
	case plan.LoseStore:
		return subject + ": PRIMARY DEAD"
	case plan.Evacuate:
		return "EVACUATING " + subject
	case plan.Failover:
		return "MOVING " + subject
	case plan.FenceOld:
		return subject + ": FENCING THE OLD PRIMARY"
	case plan.LevelDNS:
		return subject + ": BRINGING NAMES LEVEL"
	case plan.GoAlone:
		return subject + " GOES ON ALONE"
	case plan.EndAlone:
		return subject + " IS NO LONGER ALONE"
	case plan.CloseReads:
		return subject + ": READS END HERE"
	case plan.OpenReads:
		return subject + ": READS AGAIN"
	case plan.LetGo:
		return subject + ": A MEMBER WAS LEFT SEALED"
	case plan.AdoptNew:
		return "ADOPTING " + subject
	case plan.Serve:
		return subject + ": USERS COME BACK"
	case plan.Recover:
		return subject + " COMES BACK"
	case plan.BringBack:
		return subject + ": A MEMBER COMES BACK"
	case plan.Uncount:
		return subject + ": A MEMBER IS COUNTED OUT"
	case plan.VerifyAll:
		return "COMPARING THE MEMBERS OF " + subject
	case plan.Restore:
		return subject + ": SALVAGED ROWS ARE WRITTEN"
	case plan.GiveUp:
		return subject + ": A SALVAGE IS GIVEN UP"
	case plan.Reseat:
		return "RE-SEATING THE TOWERS"
	}
	return strings.ToUpper(r.Kind) + " " + subject
}

// progress says which step a run is at.
func progress(r Run) string {
	for _, s := range r.Steps {
		if s.State == StepRunning || s.State == StepUnknown {
			return fmt.Sprintf("step %d of %d: %s %s, %.1f s", s.ID, len(r.Steps), s.Verb, s.Component, s.Seconds)
		}
	}
	done := 0
	for _, s := range r.Steps {
		if s.State == StepDone {
			done++
		}
	}
	return fmt.Sprintf("%d of %d steps done", done, len(r.Steps))
}

func sayWrites(n Now) (Headline, bool) {
	for _, s := range n.Stores {
		switch s.Writes {
		case WritesWaiting:
			return Headline{Bad, strings.ToUpper(s.ID) + " WRITES WAIT", join(list(troubled(n)), "too few other members hold them, so nobody is told that they are safe")}, true
		case WritesNone:
			return Headline{Bad, strings.ToUpper(s.ID) + " HAS NO PRIMARY", join(list(troubled(n)), "nothing can be written")}, true
		}
	}
	return Headline{}, false
}

func saySites(n Now) (Headline, bool) {
	gone := troubled(n)
	if len(gone) == 0 {
		return Headline{}, false
	}
	level := Warn
	if len(gone) > 1 {
		level = Bad
	}
	return Headline{level, list(gone), stores(n)}, true
}

// troubled names the sites that are not up, with their state.
func troubled(n Now) (out []string) {
	for _, s := range n.Sites {
		if s.State != string(situation.Up) {
			out = append(out, strings.ToUpper(s.ID+" "+stateWords(s.State)))
		}
	}
	return out
}

func sayAlone(n Now) (Headline, bool) {
	for _, s := range n.Stores {
		if s.Alone || s.Writes == WritesAlone {
			return Headline{Warn, strings.ToUpper(s.ID) + " IS ALONE", "its writes stand on " + s.Primary + " only, under a mandate: if that is lost now, so are they"}, true
		}
	}
	return Headline{}, false
}

func sayDead(n Now) (Headline, bool) {
	for _, s := range n.Sites {
		for _, t := range s.Targets {
			if t.State == string(situation.Dead) {
				return Headline{Warn, strings.ToUpper(s.ID + ": " + t.Kind + " dead"), join(t.Component+" does not answer, its site lives", stores(n))}, true
			}
		}
	}
	return Headline{}, false
}

func sayHeld(n Now) (Headline, bool) {
	if len(n.Holds) == 0 {
		return Headline{}, false
	}
	return Headline{Warn, "HELD", join(allUp(n), "haechi acts on nothing until the hold is released")}, true
}

func sayDisarmed(n Now) (Headline, bool) {
	if len(n.Armed) > 0 || len(n.Sites) == 0 {
		return Headline{}, false
	}
	return Headline{Warn, "ALL SITES UP, DISARMED", join("haechi only says what it would do", stores(n))}, true
}

// stores says in one line where every store is and whether it writes.
func stores(n Now) string {
	var parts []string
	for _, s := range n.Stores {
		switch {
		case s.Epoch == 0:
			parts = append(parts, s.ID+" is not adopted")
		default:
			parts = append(parts, s.ID+" in "+primarySite(s)+", "+writesWords(s.Writes))
		}
	}
	return strings.Join(parts, "; ")
}

func primarySite(s Store) string {
	for _, m := range s.Members {
		if m.ID == s.Primary {
			return m.Site
		}
	}
	return s.Primary
}

func quorumWarnings(n Now) []Warning {
	if n.Quorum.Have {
		return nil
	}
	return []Warning{{Severity: Bad, Text: "no quorum: " + n.Quorum.Why, Do: "bring a tower in another site back; until then haechi starts nothing, and only people can move anything, by hand"}}
}

func consentWarnings(n Now) (out []Warning) {
	if len(n.Armed) == 0 && len(n.Sites) > 0 {
		out = append(out, Warning{Severity: Warn, Text: "disarmed: what haechi would do is journaled, nothing is done", Do: "haechi arm '*', once the journal convinces you"})
	}
	for _, h := range n.Holds {
		out = append(out, Warning{Severity: Warn, Text: "held by " + h.By + ": " + h.Why, Do: "haechi hold --release", Since: h.Since})
	}
	return out
}

// EndHeld is what to do about a host that is held.
const EndHeld = "remove the hold file on that host (hold_file in its agent's file), once it is safe"

func hostWarnings(n Now) (out []Warning) {
	for _, s := range n.Sites {
		for _, t := range s.Targets {
			if t.Held {
				out = append(out, Warning{Severity: Warn, Text: "the host of agent " + t.Component + " is held: it carries nothing out", Do: EndHeld})
			}
		}
	}
	return out
}

func storeWarnings(n Now) (out []Warning) {
	for _, s := range n.Stores {
		if s.Epoch == 0 {
			out = append(out, Warning{Severity: Warn, Text: s.ID + " is not adopted: it is watched, and not moved", Do: "haechi adopt " + s.ID})
		}
		for _, u := range s.Unmet {
			out = append(out, Warning{Severity: Warn, Text: s.ID + ": " + u})
		}
		if s.Differs != "" {
			out = append(out, Warning{Severity: Bad, Text: s.ID + ": its members do not hold the same: " + s.Differs,
				Do: Mend(s.ID)})
		}
		if n := openSalvages(s); n > 0 {
			out = append(out, Warning{Severity: Warn, Text: fmt.Sprintf("%s: salvages with rows that nobody has decided about: %d", s.ID, n), Do: "haechi salvage list"})
		}
		for _, m := range s.Members {
			if m.LagBytes >= situation.FarBehind {
				out = append(out, Warning{Severity: Warn, Text: fmt.Sprintf("%s: %s is %s behind %s: until it has caught up one copy less is whole", s.ID, m.ID, size(m.LagBytes), s.Primary),
					Do: "see what holds it up: the link, its disk, or a reader"})
			}
		}
	}
	return out
}

// Mend is what to do about a store whose members do not hold the same.
func Mend(store string) string {
	return fmt.Sprintf("who is right a person decides, and mends it on the primary, or has the follower copied: haechi rejoin %s MEMBER --anew; then haechi verify %s", store, store)
}

// openSalvages counts those that people have to look at.
func openSalvages(s Store) (n int) {
	for _, x := range s.Salvages {
		if x.State == situation.SalvageOpen {
			n++
		}
	}
	return n
}

// observerSilence is how long an observer may say nothing before people are told.
const observerSilence = 10 * time.Second

func observerWarnings(n Now) (out []Warning) {
	for _, o := range n.Observers {
		switch {
		case o.SilentMS < 0:
			out = append(out, Warning{Severity: Warn, Text: "never heard from observer " + o.ID})
		case o.SilentMS > observerSilence.Milliseconds():
			out = append(out, Warning{Severity: Warn, Text: "not heard from observer " + o.ID + " for " + span(time.Duration(o.SilentMS)*time.Millisecond)})
		}
	}
	return out
}

// stateWords spells a state as people say it.
func stateWords(state string) string {
	switch situation.State(state) {
	case situation.CutOff:
		return "cut off from users"
	}
	return state
}

func list(all []string) string { return strings.Join(all, ", ") }

// join makes one line of those parts that say something.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " — ")
}

// span writes a duration for people: "0.4 s", "12 s", "3 min", "2 h 5 min", "4 d".
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}
