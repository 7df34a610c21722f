package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/pki"
)

func haechiName(profile string) string { return "haechi, " + profile }

// Workload is what clients do.
type Workload struct {
	Clients int
	Rate    float64 // messages a second over all
}

// raise raises a lab in this process; down takes it down and adds its error.
func raise(ctx context.Context, o lab.Options) (l *lab.Lab, down func(*error), err error) {
	if l, err = lab.New(o); err != nil {
		return nil, nil, err
	}
	if err := l.Up(ctx); err != nil {
		return nil, nil, err
	}
	return l, func(err *error) { *err = errors.Join(*err, l.Down(context.WithoutCancel(ctx))) }, nil
}

// haechi is one trial of haechi in a lab that is raised for it.
func (b *bench) haechi(ctx context.Context, profile, kind string, seed uint64) (f trial.Figures, err error) {
	o := b.o.Lab
	o.Profile, o.Seed = profile, seed
	l, down, err := raise(ctx, o)
	if err != nil {
		return f, err
	}
	defer down(&err)
	system := trial.Haechi{Lab: l}
	site, err := arrange(ctx, l, kind)
	if err != nil {
		return f, fmt.Errorf("before the trial: %w", err)
	}
	chance := rand.New(rand.NewPCG(seed, 1))
	var trouble error // of the evacuation
	t := trial.Trial{
		Lab: l, System: system, Site: site, Gone: kind != Evacuation, Seed: seed, Clients: b.o.Clients, Rate: b.o.Rate, Say: b.o.Say,
		Fault: func(ctx context.Context) (lab.Proof, error) {
			if _, err := system.Ready(ctx, site); err != nil {
				return lab.Proof{}, err
			}
			// Ready is only seen at some beat of the page: the phase comes after it.
			if err := wait(ctx, time.Duration(chance.Int64N(int64(2*time.Second)))); err != nil {
				return lab.Proof{}, err
			}
			if kind == Evacuation {
				var p lab.Proof
				p, trouble = evacuate(ctx, l, site)
				return p, nil // also of one that did not get through messages must not be lost
			}
			return l.Fire(ctx, site)
		},
	}
	if f, err = t.Run(ctx); trouble != nil {
		f.Trouble = append(f.Trouble, trouble.Error())
	}
	return f, err
}

// evacuate empties a site as an operator does, and waits for the end of it. Where another tower
// has just begun to drive, nothing was done and haechi says to ask again.
func evacuate(ctx context.Context, l *lab.Lab, site lab.Place) (lab.Proof, error) {
	for try := 1; ; try++ {
		at := time.Now()
		_, err := l.Haechi(ctx, "evacuate", string(site))
		again := err != nil && try < 5 && strings.Contains(err.Error(), "then ask again")
		if !again || wait(ctx, 300*time.Millisecond) != nil {
			return lab.Proof{At: at, What: "haechi evacuate " + string(site)}, err
		}
	}
}

// arrange has haechi stand as the kind of trial wants it, and returns the site
// that it is about: the primary's. For a fire together that is also the site of
// etcd's leader and of the tower that drives; for a fire apart it is neither's.
// While the machine is busy towers may change places meanwhile: then it begins anew.
func arrange(ctx context.Context, l *lab.Lab, kind string) (lab.Place, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		site, err := arrangeOnce(ctx, l, kind)
		if err == nil {
			return site, nil
		}
		if wait(ctx, 300*time.Millisecond) != nil {
			return "", err
		}
	}
}

func arrangeOnce(ctx context.Context, l *lab.Lab, kind string) (lab.Place, error) {
	h := trial.Haechi{Lab: l}
	page, err := h.Ready(ctx, lab.Pangyo)
	if err != nil {
		return "", err
	}
	if len(page.Stores) != 1 || page.Driver.Tower == "" {
		return "", fmt.Errorf("%d stores, not one, and %q drives", len(page.Stores), page.Driver.Tower)
	}
	store := page.Stores[0]
	driver := lab.Place(strings.TrimPrefix(page.Driver.Tower, "tower-"))
	site := lab.Place(store.Primary)
	switch {
	case kind == FireTogether:
		site = driver
	case kind == FireApart && site == driver:
		site = other(driver)
	}
	if string(site) != store.Primary {
		if _, err := l.Haechi(ctx, "failover", store.ID, "--to", string(site)); err != nil {
			return "", err
		}
	}
	switch kind {
	case FireTogether:
		err = leadIn(ctx, l, site)
	case FireApart:
		err = leadIn(ctx, l, other(site))
	}
	if err != nil {
		return "", err
	}
	after, err := h.Ready(ctx, site)
	switch {
	case err != nil:
		return "", err
	case after.Stores[0].Primary != string(site) || kind != Evacuation && (after.Driver.Tower == "tower-"+string(site)) != (kind == FireTogether):
		return "", fmt.Errorf("primary in %s, %s drives: that is no %s", after.Stores[0].Primary, after.Driver.Tower, kind)
	}
	return site, nil
}

func other(than lab.Place) lab.Place {
	for _, p := range lab.Sites() {
		if p != than {
			return p
		}
	}
	return than
}

// leadIn has the voter in a site lead etcd.
func leadIn(ctx context.Context, l *lab.Lab, site lab.Place) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := leadOnce(ctx, l, site)
		if err == nil {
			return nil
		}
		if wait(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("have etcd led in %s: %w", site, err)
		}
	}
}

// leadOnce asks the leader to hand over, if the site's voter does not lead already.
func leadOnce(ctx context.Context, l *lab.Lab, site lab.Place) error {
	wanted, err := voter(ctx, l, site)
	if err != nil {
		return err
	}
	if wanted.Leader == wanted.Header.MemberId {
		return nil
	}
	for _, p := range lab.Sites() {
		v, err := voter(ctx, l, p)
		if err != nil || v.Leader != v.Header.MemberId {
			continue
		}
		return etcd(l, p, func(c *clientv3.Client) error {
			within, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			if _, err := c.MoveLeader(within, wanted.Header.MemberId); err != nil {
				return err
			}
			return fmt.Errorf("it was led in %s until now", p)
		})
	}
	return errors.New("nobody leads")
}

func voter(ctx context.Context, l *lab.Lab, p lab.Place) (s *clientv3.StatusResponse, err error) {
	err = etcd(l, p, func(c *clientv3.Client) error {
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		s, err = c.Status(within, etcdAddr)
		return err
	})
	return s, err
}

// etcdAddr is where a tower lets etcdctl in, inside its own site.
const etcdAddr = "127.0.0.1:2379"

// etcd speaks to the voter of a site as its tower.
func etcd(l *lab.Lab, p lab.Place, do func(*clientv3.Client) error) error {
	tls, err := pki.ClientTLS(pki.FilesIn(l.At(p, "tower", "tls")), pki.Only(pki.Tower))
	if err != nil {
		return err
	}
	dial := l.DialIn(p)
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcdAddr}, TLS: tls, DialTimeout: 2 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(inside(dial))},
	})
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it was used to its end
	return do(c)
}
