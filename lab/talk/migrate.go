package talk

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// schema is all that talk keeps. seq orders a room; xid is the transaction that
// first wrote the row, by which the live stream knows which rows can no longer
// be joined by an earlier one.
const schema = `
CREATE TABLE IF NOT EXISTS messages (
	id      uuid PRIMARY KEY,
	room    text NOT NULL,
	author  text NOT NULL,
	body    text NOT NULL,
	attempt int NOT NULL DEFAULT 1,
	at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	seq     bigserial,
	xid     xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX IF NOT EXISTS messages_room_seq ON messages (room, seq);
CREATE INDEX IF NOT EXISTS messages_xid ON messages (xid, seq);
`

// Migrate makes talk's tables where they are missing. It needs the primary, and
// must be called as the role that the gateways use: the tables belong to it.
func Migrate(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("talk: migrate: connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, schema); err != nil {
		return fmt.Errorf("talk: migrate: %w", err)
	}
	return nil
}
