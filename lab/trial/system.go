package trial

import (
	"context"
	"time"

	"github.com/haechi/haechi/lab"
)

// System is what keeps talk's database alive: haechi, or what it is compared with.
type System interface {
	// Name is "haechi" or "patroni".
	Name() string
	// Account returns what the system itself wrote down of the time since the
	// fault. It asks in the places that still stand, and waits for the end of
	// what is under way while ctx lasts.
	Account(ctx context.Context, since time.Time, alive []lab.Place) (Account, error)
}

// Account is a system's own record of what it did. A zero time means that it has
// none of it.
type Account struct {
	Run      string
	PlanHash string
	Verdict  time.Time // it believed that the site, or its database, is lost
	Opened   time.Time // it began to act
	Sealed   time.Time // the old side could acknowledge nothing any more
	Promoted time.Time // another member took writes
	Steps    []Act
}

// Act is one step of it.
type Act struct {
	Verb, Component string
	Began, Ended    time.Time
	Outcome         string // "done", "not done", "unknown"
}
