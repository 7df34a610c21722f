package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Planted are rows that one member alone holds, by how they came to be there.
type Planted struct {
	Cancelled []string // IDs of messages whose session was told "INSERT", with a warning, after its wait for others was cancelled
	OptedOut  []string // whose session had opted out of waiting
	Waiting   []string // whose session still waits when the server dies
}

// All are the IDs of all of them.
func (p Planted) All() []string {
	return append(append(append([]string{}, p.Cancelled...), p.OptedOut...), p.Waiting...)
}

// Body is what a planted message says; "": it was not planted.
func (p Planted) Body(id string) string {
	for sort, ids := range map[string][]string{"cancelled": p.Cancelled, "opted-out": p.OptedOut, "waiting": p.Waiting} {
		if slices.Contains(ids, id) {
			return plantedBody(sort)
		}
	}
	return ""
}

func plantedBody(sort string) string { return "혼자 있는 '줄' — " + sort }

// PlantAlone writes messages on a primary that nobody can hear any more: of each sort that many. Call
// it between [Lab.Sever] and a fire: the sessions that wait do so until then.
func (l *Lab) PlantAlone(ctx context.Context, p Place, each int) (out Planted, err error) {
	out = Planted{ids(each, "cancelled", p), ids(each, "opted-out", p), ids(each, "waiting", p)}
	if _, err := l.plant(ctx, p, "SET synchronous_commit = local; ", "opted-out", out.OptedOut); err != nil {
		return out, err
	}
	cancelled := make(chan error, 1)
	go func() {
		warned, err := l.plant(ctx, p, "", "cancelled", out.Cancelled)
		if err == nil && !warned {
			err = errors.New("its wait was cancelled, and the server did not say so")
		}
		cancelled <- err
	}()
	if err := l.waits(ctx, p, "cancelled", `pg_cancel_backend(pid)`); err != nil {
		return out, err
	}
	if err := <-cancelled; err != nil {
		return out, fmt.Errorf("a cancelled wait in %s: %w", p, err)
	}
	go func() { _, _ = l.plant(context.WithoutCancel(ctx), p, "", "waiting", out.Waiting) }() // ends with its server
	return out, l.waits(ctx, p, "waiting", "true")
}

// ids are message IDs that are the same for the same place and sort.
func ids(n int, sort string, p Place) (out []string) {
	for i := range n {
		out = append(out, uuid.NewSHA1(uuid.NameSpaceDNS, fmt.Appendf(nil, "alone/%s/%s/%d", p, sort, i)).String())
	}
	return out
}

// plant writes messages in one transaction, and says whether the server warned that nobody else holds them.
func (l *Lab) plant(ctx context.Context, p Place, before, sort string, ids []string) (warned bool, err error) {
	conn, err := l.connect(ctx, p, "talk")
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	sql := fmt.Sprintf("SET application_name = 'plant-%[1]s'; %[2]s", sort, before)
	if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, err
	}
	sql = fmt.Sprintf(`INSERT INTO messages (id, room, author, body) SELECT id, 'room-%[1]s', 'planted "%[1]s"', '%[3]s' FROM unnest('{%[2]s}'::uuid[]) AS id`,
		sort, strings.Join(ids, ","), strings.ReplaceAll(plantedBody(sort), "'", "''"))
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	_, warned = conn.PgConn().CustomData()[unconfirmed]
	return warned, err
}

// waits holds until a planting session waits for other members, and then does something with it.
func (l *Lab) waits(ctx context.Context, p Place, sort, then string) error {
	sql := fmt.Sprintf(`SELECT %s FROM pg_stat_activity WHERE application_name = 'plant-%s' AND wait_event = 'SyncRep'`, then, sort)
	return until(ctx, 5*time.Second, func() error {
		rows, err := l.SQL(ctx, p, "postgres", sql)
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("no session that is to be %s waits for other members in %s", sort, p)
		}
		return err
	})
}
