package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
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

const (
	// pollSoon and pollLate bound how often a member that is read is asked how far it is.
	pollSoon = 100 * time.Millisecond
	pollLate = time.Second
	// pollLost is for how long its agent, or those of all other sites, may be out of reach before the step
	// says so.
	pollLost = time.Minute
)

// doSalvage has the step's first member read what only it holds, takes what was found to another site, where
// the others are, and tells the member so: from then on it may be rewritten.
func (s *step) doSalvage(ctx context.Context) (driver.Result, error) {
	if len(s.Step.Members) == 0 || s.Step.Members[0] == string(s.Store.Primary) {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("salvage: of %s, beside the primary %s: the first member is read, and it is none that stands", listed(s.Step.Members), s.Store.Primary)
	}
	member := s.Step.Members[0]
	if slices.Contains(s.Store.Sync, estate.MemberID(member)) && !s.former(member) {
		return driver.Result{Outcome: run.NotDone}, fmt.Errorf("salvage: %s counts for acknowledgement, and to read it would stop it", member)
	}
	if res, ok := s.keptBefore(ctx, member); ok {
		return res, nil
	}
	if ctx.Err() != nil {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("salvage: member %s does not answer: %w", member, context.Cause(ctx))
	}
	o, err := s.salvaging(ctx, member)
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("salvage: %w", err)
	}
	a, err := s.poll(ctx, member, o)
	if err != nil {
		return driver.Result{Outcome: outcome(err)}, fmt.Errorf("salvage: %w", err)
	}
	found, err := parseSalvage(a.Facts[factSalvage])
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, fmt.Errorf("salvage: %w", err)
	}
	if a.Facts[factReading] == readingAsks {
		return s.asksSalvage(found)
	}
	for tried := time.Now(); a.Facts[factSalvageOK] != "true"; {
		kept, err := s.keep(ctx, member, o, found)
		if err == nil {
			return s.salvaged(kept), nil
		}
		if time.Since(tried) > pollLost || pause(ctx, pollLate) != nil {
			return driver.Result{Outcome: run.NotDone}, fmt.Errorf("salvage: %w", err)
		}
	}
	return s.salvaged(found), nil
}

// keptBefore says that a member which is being rewritten was read before that began, or had only ever
// received and was not: nothing else can be done with it until that ends, and nothing has to be.
func (s *step) keptBefore(ctx context.Context, member string) (driver.Result, bool) {
	a, err := s.call(ctx, member, s.order(agent.Status, member))
	if err != nil || a.Facts["broken"] == "" {
		return driver.Result{}, false
	}
	if a.Facts[factSalvageOK] != "true" {
		return driver.Result{Outcome: run.Done, Note: fmt.Sprintf("%s is being made anew by a %s, which began only because it held nothing of its own", member, a.Facts["broken"])}, true
	}
	found, err := parseSalvage(a.Facts[factSalvage])
	if err != nil {
		return driver.Result{}, false
	}
	return s.salvaged(found), true
}

// salvaging is the order: under which name, and by which way the primary came.
func (s *step) salvaging(ctx context.Context, member string) (agent.Order, error) {
	o := s.order(agent.Salvage, member)
	primary := string(s.Store.Primary)
	a, err := s.heard(ctx, primary)
	if err != nil {
		return o, err
	}
	past, err := parseTurns(a.Facts["history"])
	if err != nil {
		return o, fmt.Errorf("member %s does not say by which timelines it came: %w", primary, err)
	}
	if o.Upstream, err = s.upstream(primary, s.Store.Epoch, s.Store.Epoch); err != nil {
		return o, err
	}
	o.Salvage = &agent.Salvaging{ID: fmt.Sprintf("%s-%s", s.Run, member), Turns: turns(past, s.Store.Forks), Accepted: s.Facts[run.FactAccepted+string(plan.Salvage)]}
	return o, nil
}

// heard asks a member's agent how it is, again while it is out of reach, as while it is restarted: for no longer than
// the member that is read may be.
func (s *step) heard(ctx context.Context, member string) (agent.Answer, error) {
	for asked := time.Now(); ; {
		a, err := s.look(ctx, member)
		passing := a.Code == "" || a.Code == agent.Busy || a.Code == agent.Late
		if err == nil || !passing || time.Since(asked) > pollLost {
			return a, err
		}
		if perr := pause(ctx, pollLate); perr != nil {
			return a, errors.Join(err, perr)
		}
	}
}

