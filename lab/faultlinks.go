package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/lab/wan"
)

// both are the two directions between a and b.
func both(a, b Place) []wan.Direction {
	return []wan.Direction{{From: string(a), To: string(b)}, {From: string(b), To: string(a)}}
}

// around are all directions that lead into or out of p, to the places given.
func around(p Place, others []Place) []wan.Direction {
	var out []wan.Direction
	for _, q := range others {
		if q != p {
			out = append(out, both(p, q)...)
		}
	}
	return out
}

// cut cuts directions at one instant and proves by the router's own state and
// counters that nothing passes any more.
func (l *Lab) cut(ctx context.Context, dirs []wan.Direction, what string) (Proof, error) {
	yes := true
	var changes []wan.Change
	for _, d := range dirs {
		changes = append(changes, wan.Change{Direction: d, Cut: &yes})
	}
	done, err := l.WAN().Set(ctx, changes...)
	if err != nil {
		return Proof{}, fmt.Errorf("%s: %w", what, err)
	}
	first, err := l.lines(ctx, dirs)
	if err != nil {
		return Proof{}, err
	}
	second, err := l.lines(ctx, dirs)
	if err != nil {
		return Proof{}, err
	}
	for i, line := range first {
		if !line.Link.Cut || line.Queued > 0 || second[i].Counters.Packets != line.Counters.Packets {
			return Proof{}, fmt.Errorf("%s: %v still carries packets: %+v", what, line.Direction, second[i])
		}
	}
	return proof(done.At, "%s: %s, nothing is under way there", what, directions(len(dirs))), nil
}

func directions(n int) string {
	if n == 1 {
		return "1 direction carries nothing"
	}
	return fmt.Sprintf("%d directions carry nothing", n)
}

// lines reads the state of some directions.
func (l *Lab) lines(ctx context.Context, dirs []wan.Direction) ([]wan.LineStatus, error) {
	s, err := l.WAN().Status(ctx, false)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(s.Lines, func(line wan.LineStatus) bool { return !slices.Contains(dirs, line.Direction) }), nil
}

// CutSite cuts a site from both others. Users still reach it.
func (l *Lab) CutSite(ctx context.Context, p Place) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut(ctx, around(p, sites), fmt.Sprintf("%s cut from the other sites", p))
}

// CutLink cuts the line between two places, both ways.
func (l *Lab) CutLink(ctx context.Context, a, b Place) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut(ctx, both(a, b), fmt.Sprintf("line between %s and %s cut", a, b))
}

// CutOneWay drops what goes from one place to another; the way back stays open.
func (l *Lab) CutOneWay(ctx context.Context, from, to Place) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut(ctx, both(from, to)[:1], fmt.Sprintf("line from %s to %s cut one way", from, to))
}

// CutUsers cuts a site from users; the other sites still reach it.
func (l *Lab) CutUsers(ctx context.Context, p Place) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut(ctx, both(p, Users), fmt.Sprintf("%s cut from users", p))
}

// Sever cuts every line of a site at one instant, to users as well. Nothing in it dies: its primary
// may go on, and nobody hears it.
func (l *Lab) Sever(ctx context.Context, p Place) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut(ctx, around(p, places), fmt.Sprintf("every line of %s cut, to users as well", p))
}

// Blackout makes every line of a site dark for a while, to users as well, and
// returns when it is over. Lines that were cut before stay cut.
func (l *Lab) Blackout(ctx context.Context, p Place, dark time.Duration) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before, err := l.lines(ctx, around(p, places))
	if err != nil {
		return Proof{}, err
	}
	out, err := l.cut(ctx, around(p, places), fmt.Sprintf("every line of %s black for %v", p, dark))
	if err != nil {
		return Proof{}, err
	}
	select {
	case <-time.After(time.Until(out.At.Add(dark))):
	case <-ctx.Done():
	}
	var changes []wan.Change
	for _, line := range before {
		changes = append(changes, wan.Change{Direction: line.Direction, Cut: &line.Link.Cut})
	}
	back, err := l.WAN().Set(context.WithoutCancel(ctx), changes...)
	if err != nil {
		return Proof{}, fmt.Errorf("end of the blackout: %w", err)
	}
	out.What += fmt.Sprintf("; it was dark for %v", back.At.Sub(out.At).Round(time.Millisecond))
	return out, nil
}

// Slow gives the line between two places a delay (one way) and a loss, in both
// directions, until Heal.
func (l *Lab) Slow(ctx context.Context, a, b Place, delay time.Duration, loss float64) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var changes []wan.Change
	for _, d := range both(a, b) {
		changes = append(changes, wan.Change{Direction: d, Delay: &delay, Loss: &loss})
	}
	done, err := l.WAN().Set(ctx, changes...)
	if err != nil {
		return Proof{}, fmt.Errorf("slow line: %w", err)
	}
	now, err := l.lines(ctx, both(a, b))
	if err != nil {
		return Proof{}, err
	}
	for _, line := range now {
		if line.Link.Delay != delay || line.Link.Loss != loss {
			return Proof{}, fmt.Errorf("slow line: %v is %v", line.Direction, line.Link)
		}
	}
	return proof(done.At, "line between %s and %s: %v one way, %g%% lost", a, b, delay, loss*100), nil
}

// Heal takes back every fault that can be taken back: cuts, slow lines, full
// disks, readers' locks, stopped processes. What was killed stays dead, and a site that
// burned stays without its lines.
func (l *Lab) Heal(ctx context.Context) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, undo := range slices.Backward(l.undo) {
		errs = append(errs, undo(ctx))
	}
	l.undo = nil
	var changes []wan.Change
	for _, from := range places {
		for _, to := range places {
			d := wan.Direction{From: string(from), To: string(to)}
			link, ok := l.links[d]
			_, burnedFrom := l.burned[from]
			_, burnedTo := l.burned[to]
			if ok && !burnedFrom && !burnedTo {
				changes = append(changes, wan.Change{Direction: d, Delay: &link.Delay, Jitter: &link.Jitter, Loss: &link.Loss, Rate: &link.Rate, Cut: &link.Cut})
			}
		}
	}
	done, err := l.WAN().Set(ctx, changes...)
	if err := errors.Join(append(errs, err)...); err != nil {
		return Proof{}, fmt.Errorf("heal: %w", err)
	}
	return proof(done.At, "healed: %d directions are as they were", len(changes)), nil
}
