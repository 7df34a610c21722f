package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lockTable is there for a reader's lock to stand on.
const lockTable = "haechi_lab_lock"

// ReaderLock lets a session on the follower in a site hold a lock that replay
// needs, and has the primary write what needs it. Replay stands still until
// the session ends: by Heal, by PostgreSQL's own patience (30 s), or because somebody ends it.
func (l *Lab) ReaderLock(ctx context.Context, p Place) (Proof, error) {
	if err := site(p); err != nil {
		return Proof{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	primaries := l.Primaries(ctx)
	if len(primaries) != 1 || primaries[0] == p {
		return Proof{}, fmt.Errorf("reader's lock in %s: needs a follower there and one primary; primaries are %v", p, primaries)
	}
	if _, err := l.SQL(ctx, primaries[0], "postgres", "CREATE TABLE IF NOT EXISTS "+lockTable+" (n int)"); err != nil {
		return Proof{}, err
	}
	reader, err := l.connect(ctx, p, "postgres")
	if err != nil {
		return Proof{}, err
	}
	fail := func(err error) (Proof, error) {
		return Proof{}, fmt.Errorf("reader's lock in %s: %w", p, errors.Join(err, reader.Close(ctx)))
	}
	err = until(ctx, 10*time.Second, func() error { // until the table has arrived
		_, err := query(ctx, reader, p, "ROLLBACK; BEGIN; SELECT * FROM "+lockTable)
		return err
	})
	if err != nil {
		return fail(err)
	}
	at := time.Now()
	if _, err := l.SQL(ctx, primaries[0], "postgres", "TRUNCATE "+lockTable); err != nil {
		return fail(err)
	}
	var behind string
	err = until(ctx, 5*time.Second, func() error {
		behind, err = l.blocked(ctx, p)
		return err
	})
	if err != nil {
		return fail(err)
	}
	l.later(func(ctx context.Context) error {
		_ = reader.Close(ctx) // it may have been ended already, which is as good
		return nil
	})
	return proof(at, "a reader's lock blocks replay in %s: %s", p, behind), nil
}

// blocked says in words that replay waits for a lock, or returns an error.
func (l *Lab) blocked(ctx context.Context, p Place) (string, error) {
	rows, err := l.SQL(ctx, p, "postgres", `SELECT wait_event_type, wait_event,
		pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn()
		FROM pg_stat_activity WHERE backend_type = 'startup'`)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || rows[0][0] != "Lock" || rows[0][4] != "t" {
		return "", fmt.Errorf("replay is not blocked: %v", rows)
	}
	return fmt.Sprintf("it waits for a %s %s at %s, received is %s", rows[0][1], rows[0][0], rows[0][3], rows[0][2]), nil
}
