package tower

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// watching does one watch of pangyo in virtual time; look says what the observer sees after so long.
func watching(t *testing.T, ctx func(context.Context) (context.Context, context.CancelFunc), look func(since time.Duration, l *situation.Look, b *beliefs)) (res driver.Result, took time.Duration, err error) {
	t.Helper()
	p, err := situation.Named("fast")
	if err != nil {
		t.Fatal(err)
	}
	e := estate.Estate{Sites: map[estate.SiteID]estate.Site{"pangyo": {}},
		Services: map[estate.ServiceID]estate.Service{"talk": {Probes: []estate.Probe{{HTTP: "http://{address}/"}}}},
		Names:    map[estate.NameID]estate.Name{"talk.": {Service: "talk", Answers: map[estate.SiteID][]string{"pangyo": {"10.1.0.5"}}}}}
	step := plan.Step{ID: 1, Verb: plan.Watch, Driver: plan.Eyes, Component: "talk.", Site: "pangyo", Args: map[string]string{plan.ArgTTL: "1s", plan.ArgFor: "2s"}}
	synctest.Test(t, func(t *testing.T) {
		began, seq := time.Now(), uint64(0)
		w := watchers{now: time.Now, beliefs: func() *beliefs {
			seq++
			l := situation.Look{Target: "pangyo/gateway/talk", Ever: true, Took: time.Millisecond}
			b := &beliefs{profile: p, now: situation.Situation{Sites: map[estate.SiteID]situation.Verdict{"pangyo": {State: situation.Up}}}}
			look(time.Since(began), &l, b)
			b.views = map[string]timedView{"isp-a": {situation.View{Observer: "isp-a", Seq: seq, Looks: []situation.Look{l}}, time.Now()}}
			return b
		}}
		within, cancel := ctx(t.Context())
		defer cancel()
		res, err = w.Do(within, driver.Task{Step: step, Estate: e})
		took = time.Since(began)
	})
	return res, took, err
}

func forever(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

// The time counts from when the last resolver can have forgotten what it was told before.
func TestWatchCountsFromTheTTL(t *testing.T) {
	res, took, err := watching(t, forever, func(time.Duration, *situation.Look, *beliefs) {})
	if err != nil || res.Outcome != run.Done || took < 3*time.Second || took > 3200*time.Millisecond {
		t.Fatalf("%v %v after %v", res, err, took)
	}
}

func TestWatchEndsAtOnceWhenItGoesWrong(t *testing.T) {
	for name, c := range map[string]struct {
		look func(since time.Duration, l *situation.Look, b *beliefs)
		want string
	}{
		"errors": {func(since time.Duration, l *situation.Look, _ *beliefs) {
			if since > time.Second {
				l.Facts = map[string]string{situation.FactStatus: "500"}
			}
		}, "answers with status 500"},
		"lost again": {func(since time.Duration, _ *situation.Look, b *beliefs) {
			if since > time.Second {
				b.now.Sites["pangyo"] = situation.Verdict{State: situation.Lost}
			}
		}, "pangyo is lost"},
	} {
		res, took, err := watching(t, forever, c.look)
		if err != nil || res.Outcome != run.NotDone || !strings.Contains(res.Note, c.want) || took > 2*time.Second {
			t.Errorf("%s: %v %v after %v", name, res, err, took)
		}
	}
}

// A tower that is told to stop watching knows nothing.
func TestWatchThatIsCutShortIsUnknown(t *testing.T) {
	gone := errors.New("another tower drives")
	res, _, err := watching(t, func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeoutCause(ctx, time.Second, gone)
	}, func(time.Duration, *situation.Look, *beliefs) {})
	if res.Outcome != run.Unknown || !errors.Is(err, gone) {
		t.Fatalf("%v %v", res, err)
	}
}
