package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
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
	var trouble error        // of the evacuation
	var stood trial.Standing // before the fire
	t := trial.Trial{
		Lab: l, System: system, Site: site, Gone: kind != Evacuation, Seed: seed, Clients: b.o.Clients, Rate: b.o.Rate, Say: b.o.Say,
		Fault: func(ctx context.Context) (p lab.Proof, err error) {
			if kind != Evacuation {
				stood, p, err = burn(ctx, l, kind, site, chance)
				return p, err
			}
			if err := ready(ctx, system, site, chance); err != nil {
				return p, err
			}
			p, trouble = evacuate(ctx, l, site)
			return p, nil // also of one that did not get through messages must not be lost
		},
	}
	if f, err = t.Run(ctx); trouble != nil {
		f.Trouble = append(f.Trouble, trouble.Error())
	}
	if kind != Evacuation {
		f.Before = &stood
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
		err = h.LeadIn(ctx, site)
	case FireApart:
		err = h.LeadIn(ctx, other(site))
	}
	if err != nil {
		return "", err
	}
	if kind == Evacuation {
		return site, nil
	}
	if _, err := h.Ready(ctx, site); err != nil {
		return "", err
	}
	now, err := h.Standing(ctx, site)
	if err == nil && !stands(now, kind, site) {
		err = fmt.Errorf("%v: that is no %s", now, kind)
	}
	return site, err
}

// stands says whether all stand as the kind of fire in a site wants it.
func stands(now trial.Standing, kind string, site lab.Place) bool {
	if kind == FireTogether {
		return now.Together(site)
	}
	return now.Apart(site)
}

// errMoved says that primary or driver have left their places since it was arranged.
var errMoved = errors.New("they do not stand as arranged")

// burn sets the fire at a random moment, once all were seen to stand as its kind wants
// it, and returns how they stood. Etcd's leader is called back where it went elsewhere.
func burn(ctx context.Context, l *lab.Lab, kind string, site lab.Place, chance *rand.Rand) (stood trial.Standing, p lab.Proof, err error) {
	h := trial.Haechi{Lab: l}
	for range 5 {
		if err := ready(ctx, h, site, chance); err != nil {
			return stood, p, err
		}
		if stood, err = h.Standing(ctx, site); err != nil {
			continue // etcd may be between two leaders
		}
		if stands(stood, kind, site) {
			p, err = l.Fire(ctx, site)
			return stood, p, err
		}
		if leads := map[bool]lab.Place{true: site, false: other(site)}[kind == FireTogether]; stood.Leader != leads {
			if err := h.LeadIn(ctx, leads); err != nil {
				return stood, p, err
			}
		}
	}
	return stood, p, errors.Join(fmt.Errorf("%w: %v, for a %s in %s", errMoved, stood, kind, site), err)
}

// ready waits until haechi is, and then for a random while: Ready is only seen at some beat
// of the page, and the phase comes after it.
func ready(ctx context.Context, h trial.Haechi, site lab.Place, chance *rand.Rand) error {
	if _, err := h.Ready(ctx, site); err != nil {
		return err
	}
	return wait(ctx, time.Duration(chance.Int64N(int64(2*time.Second))))
}

func other(than lab.Place) lab.Place {
	for _, p := range lab.Sites() {
		if p != than {
			return p
		}
	}
	return than
}
