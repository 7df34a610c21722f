package tower

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// claimFor is how long one attempt to claim may take.
const claimFor = 3 * time.Second

// again is how long a run that could not be carried is left before the next attempt.
const again = 300 * time.Millisecond

// afterDeposed is how long a tower that was deposed does not claim.
const afterDeposed = time.Second

// driving returns this tower's drive, if it has one as far as it knows. The records know
// better: each write under it is compared there.
func (n *Node) driving() (state.Drive, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mine, n.mine.Tower != ""
}

func (n *Node) isDriving() bool {
	_, ok := n.driving()
	return ok
}

// trusted says whether the tower that drives is believed to be able to: one that lost its data answers a second
// after it died, and would be waited for for ever. A claim of this tower that another process of it made is nobody's.
func (n *Node) trusted(d state.Drive) bool {
	if d.Tower == "" || d.Tower == n.cfg.Name {
		return d.Tower != "" && n.isDriving()
	}
	b := n.beliefs()
	if b.stumps(d.Tower) {
		return false
	}
	seat, ok := b.estate.Towers[estate.TowerID(d.Tower)]
	if !ok {
		_, seated := n.cfg.Cluster[d.Tower]
		return seated && len(b.estate.Towers) == 0
	}
	if b.now.Sites[seat.Site].Gone() {
		return false
	}
	target := situation.TowerTarget(b.estate, estate.TowerID(d.Tower))
	return b.now.Things[target].State != situation.Dead && !response.Idle(b.now.Facts[target])
}

// stumps says that an open run needs more than a tower of the release before understands, and that this
// tower understands it: then that tower cannot drive, though it lives.
func (b *beliefs) stumps(tower string) bool {
	v, heard := b.views[tower]
	for _, r := range b.snap.OpenRuns() {
		if events := b.snap.Runs[r.ID]; heard && len(events) > 0 && events[0].Plan != nil && events[0].Plan.Version > max(v.view.Speaks, 1) && events[0].Plan.Carried() == nil {
			return true
		}
	}
	return false
}

// older is a tower that was heard a moment ago and is of the release before; "": none.
func (b *beliefs) older() string {
	for _, id := range slices.Sorted(maps.Keys(b.estate.Towers)) {
		v, heard := b.views[string(id)]
		if heard && max(v.view.Speaks, 1) < plan.Release && b.now.At.Sub(v.at) <= b.profile.Stale {
			return string(id)
		}
	}
	return ""
}

// understood refuses a plan that a tower of the release before, which answers, could not carry on: for
// those that nobody ordered core/response does, before they are made.
func (b *beliefs) understood(p plan.Plan) error {
	tower := b.older()
	if tower == "" || p.Version < plan.Release {
		return nil
	}
	return &web.Refused{Code: web.Unmet, Why: fmt.Sprintf("%s is of an older release and could not carry %s %s on", tower, p.Kind, p.Subject), Do: "upgrade it first, or stop it"}
}

// claimSoon claims beside the mind; one attempt at a time. A tower that was deposed a moment
// ago leaves the other alone, so that two that believe each other dead do not take turns.
func (n *Node) claimSoon(ctx context.Context, from state.Drive) {
	n.mu.Lock()
	rest := n.now().Sub(n.deposedAt) < afterDeposed
	n.mu.Unlock()
	if s := n.beliefs().snap; s.Line.Foreign(s.Cluster) || len(s.Line.Unasked) > 0 {
		return // nobody may drive; see keepLine
	}
	if rest || !n.claiming.CompareAndSwap(false, true) {
		return
	}
	n.spawn(ctx, func(ctx context.Context) {
		defer n.claiming.Store(false)
		if _, err := n.claim(ctx, from); err != nil && !errors.Is(err, state.ErrDeposed) && ctx.Err() == nil {
			n.log.Warn("claim", "from", from.Tower, "error", err)
		}
	})
}

// claim takes the drive over from whoever holds from.
func (n *Node) claim(ctx context.Context, from state.Drive) (state.Drive, error) {
	ctx, cancel := context.WithTimeout(ctx, claimFor)
	defer cancel()
	d, err := n.store.Claim(ctx, from)
	if err != nil {
		return state.Drive{}, err
	}
	n.log.Info("this tower drives", "term", d.Term)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leaveLocked(d)
	n.mine = d
	n.driveCtx, n.driveEnd = context.WithCancelCause(n.ctx)
	return d, nil
}

// deposed stops all that this tower does as the driver, once it has seen that another is.
func (n *Node) deposed(now state.Drive) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mine.Tower == "" || now.Term < n.mine.Term || now == n.mine {
		return
	}
	n.log.Warn("another tower drives", "tower", now.Tower, "term", now.Term)
	n.leaveLocked(now)
	n.deposedAt = n.now()
}

