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

// calm is one measurement of peace. Nothing of haechi's own switches it off. To stop
// agents alone shows nothing: towers that miss them take twice the processors that agents took.
type calm struct {
	row, profile string
	rounds       int
}

// calms are the profiles in which peace is measured: the one that an estate has unless it asks for another, and the
// one in which towers look half as often again, and which the other parts have.
var calms = []calm{{"cost", "default", peaceRounds}, {"cost-fast", "fast", peaceRounds / 2}}

// rates are writes a second, round by round.
type rates struct {
	With    []float64 `json:"with"`
	Without []float64 `json:"without"` // agents and towers were stopped
}

// peace is what slots, canaries and premise checks cost while nothing happens: the same writes, one time right after the
// other, with haechi, and with its processes stopped as a whole.
func (b *returns) peace(ctx context.Context) error {
	b.r.Peace = map[string]rates{}
	for _, c := range calms {
		r, err := b.calm(ctx, c)
		if err != nil {
			return fmt.Errorf("profile %s: %w", c.profile, err)
		}
		b.r.Peace[c.profile] = r
		b.paid(c, r)
	}
	return nil
}

// paid adds what peace costs. What the towers take of the lab's processors, which in life are not the databases', is in it.
func (b *returns) paid(c calm, r rates) {
	middle, low, high := cost(r.With, r.Without)
	b.is(c.row, max(0, middle), fmt.Sprintf("profile %s; no switch: towers and agents, which write canaries, move slots on and ask servers, were stopped by SIGSTOP; %d rounds of %v, %d writers: %.1f in the middle, %.1f to %.1f",
		c.profile, len(r.With), peaceFor, peaceWriters, middle, low, high))
}

func (b *returns) calm(ctx context.Context, c calm) (r rates, err error) {
	o := b.options()
	o.Profile = c.profile
	l, down, err := b.raise(ctx, o)
	if err != nil {
		return r, err
	}
	defer down(&err)
	h := trial.Haechi{Lab: l}
	was, err := h.Ready(ctx, lab.Ansan)
	if err != nil {
		return r, err
	}
	primary := lab.Place(was.Stores[0].Primary)
	if _, err := l.SQL(ctx, primary, "talk", "CREATE TABLE peace (id bigserial PRIMARY KEY, body text)"); err != nil {
		return r, err
	}
	if _, err := writes(ctx, l.DSN(primary, "talk")); err != nil { // the first segments of a log are made, later ones are used again
		return r, err
	}
	for round := range c.rounds {
		if err := h.AtRest(ctx, 5*time.Minute, peaceAfter); err != nil {
			return r, err
		}
		with, err := writes(ctx, l.DSN(primary, "talk"))
		if err != nil {
			return r, err
		}
		without := 0.0
		if err := stilled(ctx, l, []lab.Role{lab.RoleTower, lab.RoleAgent}, func() (err error) {
			without, err = writes(ctx, l.DSN(primary, "talk"))
			return err
		}); err != nil {
			return r, fmt.Errorf("agents and towers stopped: %w", err)
		}
		r.With, r.Without = append(r.With, with), append(r.Without, without)
		b.Say(fmt.Sprintf("round %d of %d, profile %s: %.0f writes/s, %.0f with agents and towers stopped", round+1, c.rounds, c.profile, with, without))
	}
	if err := h.AtRest(ctx, 2*time.Minute, 3*time.Second); err != nil {
		return r, err
	}
	now, err := h.Page(ctx, lab.Ansan)
	if err != nil {
		return r, err
	}
	if a, b := was.Stores[0], now.Stores[0]; a.Primary != b.Primary || a.Epoch != b.Epoch {
		return r, fmt.Errorf("the primary moved from %s to %s: that was no peace", a.Primary, b.Primary)
	}
	return r, nil
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
