package probe_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/probe"
)

// callFunc is an agent.
type callFunc func(ctx context.Context, o agent.Order) (agent.Answer, error)

func (f callFunc) Call(ctx context.Context, o agent.Order) (agent.Answer, error) { return f(ctx, o) }

// An agent of which one unit has answered when its site is cut off was heard then, and not when the look
// at the other unit ends.
func TestACutInTheMiddleOfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cut atomic.Bool
		agents := probe.Agent(probe.AgentConfig{
			Dial: func(string, string) (agent.Caller, error) {
				return callFunc(func(ctx context.Context, o agent.Order) (agent.Answer, error) {
					if o.Unit == "named" && !cut.Load() {
						return agent.Answer{Facts: map[string]string{"unit": "named"}}, nil
					}
					if o.Unit == "named" || o.Unit == "" || cut.Load() {
						<-ctx.Done()
						return agent.Answer{}, ctx.Err()
					}
					time.Sleep(10 * time.Millisecond) // it asks its server; the cut comes meanwhile
					cut.Store(true)
					<-ctx.Done()
					return agent.Answer{}, ctx.Err()
				}), nil
			},
			Units: func(string) []string { return []string{"named", "talk-db"} },
		})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := agents.Look(ctx, situation.Target{ID: "a", Component: "db-ansan"})
		part, ok := errors.AsType[*probe.Partly](err)
		if !ok || part.At.Sub(began) > 10*time.Millisecond || time.Since(began) != time.Second {
			t.Fatalf("%v after %v: %+v", err, time.Since(began), part)
		}
		if diff := cmp.Diff(map[string]string{"named/unit": "named"}, part.Facts); diff != "" {
			t.Error(diff)
		}
	})
}

// The same of a page of which only the beginning came.
func TestAPageThatEndsInItsMiddle(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = w.Write([]byte("o"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := probe.Gateway().Look(ctx, situation.Target{ID: "g", Address: s.URL})
	part, ok := errors.AsType[*probe.Partly](err)
	deadline, _ := ctx.Deadline()
	if !ok || !part.At.Before(deadline) {
		t.Fatalf("%v: %+v", err, part)
	}
}

// Silence counts from when the part was heard.
func TestAPartCountsFromWhenItWasHeard(t *testing.T) {
	within(t, both, func(w *world) {
		begin := time.Now()
		w.set(func() { w.half = true })
		time.Sleep(time.Second)
		v, after := w.first(begin, silentBefore)
		// The last that was heard is the beginning of the look that was under way, at most a rest later.
		if most := 500*time.Millisecond + w.slow + 200*time.Millisecond; after < 0 || after > most {
			t.Errorf("told after %v, must be at most %v: %+v", after, most, v)
		}
		if facts := w.last().Looks[0].Facts; facts["half"] == "" {
			t.Errorf("what was heard is not told: %v", facts)
		}
	})
}
