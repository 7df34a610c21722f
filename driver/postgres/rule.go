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
	names, _ := mem.names()
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
	if names == "" {
		_, err := u.checkpointerReads(ctx, 0) // and is believed only this once
		return err
	}
	return u.proveRule(ctx)
}

// proveRule returns when the checkpointer has surely read a list that is not empty. It alone sets
// the flag in shared memory without which no commit waits for anybody. Once is enough for as
// long as it lives, or until the list is to become empty: see [Unit.forgetRule].
func (u *Unit) proveRule(ctx context.Context) error {
	u.mu.Lock()
	proven, rules := u.proven, u.rules
	u.mu.Unlock()
	pid, err := u.checkpointerReads(ctx, proven)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rules == rules {
		u.proven = pid
	}
	return nil
}

// forgetRule makes the next list count only once it was proven anew, also against a proof that
// goes on beside.
func (u *Unit) forgetRule() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.proven = 0
	u.rules++
}

// checkpointerReads returns when the checkpointer has surely read the configuration as it
// stands, at once if it is the one that is known to have.
//
// The checkpointer is signalled and then must have gone to sleep at least once more, and be
// asleep in its own loop, at whose top it reads the configuration.
func (u *Unit) checkpointerReads(ctx context.Context, known int) (int, error) {
	pid, _, err := u.checkpointer(ctx)
	if err != nil || pid == known {
		return pid, err
	}
	before := sleeps(pid)
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return 0, fmt.Errorf("checkpointer: %w", err)
	}
	for seen := 0; seen < 2; {
		if err := pause(ctx, time.Millisecond); err != nil {
			return 0, fmt.Errorf("the checkpointer has not read the list of synchronous members yet: %w", err)
		}
		slept := sleeps(pid) > before
		now, event, err := u.checkpointer(ctx)
		if err != nil {
			return 0, err
		}
		if now != pid {
			return 0, errors.New("the checkpointer was replaced: the server restarted meanwhile")
		}
		if slept && event == "CheckpointerMain" {
			seen++
		} else {
			seen = 0
		}
	}
	return pid, nil
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
