package probe

import (
	"cmp"
	"slices"
	"time"

	"github.com/haechi/haechi/core/situation"
)

// sheet is what a prober has seen. It asks no clock.
type sheet struct {
	p      situation.Profile
	rows   map[string]*row
	since  time.Time // when the last own stall ended
	stalls []stall   // of the last Silence
	dirty  bool      // something came back, or was seen for the first time
}

// row is what is known of one target.
type row struct {
	born    time.Time
	last    time.Time // of the last answer
	ever    bool
	newest  uint64 // number of the look that err is of
	refused bool
	why     string
	facts   map[string]string
	asked   uint64        // number of the look that facts are of
	said    time.Time     // when they were asked for
	took    time.Duration // by the last answer of what users use
	told    int           // how many limits the silence had crossed when it was last told
}

// stall is how late the loop was, and when.
type stall struct {
	at     time.Time
	lasted time.Duration
}

func newSheet(p situation.Profile, now time.Time) sheet {
	return sheet{p: p, rows: map[string]*row{}, since: now}
}

func (s *sheet) begin(target string, now time.Time) { s.rows[target] = &row{born: now} }

func (s *sheet) forget(target string) { delete(s.rows, target) }

// note takes in how a look ended, and says whether that has to be told, or counted with, at once.
// An answer counts however late it comes; a failure only if no later look has ended yet.
func (s *sheet) note(r result) (now bool) {
	w := s.rows[r.target.ID]
	if w == nil {
		return false
	}
	if r.err == nil {
		now = !w.ever || w.told > 0
		s.dirty = s.dirty || now
		w.ever, w.told = true, 0
		if r.at.After(w.last) {
			w.last = r.at
			if r.target.Kind == situation.KindGateway {
				w.took = r.at.Sub(r.began)
			}
		}
		if r.facts != nil && r.number >= w.asked {
			w.facts, w.asked, w.said = r.facts, r.number, r.began
		}
	}
	if r.number < w.newest {
		return now
	}
	was := w.refused
	w.newest, w.refused, w.why = r.number, false, ""
	if r.err != nil {
		w.refused, w.why = refused(r.err), explain(r.err)
	}
	return now || w.refused && !was // a refusal counts sooner than a silence
}

// stall takes in that the loop was late. After a stall that was too long all silences begin anew.
func (s *sheet) stall(late time.Duration, now time.Time) bool {
	s.stalls = slices.DeleteFunc(s.stalls, func(x stall) bool { return now.Sub(x.at) > s.p.Silence })
	if late < time.Millisecond {
		return false
	}
	s.stalls = append(s.stalls, stall{now, late})
	if late <= s.p.Stall {
		return false
	}
	s.since = now
	return true
}

// late is the longest stall of the last Silence.
func (s *sheet) late(now time.Time) (longest time.Duration) {
	for _, x := range s.stalls {
		if now.Sub(x.at) <= s.p.Silence {
			longest = max(longest, x.lasted)
		}
	}
	return longest
}

// from is since when a target is silent.
func (s *sheet) from(w *row) time.Time {
	at := s.since
	for _, t := range []time.Time{w.born, w.last} {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// limits are the silences at which a view is told at once, shortest first.
func (s *sheet) limits(w *row) []time.Duration {
	if w.refused {
		return []time.Duration{s.p.Refusal(), s.p.Silence}
	}
	return []time.Duration{s.p.Silence}
}

// well says that everything answered the looks of late.
func (s *sheet) well(now time.Time) bool {
	for _, w := range s.rows {
		if !w.ever || w.refused || now.Sub(s.from(w)) >= s.p.Rest+s.p.Every {
			return false
		}
	}
	return true
}

// changed says that something must be told at once, and takes note that it is.
func (s *sheet) changed(now time.Time) bool {
	changed := s.dirty
	s.dirty = false
	for _, w := range s.rows {
		if !w.ever {
			continue
		}
		crossed, silent := 0, now.Sub(s.from(w))
		for _, limit := range s.limits(w) {
			if silent >= limit {
				crossed++
			}
		}
		changed = changed || crossed > w.told
		w.told = max(crossed, w.told)
	}
	return changed
}

// crosses is when the next target crosses a limit, if that is before at; else at.
func (s *sheet) crosses(at time.Time) time.Time {
	for _, w := range s.rows {
		limits := s.limits(w)
		if !w.ever || w.told >= len(limits) {
			continue
		}
		if t := s.from(w).Add(limits[w.told]); t.Before(at) {
			at = t
		}
	}
	return at
}

// looks is everything that is seen, sorted by target.
func (s *sheet) looks(now time.Time) []situation.Look {
	out := make([]situation.Look, 0, len(s.rows))
	for id, w := range s.rows {
		from := s.from(w)
		waived := time.Duration(0)
		if w.ever {
			waived = max(0, from.Sub(w.last))
		}
		l := situation.Look{Target: id, Silent: max(0, now.Sub(from)), Waived: waived, Ever: w.ever, Refused: w.refused, Why: w.why, Facts: w.facts, Took: w.took}
		if w.facts != nil {
			l.Said = max(0, now.Sub(w.said))
		}
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b situation.Look) int { return cmp.Compare(a.Target, b.Target) })
	return out
}
