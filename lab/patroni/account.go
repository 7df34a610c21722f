package patroni

import (
	"context"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
)

var _ trial.System = (*Cluster)(nil)

// Name is "patroni" with the settings' name.
func (c *Cluster) Name() string { return "patroni, " + c.settings.Name }

// Settings are those that it was raised with.
func (c *Cluster) Settings() Settings { return c.settings }

// Account is empty: Patroni keeps no record of when it believed and decided
// what. When PostgreSQL was promoted, PostgreSQL itself says.
func (c *Cluster) Account(context.Context, time.Time, []lab.Place) (trial.Account, error) {
	return trial.Account{}, nil
}
