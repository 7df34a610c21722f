package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// mandate is the order that lets the primary of the record acknowledge without others.
func (s *step) mandate() (primary string, o agent.Order) {
	primary = string(s.Store.Primary)
	o = s.order(agent.Promote, primary)
	o.Alone, o.Mandate = true, driver.Mandate
	return primary, o
}

// doAlone lets the primary go on without others. That it may is in the record already: the
// executor writes it down before.
func (s *step) doAlone(ctx context.Context) (driver.Result, error) {
	if s.store.Alone != "allow" {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("alone: the estate says alone: %s", orRefuse(s.store.Alone))
	}
	primary, o := s.mandate()
	_, err := s.call(ctx, primary, o)
	if no, ok := errors.AsType[*agent.Refused](err); ok && no.Answer.Code == agent.Unsafe {
		return driver.Result{Outcome: run.NotDone, Ask: fmt.Sprintf("%s would have to acknowledge alone, and its agent refuses: %s. Writes wait until another member is back",
			s.Step.Component, no.Answer.Error)}, fmt.Errorf("alone: %w", err)
	}
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("alone: %w", err)
	}
	return s.aloneNow(primary), nil
}

// aloneNow is the record of a store whose primary goes on alone.
func (s *step) aloneNow(primary string) driver.Result {
	rec := s.Store
	rec.Alone, rec.LeastAny = true, 0
	return driver.Result{Outcome: run.Done, Store: &rec, Facts: run.Facts{"alone": primary},
		Note: fmt.Sprintf("%s acknowledges alone, under a mandate of %v that is renewed while a tower with quorum drives", primary, driver.Mandate)}
}

func (s *step) lookAlone(ctx context.Context) (driver.Result, error) {
	primary := string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil || a.Facts["answers"] != "true" {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("alone: %s does not say what it is: %w", primary, errors.Join(err, errors.New(a.Facts["error"])))
	}
	if a.Facts["alone"] == "true" && a.Facts["sync_names"] == "" && toNumber(a.Facts["mandate_ms"]) > 0 {
		return s.aloneNow(primary), nil
	}
	return driver.Result{Outcome: run.NotDone}, nil
}

// Renew gives the mandate of a store's primary anew. See [driver.Renewer].
func (d *Driver) Renew(ctx context.Context, t driver.Task) error {
	s, err := d.open(t)
	if err != nil {
		return err
	}
	if !s.Store.Alone {
		return fmt.Errorf("renew: the record of %s does not say that its primary goes on alone", t.Step.Component)
	}
	primary, o := s.mandate()
	o.Renew = true
	if _, err := s.call(ctx, primary, o); err != nil {
		return fmt.Errorf("renew the mandate of %s: %w", t.Step.Component, err)
	}
	return nil
}

var _ driver.Renewer = (*Driver)(nil)

// together gives the primary its list again, which ends its mandate. Its answer says how far it is.
func (s *step) together(ctx context.Context) (agent.Answer, error) {
	primary := string(s.Store.Primary)
	o := s.order(agent.Promote, primary)
	o.Sync, o.Any = s.helpers(), s.rule()
	return s.call(ctx, primary, o)
}

// doTogether ends the time in which the primary may have been the only one to hold a write:
// when as many others as the rule says have flushed past its last position and its server shows the rule.
func (s *step) doTogether(ctx context.Context) (driver.Result, error) {
	primary := string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("together: %w", err)
	}
	// First without the rule: whoever is far behind would have every write wait.
	ready, have := s.await(ctx, primary, s.rule(), a.Facts, func(f map[string]string, want LSN) []string { return flushed(f, s.helpers(), want) })
	if !ready {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("together: only %s of %s have flushed what %s holds, %d are needed", have, listed(s.helpers()), primary, s.rule())
	}
	if a, err = s.together(ctx); err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("together: %w", err)
	}
	rec := s.ruled()
	if proven, have := s.prove(ctx, primary, s.helpers(), s.rule(), a.Facts); !proven {
		return driver.Result{Outcome: run.NotDone, Store: &rec}, fmt.Errorf("together: the rule is in force, and only %s hold what %s holds, %d are needed", have, primary, s.rule())
	}
	rec.LeastAny = s.rule()
	return driver.Result{Outcome: run.Done, Store: &rec, Note: fmt.Sprintf("each write is held by %d of %s again", s.rule(), strings.Join(s.helpers(), ", "))}, nil
}

// ruled is the record of a store whose rule is in force again, while what was written before
// may still stand on the primary only.
func (s *step) ruled() situation.Store {
	rec := s.Store
	rec.Alone, rec.Any, rec.LeastAny = false, s.rule(), 0
	return rec
}

// undoAlone has writes wait for others again, whether or not there are any.
func (s *step) undoAlone(ctx context.Context) (driver.Result, error) {
	if _, err := s.together(ctx); err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("%s: %w", plan.Together, err)
	}
	rec := s.ruled()
	return driver.Result{Outcome: run.Done, Store: &rec, Note: string(s.Store.Primary) + " waits for others again"}, nil
}
