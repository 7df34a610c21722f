package web

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Unix(1_800_000_000, 0)

func after(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }

// values returns the points of the second that ends so many seconds after noon; -1 is not known.
func values(r Rate) (out []float64) {
	for _, v := range r.PerSecond {
		if v == nil {
			out = append(out, -1)
		} else {
			out = append(out, *v)
		}
	}
	return out
}

func TestRateMeter(t *testing.T) {
	type in struct {
		source string
		at     float64
		count  float64
	}
	for name, c := range map[string]struct {
		in   []in
		at   float64
		want []float64 // four points of half a second
	}{
		"SumsSources":           {[]in{{"a", 0, 0}, {"b", 0, 100}, {"a", 2, 20}, {"b", 2, 140}}, 2.9, []float64{30, 30, 30, 30}},
		"NothingReadIsNil":      {nil, 2.9, []float64{-1, -1, -1, -1}},
		"FirstReadingIsNoJump":  {[]in{{"a", 1, 1e6}, {"a", 2, 1e6}}, 2.9, []float64{-1, -1, 0, 0}},
		"RestartCountsFromZero": {[]in{{"a", 0, 500}, {"a", 1, 600}, {"a", 2, 50}}, 2.9, []float64{100, 100, 50, 50}},
		"SilenceIsUnknown":      {[]in{{"a", 0, 0}, {"a", 1, 10}}, 2.9, []float64{10, 10, -1, -1}},
		"LateReadingIsSpread":   {[]in{{"a", 0, 0}, {"a", 2, 40}}, 2.9, []float64{20, 20, 20, 20}},
		"DeadSourceAddsNothing": {[]in{{"a", 0, 0}, {"b", 0, 0}, {"a", 1, 10}, {"b", 1, 10}, {"b", 2, 20}}, 2.9, []float64{20, 20, 10, 10}},
		"OldReadingIsIgnored":   {[]in{{"a", 0, 0}, {"a", 2, 40}, {"a", 1, 30}, {"a", 2, 90}}, 2.9, []float64{20, 20, 20, 20}},
		"NonsenseIsIgnored":     {[]in{{"a", 0, 0}, {"a", 1, math.NaN()}, {"a", 1.5, -3}, {"a", 2, 40}}, 2.9, []float64{20, 20, 20, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			m := NewRateMeter(500*time.Millisecond, 2*time.Second)
			for _, r := range c.in {
				m.Read(r.source, after(r.at), r.count)
			}
			got := values(m.Rate(after(c.at)))
			if len(got) != len(c.want) {
				t.Fatalf("%d points, want %d", len(got), len(c.want))
			}
			for i := range got {
				if math.Abs(got[i]-c.want[i]) > 0.05 {
					t.Fatalf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}

// Whatever the readings' times, what was counted in the window is what the points add up to.
func TestRateKeepsTheSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewRateMeter(500*time.Millisecond, 2*time.Minute)
		at, count := 0.0, 0.0
		m.Read("a", noon, 0)
		for range rapid.IntRange(1, 40).Draw(t, "readings") {
			at += rapid.Float64Range(0.01, 2).Draw(t, "later")
			count += float64(rapid.IntRange(0, 1000).Draw(t, "more"))
			m.Read("a", after(at), count)
		}
		sum := 0.0
		for _, v := range values(m.Rate(after(at + 2))) {
			sum += max(v, 0) * 0.5
		}
		if math.Abs(sum-count) > 0.05*240 { // points are rounded to a tenth
			t.Fatalf("points add up to %.1f, counted %.1f", sum, count)
		}
	})
}

// A tower that scrapes for months remembers two minutes.
func TestRateForgets(t *testing.T) {
	m := NewRateMeter(500*time.Millisecond, 2*time.Second)
	m.Read("gone", noon, 1)
	for i := range 10000 {
		m.Read("a", after(float64(i)), float64(i))
	}
	if len(m.slots) > 20 || len(m.last) != 1 {
		t.Errorf("keeps %d slots and %d sources", len(m.slots), len(m.last))
	}
}