// turns joins what a primary says of its past with what the record remembers of each promotion.
func turns(past []turn, forks []situation.Fork) []agent.Turn {
	out := make([]agent.Turn, len(past))
	for i, t := range past {
		out[i].Timeline = t.timeline
		if t.end == 0 {
			continue
		}
		out[i].End = t.end.String()
		for _, f := range forks {
			if i+1 < len(past) && f.Timeline == past[i+1].timeline {
				out[i].Oldest, out[i].Next = f.Oldest, f.Next
			}
		}
	}
	return out
}

// poll gives the same order until the member has been read.
func (s *step) poll(ctx context.Context, member string, o agent.Order) (agent.Answer, error) {
	heard := time.Now()
	for wait := pollSoon; ; wait = min(2*wait, pollLate) {
		a, err := s.call(ctx, member, o)
		switch {
		case err == nil && a.Facts[factReading] != readingNow:
			return a, nil
		case err == nil:
			heard = time.Now()
		case a.Code != "" && a.Code != agent.Busy && a.Code != agent.Late:
			return a, err
		case time.Since(heard) > pollLost:
			return a, fmt.Errorf("its agent has been silent for %v; the reading may go on: %w", time.Since(heard).Round(time.Second), err)
		}
		if perr := pause(ctx, wait); perr != nil {
			return a, fmt.Errorf("member %s is still read (%s): %w", member, a.Facts[factProgress], errors.Join(err, perr))
		}
	}
}

// asksSalvage stops for people: what cannot be read is lost when the member is rewritten.
func (s *step) asksSalvage(found situation.Salvage) (driver.Result, error) {
	what := fmt.Sprintf("nobody can know what only %s holds", found.Member)
	if found.Method != situation.Unreadable {
		what = fmt.Sprintf("not all of what only %s holds could be read (%s read)", found.Member, count.Of(found.Rows, "row"))
	}
	err := fmt.Errorf("salvage: %s: %s", what, listed(found.Unknown))
	return driver.Result{Outcome: run.NotDone, Ask: fmt.Sprintf("%v. Nothing on it is wiped. Mend its disk, or copy it, then abort this run, and haechi rejoin %s %s reads it again; or agree, and what could not be read is given up as lost", err, found.Store, found.Member)}, err
}

// keep takes a salvage to members in other sites, then has the member remember that.
func (s *step) keep(ctx context.Context, member string, o agent.Order, found situation.Salvage) (situation.Salvage, error) {
	holders := []string{member}
	var errs []error
	for _, other := range s.elsewhere(member) {
		if err := s.copy(ctx, member, other, found); err != nil {
			errs = append(errs, err)
			continue
		}
		holders = append(holders, other)
	}
	if len(holders) < 2 {
		return found, fmt.Errorf("the salvage of %s lies in one site alone, so nothing of %s is wiped: %w", member, member, errors.Join(errs...))
	}
	o.Salvage.ID, o.Salvage.Holders = found.ID, holders
	a, err := s.call(ctx, member, o)
	if err != nil {
		return found, err
	}
	if found, err = parseSalvage(a.Facts[factSalvage]); err == nil && a.Facts[factSalvageOK] != "true" {
		err = fmt.Errorf("%s does not take it for kept", member)
	}
	return found, err
}

// elsewhere are the members in other sites than one's, the primary first: it is where rows are written back.
func (s *step) elsewhere(member string) []string {
	var out []string
	for _, id := range s.store.MemberIDs() {
		if s.store.Members[id].Site != s.store.Members[estate.MemberID(member)].Site {
			out = append(out, string(id))
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return s.rankOf(a) - s.rankOf(b) })
	return out
}

func (s *step) rankOf(member string) int {
	switch {
	case member == string(s.Store.Primary):
		return 0
	case s.former(member):
		return 2
	}
	return 1
}

