package dns

import (
	"context"
	"errors"
	"fmt"
)

// attempts is how often a change is computed anew when somebody else was faster.
const attempts = 5

// lookAway says whether the site's own addresses are gone at one server.
func (d *Driver) lookAway(ctx context.Context, t target) (bool, answers, error) {
	now, err := t.read(ctx, string(t.id))
	own, _ := split(t.name, t.site)
	return err == nil && len(now.addrs.and(own)) == 0 && len(now.addrs) > 0, now.addrs, err
}

// lookBack says whether all of the site's addresses are there.
func (d *Driver) lookBack(ctx context.Context, t target) (bool, answers, error) {
	now, err := t.read(ctx, string(t.id))
	return err == nil && len(parse(t.name.Answers[t.site]).without(now.addrs)) == 0, now.addrs, err
}

// withdraw takes the site's own addresses out at one server, never the last.
func (d *Driver) withdraw(ctx context.Context, t target) (bool, answers, error) {
	own, others := split(t.name, t.site)
	return d.change(ctx, t, func(now answers) (answers, error) {
		left := now.without(own)
		if len(left.and(others)) == 0 {
			return nil, fmt.Errorf("%s at %s (%s): %w: it answers %s; announce another site first, or leave this one, since an answer that may be dead is better than none",
				t.id, t.host, t.address, ErrLast, now)
		}
		return left, nil
	})
}

// announce puts the site's addresses back at one server.
func (d *Driver) announce(ctx context.Context, t target) (bool, answers, error) {
	back := parse(t.name.Answers[t.site])
	return d.change(ctx, t, func(now answers) (answers, error) { return now.plus(back), nil })
}

// change reads, computes, and replaces what was read in one act of the server; if the
// set was another by then, it starts over. At the end it asks anew what is answered.
func (d *Driver) change(ctx context.Context, t target, to func(now answers) (answers, error)) (bool, answers, error) {
	for range attempts {
		now, err := t.read(ctx, string(t.id))
		if err != nil {
			return false, nil, err
		}
		next, err := to(now.addrs)
		if err != nil {
			return false, nil, err
		}
		if next.equal(now.addrs) && now.ttl == t.ttl() {
			return true, next, nil // a fresh query has just shown it
		}
		err = t.replace(ctx, string(t.id), now.addrs, next, t.ttl())
		if err != nil && !errors.Is(err, errChanged) && !errors.Is(err, ErrSilent) {
			return false, nil, err
		}
		// Changed by somebody else, or no answer to the change: what is there now decides.
	}
	return false, nil, fmt.Errorf("name server %s (%s): %w, %d times in a row; who else changes %s?", t.host, t.address, errChanged, attempts, t.id)
}
