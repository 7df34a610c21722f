package tower

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/probe"
)

func TestATowerThatTakesViewsIsAskedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := situation.Target{ID: "ansan/tower/tower-ansan", Kind: situation.KindTower, Component: "tower-ansan"}
		asked, fails := 0, error(nil)
		direct := probe.LookFunc(func(context.Context, situation.Target) (map[string]string, error) {
			asked++
			return map[string]string{"seat": "voter"}, fails
		})
		took, takes := time.Now(), true
		l := seldom(direct, func(situation.Target) (time.Time, bool) { return took, takes })
		look := func() (map[string]string, error) { return l.Look(t.Context(), target) }

		if facts, err := look(); err != nil || facts["seat"] != "voter" || asked != 1 {
			t.Fatalf("what it says of itself is asked for first: %v, %v", facts, err)
		}
		time.Sleep(400 * time.Millisecond)
		took = time.Now().Add(-100 * time.Millisecond)
		_, err := look()
		part, ok := errors.AsType[*probe.Partly](err)
		if !ok || !part.At.Equal(took) || part.Facts != nil || asked != 1 {
			t.Errorf("it was heard when it took the view, and says nothing new: %v", err)
		}
		time.Sleep(askAnyway)
		if _, err := look(); err != nil || asked != 2 {
			t.Errorf("after %v it is asked again: %v", askAnyway, err)
		}
		takes = false
		for range 3 {
			if _, err := look(); err != nil || asked < 3 {
				t.Errorf("one that takes no views is asked each time: %v", err)
			}
		}
		takes, fails = true, errors.New("nobody there")
		time.Sleep(askAnyway)
		for before := asked; asked < before+2; {
			if _, err := look(); !errors.Is(err, fails) {
				t.Fatalf("who took a view, and does not answer when it is asked, does not pass for one that does: %v", err)
			}
		}
	})
}

func TestCountersAreReadSeldomWhileNobodyLooks(t *testing.T) {
	r, now := newRate(), time.Date(2022, 10, 15, 15, 19, 0, 0, time.UTC)
	if _, due := r.due(now.Add(-rateEvery), now); due {
		t.Error("nobody has looked")
	}
	if _, due := r.due(now.Add(-rateUnseen), now); !due {
		t.Error("the chart would have a gap")
	}
	r.at(now)
	if _, due := r.due(now, now.Add(rateEvery)); !due {
		t.Error("somebody looks")
	}
	if _, due := r.due(now.Add(rateSeen-rateEvery), now.Add(rateSeen)); due {
		t.Error("nobody looks any more")
	}
}
