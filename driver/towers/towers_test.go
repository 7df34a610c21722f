package towers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/seats"
	"github.com/haechi/haechi/driver"
	"github.com/haechi/haechi/driver/drivertest"
)

// fake is a cluster in memory. What a tower does by itself, it does between two looks.
type fake struct {
	seats  []Seat
	waits  map[estate.TowerID]bool
	behind int // looks for which a learner is behind
	acts   []string
	term   uint64
	hang   bool
	leaves bool  // whoever is taken out waits for a seat
	fail   error // of the next act, which happens all the same
}

func (f *fake) Seats(ctx context.Context) ([]Seat, error) {
	if f.hang {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	for i := range f.seats {
		if s := &f.seats[i]; !s.Started && f.waits[s.Tower] { // it hears that it is invited
			s.Started = true
			delete(f.waits, s.Tower)
		}
	}
	return slices.Clone(f.seats), ctx.Err()
}

func (f *fake) act(format string, args ...any) (err error) {
	f.acts = append(f.acts, fmt.Sprintf(format, args...))
	err, f.fail = f.fail, nil
	return err
}

func (f *fake) Invite(_ context.Context, t estate.TowerID) error {
	f.seats = append(f.seats, Seat{ID: uint64(100 + len(f.acts)), Tower: t, Learner: true})
	return f.act("invite %s", t)
}

func (f *fake) Promote(_ context.Context, s Seat) error {
	if f.behind > 0 {
		f.behind--
		return ErrBehind
	}
	f.seats[f.at(s)].Learner = false
	return f.act("promote %s", s.Tower)
}

func (f *fake) Remove(_ context.Context, s Seat) error {
	f.seats = slices.Delete(f.seats, f.at(s), f.at(s)+1)
	f.waits[s.Tower] = f.waits[s.Tower] || f.leaves
	return f.act("remove %s", s.Tower)
}

func (f *fake) at(s Seat) int {
	return slices.IndexFunc(f.seats, func(o Seat) bool { return o.ID == s.ID })
}

func (f *fake) driver() Driver {
	return New(Config{Cluster: f,
		Drives: func(ctx context.Context, term uint64) error {
			if f.hang {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			if term != f.term {
				return errors.New("another tower drives")
			}
			return ctx.Err()
		},
		Waits: func(_ context.Context, _ estate.Estate, t estate.TowerID) (bool, error) { return f.waits[t], nil }})
}

func three() *fake {
	return &fake{term: 5, waits: map[estate.TowerID]bool{}, seats: []Seat{{1, "a", false, true}, {2, "b", false, true}, {3, "c", false, true}}}
}

func task(tower string, to seats.State) driver.Task {
	return driver.Task{Term: 5, Epoch: 2, Step: plan.Step{Verb: plan.Seat, Driver: plan.Towers, Component: tower, Args: map[string]string{plan.ArgTo: string(to)}}}
}

func TestConforms(t *testing.T) {
	for name, to := range map[string]driver.Task{"NewVoter": task("d", seats.Voter), "Learner": task("d", seats.Learner), "Out": task("a", seats.Outside)} {
		t.Run(name, func(t *testing.T) {
			drivertest.Conform(t, func(*testing.T) drivertest.World {
				f := three()
				f.waits["d"] = true
				return drivertest.World{Driver: f.driver(), Task: to, Acts: func() int { return len(f.acts) }, Hang: func() { f.hang = true }, Terms: true}
			})
		})
	}
}

func TestSeating(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*fake)
		task  driver.Task
		want  string
	}{
		"New":            {func(f *fake) { f.waits["d"] = true; f.behind = 3 }, task("d", seats.Voter), "invite d, promote d"},
		"DataLost":       {func(f *fake) { f.waits["a"] = true }, task("a", seats.Voter), "remove a, invite a, promote a"},
		"LearnerOnly":    {func(f *fake) { f.waits["d"] = true }, task("d", seats.Learner), "invite d"},
		"LearnerLost":    {func(f *fake) { f.seats = append(f.seats, Seat{4, "d", true, true}); f.waits["d"] = true }, task("d", seats.Learner), "remove d, invite d"},
		"VoteTaken":      {func(f *fake) { f.leaves = true }, task("c", seats.Learner), "remove c, invite c"},
		"HasIt":          {func(*fake) {}, task("a", seats.Voter), ""},
		"Out":            {func(*fake) {}, task("a", seats.Outside), "remove a"},
		"AnswerWasLost":  {func(f *fake) { f.waits["d"] = true; f.fail = errors.New("no answer") }, task("d", seats.Voter), "invite d, promote d"},
		"InvitedBefore":  {func(f *fake) { f.seats = append(f.seats, Seat{4, "d", true, false}); f.waits["d"] = true }, task("d", seats.Voter), "promote d"},
		"PromotedBefore": {func(f *fake) { f.seats = append(f.seats, Seat{4, "d", false, true}) }, task("d", seats.Voter), ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := three()
				tt.spoil(f)
				res, err := f.driver().Do(t.Context(), tt.task)
				if err != nil || res.Outcome != run.Done {
					t.Fatalf("%v, %v", res, err)
				}
				if got := strings.Join(f.acts, ", "); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// A tower that was invited and does not come keeps the step from being done; what was done stays.
func TestATowerThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := three()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := f.driver().Do(ctx, task("d", seats.Voter))
		if res.Outcome != run.Unknown || err == nil || !strings.Contains(err.Error(), "has not started") {
			t.Fatalf("%v, %v", res, err)
		}
		if res, err := f.driver().Look(t.Context(), task("d", seats.Voter)); err != nil || res.Outcome != run.NotDone {
			t.Fatalf("%v, %v", res, err)
		}
	})
}

func TestOtherVerbsAreRefused(t *testing.T) {
	f := three()
	for _, step := range []driver.Task{task("a", "king"), {Term: 5, Step: plan.Step{Verb: plan.Promote, Component: "a"}}} {
		if res, err := f.driver().Do(t.Context(), step); err == nil || res.Outcome != run.NotDone {
			t.Errorf("%v, %v", res, err)
		}
	}
	if res, err := f.driver().Undo(t.Context(), task("a", seats.Voter)); err == nil || res.Outcome != run.NotDone {
		t.Errorf("undo: %v, %v", res, err)
	}
}
