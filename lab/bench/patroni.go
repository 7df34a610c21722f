package bench

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/patroni"
	"github.com/haechi/haechi/lab/trial"
)

func patroniName(s patroni.Settings) string { return "patroni, " + s.Name }

// patroniTightest is the name of what haechi is held against.
var patroniTightest = patroniName(patroni.Tightest())

// patroni raises a lab with Patroni, burns the site of its leader and of etcd's
// leader at a random moment of its rounds, and takes everything down.
func (b *bench) patroni(ctx context.Context, s patroni.Settings, seed uint64) (f trial.Figures, err error) {
	o := b.o.Lab
	// The profile bears only on how long a name's answer lives: as for haechi.
	o.Only, o.Profile, o.Seed = []lab.Role{lab.RoleNamed}, "fast", seed
	l, down, err := raise(ctx, o)
	if err != nil {
		return f, err
	}
	defer down(&err)
	c, err := patroni.Raise(ctx, l, s, o.Progress)
	if err != nil {
		return f, err
	}
	if err := l.OpenNames(ctx); err != nil {
		return f, err
	}
	site, err := c.Leader(ctx)
	if err != nil {
		return f, err
	}
	if err := c.MoveEtcdLeader(ctx, site); err != nil {
		return f, err
	}
	if err := c.Settled(ctx); err != nil {
		return f, err
	}
	chance := rand.New(rand.NewPCG(seed, 1))
	return trial.Trial{
		Lab: l, System: c, Site: site, Gone: true, Seed: seed, Clients: b.o.Clients, Rate: b.o.Rate, Say: b.o.Say,
		Phase: time.Duration(chance.Int64N(int64(s.LoopWait) * int64(time.Second))), Patience: 3 * time.Minute,
		Fault: func(ctx context.Context) (lab.Proof, error) { return l.Fire(ctx, site) },
	}.Run(ctx)
}
