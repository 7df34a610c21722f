package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/haechi/haechi/agent"
)

// A member that went another way is read with a server of its own that nobody but the agent reaches:
// it listens on no network, its socket lies in a directory of the agent's, its rules let nobody else
// in; it waits for nobody, connects to nobody, archives nothing and runs no jobs.

// apartPort is a part of the socket's name alone.
const apartPort = 5432

// endApart is how long such a server is given to end by itself.
const endApart = 30 * time.Second

// apartDir is where the socket and the rules are. Its path is short, since sockets' names are.
func (u *Unit) apartDir() string {
	return filepath.Join(filepath.Dir(u.set.Passfile), "apart-"+u.set.Store)
}

// isApart says whether the server that runs is the one that was started to be read.
func (u *Unit) isApart() bool {
	pid := u.postmaster()
	return pid != 0 && strings.Contains(commandLine(pid), "unix_socket_directories="+u.apartDir())
}

// apartOptions win over every file of the server.
func (u *Unit) apartOptions(timeline uint64) []string {
	var out []string
	for _, o := range []string{
		"listen_addresses=", "unix_socket_directories=" + u.apartDir(), "unix_socket_permissions=0700", fmt.Sprintf("port=%d", apartPort),
		"hba_file=" + filepath.Join(u.apartDir(), "hba"), "ssl=off",
		"synchronous_standby_names=", "default_transaction_read_only=on",
		"primary_conninfo=", "primary_slot_name=", "restore_command=", "recovery_end_command=", "archive_cleanup_command=", "archive_mode=off",
		// What extensions do by themselves, jobs and subscriptions, must not happen twice.
		"shared_preload_libraries=", "max_logical_replication_workers=0", "autovacuum=off",
		// A slot that was made while wal_level was logical keeps the server from starting when it is not,
		// and one that is behind would be thrown away by the first checkpoint.
		"wal_level=logical", "max_slot_wal_keep_size=-1",
		// The newest timeline may be the primary's, whose history a follower has fetched.
		"recovery_target_timeline=" + number(timeline),
		"hot_standby=on", "recovery_min_apply_delay=0", "logging_collector=off", "log_statement=none",
	} {
		out = append(out, "-c", o)
	}
	return out
}

// startApart starts the server to be read, and waits for as long as its recovery takes.
func (u *Unit) startApart(ctx context.Context, timeline uint64) error {
	if err := u.endApart(ctx); err != nil {
		return err
	}
	if u.postmaster() != 0 {
		return errors.New("its server runs, so it is not read")
	}
	if err := os.MkdirAll(u.apartDir(), 0o700); err != nil {
		return fmt.Errorf("apart: %w", err)
	}
	if err := agent.WriteDurably(filepath.Join(u.apartDir(), "hba"), []byte("local all postgres peer\n"), 0o600); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := u.launch(u.apartOptions(timeline)...); err != nil {
		return err
	}
	for began := time.Now(); !u.up(); {
		if u.postmaster() == 0 && time.Since(began) > 3*time.Second {
			return fmt.Errorf("its server does not come up to be read: %s", u.lastWords())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// lastWords is what the server's log says at its end.
func (u *Unit) lastWords() string {
	raw, err := os.ReadFile(u.set.Log)
	if err != nil {
		return "its log cannot be read either: " + err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw[max(0, len(raw)-4096):])), "\n")
	for _, l := range slices.Backward(lines) {
		if strings.Contains(l, "FATAL:") || strings.Contains(l, "PANIC:") {
			return strings.TrimSpace(l)
		}
	}
	return fmt.Sprintf("%s; its log is %s", lines[len(lines)-1], u.set.Log)
}

// endApart ends a server that was started to be read, one of another life of the agent included.
func (u *Unit) endApart(ctx context.Context) error {
	pid := u.postmaster()
	if pid == 0 || !u.isApart() {
		return nil
	}
	if err := u.endOrKill(ctx, pid, endApart); err != nil {
		return fmt.Errorf("apart: %w", err)
	}
	return nil
}

// endOrKill has a server end by itself, so that it can be rewound, and kills it where that takes too long.
func (u *Unit) endOrKill(ctx context.Context, pid int, patience time.Duration) error {
	u.local.drop()
	_ = syscall.Kill(pid, syscall.SIGINT)
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if u.awaitGone(soon, pid) == nil {
		return nil
	}
	return u.kill(ctx, fencePatience)
}

// readable are the settings under which values are read and written: the same text everywhere, and
// the same that the server takes back.
func readable(conf *pgconn.Config) {
	for k, v := range map[string]string{
		"application_name": "haechi-salvage", "statement_timeout": "0", "search_path": "pg_catalog", "client_encoding": "UTF8",
		"datestyle": "ISO, YMD", "intervalstyle": "postgres", "timezone": "UTC", "extra_float_digits": "1", "bytea_output": "hex", "lc_monetary": "C",
		"default_transaction_isolation": "repeatable read", "jit": "off",
	} {
		conf.RuntimeParams[k] = v
	}
}

// dialApart connects to a database of the server that is read.
func (u *Unit) dialApart(ctx context.Context, database string) (*pgconn.PgConn, error) {
	l := local{socket: u.apartDir(), port: apartPort}
	conf, err := l.conf("")
	if err != nil {
		return nil, err
	}
	conf.Database = database
	readable(conf)
	return dialWithin(ctx, busy, conf)
}

// dialPrimary connects to a database of the primary as members do, to compare rows. The credential
// is the epoch's, as for receiving.
func (u *Unit) dialPrimary(ctx context.Context, up *agent.Upstream, database string) (*pgconn.PgConn, error) {
	if err := checkUpstream(up, u.set.Member); err != nil {
		return nil, err
	}
	conf, err := pgconn.ParseConfig(fmt.Sprintf("host='%s' port=%s user=%s sslmode=prefer passfile=/dev/null connect_timeout=5", up.Host, up.Port, ReplicationRole))
	if err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	conf.Database, conf.Password = database, credential(u.secret, u.set.Store, up.Credential)
	readable(conf)
	conf.RuntimeParams["default_transaction_read_only"] = "on"
	conf.RuntimeParams["default_transaction_isolation"] = "read committed"
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	return c, nil
}

// eachRow runs a statement and hands its rows over one by one, as they come. A value is valid only
// until the function returns; nil is NULL.
func eachRow(ctx context.Context, c *pgconn.PgConn, sql string, row func(values [][]byte) error) error {
	results := c.Exec(ctx, sql)
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			if err := row(r.Values()); err != nil {
				closeSoon(c) // what still comes is not waited for
				return err
			}
		}
	}
	if err := results.Close(); err != nil {
		return fmt.Errorf("query: %w", err)
	}
	return nil
}
