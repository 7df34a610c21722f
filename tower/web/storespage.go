package web

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/situation"
)

// kept are the parts of the page Stores that change by themselves.
var kept = []string{"lacks", "copies"}

// storesPage is what the template of the page Stores draws.
type storesPage struct {
	Now   Now
	Drawn map[string]template.HTML // the sections
	Lives []history.Life
}

// livesWithin bounds how long the page waits for what only the quorum knows.
const livesWithin = 3 * time.Second

// eventsShown is how many events of a life the page shows; haechi history has all.
const eventsShown = 30

// stores draws what each store's members hold, what is missing, what was salvaged, and how it came
// to this. All but the last goes on by itself.
func (p *page) stores(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), livesWithin)
	defer cancel()
	n := Describe(p.desk.Now())
	v := storesPage{Now: n}
	for _, s := range n.Stores {
		life, err := p.desk.History(ctx, estate.StoreID(s.ID))
		if err != nil {
			life = history.Life{Store: estate.StoreID(s.ID), Gap: err.Error()}
		}
		v.Lives = append(v.Lives, life)
	}
	sections, err := p.sections(n)
	if err == nil {
		v.Drawn = trusted(sections)
		err = p.send(w, http.StatusOK, "storespage", v)
	}
	if err != nil {
		p.log.Error("draw the page Stores", "error", err)
		http.Error(w, "the page could not be drawn; the tower's log says why, and haechi status and haechi history have the same facts", http.StatusInternalServerError)
	}
}

// newestEvents are the last events of a life, the newest first.
func newestEvents(l history.Life) []history.Event {
	out := slices.Clone(l.Events[max(0, len(l.Events)-eventsShown):])
	slices.Reverse(out)
	return out
}

// newestReigns are those of a life, the newest first.
func newestReigns(l history.Life) []history.Reign {
	out := slices.Clone(l.Reigns)
	slices.Reverse(out)
	return out
}

// compared says what is known of whether all members hold the same.
func compared(n Now, s Store) string {
	switch {
	case s.Differs != "":
		return "its members do not hold the same: " + s.Differs
	case !s.Verified.IsZero():
		return "all members held the same " + span(n.At.Sub(s.Verified)) + " ago"
	}
	if s.Epoch <= 1 {
		return "not compared yet: haechi verify " + s.ID
	}
	return "never compared since a member came back: haechi verify " + s.ID
}

// comparedTone is its colour class.
func comparedTone(s Store) string {
	switch {
	case s.Differs != "":
		return string(Bad)
	case s.Verified.IsZero() && s.Epoch > 1:
		return string(Warn)
	case s.Verified.IsZero():
		return "idle"
	}
	return string(Fine)
}

// doing says how far a job is, in words.
func doing(j Job) string {
	var parts []string
	switch {
	case j.Of > 0:
		parts = append(parts, fmt.Sprintf("%s of %s", size(j.Bytes), size(j.Of)))
	case j.Bytes > 0:
		parts = append(parts, size(j.Bytes))
	}
	if j.ETAS >= 0 {
		parts = append(parts, "about "+span(time.Duration(j.ETAS*float64(time.Second)))+" more")
	}
	return strings.Join(parts, ", ")
}

// canaryLag says how far a member's canary is behind the primary's.
func canaryLag(m Member) string {
	if m.CanaryMS < 0 {
		return "?"
	}
	return short(m.CanaryMS)
}

// salvageTone is the colour class of what became of a salvage.
func salvageTone(s situation.Salvage) string {
	switch s.State {
	case situation.SalvageOpen:
		return "warn"
	case situation.SalvageEmpty, situation.SalvageApplied:
		return "ok"
	case situation.SalvageDiscarded:
	}
	return "idle"
}

// salvageWords say what became of a salvage.
func salvageWords(s situation.Salvage) string {
	switch s.State {
	case situation.SalvageOpen:
		if s.Applied > 0 {
			return fmt.Sprintf("%s written back, %d to be decided", count.Of(s.Applied, "row"), s.Rows-s.Applied)
		}
		return "to be looked at"
	case situation.SalvageEmpty:
		return "nothing to decide"
	case situation.SalvageApplied:
		return fmt.Sprintf("%s written back by %s", count.Of(s.Applied, "row"), list(s.By))
	case situation.SalvageDiscarded:
		return "given up by " + list(s.By)
	}
	return string(s.State)
}

// happened spells what happened to a store.
func happened(w history.What) string { return strings.ReplaceAll(string(w), "-", " ") }

// whatTone is the colour class of what happened.
func whatTone(w history.What) string {
	switch w {
	case history.Returned, history.Verified, history.Applied, history.Together:
		return "ok"
	case history.Salvaged, history.Rejoined:
		return "act"
	case history.Differs, history.Accepted, history.Failed:
		return "bad"
	case history.Fenced, history.Alone, history.Unproven, history.Unsettled, history.CountedOut:
		return "warn"
	case history.Discarded:
	}
	return "idle"
}

// sign is the mark of a colour class.
func sign(class string) string {
	return map[string]string{"ok": "●", "act": "▶", "warn": "▲", "bad": "■"}[class]
}
