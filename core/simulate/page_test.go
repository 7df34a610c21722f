package simulate_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
)

// The page says what the defaults are.
func TestThePageSaysTheDefaults(t *testing.T) {
	b, err := os.ReadFile("../../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	m := simulate.Defaults(estate.Estate{})
	fast := simulate.Defaults(estate.Estate{Policy: estate.Policy{Profile: "fast"}})
	for row, d := range map[string]simulate.Dist{
		"| `sure`, profile default ": m.Sure, "| `sure`, profile fast ": fast.Sure, "| `decide` ": m.Decide,
		"| `steps`: seal ": m.Steps[plan.Seal], "| choose, look ": m.Steps[plan.Choose], "| follow ": m.Steps[plan.Follow],
		"| promote ": m.Steps[plan.Promote], "| withdraw, announce ": m.Steps[plan.Withdraw], "| halt ": m.Steps[plan.Halt],
		"| return, start ": m.Steps[plan.Return], "| `clients`: until they find the new primary ": m.Clients,
		"| `start`: a service on running servers ": m.Start, "| `boot`: a server, where its pool does not say; twice the median where it does ": m.Boot,
		"| `check`: data of a store that was lost whole ": m.Check, "| `hand.begin`: until somebody is in command ": m.Hand.Begin,
		"| `hand.switch`: one store or name by hand ": m.Hand.Switch, "| `hand.without`: the same without the tools ": m.Hand.Without,
	} {
		if want := fmt.Sprintf("%s| %s | %s |", row, said(d.Median), said(d.P95)); !strings.Contains(string(b), want) {
			t.Errorf("docs/simulate.md does not say %q", want)
		}
	}
}

// said is a time as the page writes it.
func said(x estate.Duration) string {
	switch d := time.Duration(x); {
	case d >= time.Hour:
		return fmt.Sprintf("%g h", d.Hours())
	case d >= time.Minute:
		return fmt.Sprintf("%g min", d.Minutes())
	default:
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
}
