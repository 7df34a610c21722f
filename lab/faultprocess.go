package lab

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// KillProcess ends every process of a role in a place by SIGKILL; for a
// database that is the server with all its backends.
func (l *Lab) KillProcess(ctx context.Context, p Place, role Role) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, err := l.some(p, role)
	if err != nil {
		return Proof{}, err
	}
	at := time.Now()
	if err := signal(all, unix.SIGKILL); err != nil {
		return Proof{}, err
	}
	if err := gone(ctx, all); err != nil {
		return Proof{}, fmt.Errorf("kill %s in %s: %w", role, p, err)
	}
	return proof(at, "%s in %s killed: %d processes, none is left", role, p, len(all)), nil
}

// some are the processes of a role in a place; none is an error, since nothing
// would happen.
func (l *Lab) some(p Place, role Role) ([]process, error) {
	all, err := l.of(p, role)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("no process of %s runs in %s", role, p)
	}
	return all, err
}

// Stop stops every process of a role in a place (SIGSTOP), until Continue or Heal.
func (l *Lab) Stop(ctx context.Context, p Place, role Role) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out, all, err := l.shift(ctx, p, role, unix.SIGSTOP, "stopped", func(state byte) bool { return state == 'T' })
	if err != nil {
		return Proof{}, err
	}
	l.later(func(context.Context) error { return signal(alive(all), unix.SIGCONT) })
	return out, nil
}

// alive drops processes that ended, so that no signal reaches a stranger who got
// the same number.
func alive(all []process) []process {
	var out []process
	for _, p := range all {
		if now, ok := look(p.pid); ok && now.start == p.start {
			out = append(out, p)
		}
	}
	return out
}

// Continue lets stopped processes of a role go on.
func (l *Lab) Continue(ctx context.Context, p Place, role Role) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out, _, err := l.shift(ctx, p, role, unix.SIGCONT, "continued", func(state byte) bool { return state != 'T' })
	return out, err
}

// shift sends a signal and waits until the kernel shows every process in the state wanted.
func (l *Lab) shift(ctx context.Context, p Place, role Role, sig unix.Signal, word string, wanted func(byte) bool) (Proof, []process, error) {
	all, err := l.some(p, role)
	if err != nil {
		return Proof{}, nil, err
	}
	at := time.Now()
	if err := signal(all, sig); err != nil {
		return Proof{}, nil, err
	}
	err = until(ctx, 5*time.Second, func() error {
		for _, q := range all {
			if now, ok := look(q.pid); ok && now.start == q.start && !now.dead() && !wanted(now.state) {
				return fmt.Errorf("process %d is in state %c", q.pid, now.state)
			}
		}
		return nil
	})
	if err != nil {
		return Proof{}, nil, fmt.Errorf("%s of %s in %s: %w", word, role, p, err)
	}
	return proof(at, "%s in %s %s: %d processes, as the kernel shows", role, p, word, len(all)), all, nil
}

// StartProcess starts again what was killed, as the machine's own boot would. A
// database does not start by itself: its agent starts it when a tower says so.
func (l *Lab) StartProcess(ctx context.Context, p Place, role Role) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all, err := l.of(p, role); err != nil || len(all) > 0 {
		return Proof{}, fmt.Errorf("start %s in %s: %d processes of it run already (%v)", role, p, len(all), err)
	}
	at := time.Now()
	if err := l.starter(role)(ctx, p); err != nil {
		return Proof{}, fmt.Errorf("start %s in %s: %w", role, p, err)
	}
	return proof(at, "%s in %s started, it answers", role, p), nil
}

func (l *Lab) starter(role Role) func(context.Context, Place) error {
	then := func(start func(Place) error, ready func(context.Context, Place) error) func(context.Context, Place) error {
		return func(ctx context.Context, p Place) error {
			if err := start(p); err != nil {
				return err
			}
			return ready(ctx, p)
		}
	}
	listening := func(addr func(Place) string) func(context.Context, Place) error {
		return func(ctx context.Context, p Place) error {
			return l.listens(ctx, p, addr(p), string(p)+"-"+string(role))
		}
	}
	switch role {
	case RoleTower:
		return then(l.startTower, l.towerAnswers)
	case RoleAgent:
		return then(l.startAgent, listening(Place.agentAddr))
	case RoleNamed:
		return l.startNamed
	case RoleGateway:
		return then(l.startGateway, listening(Place.GatewayAddr))
	case RoleObserver:
		return func(context.Context, Place) error {
			for _, o := range observers {
				if err := l.startObserver(o.Name); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return func(context.Context, Place) error {
		return fmt.Errorf("a %s is not started by the lab; its agent does that when a tower orders it", role)
	}
}

// StartDatabase starts a member as it is, without asking anybody, as an
// operator who forgot that haechi is there would.
func (l *Lab) StartDatabase(ctx context.Context, p Place) (Proof, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := time.Now()
	if err := l.startPostgres(ctx, p); err != nil {
		return Proof{}, fmt.Errorf("start the database in %s: %w", p, err)
	}
	return proof(at, "postgres in %s started by hand, it answers", p), nil
}

// Rebuild gives a burned site its machines back, as they were when they lost
// power: everything that starts at boot starts, then the lines come back.
func (l *Lab) Rebuild(ctx context.Context, p Place) (Proof, error) {
	l.mu.Lock()
	if _, ok := l.burned[p]; !ok {
		l.mu.Unlock()
		return Proof{}, fmt.Errorf("%s did not burn", p)
	}
	delete(l.burned, p)
	l.fires.out(p)
	l.mu.Unlock()
	for _, role := range []Role{RoleNamed, RoleAgent, RoleTower, RoleGateway} {
		if !l.o.wants(role) {
			continue
		}
		if _, err := l.StartProcess(ctx, p, role); err != nil {
			return Proof{}, err
		}
	}
	out, err := l.Heal(ctx)
	if err != nil {
		return Proof{}, err
	}
	return proof(out.At, "%s has its machines and lines back; its database waits for its agent", p), nil
}
