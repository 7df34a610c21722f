package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/haechi/haechi/agent"
)

// looked is how long one look serves all who ask without a run: several towers look twice a second each, and what
// they see so is no older by that than by the time between their looks.
const looked = 200 * time.Millisecond

// How long a look waits for a server that may hang: when towers look all the time, and
// when a step of a run wants to know before it goes on.
const (
	lookFor     = 400 * time.Millisecond
	lookForStep = 2 * time.Second
)

// status shares looks between those who ask at the same time.
type status struct {
	mu    sync.Mutex // guards what follows
	at    time.Time
	facts map[string]string
	now   *looking // the one under way that is not about a past state; nil: none

	rare sync.Mutex // guards what follows
	when time.Time
	slow [][]string
}

// looking is a look under way.
type looking struct {
	done  chan struct{}
	facts map[string]string // once done is closed
}

// forget makes the next look a fresh one.
func (s *status) forget() {
	s.mu.Lock()
	s.at, s.now = time.Time{}, nil
	s.mu.Unlock()
	s.rare.Lock()
	s.when = time.Time{}
	s.rare.Unlock()
}

// look says all that others may want to know of the member. What it cannot learn is missing;
// "running" and "answers" say why.
func (u *Unit) look(ctx context.Context, o agent.Order, mem memory, epoch uint64) map[string]string {
	fresh := func(ctx context.Context) map[string]string {
		ctx, cancel := context.WithTimeout(ctx, lookForStep)
		defer cancel()
		return u.lookNow(ctx, o, mem, epoch)
	}
	var facts map[string]string
	if o.Run != "" {
		facts = fresh(ctx)
	} else {
		facts = u.status.shared(ctx, fresh)
	}
	if facts == nil {
		facts = map[string]string{"running": yes(u.postmaster() != 0), "answers": "false", "error": "no answer within " + lookFor.String()}
	}
	out := make(map[string]string, len(facts)+8)
	for k, v := range facts {
		out[k] = v
	}
	out["epoch"] = number(epoch)
	out["member"] = u.set.Member
	mem.facts(out)
	return out
}

// shared is what a look says that is under way or was just made, or else a new one; nil: it has not ended in time.
// It goes on then for whoever asks next: to end it ends its connection, and on a busy host a new one costs
// the server more than the answer, again and again.
func (s *status) shared(ctx context.Context, look func(context.Context) map[string]string) map[string]string {
	s.mu.Lock()
	if s.facts != nil && time.Since(s.at) <= looked {
		defer s.mu.Unlock()
		return s.facts
	}
	l := s.now
	if l == nil {
		l = &looking{done: make(chan struct{})}
		s.now = l
		go func() {
			l.facts = look(context.WithoutCancel(ctx))
			close(l.done)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.now == l {
				s.facts, s.at, s.now = l.facts, time.Now(), nil
			}
		}()
	}
	s.mu.Unlock()
	patience := time.NewTimer(lookFor)
	defer patience.Stop()
	select {
	case <-l.done:
		return l.facts
	case <-ctx.Done():
	case <-patience.C:
	}
	return nil
}

func (u *Unit) lookNow(ctx context.Context, o agent.Order, mem memory, epoch uint64) map[string]string {
	pid, state := u.pidFile()
	f := map[string]string{"running": yes(pid != 0), "answers": "false"}
	if f["running"] == "false" {
		if u.endedCleanly() {
			f["stopped"] = "cleanly"
		}
		return f
	}
	f["state"] = state
	rows, err := u.local.planned(ctx, "look", lookSQL)
	if err != nil {
		f["error"] = err.Error()
		return f
	}
	seldom, err := u.seldom(ctx)
	if err != nil {
		f["error"] = err.Error() // half an answer would look like settings that are wrong
		return f
	}
	f["answers"] = "true"
	into(f, rows)
	into(f, seldom)
	if f["in_recovery"] == "false" {
		f["history"] = u.historyFact(toNumber(f["timeline"]))
	}
	if c, err := u.credentialNow(ctx, epoch, mem.epochs(o.Reign)...); err == nil {
		f["credential"] = number(c)
	}
	return f
}

// seldom is what changes only by people's hands, a second old at most, or older where
// the server is too slow to say it again.
func (u *Unit) seldom(ctx context.Context) ([][]string, error) {
	s := &u.status
	s.rare.Lock()
	defer s.rare.Unlock()
	if s.slow != nil && time.Since(s.when) < time.Second {
		return s.slow, nil
	}
	if super, err := u.local.value(ctx, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"); err == nil && super == "f" {
		return nil, errNoSuperuser
	}
	rows, err := u.local.planned(ctx, "seldom", seldomSQL)
	switch {
	case err == nil:
		s.slow, s.when = rows, time.Now()
	case s.slow == nil:
		return nil, err
	}
	return s.slow, nil
}

// into adds rows of key and value; empty values are left out.
func into(f map[string]string, rows [][]string) {
	for _, r := range rows {
		if len(r) == 2 && r[1] != "" {
			f[r[0]] = r[1]
		}
	}
}

// blockersOf are the holders of the lock that the process s.pid waits for. pg_blocking_pids
// knows nothing of the startup process, which is no backend.
const blockersOf = `SELECT h.pid FROM pg_locks w JOIN pg_locks h ON h.granted AND h.pid <> w.pid AND h.locktype = w.locktype
  AND h.database IS NOT DISTINCT FROM w.database AND h.relation IS NOT DISTINCT FROM w.relation AND h.page IS NOT DISTINCT FROM w.page
  AND h.tuple IS NOT DISTINCT FROM w.tuple AND h.virtualxid IS NOT DISTINCT FROM w.virtualxid AND h.transactionid IS NOT DISTINCT FROM w.transactionid
  AND h.classid IS NOT DISTINCT FROM w.classid AND h.objid IS NOT DISTINCT FROM w.objid AND h.objsubid IS NOT DISTINCT FROM w.objsubid
  WHERE NOT w.granted AND w.pid = s.pid`

