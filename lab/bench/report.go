// Package bench does many trials and says what came of them: fires and
// evacuations of haechi, the same fires of Patroni, and what haechi costs at rest.
package bench

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/haechi/haechi/lab/trial"
)

// Report is what a bench writes to its file, after every trial.
type Report struct {
	Begun    time.Time         `json:"begun"`
	Machine  Machine           `json:"machine"`
	Seed     uint64            `json:"seed"`
	Clients  int               `json:"clients"`
	Rate     float64           `json:"rate"`
	Settings map[string]string `json:"settings"` // of what was tried, by its name
	Trials   []Trial           `json:"trials"`
	Rest     map[string]Rest   `json:"rest,omitempty"`    // by profile
	Summary  []Summary         `json:"summary,omitempty"` // of the trials so far
	Numbers  []Number          `json:"numbers,omitempty"` // against what is asked
}

// Kinds of trial.
const (
	FireTogether = "fire, together" // primary, etcd's leader and driver burn
	FireApart    = "fire, apart"    // the primary burns; etcd's leader and driver stand elsewhere
	Evacuation   = "evacuation"
)

// Trial is one of them.
type Trial struct {
	System  string        `json:"system"` // "haechi, fast", "patroni, tightest"
	Kind    string        `json:"kind"`
	Number  int           `json:"number"`           // from 1, in its kind
	Failed  string        `json:"failed,omitempty"` // why nothing was measured
	Figures trial.Figures `json:"figures"`
}

// Summary is what the trials of one kind have in common.
type Summary struct {
	System       string `json:"system"`
	Kind         string `json:"kind"` // "fire" stands for both kinds of fire
	Trials       int    `json:"trials"`
	Failed       int    `json:"failed"`   // nothing was measured
	Troubled     int    `json:"troubled"` // measured, but not all went as it should
	Acknowledged int    `json:"acknowledged"`
	Lost         int    `json:"lost"`
	Duplicated   int    `json:"duplicated"`
	OutOfOrder   int    `json:"out_of_order"`

	FirstAck     Spread `json:"first_ack_s"`
	AllServed    Spread `json:"all_served_s"`
	LongestPause Spread `json:"longest_pause_s"`

	// Where the time to the first acknowledgement goes; each from the end of the one before.
	Detection Spread `json:"detection_s"` // the fire until the verdict
	Decision  Spread `json:"decision_s"`  // until the run is opened
	Seal      Spread `json:"seal_s"`      // until the old side is sealed
	Promotion Spread `json:"promotion_s"` // until PostgreSQL begins its new timeline; of Patroni since the fire
	Reconnect Spread `json:"reconnect_s"` // until a client is acknowledged
}

// Spread is a median with the best and the worst, in seconds.
type Spread struct {
	Median trial.Seconds `json:"median"`
	Best   trial.Seconds `json:"best"`
	Worst  trial.Seconds `json:"worst"`
}

// spread is worst where it did not happen at all.
func spread(all []trial.Seconds) Spread {
	if len(all) == 0 {
		return Spread{trial.Never, trial.Never, trial.Never}
	}
	order := slices.SortedFunc(slices.Values(all), func(a, b trial.Seconds) int {
		return cmp.Or(cmp.Compare(b2i(a < 0), b2i(b < 0)), cmp.Compare(a, b))
	})
	low, high := order[(len(order)-1)/2], order[len(order)/2]
	out := Spread{Median: (low + high) / 2, Best: order[0], Worst: order[len(order)-1]}
	if high == trial.Never {
		out.Median = trial.Never
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// String writes 1.23 / 2.34, median and worst.
func (s Spread) String() string { return fmt.Sprintf("%s / %s", clock(s.Median), clock(s.Worst)) }

func clock(s trial.Seconds) string {
	if s == trial.Never {
		return "–"
	}
	return fmt.Sprintf("%.2f s", float64(s))
}

// between is the time from one instant to a later one, where both happened.
func between(from, to trial.Seconds) []trial.Seconds {
	if from < 0 || to < 0 {
		return nil
	}
	return []trial.Seconds{max(0, to-from)}
}

// summarise sums up the trials that ok likes.
func summarise(system, kind string, trials []Trial, ok func(Trial) bool) Summary {
	s := Summary{System: system, Kind: kind}
	var firsts, alls, pauses, detections, decisions, seals, promotions, reconnects []trial.Seconds
	for _, t := range trials {
		if t.System != system || !ok(t) {
			continue
		}
		s.Trials++
		if t.Failed != "" {
			s.Failed++
			continue
		}
		f := t.Figures
		s.Acknowledged, s.Lost = s.Acknowledged+f.Acknowledged, s.Lost+f.Lost+f.Changed
		s.Duplicated, s.OutOfOrder = s.Duplicated+f.Duplicated, s.OutOfOrder+f.OutOfOrder
		if t.Kind == Evacuation && f.Promoted == trial.Never {
			s.Failed++ // nothing moved, so a short pause is none of ours
			continue
		}
		if len(f.Trouble) > 0 {
			s.Troubled++
		}
		firsts, alls, pauses = append(firsts, f.FirstAck), append(alls, f.AllServed), append(pauses, f.LongestPause)
		detections = append(detections, between(0, f.Verdict)...)
		decisions = append(decisions, between(f.Verdict, f.Opened)...)
		seals = append(seals, between(f.Opened, f.Sealed)...)
		promotions = append(promotions, between(max(0, f.Sealed), f.Writable)...)
		reconnects = append(reconnects, between(f.Writable, f.FirstAck)...)
	}
	s.FirstAck, s.AllServed, s.LongestPause = spread(firsts), spread(alls), spread(pauses)
	s.Detection, s.Decision, s.Seal = spread(detections), spread(decisions), spread(seals)
	s.Promotion, s.Reconnect = spread(promotions), spread(reconnects)
	return s
}

func fires(t Trial) bool { return t.Kind == FireTogether || t.Kind == FireApart }

// sum fills in the summary of everything so far.
func (r *Report) sum() {
	r.Summary, r.Numbers = nil, nil
	var systems []string
	for _, t := range r.Trials {
		if !slices.Contains(systems, t.System) {
			systems = append(systems, t.System)
		}
	}
	for _, system := range systems {
		for _, k := range []struct {
			kind string
			ok   func(Trial) bool
		}{
			{"fire", fires},
			{FireTogether, func(t Trial) bool { return t.Kind == FireTogether }},
			{FireApart, func(t Trial) bool { return t.Kind == FireApart }},
			{Evacuation, func(t Trial) bool { return t.Kind == Evacuation }},
		} {
			if s := summarise(system, k.kind, r.Trials, k.ok); s.Trials > 0 {
				r.Summary = append(r.Summary, s)
			}
		}
	}
	r.Numbers = numbers(*r)
}

// of is one summary; the zero value where there is none.
func (r Report) of(system, kind string) (Summary, bool) {
	for _, s := range r.Summary {
		if s.System == system && s.Kind == kind {
			return s, s.Trials > s.Failed
		}
	}
	return Summary{}, false
}

// has says whether a trial was done before.
func (r Report) has(system, kind string, number int) bool {
	return slices.ContainsFunc(r.Trials, func(t Trial) bool {
		return t.System == system && t.Kind == kind && t.Number == number && t.Failed == ""
	})
}

// Load reads a report that was begun; an empty one if there is none.
func Load(path string) (r Report, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Report{}, nil
	}
	if err != nil {
		return Report{}, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// save writes the report so that a reader sees the old one or the new one.
func (r *Report) save(path string) error {
	r.sum()
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
