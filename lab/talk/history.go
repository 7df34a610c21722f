package talk

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// History reads one page of a room, oldest first: at most limit messages whose
// seq is larger than after. A negative after asks for the newest page.
func (s *store) History(ctx context.Context, room string, after int64, limit int) ([]Message, error) {
	g, err := s.primary(ctx)
	if err != nil {
		return nil, err
	}
	sql := `SELECT id::text, room, author, body, seq, at, attempt FROM messages WHERE room = $1 AND seq > $2 ORDER BY seq LIMIT $3`
	if after < 0 {
		sql = `SELECT * FROM (SELECT id::text, room, author, body, seq, at, attempt FROM messages
			WHERE room = $1 AND seq > $2 ORDER BY seq DESC LIMIT $3) newest ORDER BY seq`
	}
	rows, err := g.pool.Query(ctx, sql, room, after, limit)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", room, err)
	}
	out, err := pgx.CollectRows(rows, scanMessage)
	if err != nil {
		return nil, fmt.Errorf("history of %s: %w", room, err)
	}
	return out, nil
}

func scanMessage(r pgx.CollectableRow) (m Message, err error) {
	err = r.Scan(&m.ID, &m.Room, &m.Author, &m.Body, &m.Seq, &m.At, &m.Attempt)
	return m, err
}

// newsSQL reads what became settled: rows of transactions older than every one
// that still runs. Reading by seq alone would miss a row whose transaction took
// its number early and committed late.
const newsSQL = `WITH h AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS x)
	SELECT h.x::text, m.xid::text, m.id::text, m.room, m.author, m.body, m.seq, m.at
	FROM h LEFT JOIN messages m ON m.xid >= $1::text::xid8 AND m.xid < h.x
	ORDER BY m.xid, m.seq LIMIT $2`

// newsPage is how many messages one look for news reads at most.
const newsPage = 2000

// news returns the settled messages from transaction from on, in the order in
// which they were begun, and where to go on. From zero it returns none, only the
// place where the present begins.
func news(ctx context.Context, g *generation, from uint64) (out []Message, next uint64, err error) {
	if from == 0 {
		var x string
		if err := g.pool.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot())::text`).Scan(&x); err != nil {
			return nil, 0, fmt.Errorf("where the news begin: %w", err)
		}
		next, err = strconv.ParseUint(x, 10, 64)
		return nil, next, err
	}
	rows, err := g.pool.Query(ctx, newsSQL, strconv.FormatUint(from, 10), newsPage)
	if err != nil {
		return nil, from, fmt.Errorf("news: %w", err)
	}
	defer rows.Close()
	horizon, last := from, from
	for rows.Next() {
		var h string
		var xid, id, room, author, body *string
		var m Message
		var seq *int64
		var at *time.Time
		if err := rows.Scan(&h, &xid, &id, &room, &author, &body, &seq, &at); err != nil {
			return nil, from, fmt.Errorf("news: %w", err)
		}
		if horizon, err = strconv.ParseUint(h, 10, 64); err != nil {
			return nil, from, fmt.Errorf("news: %w", err)
		}
		if xid == nil { // no news
			continue
		}
		if last, err = strconv.ParseUint(*xid, 10, 64); err != nil {
			return nil, from, fmt.Errorf("news: %w", err)
		}
		m.ID, m.Room, m.Author, m.Body, m.Seq, m.At = *id, *room, *author, *body, *seq, *at
		out = append(out, m)
	}
	if err := rows.Err(); err != nil {
		return nil, from, fmt.Errorf("news: %w", err)
	}
	if len(out) == newsPage {
		return out, last + 1, nil
	}
	return out, max(horizon, from), nil
}
