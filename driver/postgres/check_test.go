package postgres

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/verify"
)

func TestACursorIsReadAsItWasWritten(t *testing.T) {
	for _, c := range []cursor{{phase: "pages"}, {"pages", "base/5/16384.1", 131071}, {"indexes", "5", 4294967295}, {phase: "done"}} {
		if got, err := parseCursor(c.String()); err != nil || got != c {
			t.Errorf("%q: %+v %v", c.String(), got, err)
		}
	}
	for _, start := range []string{"", " ", "\n"} {
		if c, err := parseCursor(start); err != nil || c != (cursor{phase: "pages"}) {
			t.Errorf("%q is no beginning: %+v %v", start, c, err)
		}
	}
	for _, bad := range []string{"tables", "pages base/5", "pages base/5 x", "pages ../../etc 1", "pages a b c", "indexes 5 1 2"} {
		if c, err := parseCursor(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, c)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("pages base/5/16384 12")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err != nil {
			return
		}
		if again, err := parseCursor(c.String()); err != nil || again != c {
			t.Errorf("%q: %+v, then %+v %v", s, c, again, err)
		}
	})
}

// Work is its share of all time, and bytes come at their rate, whichever is slower.
func TestAPaceBoundsShareAndRate(t *testing.T) {
	p, err := newPace(&agent.Pace{Share: 0.2, Rate: 100 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		worked time.Duration
		took   time.Duration
		bytes  int64
		want   time.Duration
	}{
		{100 * time.Millisecond, 100 * time.Millisecond, 0, 400 * time.Millisecond},
		{100 * time.Millisecond, 300 * time.Millisecond, 0, 200 * time.Millisecond}, // it waited for a processor
		{100 * time.Millisecond, time.Second, 0, 0},
		{100 * time.Millisecond, 100 * time.Millisecond, 100 << 20, 900 * time.Millisecond},
		{time.Second, time.Second, 100 << 20, 4 * time.Second},
		{0, 0, 0, 0},
	} {
		if got := p.after(c.worked, c.took, c.bytes).Round(time.Millisecond); got != c.want {
			t.Errorf("%v, %d bytes: %v, want %v", c.worked, c.bytes, got, c.want)
		}
	}
	for _, bad := range []agent.Pace{{Share: 2}, {Share: -1}, {Share: 0.001}, {Rate: 5}, {Rate: -1 << 30}} {
		if _, err := newPace(&bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if p, err := newPace(nil); err != nil || p.share != checkShare {
		t.Errorf("%+v %v", p, err)
	}
}

// A job ends by itself once its owner asks no more: whoever pauses, or has died, need not tell.
func TestAJobEndsOnceNobodyAsks(t *testing.T) {
	j := &checkJob{pace: pace{1, 1 << 40}, asked: time.Now().Add(-unasked - time.Second)}
	if err := j.rest(t.Context(), 0, 0, 0); err == nil {
		t.Error("it goes on")
	}
	j.ask()
	if err := j.rest(t.Context(), 0, 0, 0); err != nil {
		t.Error(err)
	}
}

func TestAJobNamesOnlySoMuch(t *testing.T) {
	j := &checkJob{}
	for range 3 * mostFound {
		j.found(verify.Finding{Kind: verify.Page})
	}
	if n := len(j.now().Found); n != mostFound+1 {
		t.Errorf("%d are named", n)
	}
}

// Small pieces of work are rested from together, and none of it is forgotten.
func TestRestIsTakenInOnePiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, owed, began := pace{0.2, 1 << 40}, time.Duration(0), time.Now()
		for range 12 {
			if err := p.rest(t.Context(), &owed, p.after(time.Millisecond, time.Millisecond, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if owed != 48*time.Millisecond || time.Since(began) != 0 {
			t.Errorf("%v are owed, %v were rested", owed, time.Since(began))
		}
		if err := p.rest(t.Context(), &owed, p.after(time.Millisecond, time.Millisecond, 0)); err != nil || owed != 0 || time.Since(began) != 52*time.Millisecond {
			t.Errorf("%v are owed, %v were rested: %v", owed, time.Since(began), err)
		}
	})
}
