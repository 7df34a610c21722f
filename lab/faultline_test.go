package lab

import (
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

func TestLineIsReadFromWords(t *testing.T) {
	c, err := lineWords(strings.Fields("pangyo ansan delay=200ms jitter=5ms loss=0.05 rate=10000000"))
	if err != nil || c.From != "pangyo" || c.To != "ansan" || *c.Delay != 200*time.Millisecond || *c.Jitter != 5*time.Millisecond || *c.Loss != .05 || *c.Rate != 1e7 || c.Cut != nil {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"delay=200", "loss=much", "rate=", "speed=1", "ansan"} {
		if _, err := lineWords([]string{"pangyo", "ansan", bad}); err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The proof of a line rests on what was measured, so it must refuse what is not so.
func TestProbeTellsALineFromItsSettings(t *testing.T) {
	arrive := func(n int, from, to time.Duration) (s seen) {
		s = seen{sent: 300, rate: 6e6}
		for i := range n {
			s.took = append(s.took, from+(to-from)*time.Duration(i)/time.Duration(max(1, n-1)))
		}
		return s
	}
	ms := time.Millisecond
	for name, c := range map[string]struct {
		seen seen
		link wan.Link
		want string // "" is no error
	}{
		"as it should":     {arrive(300, 20*ms, 21*ms), wan.Link{Delay: 20 * ms}, ""},
		"too quick":        {arrive(300, 1*ms, 2*ms), wan.Link{Delay: 20 * ms}, "quicker"},
		"far too slow":     {arrive(300, 300*ms, 301*ms), wan.Link{Delay: 20 * ms}, "slower"},
		"lossy":            {arrive(270, 1*ms, 2*ms), wan.Link{Delay: ms, Loss: .1}, ""},
		"not lossy at all": {arrive(300, 1*ms, 2*ms), wan.Link{Delay: ms, Loss: .2}, "too few are lost"},
		"too lossy":        {arrive(200, 1*ms, 2*ms), wan.Link{Delay: ms, Loss: .1}, "too many are lost"},
		"jitter":           {arrive(300, 1*ms, 6*ms), wan.Link{Delay: ms, Jitter: 5 * ms}, ""},
		"no jitter":        {arrive(300, 1*ms, 1*ms), wan.Link{Delay: ms, Jitter: 5 * ms}, "the same time"},
		"no limit":         {arrive(300, 1*ms, 2*ms), wan.Link{Delay: ms, Rate: 1e6}, "more passes"},
		"dark":             {seen{sent: 300}, wan.Link{Delay: ms}, "nothing arrives"},
	} {
		if err := c.seen.agrees(c.link); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
