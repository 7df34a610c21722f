package tower

import (
	"os"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/state"
)

// What was foreseen while all was calm stands beside the run that came, and is not made anew after it.
func TestARunIsHeldBesideWhatWasForeseen(t *testing.T) {
	f := foresight{dir: t.TempDir()}
	b := &beliefs{estate: parsed(t, stood)}
	b.snap.Estate.Version = 3
	calm := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	must(t, f.foresee(b, calm))

	s, err := simulate.New(b.estate, []string{"a"}, b.model())
	must(t, err)
	p := s.Plans()[0]
	at := calm.Add(time.Hour)
	events := []run.Event{{Run: "r-1", Seq: 1, Kind: run.Opened, At: at, Plan: &p}}
	for _, step := range p.Steps {
		events = append(events, run.Event{Run: "r-1", Kind: run.Ended, Step: step.ID, Outcome: run.Done, At: at.Add(30 * time.Second)})
	}
	b.snap.Runs = map[run.ID][]run.Event{"r-1": events}
	b.snap.Index = map[run.ID]state.RunInfo{"r-1": {ID: "r-1", Kind: plan.LoseSite, Subject: "a", Opened: at}}
	must(t, f.foresee(b, at))
	if f.of("r-1") != nil {
		t.Error("a run that is open is held beside its forecast")
	}
	must(t, os.RemoveAll(f.dir))
	must(t, f.foresee(b, calm))
	b.snap.Index["r-1"] = state.RunInfo{ID: "r-1", Kind: plan.LoseSite, Subject: "a", Opened: at, Closed: at.Add(time.Minute), Why: "done"}
	must(t, f.foresee(b, at.Add(2*time.Minute)))
	must(t, f.foresee(b, at.Add(3*time.Minute)))
	got := f.of("r-1")
	if got == nil || !got.At.Equal(calm) || got.Version != 3 || len(got.Steps) == 0 || got.Forecast.Hash == "" {
		t.Fatalf("%+v", got)
	}
	for _, x := range got.Steps {
		if x.Took != 30 || !x.Late || x.P50 <= 0 {
			t.Errorf("%+v", x)
		}
	}
	if f.of("r-2") != nil {
		t.Error("something was foreseen of a run that never was")
	}
}

// A tower whose directory is full of nonsense says so, and foresees anew.
func TestBrokenForecastsAreSaid(t *testing.T) {
	f := foresight{dir: t.TempDir()}
	b := &beliefs{estate: parsed(t, stood)}
	must(t, os.WriteFile(f.ofSite("a"), []byte("{"), 0o600))
	if err := f.foresee(b, time.Unix(0, 0)); err == nil {
		t.Error("it is not said that a forecast cannot be read")
	}
	must(t, f.foresee(b, time.Unix(0, 0)))
	if (foresight{}).of("r-1") != nil {
		t.Error("a tower without a directory has foreseen something")
	}
}
