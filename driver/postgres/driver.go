package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// Engine is what a store of this package says in the estate.
const Engine = "postgres"

// Dial returns a caller of a host's agent. It must not wait: a host that is gone is found
// out by the call.
type Dial func(host estate.HostID, address string) (agent.Caller, error)

// Driver is the tower's side: it carries out the steps of a plan by orders to agents.
type Driver struct{ dial Dial }

var _ driver.Driver = (*Driver)(nil)

// New returns a driver that speaks to agents through dial.
func New(dial Dial) *Driver { return &Driver{dial: dial} }

// Facts of a store's steps, for later ones. See also the facts of members in package agent's answers.
const (
	factSealed         = "sealed"          // seal: members, joined by ","
	factChosen         = "chosen"          // choose: member
	factChosenLSN      = "chosen_lsn"      // choose: what it holds
	factChosenReplayed = "chosen_replayed" // choose: how far it has replayed that, which is all
	factChosenTimeline = "chosen_timeline" //
	factHeld           = "held"            // choose: the members that were compared, joined by ","
	factCredential     = "credential"      // choose: the epoch whose credential the chosen accepts
	factFollowing      = "following"       // follow: members, joined by ","
	factPrimary        = "primary"         // promote, adopt
	factHalted         = "halted"          // halt: member
	factHaltedLSN      = "halted_lsn"      // halt: where it ended
	factFenced         = "fenced"          // fence: member
)

// Look says whether the step's effect is there.
func (d *Driver) Look(ctx context.Context, t driver.Task) (driver.Result, error) {
	s, err := d.open(t)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	switch t.Step.Verb {
	case plan.Adopt:
		return s.lookAdopt(ctx)
	case plan.Halt:
		return s.lookHalt(ctx)
	case plan.Seal:
		return s.lookSeal(ctx)
	case plan.Choose:
		return driver.Result{Outcome: run.NotDone, Note: "choosing changes nothing, so it is done again"}, nil
	case plan.Follow:
		return s.lookFollow(ctx)
	case plan.Promote:
		return s.lookPromote(ctx)
	case plan.Return:
		return s.lookReturn(ctx)
	case plan.Fence:
		return s.lookFence(ctx)
	case plan.Close:
		return s.lookRuns(ctx, "false")
	case plan.Open:
		return s.lookRuns(ctx, "true")
	case plan.Alone:
		return s.lookAlone(ctx)
	case plan.Unseal:
		return s.lookUnseal(ctx)
	case plan.Salvage:
		return s.lookSalvage(ctx)
	case plan.Apply:
		return s.lookApply(ctx)
	case plan.Discard:
		return s.lookDiscard()
	case plan.Together:
		return driver.Result{Outcome: run.NotDone, Note: "it is found out again"}, nil
	case plan.Rejoin:
		return s.lookRejoin(ctx)
	case plan.CountOut:
		return s.lookCountOut(ctx)
	case plan.Verify:
		return s.lookVerify()
	}
	return driver.Result{Outcome: run.NotDone}, fmt.Errorf("postgres: no verb %q", t.Step.Verb)
}

// Do carries the step out.
func (d *Driver) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	s, err := d.open(t)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	switch t.Step.Verb {
	case plan.Adopt:
		return s.doAdopt(ctx)
	case plan.Halt:
		return s.doHalt(ctx)
	case plan.Seal:
		return s.doSeal(ctx)
	case plan.Choose:
		return s.doChoose(ctx)
	case plan.Follow:
		return s.doFollow(ctx)
	case plan.Promote:
		return s.doPromote(ctx)
	case plan.Return:
		return s.doReturn(ctx)
	case plan.Fence:
		return s.doFence(ctx)
	case plan.Close:
		return s.doReads(ctx, agent.Stop)
	case plan.Open:
		return s.doReads(ctx, agent.Start)
	case plan.Together:
		return s.doTogether(ctx)
	case plan.Alone:
		return s.doAlone(ctx)
	case plan.Unseal:
		return s.doUnseal(ctx)
	case plan.Rejoin:
		return s.doRejoin(ctx)
	case plan.CountOut:
		return s.doCountOut(ctx)
	case plan.Salvage:
		return s.doSalvage(ctx)
	case plan.Apply:
		return s.doApply(ctx)
	case plan.Discard:
		return s.doDiscard(ctx)
	case plan.Verify:
		return s.doVerify(ctx)
	}
	return driver.Result{Outcome: run.NotDone}, fmt.Errorf("postgres: no verb %q", t.Step.Verb)
}

// Undo takes a seal, a halt or a mandate back. What cannot be taken back is left, and said.
func (d *Driver) Undo(ctx context.Context, t driver.Task) (driver.Result, error) {
	s, err := d.open(t)
	if err != nil {
		return driver.Result{Outcome: run.NotDone}, err
	}
	switch t.Step.Verb {
	case plan.Seal, plan.Follow:
		return s.undoSeal(ctx)
	case plan.Halt:
		return s.undoHalt(ctx)
	case plan.Alone:
		return s.undoAlone(ctx)
	case plan.Choose:
		return driver.Result{Outcome: run.Done, Note: "nothing was changed"}, nil
	}
	return driver.Result{Outcome: run.NotDone}, fmt.Errorf("postgres: %s cannot be taken back", t.Step.Verb)
}

