package postgres

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ruleInForce writes the list and returns when every part of the server that decides
// whether a commit waits has read it.
func (u *Unit) ruleInForce(ctx context.Context, mem memory) error {
	changed, err := u.apply(mem)
	if err != nil {
		return err
	}
	names := syncNames(mem.Any, mem.List)
	have, err := u.local.value(ctx, "SELECT current_setting('synchronous_standby_names')")
	if err != nil {
		return err
	}
	if changed || have != names {
		if err := u.reload(); err != nil {
			return err
		}
		if err := u.inForce(ctx, "synchronous_standby_names", names); err != nil {
			return err
		}
	}
	return u.proveRule(ctx)
}

// proveRule returns when the checkpointer has surely read a list that is not empty. It alone sets
// the flag in shared memory without which no commit waits for anybody.
//
// The checkpointer is signalled and then must have gone to sleep at least once more, and be
// asleep in its own loop, at whose top it reads the configuration. Once is enough for as
// long as it lives, since a list never becomes empty again.
func (u *Unit) proveRule(ctx context.Context) error {
	pid, _, err := u.checkpointer(ctx)
	if err != nil {
		return err
	}
	if u.ruleProven(pid) {
		return nil
	}
	before := sleeps(pid)
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("checkpointer: %w", err)
	}
	for seen := 0; seen < 2; {
		if err := pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("the checkpointer has not read the list of synchronous members yet: %w", err)
		}
		slept := sleeps(pid) > before
		now, event, err := u.checkpointer(ctx)
		if err != nil {
			return err
		}
		if now != pid {
			return errors.New("the checkpointer was replaced: the server restarted meanwhile")
		}
		if slept && event == "CheckpointerMain" {
			seen++
		} else {
			seen = 0
		}
	}
	u.mu.Lock()
	u.proven = pid
	u.mu.Unlock()
	return nil
}

func (u *Unit) ruleProven(pid int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.proven == pid
}

// proveRuleSoon does the same beside a seal, so that the promotion finds it done.
func (u *Unit) proveRuleSoon(names string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := u.inForce(ctx, "synchronous_standby_names", names); err != nil {
		return
	}
	if err := u.proveRule(ctx); err != nil {
		u.log.Debug("list of synchronous members not proven yet", "error", err)
	}
}

// checkpointer is the process that checkpoints, and what it waits for.
func (u *Unit) checkpointer(ctx context.Context) (pid int, event string, err error) {
	rows, err := u.local.rows(ctx, "SELECT pid, coalesce(wait_event, '') FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
	if err != nil {
		return 0, "", err
	}
	if len(rows) != 1 {
		return 0, "", fmt.Errorf("%d checkpointers are seen, want 1", len(rows))
	}
	return int(toNumber(rows[0][0])), rows[0][1], nil
}
