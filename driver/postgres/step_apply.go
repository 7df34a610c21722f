package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// doApply writes rows of a salvage back on the primary. The file is brought there where it does not
// lie there yet: the primary may be another one than when it was made.
func (s *step) doApply(ctx context.Context) (driver.Result, error) {
	if err := s.undecided(); err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("apply: %w", err)
	}
	if _, err := s.appliedNow(""); err != nil { // before anything is written
		return driver.Result{Outcome: run.NotDone}, err
	}
	if err := s.bring(ctx); err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("apply: nothing was written: %w", err)
	}
	primary := string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.applying(agent.Apply))
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("apply: %w", err)
	}
	// Rows that were found there may be of a try whose wait for the others was cut short.
	if err := s.othersHold(ctx, primary); err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	note := fmt.Sprintf("%s of %s rows were written on %s, the others stood there; other members hold them", a.Facts["written"], a.Facts["stand"], primary)
	if said := a.Facts["sequences"]; said != "" {
		note += "; " + said
	}
	return s.appliedNow(note)
}

// undecided refuses what is not open for decisions.
func (s *step) undecided() error {
	if sv := s.Salvage; sv.ID == "" || sv.State != situation.SalvageOpen || sv.Rows == 0 {
		return fmt.Errorf("salvage %q is %q: there is nothing to decide about it", s.Step.Args[plan.ArgSalvage], sv.State)
	}
	return nil
}

// applying is the order about the chosen rows.
func (s *step) applying(v agent.Verb) agent.Order {
	o := s.order(v, string(s.Store.Primary))
	o.Salvage = &agent.Salvaging{ID: s.Salvage.ID, SHA256: s.Salvage.SHA256, Bytes: s.Salvage.Bytes, Rows: s.Step.Args[plan.ArgRows],
		Overwrite: s.Step.Args[plan.ArgOverwrite] == "true", Standing: v == agent.Digest}
	return o
}

// bring has the primary's agent hold the file.
func (s *step) bring(ctx context.Context) error {
	primary := string(s.Store.Primary)
	var err error
	for _, h := range s.Salvage.Holders {
		if h == s.Store.Primary {
			return nil
		}
	}
	for _, h := range s.Salvage.Holders {
		if err = s.copy(ctx, string(h), primary, s.Salvage); err == nil {
			s.Salvage.Holders = append(slices.Clone(s.Salvage.Holders), s.Store.Primary)
			slices.Sort(s.Salvage.Holders)
			return nil
		}
	}
	return fmt.Errorf("salvage %s lies beside %s and could not be brought to %s: %w", s.Salvage.ID, listed(s.Salvage.Holders), primary, err)
}

// appliedNow is the record after the chosen rows stand. It closes with the last of them.
func (s *step) appliedNow(note string) (driver.Result, error) {
	rec := s.Salvage
	text := s.Step.Args[plan.ArgRows]
	if text == "" {
		text = fmt.Sprintf("1-%d", rec.Rows)
	}
	if rec.Written != "" {
		text += "," + rec.Written
	}
	stand, err := situation.ParseRows(text)
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("apply: %w", err)
	}
	rec.Applied, rec.Written = len(stand), situation.FormatRows(stand)
	if by := s.Step.Args[plan.ArgBy]; by != "" && !slices.Contains(rec.By, by) {
		rec.By = append(slices.Clone(rec.By), by)
		slices.Sort(rec.By)
	}
	if rec.Applied == rec.Rows {
		rec.State, rec.Closed = situation.SalvageApplied, time.Now().UTC()
		note += "; the salvage is closed"
	} else {
		note += fmt.Sprintf("; %s of it left", count.Of(rec.Rows-rec.Applied, "row"))
	}
	return driver.Result{Outcome: run.Done, Salvage: &rec, Note: note, Facts: run.Facts{"applied": rec.Written}}, nil
}

// lookApply says whether the chosen rows stand on the primary, and others hold what it holds.
func (s *step) lookApply(ctx context.Context) (driver.Result, error) {
	if err := s.undecided(); err != nil {
		return driver.Result{Outcome: run.NotDone}, nil
	}
	primary := string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.applying(agent.Digest))
	if agent.Unchanged(err) && a.Code != "" {
		return driver.Result{Outcome: run.NotDone, Note: a.Error}, nil // it is refused, as it would be again
	}
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	if a.Facts["stand"] != a.Facts["of"] {
		return driver.Result{Outcome: run.NotDone, Note: fmt.Sprintf("%s of %s rows stand on %s", a.Facts["stand"], a.Facts["of"], primary)}, nil
	}
	if err := s.othersHold(ctx, primary); err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	return s.appliedNow("the rows stand on " + primary + ", and other members hold them")
}

