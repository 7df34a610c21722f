package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// durable are the settings that make an acknowledgement worth something. The
// lab asks the running servers for them and prints the answers.
var durable = []string{
	"fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_log_hints",
	"data_checksums", "wal_sync_method", "synchronous_standby_names",
}

// member files.
func (l *Lab) data(p Place) string     { return l.at(p, "pg", "data") }
func (l *Lab) socket(p Place) string   { return l.at(p, "pg", "run") }
func (l *Lab) passfile(p Place) string { return l.at(p, "pg", "replication.pgpass") }

// raisePostgres makes an ordinary cluster with one synchronous follower out of
// two, as a company would have it before haechi comes: haechi adopts it.
func (l *Lab) raisePostgres(ctx context.Context) error {
	for _, p := range sites {
		for _, dir := range []string{l.at(p, "pg"), l.socket(p)} {
			if err := own(dir, postgresUser, "", 0o755); err != nil {
				return err
			}
		}
		if err := l.writePassfile(p); err != nil {
			return err
		}
	}
	if err := l.raisePrimary(ctx); err != nil {
		return err
	}
	if l.o.Bulk > 0 {
		if err := l.raiseBulk(ctx); err != nil {
			return err
		}
	}
	var all errgroup.Group
	for _, p := range sites[1:] {
		all.Go(func() error { return l.raiseFollower(ctx, p) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	if _, err := l.SQL(ctx, Pangyo, "postgres", `ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 ("ansan","anyang")'`); err != nil {
		return err
	}
	if _, err := l.SQL(ctx, Pangyo, "postgres", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	if err := l.streaming(ctx); err != nil {
		return err
	}
	return l.printDurability(ctx)
}

// writePassfile gives a member the password with which it may replicate, in a
// file outside the data directory.
func (l *Lab) writePassfile(p Place) error {
	first, err := l.secret("replication-first")
	if err != nil {
		return err
	}
	return write(l.passfile(p), postgresUser, "", 0o600, "*:*:*:haechi_replication:"+first+"\n")
}

func (l *Lab) raisePrimary(ctx context.Context) error {
	template, err := l.template()
	if err != nil {
		return err
	}
	if err := l.run(ctx, "cp", "-a", template, l.data(Pangyo)); err != nil {
		return err
	}
	if err := l.configure(Pangyo); err != nil {
		return err
	}
	if err := l.startPostgres(ctx, Pangyo); err != nil {
		return err
	}
	for _, q := range l.roles() {
		if _, err := l.SQL(ctx, Pangyo, "postgres", q); err != nil {
			return err
		}
	}
	return nil
}

// template is an empty cluster that is made once and copied from then on. Its segments are small: a
// follower whose primary changes is sent the begun segment from its start, twice, and the WAN here is
// a part of two processors.
func (l *Lab) template() (string, error) {
	dir := l.path("cache", "postgresql-15-small-segments")
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); err == nil {
		return dir, nil
	}
	fresh := l.path("cache", "new")
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	if err := own(l.path("cache"), postgresUser, "", 0o755); err != nil {
		return "", err
	}
	_, err := l.command(spawn{user: postgresUser, dir: l.path("cache"), args: []string{
		postgresBin + "/initdb", "--pgdata", fresh, "--data-checksums", "--wal-segsize=1", "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=peer", "--auth-host=scram-sha-256"}})
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(fresh, dir)
}

// configure writes the files of one member. They stand in its data directory,
// as initdb and pg_basebackup leave them.
func (l *Lab) configure(p Place) error {
	files := map[string]string{
		"postgresql.conf": fmt.Sprintf(postgresConf, p.Addr(databaseHost), l.socket(p), p),
		"pg_hba.conf":     postgresHBA,
		"pg_ident.conf":   postgresIdent,
	}
	for name, text := range files {
		if err := write(filepath.Join(l.data(p), name), postgresUser, "", 0o600, text); err != nil {
			return err
		}
	}
	return nil
}

// postgresConf takes address, socket directory and the member's name.
const postgresConf = `# written by haechi-lab
listen_addresses = '%s'
port = 5432
unix_socket_directories = '%s'
cluster_name = '%s'
max_connections = 200
shared_buffers = 32MB

fsync = on
synchronous_commit = on
full_page_writes = on
wal_log_hints = on
wal_level = logical
hot_standby = on
max_wal_senders = 10
max_replication_slots = 10
wal_keep_size = 2GB
max_wal_size = 2GB
checkpoint_timeout = 5min

wal_retrieve_retry_interval = 100ms
wal_receiver_status_interval = 1s
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
tcp_user_timeout = 5s
tcp_keepalives_idle = 2
tcp_keepalives_interval = 1
tcp_keepalives_count = 3

logging_collector = off
log_line_prefix = '%%m [%%p] %%q%%u@%%d/%%a '
log_checkpoints = off
log_replication_commands = on
timezone = 'UTC'
log_timezone = 'UTC'
`

const postgresHBA = `# written by haechi-lab
local all         all                                 peer map=lab
local replication all                                 peer map=lab
host  replication haechi_replication 10.77.0.0/16     scram-sha-256
host  all         haechi_replication 10.77.0.0/16     scram-sha-256
host  all         haechi_monitor     10.77.0.0/16     scram-sha-256
host  talk        talk               10.77.0.0/16     scram-sha-256
`

const postgresIdent = "lab root postgres\nlab root talk\nlab postgres postgres\n"

// roles are the statements that make users and talk's database, one by one.
func (l *Lab) roles() []string {
	secret := func(name string) string {
		s, err := l.secret(name)
		if err != nil {
			return "" // an empty password lets nobody in
		}
		return s
	}
	return []string{
		"CREATE ROLE haechi_replication REPLICATION LOGIN PASSWORD '" + secret("replication-first") + "'",
		"CREATE ROLE haechi_monitor LOGIN PASSWORD '" + secret("monitor") + "'",
		"GRANT pg_monitor TO haechi_monitor",
		"CREATE ROLE talk LOGIN PASSWORD '" + secret("talk") + "'",
		"CREATE DATABASE talk OWNER talk",
	}
}

// raiseFollower makes a follower of a base backup, or of the copy that [Lab.raiseBulk] made.
func (l *Lab) raiseFollower(ctx context.Context, p Place) error {
	if l.o.Bulk == 0 {
		_, err := l.command(spawn{ns: l.NS(p), user: postgresUser, dir: l.at(p, "pg"), args: []string{
			postgresBin + "/pg_basebackup", "--pgdata", l.data(p), "--checkpoint=fast", "--wal-method=stream",
			"--dbname", l.conninfo(p, Pangyo)}})
		if err != nil {
			return err
		}
	}
	if err := l.configure(p); err != nil {
		return err
	}
	auto := "primary_conninfo = '" + l.conninfo(p, Pangyo) + "'\n"
	if err := write(filepath.Join(l.data(p), "postgresql.auto.conf"), postgresUser, "", 0o600, auto); err != nil {
		return err
	}
	if err := write(filepath.Join(l.data(p), "standby.signal"), postgresUser, "", 0o600, ""); err != nil {
		return err
	}
	return l.startPostgres(ctx, p)
}

// conninfo is how member p reaches the primary in another site.
func (l *Lab) conninfo(p, primary Place) string {
	return fmt.Sprintf("host=%s port=5432 user=haechi_replication application_name=%s passfile=%s connect_timeout=2 "+
		"keepalives_idle=2 keepalives_interval=1 keepalives_count=3 tcp_user_timeout=5000",
		primary.Addr(databaseHost), p, l.passfile(p))
}

// startPostgres starts a member as it is, or with other settings besides, and waits until it answers.
func (l *Lab) startPostgres(ctx context.Context, p Place, besides ...string) error {
	_, err := l.start(spawn{ns: l.NS(p), user: postgresUser, dir: l.at(p, "pg"), log: string(p) + "-postgres",
		args: append([]string{postgresBin + "/postgres", "-D", l.data(p)}, besides...)})
	if err != nil {
		return err
	}
	return until(ctx, 20*time.Second, func() error {
		_, err := l.SQL(ctx, p, "postgres", "SELECT 1")
		return err
	})
}

// stopPostgres ends a member cleanly.
func (l *Lab) stopPostgres(p Place) error {
	_, err := l.command(spawn{ns: l.NS(p), user: postgresUser, dir: l.at(p, "pg"), args: []string{postgresBin + "/pg_ctl", "-D", l.data(p), "-m", "fast", "-w", "stop"}})
	return err
}

// streaming waits until both followers receive from pangyo and one is waited for.
func (l *Lab) streaming(ctx context.Context) error {
	return until(ctx, 20*time.Second, func() error {
		rows, err := l.SQL(ctx, Pangyo, "postgres", "SELECT application_name, state, sync_state FROM pg_stat_replication ORDER BY 1")
		if err != nil {
			return err
		}
		if got := fmt.Sprint(rows); got != "[[ansan streaming quorum] [anyang streaming quorum]]" {
			return fmt.Errorf("followers are not streaming: %s", got)
		}
		return nil
	})
}

// printDurability asks every member what its settings are.
func (l *Lab) printDurability(ctx context.Context) error {
	for _, p := range sites {
		rows, err := l.SQL(ctx, p, "postgres",
			"SELECT name, setting FROM pg_settings WHERE name = ANY('{"+strings.Join(durable, ",")+"}') ORDER BY 1")
		if err != nil {
			return err
		}
		var out []string
		for _, r := range rows {
			if r[1] != "" {
				out = append(out, r[0]+"="+r[1])
			}
		}
		l.say("%s: postgres %s", p, strings.Join(out, " "))
	}
	return nil
}
