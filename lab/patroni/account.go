package patroni

import (
	"context"
	"fmt"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
)

var _ trial.System = (*Cluster)(nil)

// Name is "patroni" with the settings' name.
func (c *Cluster) Name() string { return "patroni, " + c.settings.Name }

// Settings are those that it was raised with.
func (c *Cluster) Settings() Settings { return c.settings }

// Account says when another member was promoted: the new timeline's history file,
// which PostgreSQL writes at that moment. Of its verdict Patroni writes nothing.
func (c *Cluster) Account(ctx context.Context, since time.Time, alive []lab.Place) (trial.Account, error) {
	const newest = `SELECT extract(epoch FROM (pg_stat_file('pg_wal/' || name)).modification)::numeric(20,6)
		FROM pg_ls_waldir() WHERE name LIKE '%.history' ORDER BY name DESC LIMIT 1`
	for _, p := range alive {
		if yes, err := c.lab.IsPrimary(ctx, p); err != nil || !yes {
			continue
		}
		rows, err := c.lab.SQL(ctx, p, "postgres", newest)
		if err != nil || len(rows) != 1 {
			return trial.Account{}, fmt.Errorf("patroni: when %s was promoted: %w", p, err)
		}
		var seconds float64
		if _, err := fmt.Sscan(rows[0][0], &seconds); err != nil {
			return trial.Account{}, fmt.Errorf("patroni: when %s was promoted: %w", p, err)
		}
		at := time.UnixMicro(int64(seconds * 1e6))
		if at.Before(since) {
			return trial.Account{}, nil // nobody was promoted since
		}
		return trial.Account{Promoted: at}, nil
	}
	return trial.Account{}, fmt.Errorf("patroni: nobody is primary")
}
