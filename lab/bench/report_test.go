package bench

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
)

func TestSpreadCountsWhatNeverHappenedAsWorst(t *testing.T) {
	for _, c := range []struct {
		all  []trial.Seconds
		want Spread
	}{
		{nil, Spread{trial.Never, trial.Never, trial.Never}},
		{[]trial.Seconds{3, 1, 2}, Spread{2, 1, 3}},
		{[]trial.Seconds{trial.Never, 1, 2}, Spread{2, 1, trial.Never}},
		{[]trial.Seconds{1, 2, 4, 9}, Spread{3, 1, 9}},
		{[]trial.Seconds{trial.Never, 1}, Spread{trial.Never, 1, trial.Never}},
		{[]trial.Seconds{trial.Never, trial.Never, 2}, Spread{trial.Never, 2, trial.Never}},
	} {
		if got := spread(c.all); got != c.want {
			t.Errorf("%v: %v", c.all, got)
		}
	}
}

func fireOf(system string, n int, first trial.Seconds) Trial {
	return Trial{System: system, Kind: FireTogether, Number: n, Figures: trial.Figures{
		Acknowledged: 3000, Verdict: first / 2, Opened: first/2 + .01, Sealed: first/2 + .1, Promoted: first, Writable: first - .1, FirstAck: first, AllServed: first + 1, LongestPause: first,
	}}
}

func TestReportSumsUpAndCompares(t *testing.T) {
	r := Report{Rest: map[string]Rest{"fast": {Tower: Cost{60, 4}, Agent: Cost{40, 1}}}, Trials: []Trial{
		fireOf("haechi, fast", 1, 1), fireOf("haechi, fast", 2, 1.1), fireOf("haechi, fast", 3, 5),
		fireOf(patroniTightest, 1, 22), {System: "haechi, fast", Kind: FireApart, Number: 4, Failed: "no"},
	}}
	path := filepath.Join(t.TempDir(), "out", "bench.json")
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	back, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	nearly := cmp.Comparer(func(a, b trial.Seconds) bool { return math.Abs(float64(a-b)) < 1e-4 })
	if diff := cmp.Diff(r.Summary, back.Summary, nearly); diff != "" {
		t.Error(diff)
	}
	if !back.has("haechi, fast", FireTogether, 2) || back.has("haechi, fast", FireApart, 4) {
		t.Error("a trial that measured nothing counts as done, or one that did does not")
	}
	got := map[string]string{}
	for _, n := range back.Numbers {
		got[n.Figure] = n.Reached
	}
	want := map[string]string{
		"fire: first acknowledgement, median": "goal", "fire: first acknowledgement, worst": "no", "fire: all clients served again, median": "goal",
		"messages lost, duplicated or out of order": "goal", "tower at rest: resident memory": "goal", "tower at rest: share of a core": "must",
		"agent at rest: resident memory": "no", "Patroni's write gap over ours, its tightest settings": "must",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestABenchThatFallsShortSaysInWhat(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*Trial)
		want  string // "" is no error
	}{
		"good":         {func(*Trial) {}, ""},
		"lost":         {func(t *Trial) { t.Figures.Lost = 2 }, "messages lost, duplicated or out of order: 2.00"},
		"slow":         {func(t *Trial) { t.Figures.FirstAck = 9 }, "fire: first acknowledgement, worst: 9.00 s, must be 4"},
		"not measured": {func(t *Trial) { t.Failed = "no" }, "haechi, fast, fire: 1 of 3 were not measured"},
	} {
		r := Report{Trials: []Trial{fireOf("haechi, fast", 1, 1), fireOf("haechi, fast", 2, 1), fireOf("haechi, fast", 3, 1)}}
		c.spoil(&r.Trials[2])
		r.sum()
		if err := r.Short(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestFiresAreWhatTheyAreCalled(t *testing.T) {
	p, a := lab.Pangyo, lab.Ansan
	for _, c := range []struct {
		now             trial.Standing
		together, apart bool
	}{
		{trial.Standing{Primary: p, Driver: p, Leader: p}, true, false},
		{trial.Standing{Primary: p, Driver: p, Leader: a}, false, false},
		{trial.Standing{Primary: p, Driver: a, Leader: a}, false, true},
		{trial.Standing{Primary: a, Driver: a, Leader: a}, false, false},
		{trial.Standing{Primary: p, Driver: a}, false, false}, // nobody knows who leads
	} {
		if got := stands(c.now, FireTogether, p); got != c.together {
			t.Errorf("%v together: %v", c.now, got)
		}
		if got := stands(c.now, FireApart, p); got != c.apart {
			t.Errorf("%v apart: %v", c.now, got)
		}
	}
}

func TestLoadOfNothingIsEmpty(t *testing.T) {
	if r, err := Load(filepath.Join(t.TempDir(), "none.json")); err != nil || len(r.Trials) != 0 {
		t.Error(r, err)
	}
}

func TestAnEvacuationThatMovedNothingIsNoShortPause(t *testing.T) {
	moved := Trial{System: "haechi, fast", Kind: Evacuation, Number: 1, Figures: trial.Figures{Acknowledged: 10, Promoted: 1, LongestPause: 0.5}}
	stayed := Trial{System: "haechi, fast", Kind: Evacuation, Number: 2, Figures: trial.Figures{Acknowledged: 10, Lost: 1, Promoted: trial.Never, LongestPause: 0.1}}
	s := summarise("haechi, fast", Evacuation, []Trial{moved, stayed}, func(Trial) bool { return true })
	if s.LongestPause.Median != 0.5 || s.Trials != 2 || s.Failed != 1 || s.Lost != 1 || s.Acknowledged != 20 {
		t.Errorf("%+v", s)
	}
}
