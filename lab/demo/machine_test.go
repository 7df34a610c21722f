package demo

import (
	"testing"
	"time"
)

func TestClientsFitTheMachine(t *testing.T) {
	for _, c := range []struct {
		asked   Options
		page    time.Duration
		clients int
		rate    float64
		slow    bool
	}{
		{Options{}, 500 * time.Nanosecond, 200, 500, false},
		{Options{}, 12 * time.Microsecond, 40, 120, true},
		{Options{Clients: 200, Rate: 500}, 12 * time.Microsecond, 200, 500, false},
		{Options{Rate: 500}, 12 * time.Microsecond, 40, 500, true},
	} {
		o := c.asked
		if o.fit(c.page); o.Clients != c.clients || o.Rate != c.rate || o.slow != c.slow {
			t.Errorf("%+v at %v a page: %+v", c.asked, c.page, o)
		}
	}
}
