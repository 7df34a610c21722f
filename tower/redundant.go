package tower

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// whole answers the last step of a recovery by what this tower believes. It changes nothing.
type whole struct{ n *Node }

var _ driver.Driver = whole{}

// wholeFor is how long nothing must have been missing: what was just brought back may show for a moment and go.
const wholeFor = time.Second

// Look says whether nothing is missing that the step's site can help with.
func (w whole) Look(_ context.Context, t driver.Task) (driver.Result, error) {
	if t.Step.Verb != plan.Redundant {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("estate: no verb %q", t.Step.Verb)
	}
	site := estate.SiteID(t.Step.Component)
	if lacks := situation.InSite(situation.Missing(w.n.standing(w.n.beliefs())), site); len(lacks) > 0 {
		var words []string
		for _, l := range lacks {
			words = append(words, l.Text)
		}
		return driver.Result{Outcome: run.NotDone, Note: "still missing: " + strings.Join(words, "; ")}, nil
	}
	return driver.Result{Outcome: run.Done, Note: fmt.Sprintf("%s has all that is declared of it again", t.Step.Component)}, nil
}

// Do waits until that is so, and has been for a while.
func (w whole) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	var since time.Time
	for {
		res, err := w.Look(ctx, t)
		switch now := w.n.now(); {
		case err != nil:
			return res, err
		case res.Outcome != run.Done:
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) >= wholeFor:
			return res, nil
		}
		if pause(ctx, atRest); ctx.Err() != nil {
			res.Outcome = run.NotDone
			return res, context.Cause(ctx)
		}
	}
}

// Undo has nothing to take back.
func (w whole) Undo(context.Context, driver.Task) (driver.Result, error) {
	return driver.Result{Outcome: run.Done, Note: "nothing was changed"}, nil
}
