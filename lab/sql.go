package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DSN reaches the member of a site over its local socket, as root on this
// machine may: user is postgres or talk. It works through every cut, since a
// socket needs no network.
func (l *Lab) DSN(p Place, user string) string {
	db := "postgres"
	if user == "talk" {
		db = "talk"
	}
	return fmt.Sprintf("host=%s port=5432 user=%s dbname=%s connect_timeout=5", l.socket(p), user, db)
}

// SQL asks one member, over its local socket, and returns every value as text;
// NULL is an empty text. User is postgres or talk. A warning from the server is
// an error where it says that the wait for a follower was given up: "committed
// locally" is no success.
func (l *Lab) SQL(ctx context.Context, p Place, user, sql string) ([][]string, error) {
	conn, err := l.connect(ctx, p, user)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return query(ctx, conn, p, sql)
}

func (l *Lab) connect(ctx context.Context, p Place, user string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(l.DSN(p, user))
	if err != nil {
		return nil, fmt.Errorf("sql in %s: %w", p, err)
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	c.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if strings.Contains(n.Message, "synchronous replication") {
			conn.CustomData()[unconfirmed] = n.Message
		}
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("sql in %s: %w", p, err)
	}
	return conn, nil
}

// unconfirmed is under what a connection keeps the server's word that it did not
// wait for a follower: the statement looks like a success otherwise.
const unconfirmed = "unconfirmed"

func query(ctx context.Context, conn *pgx.Conn, p Place, sql string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("sql in %s: %w: %s", p, err, sql)
	}
	if why, warned := conn.PgConn().CustomData()[unconfirmed]; warned {
		return nil, fmt.Errorf("sql in %s: committed here alone: %v: %s", p, why, sql)
	}
	var out [][]string
	for _, r := range results {
		for _, row := range r.Rows {
			var texts []string
			for _, v := range row {
				texts = append(texts, string(v))
			}
			out = append(out, texts)
		}
	}
	return out, nil
}

// IsPrimary says whether the member of the site is a primary now.
func (l *Lab) IsPrimary(ctx context.Context, p Place) (bool, error) {
	rows, err := l.ask(ctx, p, "SELECT NOT pg_is_in_recovery()")
	return err == nil && len(rows) == 1 && rows[0][0] == "t", err
}

// Primaries are the sites whose members say that they are primary. More than one is
// no harm by itself: an isolated one may live on, as long as nobody helps it to acknowledge.
func (l *Lab) Primaries(ctx context.Context) []Place {
	var out []Place
	for _, p := range sites {
		if yes, err := l.IsPrimary(ctx, p); err == nil && yes {
			out = append(out, p)
		}
	}
	return out
}

// Position is how far the member of the site has come: written if it is a
// primary, else the further of received and replayed.
func (l *Lab) Position(ctx context.Context, p Place) (string, error) {
	rows, err := l.ask(ctx, p, `SELECT CASE WHEN pg_is_in_recovery()
		THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END`)
	if err != nil || len(rows) != 1 {
		return "", err
	}
	return rows[0][0], nil
}
