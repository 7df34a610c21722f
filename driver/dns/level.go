package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// ArgWithdrawn is the step argument of level that lists the sites whose answers are out
// of every name ("pangyo,ansan"). Without it, the other servers of the step say what the
// names answer.
const ArgWithdrawn = "withdrawn"

// lookLevel says whether the server is open and answers what it should.
func (d *Driver) lookLevel(ctx context.Context, t driver.Task) (driver.Result, error) {
	host := estate.HostID(t.Step.Component)
	open, err := d.open(ctx, t, host)
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	if !open {
		return driver.Result{Outcome: run.NotDone, Note: fmt.Sprintf("%s is locked", host)}, nil
	}
	return d.levelNames(ctx, t, host, isLevel)
}

func isLevel(ctx context.Context, at target, want answers) (bool, answers, error) {
	now, err := at.read(ctx, string(at.id))
	return err == nil && now.addrs.equal(want), now.addrs, err
}

// bringLevel changes and then compares anew, since another run may withdraw an answer
// everywhere while this one still brings it back here.
func (d *Driver) bringLevel(ctx context.Context, t driver.Task, host estate.HostID) (out driver.Result, err error) {
	for range attempts {
		out, err = d.levelNames(ctx, t, host, func(ctx context.Context, at target, want answers) (bool, answers, error) {
			return d.change(ctx, at, func(answers) (answers, error) { return want, nil })
		})
		if err != nil || out.Outcome != run.Done {
			return out, err
		}
		if out, err = d.levelNames(ctx, t, host, isLevel); err != nil || out.Outcome == run.Done {
			return out, err
		}
	}
	return out, nil
}

// level brings every name at one server to what it should answer, sees by signed
// queries that it does, and only then has its agent open it. What the others answer may have changed while that took
// its time, so it is compared once more.
func (d *Driver) level(ctx context.Context, t driver.Task) (driver.Result, error) {
	host := estate.HostID(t.Step.Component)
	out, err := d.bringLevel(ctx, t, host)
	if err != nil || out.Outcome != run.Done {
		return out, err
	}
	if err := d.unlock(ctx, t, host); err != nil {
		out.Outcome = run.Unknown
		if agent.Unchanged(err) {
			out.Outcome = run.NotDone
		}
		return out, fmt.Errorf("dns: open %s: %w", host, err)
	}
	if out, err = d.levelNames(ctx, t, host, isLevel); err == nil && out.Outcome != run.Done {
		out, err = d.bringLevel(ctx, t, host)
	}
	out.Note += "; open"
	return out, err
}

// levelNames does one act for each name of the server, one after the other.
func (d *Driver) levelNames(ctx context.Context, t driver.Task, host estate.HostID, do func(context.Context, target, answers) (bool, answers, error)) (driver.Result, error) {
	none := driver.Result{Outcome: run.NotDone}
	ids := t.Estate.NamesOf(host)
	if len(ids) == 0 {
		return none, fmt.Errorf("dns: the estate has no name at the server %s", host)
	}
	var notes []string
	for _, id := range ids {
		n := t.Estate.Names[id]
		secret, err := d.secret(ctx, id, n)
		if err != nil {
			return none, err
		}
		want, err := d.wanted(ctx, t, id, host, secret)
		if err != nil {
			return none, err
		}
		ok, now, err := do(ctx, target{server: d.server(t.Estate, host, n, secret), id: id, name: n}, want)
		switch {
		case errors.Is(err, ErrSilent):
			return driver.Result{Outcome: run.Unknown, Facts: run.Facts{FactUnreached: string(host)}}, fmt.Errorf("dns: %s: %w", id, err)
		case err != nil:
			return none, fmt.Errorf("dns: %s: %w", id, err)
		case !ok:
			none.Note = fmt.Sprintf("%s at %s answers %s, not %s", id, host, now, want)
			return none, nil
		}
		notes = append(notes, fmt.Sprintf("%s answers %s", id, now))
	}
	return driver.Result{
		Outcome: run.Done,
		Facts:   run.Facts{FactDone: string(host), FactAnswers: strings.Join(notes, "; ")},
		Note:    fmt.Sprintf("%s is level: %s", host, strings.Join(notes, "; ")),
	}, nil
}

// wanted is what a name should answer: as the step says, or as the other servers do.
func (d *Driver) wanted(ctx context.Context, t driver.Task, id estate.NameID, host estate.HostID, secret string) (answers, error) {
	n := t.Estate.Names[id]
	if sites, ok := t.Step.Args[ArgWithdrawn]; ok {
		var out []estate.SiteID
		for s := range strings.SplitSeq(sites, ",") {
			out = append(out, estate.SiteID(strings.TrimSpace(s)))
		}
		if left := remaining(n, out); len(left) > 0 {
			return left, nil
		}
		return nil, fmt.Errorf("dns: %s: with %s withdrawn no answer is left", id, sites)
	}
	return d.asOthers(ctx, t, id, host, secret)
}

// asOthers asks the other servers of the step that have the name. Where they differ, a
// withdrawal is under way or was cut off: what all of them have is what is safe to say.
func (d *Driver) asOthers(ctx context.Context, t driver.Task, id estate.NameID, host estate.HostID, secret string) (answers, error) {
	n := t.Estate.Names[id]
	var common answers
	var heard int
	var silent []error
	for _, other := range n.Servers {
		if other == host || !slices.Contains(t.Step.Members, string(other)) {
			continue
		}
		now, err := d.server(t.Estate, other, n, secret).read(ctx, string(id))
		if err != nil {
			silent = append(silent, err)
			continue
		}
		if heard++; heard == 1 {
			common = now.addrs
		}
		common = common.and(now.addrs)
	}
	switch {
	case heard == 0 && len(n.Servers) == 1:
		return remaining(n, nil), nil // nobody else knows more than the estate
	case heard == 0:
		return nil, fmt.Errorf("dns: %s: no other name server says what it answers now, so %s stays locked: %w", id, host, errors.Join(silent...))
	case len(common) == 0:
		return nil, fmt.Errorf("dns: %s: the other name servers agree on no answer, so %s stays locked; withdraw or announce first, so that they do", id, host)
	}
	return common, nil
}

func (d *Driver) open(ctx context.Context, t driver.Task, host estate.HostID) (bool, error) {
	a, err := d.order(ctx, t, host, agent.Status)
	return err == nil && a.Facts[FactLocked] == "false", err
}

func (d *Driver) unlock(ctx context.Context, t driver.Task, host estate.HostID) error {
	_, err := d.order(ctx, t, host, agent.Unseal)
	return err
}

func (d *Driver) order(ctx context.Context, t driver.Task, host estate.HostID, v agent.Verb) (agent.Answer, error) {
	h := t.Estate.Hosts[host]
	if d.conf.Agents == nil || h.Agent == "" || h.Unit == "" {
		return agent.Answer{}, fmt.Errorf("%w: the estate gives the host %s no agent and unit", agent.ErrUnreached, host)
	}
	c, err := d.conf.Agents(host, h.Agent)
	if err != nil {
		return agent.Answer{}, fmt.Errorf("%w: %w", agent.ErrUnreached, err)
	}
	return c.Call(ctx, agent.Order{Version: 1, Verb: v, Unit: h.Unit, Term: t.Term, Epoch: t.Epoch, Run: string(t.Run), Step: t.Step.ID})
}
