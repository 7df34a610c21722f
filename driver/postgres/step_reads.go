package postgres

import (
	"context"
	"fmt"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// doReads ends what a member answers by stopping it at once, or starts it as what it was.
func (s *step) doReads(ctx context.Context, v agent.Verb) (driver.Result, error) {
	member := s.Step.Members[0]
	if _, err := s.call(ctx, member, s.order(v, member)); err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("%s %s: %w", s.Step.Verb, member, err)
	}
	return s.reads(member), nil
}

func (s *step) reads(member string) driver.Result {
	note := member + " answers nobody until its site is heard again"
	if s.Step.Verb == plan.Open {
		note = member + " answers again"
	}
	return driver.Result{Outcome: run.Done, Note: note}
}

// lookRuns says whether the member's server runs, or does not, as it should.
func (s *step) lookRuns(ctx context.Context, want string) (driver.Result, error) {
	member := s.Step.Members[0]
	a, err := s.call(ctx, member, s.order(agent.Status, member))
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	if a.Facts["running"] != want || want == "true" && a.Facts["answers"] != "true" {
		return driver.Result{Outcome: run.NotDone}, nil
	}
	return s.reads(member), nil
}
