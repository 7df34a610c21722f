package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/patroni"
	"github.com/haechi/haechi/lab/trial"
)

// patroni is how long Patroni takes from a site's power until its member counts as synchronous again, and
// what becomes of the rows that only that member held.
func (b *returns) patroni(ctx context.Context) (err error) {
	o := b.options()
	o.Only = []lab.Role{lab.RoleNamed}
	l, down, err := b.raise(ctx, o)
	if err != nil {
		return err
	}
	defer down(&err)
	c, err := patroni.Raise(ctx, l, patroni.Returning(), b.Say)
	if err != nil {
		return err
	}
	if err := l.OpenNames(ctx); err != nil {
		return err
	}
	site, err := c.Leader(ctx)
	if err == nil {
		err = c.MoveEtcdLeader(ctx, site)
	}
	if err == nil {
		err = c.Settled(ctx)
	}
	if err != nil {
		return err
	}
	back, err := b.patroniBack(ctx, l, c, site)
	if err != nil {
		return err
	}
	b.r.Patroni = &back
	b.is("patroni", back.Counted.Seconds(), back.Settings, b.scaled())
	b.is("patroni-rows", 100*float64(back.Held)/float64(back.Planted),
		fmt.Sprintf("%d rows: %d are held by a member, %d named in a log; bytes of such rows are left in %d files of the member that was rewound", back.Planted, back.Held, back.Named, len(back.Remains)))
	return nil
}

// patroniBack burns a site under load and brings it back, as [returns.one] does for haechi.
func (b *returns) patroniBack(ctx context.Context, l *lab.Lab, c *patroni.Cluster, site lab.Place) (back patroni.Comeback, err error) {
	var planted lab.Planted
	came := errors.New("it was not brought back")
	f, err := trial.Trial{Lab: l, System: c, Site: site, Gone: true, Seed: b.Seed, Clients: b.Clients, Rate: b.Rate, Say: b.Say, Settle: settle,
		Fault: func(ctx context.Context) (cut lab.Proof, err error) {
			cut, planted, err = burnWithRows(ctx, l, site, 15)
			return cut, err
		},
		After: func(ctx context.Context) error {
			var power lab.Proof
			if power, came = l.Rebuild(ctx, site); came == nil {
				back, came = c.Return(ctx, site, power.At, planted.All(), `planted "`)
			}
			return came
		},
	}.Run(ctx)
	if err = errors.Join(err, came); err == nil && !f.OK() {
		err = fmt.Errorf("%d lost, %d twice, %d out of order, %d altered: times of that say nothing", f.Lost, f.Duplicated, f.OutOfOrder, f.Changed)
	}
	return back, err
}