// step is one task with its store.
type step struct {
	driver.Task
	d     *Driver
	store estate.Store
}

func (d *Driver) open(t driver.Task) (*step, error) {
	store, ok := t.Estate.Stores[estate.StoreID(t.Step.Component)]
	if !ok {
		return nil, fmt.Errorf("postgres: the estate has no store %q", t.Step.Component)
	}
	for _, m := range t.Step.Members {
		if _, ok := store.Members[estate.MemberID(m)]; !ok {
			return nil, fmt.Errorf("postgres: store %s has no member %q", t.Step.Component, m)
		}
	}
	return &step{Task: t, d: d, store: store}, nil
}

// epoch is what orders carry: the run's own where it promotes, else the highest that any
// run was given, which no agent has passed.
func (s *step) epoch() uint64 {
	if s.Epoch != 0 {
		return s.Epoch
	}
	return max(s.Store.Next, s.Store.Epoch)
}

// order begins an order to one member.
func (s *step) order(v agent.Verb, member string) agent.Order {
	return agent.Order{Version: 1, Verb: v, Unit: s.store.Members[estate.MemberID(member)].Unit, Self: member,
		Term: s.Term, Epoch: s.epoch(), Reign: s.Store.Epoch, Run: string(s.Run), Step: s.Step.ID}
}

// call gives an order to the member's agent.
func (s *step) call(ctx context.Context, member string, o agent.Order) (agent.Answer, error) {
	m := s.store.Members[estate.MemberID(member)]
	host, ok := s.Estate.Hosts[m.Host]
	if !ok || host.Agent == "" {
		return agent.Answer{}, fmt.Errorf("member %s: host %q has no agent in the estate: %w", member, m.Host, agent.ErrUnreached)
	}
	c, err := s.d.dial(m.Host, host.Agent)
	if err != nil {
		return agent.Answer{}, fmt.Errorf("member %s: %w: %w", member, agent.ErrUnreached, err)
	}
	a, err := c.Call(ctx, o)
	if err != nil {
		return a, fmt.Errorf("member %s: %w", member, err)
	}
	return a, nil
}

// reply is one member's answer.
type reply struct {
	member string
	agent.Answer
	err error
}

// all asks members at the same time and returns every reply, by member.
func (s *step) all(ctx context.Context, members []string, ask func(string) agent.Order) map[string]reply {
	var wg sync.WaitGroup
	var mu sync.Mutex
	out := map[string]reply{}
	for _, m := range members {
		wg.Go(func() {
			a, err := s.call(ctx, m, ask(m))
			mu.Lock()
			defer mu.Unlock()
			out[m] = reply{m, a, err}
		})
	}
	wg.Wait()
	return out
}

// upstream is a member as the others receive from it.
func (s *step) upstream(member string, credential, reign uint64) (*agent.Upstream, error) {
	host, port, err := net.SplitHostPort(s.store.Members[estate.MemberID(member)].Address)
	if err != nil {
		return nil, fmt.Errorf("member %s: address: %w", member, err)
	}
	return &agent.Upstream{Member: member, Host: host, Port: port, Credential: credential, Reign: reign}, nil
}

// outcome is what an error of a single order leaves: surely nothing, or unknown.
func outcome(err error) run.Outcome {
	switch {
	case err == nil:
		return run.Done
	case agent.Unchanged(err):
		return run.NotDone
	}
	return run.Unknown
}

// former says whether a member must not be counted.
func (s *step) former(member string) bool {
	return slices.Contains(s.Store.Former, estate.MemberID(member))
}

// clean says whether a member is a former primary of which the plan knows that it was halted
// cleanly and wrote nothing since. Its agent knows for sure, and refuses otherwise.
func (s *step) clean(member string) bool {
	return slices.Contains(split(s.Step.Args[plan.ArgHalted]), member)
}

// outside says whether the step must leave a member alone though it names it: the record's primary,
// or a former one, unless it was halted cleanly.
func (s *step) outside(member string) bool {
	return (member == string(s.Store.Primary) || s.former(member)) && !s.clean(member)
}

// helpers are those that may help the primary of the record to acknowledge.
func (s *step) helpers() []string {
	var out []string
	for _, m := range s.Store.Sync {
		if m != s.Store.Primary {
			out = append(out, string(m))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// peers are who may acknowledge for self after a promotion: all that the step may touch.
func (s *step) peers(self string) []string {
	out := slices.DeleteFunc(slices.Clone(s.Step.Members), func(m string) bool {
		return m == self || s.outside(m)
	})
	slices.Sort(out)
	return out
}

// rule is how many members besides the primary hold a write.
func (s *step) rule() int { return max(s.Store.Any, s.store.Any, 1) }

// split takes a list in a fact apart; join puts one together, sorted.
func split(fact string) []string {
	if fact == "" {
		return nil
	}
	return strings.Split(fact, ",")
}

func join(members []string) string {
	return strings.Join(slices.Sorted(slices.Values(members)), ",")
}

// errorsOf joins what went wrong, sorted by member.
func errorsOf(replies map[string]reply) error {
	var errs []error
	for _, m := range slices.Sorted(maps.Keys(replies)) {
		if replies[m].err != nil {
			errs = append(errs, replies[m].err)
		}
	}
	return errors.Join(errs...)
}
