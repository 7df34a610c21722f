package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/driver"
)

// doAdopt brings a running cluster under its first epoch: the primary gets list and credential,
// then each follower is pointed at it anew, one at a time, so that commits hardly wait.
func (s *step) doAdopt(ctx context.Context) (driver.Result, error) {
	primary := string(s.store.Primary)
	others := slices.DeleteFunc(slices.Sorted(slices.Values(s.Step.Members)), func(m string) bool { return m == primary })
	if err := s.mayAdopt(ctx, primary, others); err != nil {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("adopt: %w", err)
	}
	o := s.order(agent.Promote, primary)
	o.Sync, o.Any = others, s.rule()
	a, err := s.call(ctx, primary, o)
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("adopt: %w", err)
	}
	up, err := s.upstream(primary, s.epoch(), s.epoch())
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	for _, m := range others {
		o := s.order(agent.Follow, m)
		o.Upstream = up
		if _, err := s.call(ctx, m, o); err != nil {
			return driver.Result{Outcome: run.Unknown}, fmt.Errorf("adopt: %w", err)
		}
		if err := s.caughtUp(ctx, primary, m); err != nil {
			return driver.Result{Outcome: run.Unknown}, fmt.Errorf("adopt: %w", err)
		}
	}
	return s.adopted(ctx, primary, others, a.Facts)
}

// mayAdopt checks what the members say of themselves before anything changes.
func (s *step) mayAdopt(ctx context.Context, primary string, others []string) error {
	if s.Store.Epoch != 0 {
		return fmt.Errorf("%s stands under epoch %d already", s.Step.Component, s.Store.Epoch)
	}
	if s.store.Any < 1 {
		return fmt.Errorf("any: %d means that the primary acknowledges alone; this driver moves only stores in which another member holds each write", s.store.Any)
	}
	if len(others) < s.store.Any {
		return fmt.Errorf("%d members besides the primary can be reached, the rule asks for %d", len(others), s.store.Any)
	}
	got := s.all(ctx, append([]string{primary}, others...), func(m string) agent.Order { return s.order(agent.Status, m) })
	if err := errorsOf(got); err != nil {
		return err
	}
	facts := map[string]map[string]string{}
	for m, r := range got {
		facts[m] = r.Facts
	}
	return errors.Join(adoptable(primary, facts)...)
}

// adoptable says what stands in the way of adopting a cluster with these facts.
func adoptable(primary string, facts map[string]map[string]string) []error {
	var errs []error
	for _, m := range slices.Sorted(maps.Keys(facts)) {
		f, p := facts[m], facts[primary]
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("member %s: "+format, append([]any{m}, args...)...))
		}
		if why := remembered(m == primary, f); why != "" {
			bad("%s", why)
			continue
		}
		switch {
		case f["answers"] != "true":
			bad("the server does not answer its agent: %s", f["error"])
			continue
		case m == primary && f["in_recovery"] != "false":
			bad("the estate calls it the primary, its server is a standby; name the member that takes writes (primary: in the estate)")
		case m != primary && f["in_recovery"] != "true":
			bad("the estate has another primary (%s), its server is no standby", primary)
		}
		if p["answers"] == "true" && f["system"] != p["system"] {
			bad("system identifier %s, the primary's is %s: another cluster", f["system"], p["system"])
		}
		if p["answers"] == "true" && toNumber(f["version_num"])/10000 != toNumber(p["version_num"])/10000 {
			bad("PostgreSQL %s, the primary has %s", f["version"], p["version"])
		}
		if v := toNumber(f["version_num"]); v < 140000 {
			bad("PostgreSQL %s; 14 is the oldest that haechi knows", f["version"])
		}
		switch role := f["replication_role"]; role {
		case "ok":
		case "":
			bad("role %s is missing: CREATE ROLE %s REPLICATION LOGIN", ReplicationRole, ReplicationRole)
		default:
			bad("role %s is %s: ALTER ROLE %s REPLICATION LOGIN", ReplicationRole, role, ReplicationRole)
		}
		if v := f["upstream_slot"]; v != "" {
			bad("primary_slot_name is %s: after a move it could not receive, since the next primary has no such slot; ALTER SYSTEM RESET primary_slot_name and reload, with wal_keep_size large enough", v)
		}
	}
	return errs
}

// remembered says why a member cannot be adopted that its agent knows from before the records were lost. One that is
// sealed can: a run that nobody ends any more left it so, and to be pointed at the primary is what ends a seal.
func remembered(primary bool, f map[string]string) string {
	gone := f["answers"] != "true"
	switch {
	case primary && f["fenced"] == "true":
		return "the estate calls it the primary, and its agent remembers it as fenced, after which another one was promoted: name that one (primary: in the estate), apply, then adopt"
	case f["fenced"] == "true", gone && f["broken"] != "", gone && !primary && f["agent/role"] == asPrimary:
		return "its agent remembers it as a former primary, or as one that is being made anew; it comes back after the others were adopted: " +
			"take it out of the store's members in the estate and apply that; haechi adopt STORE; put it in again and apply; haechi rejoin STORE MEMBER, which first salvages what only it holds"
	}
	return ""
}

// adopted is the first record of a store.
func (s *step) adopted(ctx context.Context, primary string, list []string, f map[string]string) (driver.Result, error) {
	if proven, have := s.prove(ctx, primary, list, s.rule(), f); !proven {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("adopt: only %s hold what %s holds", have, primary)
	}
	rec := s.promoted(primary, list, toNumber(f["timeline"])).Forked(situation.Fork{Epoch: s.epoch(), Primary: estate.MemberID(primary), Timeline: toNumber(f["timeline"])})
	return driver.Result{Outcome: run.Done, Store: &rec, Note: fmt.Sprintf("%s is primary under epoch %d; %s acknowledge", primary, s.epoch(), listed(list)),
		Facts: run.Facts{factPrimary: primary, "epoch": number(s.epoch()), "timeline": f["timeline"], "lsn": f["lsn"], "sync": join(list), "any": fmt.Sprint(s.rule())}}, nil
}

func (s *step) lookAdopt(ctx context.Context) (driver.Result, error) {
	primary := string(s.store.Primary)
	others := slices.DeleteFunc(slices.Sorted(slices.Values(s.Step.Members)), func(m string) bool { return m == primary })
	got := s.all(ctx, append([]string{primary}, others...), func(m string) agent.Order { return s.order(agent.Status, m) })
	if err := errorsOf(got); err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	p := got[primary].Facts
	if toNumber(p["agent/reign"]) != s.epoch() || p["sync_names"] != syncNames(s.rule(), others) || toNumber(p["credential"]) != s.epoch() {
		return driver.Result{Outcome: run.NotDone}, nil
	}
	for _, m := range others {
		if f := got[m].Facts; f["agent/upstream"] != primary || toNumber(f["agent/upstream_reign"]) != s.epoch() {
			return driver.Result{Outcome: run.NotDone}, nil
		}
	}
	return s.adopted(ctx, primary, others, p)
}