// othersHold waits until as many others as the rule asks for hold what the primary holds now.
func (s *step) othersHold(ctx context.Context, primary string) error {
	st, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil {
		return fmt.Errorf("apply: the rows stand on %s, and who else holds them is not known: %w", primary, err)
	}
	if proven, have := s.prove(ctx, primary, s.helpers(), s.rule(), st.Facts); !proven {
		return fmt.Errorf("apply: the rows stand on %s, and only %s hold what it holds", primary, have)
	}
	return nil
}

// doDiscard gives a salvage up, once as many people as accept-data-loss names have agreed to it by name.
func (s *step) doDiscard(ctx context.Context) (driver.Result, error) {
	if ctx.Err() != nil {
		return driver.Result{Outcome: run.NotDone}, context.Cause(ctx)
	}
	if s.Salvage.State == situation.SalvageDiscarded {
		return driver.Result{Outcome: run.Done, Note: "it is given up"}, nil
	}
	if err := s.undecided(); err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("discard: %w", err)
	}
	accepted := s.Facts[run.FactAccepted+string(plan.Discard)]
	if accepted == "" {
		rec := s.Salvage
		err := fmt.Errorf("discard: salvage %s has %s that only %s held, of which %d stand on the primary again; of %d a client may have been told that they are saved", rec.ID, count.Of(rec.Rows, "row"), rec.Member, rec.Applied, rec.Told)
		return driver.Result{Outcome: run.NotDone, Ask: fmt.Sprintf("%v. Whoever agrees gives the others up, by name", err)}, err
	}
	rec := s.Salvage
	rec.State, rec.Closed = situation.SalvageDiscarded, time.Now().UTC()
	rec.By = append(slices.Clone(rec.By), split(accepted)...)
	if by := s.Step.Args[plan.ArgBy]; by != "" {
		rec.By = append(rec.By, by)
	}
	slices.Sort(rec.By)
	rec.By = slices.Compact(rec.By)
	return driver.Result{Outcome: run.Done, Salvage: &rec, Note: fmt.Sprintf("salvage %s is given up by %s; its file stays where it is", rec.ID, listed(rec.By))}, nil
}

// lookDiscard says whether the record has it.
func (s *step) lookDiscard() (driver.Result, error) {
	if s.Salvage.State == situation.SalvageDiscarded {
		return driver.Result{Outcome: run.Done}, nil
	}
	return driver.Result{Outcome: run.NotDone}, nil
}

// Salvaged reads rows of a salvage from a number on, as far as they go into one answer, from whoever
// holds it and answers. It changes nothing.
func (d *Driver) Salvaged(ctx context.Context, e estate.Estate, rec situation.Store, sv situation.Salvage, from int) ([]ShownRow, error) {
	s, err := d.look(e, rec, sv)
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("nobody holds it")
	for _, h := range sv.Holders {
		o := s.order(agent.Digest, string(h))
		o.Salvage = &agent.Salvaging{ID: sv.ID, SHA256: sv.SHA256, Bytes: sv.Bytes, From: from}
		var rows []ShownRow
		if rows, err = askRows[ShownRow](ctx, s, string(h), o); err == nil {
			return rows, nil
		}
	}
	return nil, fmt.Errorf("salvage %s: %w", sv.ID, err)
}

// Standing says what the primary has now where rows of a salvage are found, in their order.
func (d *Driver) Standing(ctx context.Context, e estate.Estate, rec situation.Store, sv situation.Salvage, keys []agent.RowKey) ([]ShownNow, error) {
	s, err := d.look(e, rec, sv)
	if err != nil {
		return nil, err
	}
	o := s.order(agent.Digest, string(rec.Primary))
	o.Salvage = &agent.Salvaging{ID: sv.ID, Keys: keys, Next: nextOf(rec, sv)}
	return askRows[ShownNow](ctx, s, string(rec.Primary), o)
}

// nextOf is the first transaction that began after the member had left, as the record remembers it.
func nextOf(rec situation.Store, sv situation.Salvage) uint64 {
	for _, f := range rec.Forks {
		if f.Timeline > sv.Timeline {
			return f.Next
		}
	}
	return 0
}

// look is a step that only looks.
func (d *Driver) look(e estate.Estate, rec situation.Store, sv situation.Salvage) (*step, error) {
	return d.open(driver.Task{Estate: e, Store: rec, Step: plan.Step{Component: string(sv.Store)}})
}