const whoBlocks = `SELECT string_agg(a.pid || ' ' || coalesce(a.usename, '') || ' ' || coalesce(a.application_name, ''), ', ')
  FROM pg_stat_activity a WHERE a.pid IN (` + blockersOf + `)`

// lookSQL is one quick round. Keys with a slash have many values; see facts.go.
const lookSQL = `
WITH here AS (SELECT pg_is_in_recovery() AS r),
     startup AS (SELECT pid, wait_event_type AS kind, wait_event AS event FROM pg_stat_activity WHERE backend_type = 'startup'),
     now AS (SELECT CASE WHEN r THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_flush_lsn() END AS l FROM here)
SELECT 'in_recovery', r::text FROM here
UNION ALL SELECT 'role', CASE WHEN r THEN 'follower' ELSE 'primary' END FROM here
UNION ALL SELECT 'received', pg_last_wal_receive_lsn()::text FROM here WHERE r
UNION ALL SELECT 'replayed', pg_last_wal_replay_lsn()::text FROM here WHERE r
UNION ALL SELECT 'lsn', greatest(l, CASE WHEN r THEN pg_last_wal_receive_lsn() END)::text FROM now, here
UNION ALL SELECT 'behind', pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text FROM here WHERE r
UNION ALL SELECT 'replay_paused', pg_get_wal_replay_pause_state() FROM here WHERE r
UNION ALL SELECT 'replay_wait', event FROM startup
UNION ALL SELECT 'replay_blocked_by', CASE WHEN s.kind = 'Lock' THEN (` + whoBlocks + `) END FROM startup s
UNION ALL SELECT 'timeline', CASE WHEN r THEN (SELECT greatest(c.timeline_id, w.received_tli) FROM pg_control_checkpoint() c LEFT JOIN pg_stat_wal_receiver w ON true)
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END::text FROM here
UNION ALL SELECT 'receiver', status FROM pg_stat_wal_receiver
UNION ALL SELECT 'upstream', coalesce(sender_host, '') || ':' || coalesce(sender_port, 0) FROM pg_stat_wal_receiver
UNION ALL SELECT 'sync_names', current_setting('synchronous_standby_names')
UNION ALL SELECT * FROM (SELECT 'client/' || application_name, state || ' ' || sync_state
    || ' flush_lsn=' || coalesce(flush_lsn::text, '-') || ' bytes=' || coalesce(pg_wal_lsn_diff(l, replay_lsn)::text, '-')
    || ' flush_lag_ms=' || coalesce(round(extract(epoch FROM flush_lag) * 1000)::text, '0')
    || ' replay_lag_ms=' || coalesce(round(extract(epoch FROM replay_lag) * 1000)::text, '0')
    FROM pg_stat_replication, now WHERE backend_start IS NOT NULL AND usename = '` + ReplicationRole + `' ORDER BY reply_time NULLS FIRST) AS c
UNION ALL SELECT 'slot/' || slot_name, coalesce(pg_wal_lsn_diff(l, restart_lsn)::text, '0') FROM pg_replication_slots, now`

// seldomSQL is what only people change.
const seldomSQL = `
SELECT 'version', current_setting('server_version')
UNION ALL SELECT 'version_num', current_setting('server_version_num')
UNION ALL SELECT 'system', system_identifier::text FROM pg_control_system()
UNION ALL SELECT 'fsync', current_setting('fsync')
UNION ALL SELECT 'full_page_writes', current_setting('full_page_writes')
UNION ALL SELECT 'checksums', current_setting('data_checksums')
UNION ALL SELECT 'wal_log_hints', current_setting('wal_log_hints')
UNION ALL SELECT 'synchronous_commit', current_setting('synchronous_commit')
UNION ALL SELECT 'cluster_name', current_setting('cluster_name')
UNION ALL SELECT 'apply_delay', setting FROM pg_settings WHERE name = 'recovery_min_apply_delay' AND setting <> '0'
UNION ALL SELECT 'upstream_slot', current_setting('primary_slot_name')
UNION ALL SELECT 'hot_standby', current_setting('hot_standby')
UNION ALL SELECT 'weaker_commit/' || coalesce(r.rolname, 'all roles') || '@' || coalesce(d.datname, 'all databases'), split_part(c, '=', 2)
  FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS c
  WHERE split_part(c, '=', 1) = 'synchronous_commit'
UNION ALL SELECT 'open_replication', string_agg('line ' || line_number, ', ') FROM pg_hba_file_rules
  WHERE 'replication' = ANY (database) AND type <> 'local' AND auth_method = 'trust'
UNION ALL SELECT 'lets_back', (count(*) > 0)::text FROM pg_hba_file_rules WHERE type <> 'local' AND auth_method <> 'reject' AND error IS NULL
  AND database && ARRAY['all', '` + sourceDatabase + `'] AND user_name && ARRAY['all', '` + ReplicationRole + `']
UNION ALL SELECT 'replication_role', CASE WHEN rolreplication AND rolcanlogin THEN 'ok'
  ELSE 'without ' || concat_ws(' and ', CASE WHEN NOT rolreplication THEN 'REPLICATION' END, CASE WHEN NOT rolcanlogin THEN 'LOGIN' END) END FROM pg_roles WHERE rolname = '` + ReplicationRole + `'`