// leaveLocked ends what this tower does under a drive that is over.
func (n *Node) leaveLocked(now state.Drive) {
	if n.mine.Tower == "" {
		return
	}
	n.driveEnd(fmt.Errorf("%w: %s under term %d", executor.ErrDeposed, now.Tower, now.Term))
	n.mine = state.Drive{}
}

// open has one run planned and opened at a time, and carries it. known says of a run whether
// the decision took it into account: where another was opened since, it is not opened, so that no
// two runs move one store. first stands in the journal before the run.
func (n *Node) open(ctx context.Context, d state.Drive, known func(run.ID) bool, first []journal.Entry, do func(context.Context) (run.ID, error)) (run.ID, error) {
	select {
	case n.opening <- struct{}{}:
		defer func() { <-n.opening }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if n.newest != "" && !known(n.newest) {
		return "", fmt.Errorf("run %s was opened since this was decided: %w", n.newest, executor.ErrRefused)
	}
	id, err := do(before(ctx, first))
	if err != nil {
		return "", err
	}
	n.newest = id
	n.carry(id, d.Term)
	return id, nil
}

// plan makes a plan from the records as the quorum has them: what this tower has seen of
// them may be behind, and a plan that rests on the wrong primary would seal the wrong members.
func (n *Node) plan(ctx context.Context, in plan.Input) (plan.Plan, error) {
	agreed, err := n.store.Agreed(ctx, in.Estate.StoreIDs(), in.Estate.NameIDs())
	if err != nil {
		return plan.Plan{}, err
	}
	in.Stores, in.Withdrawn, in.Returning = agreed.Stores, agreed.Withdrawn, agreed.Returning
	if in.Kind == plan.Reseat || in.Kind == plan.Recover {
		if in.Seats, err = n.agreedSeats(ctx, n.beliefs()); err != nil {
			return plan.Plan{}, err
		}
	}
	return plan.Make(in)
}

// standDown ends the drive of a tower that was outlived: the records that it drives by count no more.
func (n *Node) standDown(by string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mine.Tower != "" {
		n.log.Error("this tower drives no more: the towers go on by newer records", "tower", by)
		n.leaveLocked(state.Drive{Tower: by})
	}
}

// carryAll carries every open run, and puts people's words to them.
func (n *Node) carryAll(ctx context.Context, d state.Drive, s state.Snapshot) {
	for _, r := range s.OpenRuns() {
		if err := carried(s, r.ID); err != nil {
			if n.leftAlone.Swap(string(r.ID)) != string(r.ID) {
				n.log.Error("this tower leaves a run to others", "run", r.ID, "why", err)
			}
			continue
		}
		n.carry(r.ID, d.Term)
	}
	for _, a := range s.Asks {
		n.answer(ctx, d, a)
	}
}

// carried says why this tower must not carry a run; nil: it may.
func carried(s state.Snapshot, id run.ID) error {
	if events := s.Runs[id]; len(events) > 0 && events[0].Plan != nil {
		return events[0].Plan.Carried()
	}
	return nil
}

// carry drives a run in a goroutine of its own until it ends; again after a failure,
// for as long as this tower drives.
func (n *Node) carry(id run.ID, term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.carried[id] || n.mine.Tower == "" || n.mine.Term != term {
		return
	}
	n.carried[id] = true
	n.spawn(n.driveCtx, func(ctx context.Context) {
		err := n.exec.Carry(ctx, id, term)
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, executor.ErrDeposed):
			n.log.Info("left a run", "run", id, "why", err)
		default:
			n.log.Error("carry", "run", id, "error", err)
		}
		if err != nil {
			pause(ctx, again)
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.carried, id)
	})
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// answer puts one person's word to the run that it is about, once.
func (n *Node) answer(ctx context.Context, d state.Drive, a state.Ask) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.answering[a.ID] {
		return
	}
	n.answering[a.ID] = true
	n.spawn(ctx, func(ctx context.Context) {
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			delete(n.answering, a.ID)
		}()
		ctx, cancel := context.WithTimeout(ctx, claimFor)
		defer cancel()
		kinds := map[string]run.EventKind{"pause": run.Paused, "resume": run.Resumed, "approve": run.Approved, "abort": run.Aborted}
		err := n.exec.Tell(ctx, a.Run, executor.Request{Kind: kinds[a.Verb], Step: a.Step, By: a.By, Why: a.Why})
		if errors.Is(err, executor.ErrNotCarried) && n.isOpen(a.Run) {
			pause(ctx, again) // it is about to be
			return
		}
		text := fmt.Sprintf("%s: %s %s", a.By, a.Verb, a.Run)
		if err != nil {
			text += ": not done: " + err.Error()
		}
		if _, err := n.store.Append(ctx, d, []journal.Entry{{Kind: "ask", Subject: string(a.Run), Text: text}}, state.AskDone{ID: a.ID}); err != nil {
			n.log.Warn("answer a person", "ask", a.ID, "error", err)
			pause(ctx, again)
		}
	})
}

func (n *Node) isOpen(id run.ID) bool { return n.store.Snapshot().Index[id].Open() }
