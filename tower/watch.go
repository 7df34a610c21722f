package tower

import (
	"context"
	"fmt"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// watchers are the driver of steps that a tower does by looking alone: it goes by what it believes.
type watchers struct {
	beliefs func() *beliefs
	now     func() time.Time
}

var _ driver.Driver = watchers{}

// Look cannot tell how users fared while nobody watched.
func (w watchers) Look(_ context.Context, t driver.Task) (driver.Result, error) {
	if t.Step.Verb != plan.Watch {
		return noVerb(t)
	}
	return driver.Result{Outcome: run.NotDone, Note: "they are watched anew"}, nil
}

// Do watches those who are sent to a site again, until they fared well for long enough, or do not.
func (w watchers) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	if t.Step.Verb != plan.Watch {
		return noVerb(t)
	}
	name, ok := t.Estate.Names[estate.NameID(t.Step.Component)]
	ttl, long, err := t.Step.Watching()
	if !ok || err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("watch %s: known is %v, times: %w", t.Step.Component, ok, err)
	}
	began, profile := w.now(), w.beliefs().profile
	users := situation.NewUsers(t.Estate, profile, name.Service, t.Step.Site)
	tick := time.NewTicker(profile.Every)
	defer tick.Stop()
	for {
		at := w.now()
		since := at.Sub(began)
		why := w.beliefs().amiss(t.Step.Site)
		if why == "" {
			why = users.See(w.beliefs().told(at), at, since >= ttl)
		}
		seen := ""
		if why == "" && since >= ttl+long {
			why, seen = users.Judge()
		}
		switch {
		case why != "":
			return driver.Result{Outcome: run.NotDone, Note: why}, nil
		case seen != "":
			return driver.Result{Outcome: run.Done, Note: seen}, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return driver.Result{}, context.Cause(ctx)
		}
	}
}

// Undo has nothing to take back: looking changes nothing.
func (w watchers) Undo(context.Context, driver.Task) (driver.Result, error) {
	return driver.Result{Outcome: run.Done, Note: "looking changed nothing"}, nil
}

func noVerb(t driver.Task) (driver.Result, error) {
	return driver.Result{Outcome: run.NotDone}, fmt.Errorf("eyes: there is no verb %q", t.Step.Verb)
}

// told are the newest views, with their age.
func (b *beliefs) told(at time.Time) (out []situation.Told) {
	for _, v := range b.views {
		out = append(out, situation.Told{View: v.view, Age: max(0, at.Sub(v.at))})
	}
	return out
}

// amiss says why nobody should be sent to a site.
func (b *beliefs) amiss(site estate.SiteID) string {
	switch v := b.now.Sites[site]; v.State {
	case situation.Lost, situation.Isolated, situation.CutOff:
		return fmt.Sprintf("%s is %s", site, v.State)
	}
	return ""
}
