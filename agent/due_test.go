package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/pki"
)

// timed gives a server a clock that shows what *now says.
func timed(s *Server, now *time.Duration) *Server {
	s.clock.now = func() time.Duration { return *now }
	return s
}

// sent is an order that the agent's caller sent at an instant of the agent's clock.
func sent(s *Server, at, within time.Duration) Order {
	o := order(Seal, 1, 1)
	o.Life, o.Sent, o.Within = s.clock.life, at, within
	return o
}

func TestAnOrderThatIsReadLateIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		read   time.Duration // when the agent reads what was sent at 1 s
		within time.Duration
		life   string
		code   Code
	}{
		"in time":                              {1100 * time.Millisecond, time.Second, "", ""},
		"at its end":                           {2 * time.Second, time.Second, "", Late},
		"long after":                           {30 * time.Second, time.Second, "", Late},
		"from before the agent began":          {1100 * time.Millisecond, time.Second, "another", Late},
		"in time, and the agent stood still":   {4 * time.Second, time.Minute, "", Late},
		"in time, and the agent was just slow": {2900 * time.Millisecond, time.Minute, "", ""},
	} {
		u, now := &fakeUnit{}, time.Second
		s := timed(host(t, t.TempDir(), u), &now)
		s.clock.read()
		o := sent(s, now, c.within)
		if c.life != "" {
			o.Life = c.life
		}
		now = c.read
		if a := s.Carry(t.Context(), o); a.Code != c.code || (c.code == "") != (len(u.acts) == 1) || c.code == Late && a.Term != 0 {
			t.Errorf("%s: %+v, acts %v", name, a, u.acts)
		}
	}
}

// A stopped process goes on where it was, and its timers run a moment later.
func TestAnOrderInWhichTheAgentWasStoppedGoesNoFurther(t *testing.T) {
	for name, c := range map[string]struct {
		stopped, within time.Duration
		late            bool
	}{
		"not at all":                   {0, time.Second, false},
		"until its time was over":      {1100 * time.Millisecond, time.Second, true},
		"so long that callers hang up": {10 * time.Second, time.Minute, true},
	} {
		now, got := time.Second, errors.New("not asked")
		u := &fakeUnit{do: func(ctx context.Context, _ Order, _ *Memory) (map[string]string, error) {
			if err := Wanted(ctx); err != nil {
				t.Errorf("%s: before: %v", name, err)
			}
			now += c.stopped
			if ctx.Err() != nil {
				t.Errorf("%s: the test waited", name)
			}
			got = Wanted(ctx)
			return nil, got
		}}
		s := timed(host(t, t.TempDir(), u), &now)
		s.clock.read()
		s.Carry(t.Context(), sent(s, now, c.within))
		if errors.Is(got, ErrLate) != c.late || !c.late && got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What is sent after the agent stood still is carried out: only what came before is late.
func TestAfterStandingStillNewOrdersAreTaken(t *testing.T) {
	u, now := &fakeUnit{}, time.Second
	s := timed(host(t, t.TempDir(), u), &now)
	before := sent(s, now, time.Minute)
	now = 40 * time.Second
	after := sent(s, s.clock.read(), time.Minute)
	if a := s.Carry(t.Context(), before); a.Code != Late {
		t.Errorf("from before: %+v", a)
	}
	if a := s.Carry(t.Context(), after); a.Code != "" {
		t.Errorf("from after: %+v", a)
	}
}

// By whatever way the caller learned of the agent's clock: the order ends when the caller's patience
// does, or before.
func TestAnOrderNeverEndsLaterThanItsCallerWants(t *testing.T) {
	const ahead = 7 * time.Hour // of the agent's clock
	start := time.Now()
	for answerTook := time.Duration(0); answerTook <= time.Second; answerTook += 100 * time.Millisecond {
		for age := time.Duration(0); age < 2*readingLasts; age += 7 * time.Second {
			r := reading{life: "x", clock: ahead, at: start.Add(answerTook)} // shown at start
			now := r.at.Add(age)
			o := r.stamp(order(Seal, 1, 1), now, time.Second)
			if age >= readingLasts {
				if o.Life != "" {
					t.Fatalf("a reading of %v ago was used", age)
				}
				continue
			}
			truth := ahead + now.Add(time.Second).Sub(start)
			if end := o.Sent + o.Within; end > truth || end < truth-answerTook {
				t.Fatalf("ends at %v, the caller gives up at %v", end, truth)
			}
		}
	}
}

func TestTheWireWantsToKnowUntilWhen(t *testing.T) {
	w := newWorld(t)
	f := w.files(w.ca, pki.Tower, "tower-1")
	conf, err := pki.ClientTLS(f, pki.Named(pki.Agent, "db-1"))
	check(t, err)
	c := newClient("db-1", w.addr, conf)
	t.Cleanup(c.Close)
	post := func(body string) string {
		resp, err := c.http.Post("https://"+w.addr+"/v1/order", "application/json", strings.NewReader(body))
		check(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		check(t, err)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s", resp.Status)
		}
		return string(raw)
	}
	if got := post(`{"version":1,"verb":"seal","unit":"db","term":1,"epoch":1}`); !strings.Contains(got, `"code":"late"`) || len(w.unit.acts) > 0 {
		t.Errorf("%s, acts %v", got, w.unit.acts)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Call(ctx, order(Seal, 1, 1)); err != nil { // the first order finds the clock out
		t.Error(err)
	}
	c.clock.life = "of an agent that is gone"
	if _, err := c.Call(ctx, order(Seal, 1, 1)); err != nil {
		t.Error(err)
	}
	if n := len(w.unit.acts); n != 2 {
		t.Fatalf("%d acts, want 2", n)
	}
	if o := w.unit.acts[1]; o.Within <= 0 || o.Within > 10*time.Second {
		t.Errorf("within %v", o.Within)
	}
}
