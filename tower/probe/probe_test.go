package probe_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/probe"
)

// world answers looks as it is told, in the fake time of synctest.
type world struct {
	mu      sync.Mutex // guards what follows
	err     map[string]error
	hangs   map[string]bool
	slow    time.Duration
	nothing bool        // looks bring no news
	heard   []time.Time // answers of the first target
	half    bool        // of one more answer only the beginning comes, and then nothing
	begun   map[string]int
	flying  map[string]int
	most    int
	views   []situation.View
	at      []time.Time
	block   func(situation.View)
}

func (w *world) Look(ctx context.Context, t situation.Target) (map[string]string, error) {
	w.mu.Lock()
	w.begun[t.ID]++
	w.flying[t.ID]++
	w.most = max(w.most, w.flying[t.ID])
	number := w.begun[t.ID]
	err, hangs, slow, nothing, half := w.err[t.ID], w.hangs[t.ID], w.slow, w.nothing, w.half
	if half {
		w.hangs[t.ID] = true
	}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.flying[t.ID]--
	}()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if half {
		part := &probe.Partly{At: time.Now(), Facts: map[string]string{"half": "true"}}
		<-ctx.Done()
		part.Err = ctx.Err()
		return nil, part
	}
	if nothing {
		return nil, err
	}
	select {
	case <-time.After(slow):
		if t.ID == two[0].ID {
			w.set(func() { w.heard = append(w.heard, time.Now()) })
		}
		return map[string]string{"look": fmt.Sprint(number)}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *world) out(v situation.View) {
	w.mu.Lock()
	w.views, w.at = append(w.views, v), append(w.at, time.Now())
	block := w.block
	w.block = nil
	w.mu.Unlock()
	if block != nil {
		block(v)
	}
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// looks is how many have begun at the first target.
func (w *world) looks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun[two[0].ID]
}

// flew is how many were under way at one target at most.
func (w *world) flew() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.most
}

func (w *world) last() situation.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.views[len(w.views)-1]
}

// first returns the first view for which is holds, and how long after begin it came.
func (w *world) first(begin time.Time, is func(situation.View) bool) (situation.View, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, v := range w.views {
		if !w.at[i].Before(begin) && is(v) {
			return v, w.at[i].Sub(begin)
		}
	}
	return situation.View{}, -1
}

var two = []situation.Target{
	{ID: "ansan/gateway/talk", Kind: situation.KindGateway, Site: "ansan"},
	{ID: "pangyo/gateway/talk", Kind: situation.KindGateway, Site: "pangyo"},
}

// within runs a prober in fake time and lets play act while it runs.
func within(t *testing.T, targets func() []situation.Target, play func(w *world)) {
	t.Helper()
	by(t, "fast", targets, play)
}

// by is within by a profile.
func by(t *testing.T, profile string, targets func() []situation.Target, play func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{err: map[string]error{}, hangs: map[string]bool{}, begun: map[string]int{}, flying: map[string]int{}, slow: 2 * time.Millisecond}
		p, err := probe.New(probe.Config{
			Observer: "tower-anyang", Site: "anyang", Boot: "1", Profile: situation.Profiles()[profile],
			Targets: targets, Lookers: map[situation.Kind]probe.Looker{situation.KindGateway: w}, Out: w.out,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(time.Second)
		play(w)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
	})
}

func both() []situation.Target { return two }

func TestEachTargetIsLookedAtEachRestWhileAllIsWell(t *testing.T) {
	within(t, both, func(w *world) {
		before := w.looks()
		time.Sleep(10 * time.Second)
		if got := w.looks() - before; got < 49 || got > 51 {
			t.Errorf("%d looks in 10 s, want 50", got)
		}
		v := w.last()
		if len(v.Looks) != 2 || !v.Looks[0].Ever || v.Looks[0].Silent > 210*time.Millisecond || v.Looks[0].Facts["look"] == "" {
			t.Errorf("view: %+v", v)
		}
		if v.Observer != "tower-anyang" || v.Site != "anyang" || v.Boot != "1" || v.Seq < 50 || v.Late > time.Millisecond {
			t.Errorf("view: %+v", v)
		}
	})
}

func TestATargetMayHaveItsOwnRhythm(t *testing.T) {
	own := []situation.Target{two[0], two[1]}
	own[0].Rest = 125 * time.Millisecond // the profile says 200
	within(t, func() []situation.Target { return own }, func(w *world) {
		before := w.looks()
		time.Sleep(10 * time.Second)
		if got := w.looks() - before; got < 79 || got > 81 {
			t.Errorf("%d looks in 10 s, want 80", got)
		}
	})
}

func TestFactsStandAndAgeUntilThereAreNewOnes(t *testing.T) {
	within(t, both, func(w *world) {
		w.set(func() { w.nothing = true })
		time.Sleep(10 * time.Second)
		l := w.last().Looks[0]
		if l.Facts["look"] == "" || l.Said < 9700*time.Millisecond || l.Said > 10300*time.Millisecond || l.Silent > 210*time.Millisecond {
			t.Errorf("10 s without news: %+v", l)
		}
		w.set(func() { w.nothing = false })
		time.Sleep(450 * time.Millisecond) // looks and views of the same instant come in either order
		if l := w.last().Looks[0]; l.Said > 310*time.Millisecond {
			t.Errorf("with news: %+v", l)
		}
	})
}