// copy carries a salvage's file from one member's agent to another's, through this tower.
func (s *step) copy(ctx context.Context, from, to string, found situation.Salvage) error {
	source, file, err := s.porter(from, found)
	if err != nil {
		return err
	}
	sink, dest, err := s.porter(to, found)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, w := io.Pipe()
	fetched := make(chan error, 1)
	go func() {
		err := source.Fetch(ctx, file, w)
		w.CloseWithError(err) // nil is the end
		fetched <- err
	}()
	err = sink.Deposit(ctx, s.Term, dest, r)
	r.CloseWithError(errors.New("the other agent takes no more"))
	if ferr := <-fetched; ferr != nil && err != nil {
		err = errors.Join(err, ferr)
	}
	return err
}

// porter reaches the files of a member's agent.
func (s *step) porter(member string, found situation.Salvage) (agent.Porter, agent.File, error) {
	m := s.store.Members[estate.MemberID(member)]
	host, ok := s.Estate.Hosts[m.Host]
	if !ok || host.Agent == "" {
		return nil, agent.File{}, fmt.Errorf("member %s: host %q has no agent in the estate", member, m.Host)
	}
	c, err := s.d.dial(m.Host, host.Agent)
	if err != nil {
		return nil, agent.File{}, fmt.Errorf("member %s: %w", member, err)
	}
	p, ok := c.(agent.Porter)
	if !ok {
		return nil, agent.File{}, fmt.Errorf("member %s: what speaks to its agent carries no files", member)
	}
	return p, agent.File{Unit: m.Unit, Name: salvageFile(found.ID), Bytes: found.Bytes, SHA256: found.SHA256}, nil
}

// salvaged is the end of the step: the record of what was found.
func (s *step) salvaged(found situation.Salvage) driver.Result {
	if found.Accepted != "" && found.Rows == 0 {
		found.State, found.By, found.Closed = situation.SalvageDiscarded, split(found.Accepted), time.Now().UTC()
	}
	slices.Sort(found.Holders)
	note := fmt.Sprintf("%s holds nothing that %s lacks (%s, up to %s; %s left it at %s)", found.Member, s.Store.Primary, found.Method, found.End, s.Store.Primary, found.Fork)
	switch {
	case found.Method == situation.Unreadable:
		note = fmt.Sprintf("nobody can know what only %s held; accepted by %s", found.Member, found.Accepted)
	case found.Rows > 0:
		note = fmt.Sprintf("%s that only %s holds are kept as %s, beside %s; of %d a client may have been told that they are saved", count.Of(found.Rows, "row"), found.Member, found.ID, listed(found.Holders), found.Told)
	}
	return driver.Result{Outcome: run.Done, Note: note, Salvage: &found, Facts: run.Facts{"salvaged/" + string(found.Member): found.ID, "fork/" + string(found.Member): found.Fork}}
}

// lookSalvage says whether the member knows that what only it holds, beside the record's primary, is kept.
func (s *step) lookSalvage(ctx context.Context) (driver.Result, error) {
	if len(s.Step.Members) == 0 {
		return driver.Result{Outcome: run.NotDone}, nil
	}
	member := s.Step.Members[0]
	a, err := s.call(ctx, member, s.order(agent.Status, member))
	if err != nil || a.Facts[factSalvageOK] != "true" || a.Facts["running"] != "false" {
		return driver.Result{Outcome: run.NotDone}, err // the order itself finds what there is, and changes nothing of what is done
	}
	found, err := parseSalvage(a.Facts[factSalvage])
	if err != nil {
		return driver.Result{Outcome: run.Unknown}, err
	}
	if left, err := s.leftAt(ctx, found); !left {
		return driver.Result{Outcome: run.NotDone}, err
	}
	return s.salvaged(found), nil
}

// leftAt says whether the record's primary left a member where a salvage of it begins. It may be of a primary before.
func (s *step) leftAt(ctx context.Context, found situation.Salvage) (bool, error) {
	primary := string(s.Store.Primary)
	a, err := s.call(ctx, primary, s.order(agent.Status, primary))
	if err != nil {
		return false, err
	}
	past, err := parseTurns(a.Facts["history"])
	return slices.ContainsFunc(past, func(t turn) bool { return t.end != 0 && t.end == toLSN(found.Fork) }), err
}
