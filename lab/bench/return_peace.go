package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
)

// In peace each of a few writers commits as often as it can, and waits for a follower each time: so few that
// they wait for disks and lines, and the machine that all sites share has room.
const (
	peaceWriters = 4
	peaceRounds  = 9
	peaceWarm    = 2 * time.Second
	peaceFor     = 15 * time.Second
	// peaceAfter is how long all is at rest before it is measured with haechi: who was stopped, and who missed him,
	// connects anew at first, which is no peace.
	peaceAfter = 20 * time.Second
)

// calm is one way to have haechi stand still. Nothing of its own switches it off. To stop agents alone shows nothing:
// towers that miss them take twice the processors that agents took.
type calm struct {
	name    string
	stopped []lab.Role
}

var calms = []calm{
	{"all run", nil},
	{"agents and towers stopped", []lab.Role{lab.RoleTower, lab.RoleAgent}},
}

// peace is what slots, canaries and premise checks cost while nothing happens: the same writes, one time right after the
// other, with haechi, and with its processes stopped as a whole.
func (b *returns) peace(ctx context.Context) (err error) {
	l, down, err := b.raise(ctx, b.options())
	if err != nil {
		return err
	}
	defer down(&err)
	h := trial.Haechi{Lab: l}
	was, err := h.Ready(ctx, lab.Ansan)
	if err != nil {
		return err
	}
	primary := lab.Place(was.Stores[0].Primary)
	if _, err := l.SQL(ctx, primary, "talk", "CREATE TABLE peace (id bigserial PRIMARY KEY, body text)"); err != nil {
		return err
	}
	if _, err := writes(ctx, l.DSN(primary, "talk")); err != nil { // the first segments of a log are made, later ones are used again
		return err
	}
	rates := map[string][]float64{}
	for round := range peaceRounds {
		if err := h.AtRest(ctx, 5*time.Minute, peaceAfter); err != nil {
			return err
		}
		for _, c := range calms {
			rate := 0.0
			if err := stilled(ctx, l, c.stopped, func() (err error) {
				rate, err = writes(ctx, l.DSN(primary, "talk"))
				return err
			}); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			rates[c.name] = append(rates[c.name], rate)
			b.Say(fmt.Sprintf("round %d of %d, %s: %.0f writes/s", round+1, peaceRounds, c.name, rate))
		}
	}
	if err := h.AtRest(ctx, 2*time.Minute, 3*time.Second); err != nil {
		return err
	}
	now, err := h.Page(ctx, lab.Ansan)
	if err != nil {
		return err
	}
	if a, b := was.Stores[0], now.Stores[0]; a.Primary != b.Primary || a.Epoch != b.Epoch {
		return fmt.Errorf("the primary moved from %s to %s: that was no peace", a.Primary, b.Primary)
	}
	b.r.Peace = rates
	b.paid(rates)
	return nil
}

// paid adds what peace costs. What the towers take of the lab's processors, which in life are not the databases', is in it.
func (b *returns) paid(rates map[string][]float64) {
	middle, low, high := cost(rates[calms[0].name], rates[calms[1].name])
	b.is("cost", max(0, middle), fmt.Sprintf("no switch: towers and agents, which write canaries, move slots on and ask servers, were stopped by SIGSTOP; %d rounds of %v, %d writers: %.1f in the middle, %.1f to %.1f",
		len(rates[calms[0].name]), peaceFor, peaceWriters, middle, low, high))
}

// cost is by how much less was written with than without, in percent, round by round: in the middle, at
// least and at most.
func cost(with, without []float64) (middle, low, high float64) {
	var all []float64
	for i := range with {
		all = append(all, 100*(1-with[i]/without[i]))
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]
}

// stilled does something while all processes of some roles are stopped. Those that look at others stop
// first, and go on last.
func stilled(ctx context.Context, l *lab.Lab, roles []lab.Role, do func() error) (err error) {
	defer func() {
		ctx := context.WithoutCancel(ctx)
		for _, r := range slices.Backward(roles) {
			for _, p := range lab.Sites() {
				_, again := l.Continue(ctx, p, r)
				err = errors.Join(err, again)
			}
		}
	}()
	for _, r := range roles {
		for _, p := range lab.Sites() {
			if _, err := l.Stop(ctx, p, r); err != nil {
				return err
			}
		}
	}
	return do()
}

// writes has the writers write for a while, and says how many commits a second there were.
func writes(ctx context.Context, dsn string) (float64, error) {
	within, cancel := context.WithTimeout(ctx, peaceWarm+peaceFor+30*time.Second)
	defer cancel()
	var done atomic.Int64
	var over atomic.Bool
	var all errgroup.Group
	for range peaceWriters {
		all.Go(func() error {
			conn, err := pgx.Connect(within, dsn)
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // all that it wrote is written
			for !over.Load() {
				if _, err := conn.Exec(within, "INSERT INTO peace (body) VALUES (repeat('x', 100))"); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err := wait(within, peaceWarm)
	first, begun := done.Load(), time.Now()
	err = errors.Join(err, wait(within, peaceFor))
	rate := float64(done.Load()-first) / time.Since(begun).Seconds()
	over.Store(true)
	if err = errors.Join(err, all.Wait()); err == nil && rate == 0 {
		err = errors.New("nothing was written")
	}
	return rate, err
}