func TestLooksDoNotWaitForEachOtherButAreFew(t *testing.T) {
	within(t, both, func(w *world) {
		w.set(func() { w.slow = 250 * time.Millisecond })
		before := w.looks()
		time.Sleep(10 * time.Second)
		if got := w.looks() - before; got < 95 {
			t.Errorf("%d looks in 10 s that take 250 ms each, want one each 100 ms", got)
		}
		if s := w.last().Looks[0].Silent; s > 120*time.Millisecond {
			t.Errorf("a slow target is silent for %v", s)
		}
		w.set(func() { w.hangs[two[0].ID] = true })
		time.Sleep(10 * time.Second)
		if most := w.flew(); most != 3 {
			t.Errorf("%d looks under way at one target, want 3", most)
		}
	})
}

// A look that begins in the dark is lost. However the dark lies to the looks, the next one after it is there in time.
// It does not begin at the instant of a look: five looks later it would end at one, and who comes first, twice, would
// be chance.
func TestTheDarkThatAProfileBearsIsNoSilence(t *testing.T) {
	const dark, slack = 1500 * time.Millisecond, 180 * time.Millisecond
	profile := situation.Profiles()["default"]
	for phase := 3 * time.Millisecond; phase < profile.Every; phase += 10 * time.Millisecond {
		by(t, "default", both, func(w *world) {
			time.Sleep(phase)
			w.set(func() { w.hangs[two[0].ID] = true })
			time.Sleep(dark)
			w.set(func() { w.hangs[two[0].ID] = false })
			time.Sleep(time.Second)
			var longest time.Duration
			w.set(func() {
				for i := range w.heard[1:] {
					longest = max(longest, w.heard[i+1].Sub(w.heard[i]))
				}
			})
			if longest > profile.Silence-slack || longest < dark {
				t.Errorf("dark for %v, and silent for up to %v: the profile calls somebody dead after %v", dark, longest, profile.Silence)
			}
		})
	}
}

func TestSilenceAndReturnAreToldAtOnce(t *testing.T) {
	within(t, both, func(w *world) {
		w.set(func() { w.hangs[two[1].ID] = true })
		began := time.Now()
		time.Sleep(2 * time.Second)
		silent := func(v situation.View) bool { return v.Looks[1].Silent >= 500*time.Millisecond }
		v, after := w.first(began, silent)
		if after < 0 || v.Looks[1].Silent > 501*time.Millisecond {
			t.Errorf("first told when silent for %v", v.Looks[1].Silent)
		}
		if v.Looks[1].Refused || v.Looks[1].Why != "no answer in time" || silentBefore(v) {
			t.Errorf("look: %+v", v.Looks[1])
		}
		w.set(func() { w.hangs[two[1].ID] = false })
		began = time.Now()
		time.Sleep(2 * time.Second)
		_, after = w.first(began, func(v situation.View) bool { return v.Looks[1].Silent < 100*time.Millisecond })
		if after < 0 || after > 110*time.Millisecond {
			t.Errorf("told %v after it answers again", after)
		}
	})
}

func silentBefore(v situation.View) bool { return v.Looks[0].Silent >= 500*time.Millisecond }

func TestRefusalIsToldEarly(t *testing.T) {
	within(t, both, func(w *world) {
		w.set(func() { w.err[two[1].ID] = fmt.Errorf("dial: %w", syscall.ECONNREFUSED) })
		began := time.Now()
		time.Sleep(time.Second)
		v, after := w.first(began, func(v situation.View) bool {
			return v.Looks[1].Refused && v.Looks[1].Silent >= 250*time.Millisecond
		})
		if after < 0 || v.Looks[1].Silent > 251*time.Millisecond {
			t.Errorf("first told when refused for %v", v.Looks[1].Silent)
		}
		w.set(func() { delete(w.err, two[1].ID) })
		time.Sleep(time.Second)
		if l := w.last().Looks[1]; l.Refused || l.Why != "" {
			t.Errorf("look after it came back: %+v", l)
		}
	})
}

func TestOwnStallIsNotTheSilenceOfOthers(t *testing.T) {
	within(t, both, func(w *world) {
		w.set(func() {
			w.hangs[two[0].ID], w.hangs[two[1].ID] = true, true
			w.block = func(situation.View) { time.Sleep(2 * time.Second) }
		})
		began := time.Now()
		time.Sleep(2500 * time.Millisecond)
		v, after := w.first(began, func(v situation.View) bool { return v.Late > 0 })
		if after < 0 || v.Late < 1900*time.Millisecond || v.Looks[0].Silent > 200*time.Millisecond {
			t.Errorf("after a stall of 2 s: late %v, silent %v", v.Late, v.Looks[0].Silent)
		}
		if got := v.Looks[0].Silent + v.Looks[0].Waived; got < 2*time.Second {
			t.Errorf("after a stall of 2 s it answered %v ago, as it says", got)
		}
		time.Sleep(time.Second)
		if v := w.last(); v.Late > time.Millisecond || v.Looks[0].Silent < 900*time.Millisecond {
			t.Errorf("a second later: late %v, silent %v", v.Late, v.Looks[0].Silent)
		}
	})
}

func TestTargetsComeAndGo(t *testing.T) {
	var mu sync.Mutex
	targets := two[:1]
	within(t, func() []situation.Target { mu.Lock(); defer mu.Unlock(); return targets }, func(w *world) {
		if n := len(w.last().Looks); n != 1 {
			t.Errorf("%d looks at 1 target", n)
		}
		mu.Lock()
		targets = two[1:]
		mu.Unlock()
		time.Sleep(time.Second)
		if v := w.last(); len(v.Looks) != 1 || v.Looks[0].Target != two[1].ID || !v.Looks[0].Ever {
			t.Errorf("looks: %+v", v.Looks)
		}
		mu.Lock()
		targets = nil
		mu.Unlock()
		time.Sleep(time.Second)
		if n := len(w.last().Looks); n != 0 {
			t.Errorf("%d looks at no target", n)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := probe.New(probe.Config{}); err == nil {
		t.Fatal("an empty configuration was accepted")
	}
}
