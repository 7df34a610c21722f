package response

import (
	"fmt"
	"slices"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
)

const (
	// follow is how long what observers see may lag behind a run that has ended.
	follow = 3 * time.Second
	// retryMost is after how long at most a run that asks is tried again without an answer.
	retryMost = time.Minute
	// rest is how long a run counts as a try where nobody knows when its cause began.
	rest = 10 * time.Minute
)

// decide turns a want into decisions: one for all of its parts that may be started, one for
// those that need a person, and so on.
func (in Input) decide(w want) (out []Decision) {
	w, left := in.left(w)
	if !left {
		return nil
	}
	base := Decision{Kind: w.kind, Subject: w.subject, Member: w.member, Lost: w.lost, Because: w.because}
	if in.Older != "" && w.kind.Needs() > 1 && w.refuse == "" {
		w.refuse = fmt.Sprintf("%s is of an older release and could not carry it on: upgrade it first", in.Older)
	}
	if w.refuse != "" {
		base.Act, base.Stores, base.Because = Refuse, w.stores, append(slices.Clone(w.because), w.refuse)
		return []Decision{base}
	}
	byAct := in.sort(w)
	for _, act := range acts {
		p := byAct[act]
		if p == nil {
			continue
		}
		d := base
		d.Act, d.Stores, d.People = act, p.stores, p.people
		d.Because = append(slices.Clone(w.because), p.why...)
		if act == Start || act == Ask {
			in.aim(&d, w)
		}
		if d.Act == Ask && returns(w.kind) && len(d.Supersedes) > 0 {
			continue // no comparison is left off for a question: it is put after that
		}
		out = append(out, d)
	}
	return out
}

// aim makes of a start what it is: one that takes the place of other runs, or
// one that a person has to allow, since it was tried already.
func (in Input) aim(d *Decision, w want) {
	if why := in.tried(w, d.Stores); d.Act == Start && (why != "" || w.ask != "") {
		d.Act, d.People = Ask, 1
		for _, s := range []string{why, w.ask} {
			if s != "" {
				d.Because = append(d.Because, s)
			}
		}
	}
	for _, o := range in.Open {
		if o.open() && in.madeRoom(o, w) {
			d.Supersedes = append(d.Supersedes, o.ID)
		}
	}
	slices.Sort(d.Supersedes)
	if d.Act == Start && len(d.Supersedes) > 0 {
		d.Act = Supersede
	}
}

// madeRoom says whether a run has to be wound up before what is wanted begins. One that hands over, to nobody that
// is open yet, was left by a tower that died in the middle of that: its stores are not moved beside it.
func (in Input) madeRoom(o OpenRun, w want) bool {
	ours := func(id estate.StoreID) bool { return in.concerns(o, id) }
	return in.yields(o, w) || o.Status == run.StatusHanding && moves(w.kind) && slices.ContainsFunc(w.stores, ours)
}

func (o OpenRun) open() bool { return o.Closed.IsZero() }

// knows says whether a run takes all these sites for lost.
func (o OpenRun) knows(lost []estate.SiteID) bool {
	return !slices.ContainsFunc(lost, func(s estate.SiteID) bool { return !slices.Contains(o.Lost, string(s)) })
}

// left is what of a want no open run takes care of. A run that waits for a person
// keeps only its own stores: what needs nobody's word does not wait with it. Where a run has
// just ended, what is seen may not show it yet.
func (in Input) left(w want) (want, bool) {
	for _, o := range in.Open {
		switch {
		case returns(w.kind):
			var any bool
			if w, any = in.beside(o, w); !any {
				return w, false
			}
		case w.kind == plan.VerifyAll:
			if in.busy(o, w.stores[0]) {
				return w, false
			}
			if why := in.compared(o, w); why != "" {
				w.refuse = why
			}
		case in.passes(o, w):
		case o.open() && o.Status == run.StatusAsked && w.kind == plan.LoseSite && in.does(o, w):
			n := len(w.stores)
			w.stores = slices.DeleteFunc(slices.Clone(w.stores), func(id estate.StoreID) bool { return in.concerns(o, id) })
			if len(w.stores) == 0 && (n == 0 || !w.traffic || in.traffic(w).act == Ask) {
				return w, false
			}
		case o.open() && o.Status != run.StatusHanding && in.does(o, w):
			return w, false
		case o.open() && o.Status == run.StatusHanding && !moves(w.kind) && slices.ContainsFunc(w.stores, func(id estate.StoreID) bool { return in.concerns(o, id) }):
			return w, false // what it and its successor do is not seen yet
		case !o.open() && w.kind == plan.FenceOld && w.ask != "" && in.Now.At.Sub(o.Closed) < follow && slices.ContainsFunc(w.stores, func(id estate.StoreID) bool { return in.concerns(o, id) }):
			return w, false // the primary that it moved may be seen for a moment still
		case !o.open() && w.kind == plan.LetGo && slices.ContainsFunc(w.stores, func(id estate.StoreID) bool { return in.concerns(o, id) }):
			age := in.Now.At.Sub(o.Closed)
			if age < follow {
				return w, false
			}
			if o.Kind == w.kind && o.Status != run.StatusDone && age < rest {
				w.refuse = fmt.Sprintf("run %s could not do it: see haechi run show %s; it is tried again after %v", o.ID, o.ID, rest)
			}
		case !o.open() && o.Kind == w.kind && o.Subject == w.subject && !moves(w.kind) && in.Now.At.Sub(o.Closed) < follow:
			return w, false
		}
	}
	return w, true
}

// passes says that a want does not wait for the answer to a run's question: nothing of that run
// lasts, and it was planned, or is about something that can be done by now.
func (in Input) passes(o OpenRun, w want) bool {
	if !o.open() || o.Idle.IsZero() || !moves(w.kind) || !slices.ContainsFunc(w.stores, func(id estate.StoreID) bool { return in.concerns(o, id) }) {
		return false
	}
	asked := in.Now.At.Sub(o.Idle)
	if planned(o.Kind) {
		return asked >= follow // until then, what it took back may still look dead
	}
	return moves(o.Kind) && o.Short && asked >= follow && in.better(o, w)
}

// better says that there are enough members, after a run asked because there were too few, and no
// other reason to ask: one has come back since, or they were slow. Slow ones are tried again when
// as much time has gone by as the cause had lasted before, so that a seal which holds writes up
// for nothing is not tried over and over; and not while people are about to agree.
func (in Input) better(o OpenRun, w want) bool {
	slow := !w.since.IsZero() && !o.Agreed && in.Now.At.Sub(o.Idle) >= min(retryMost, max(follow, o.Idle.Sub(w.since)))
	back := func(id estate.StoreID) bool {
		return slices.ContainsFunc(in.Estate.Stores[id].MemberIDs(), func(m estate.MemberID) bool {
			v := in.Now.Things[situation.AgentTarget(in.Estate, in.Estate.Stores[id].Members[m].Host)]
			return v.State == situation.Up && v.Since.After(o.Idle)
		})
	}
	p, err := plan.Make(plan.Input{Estate: in.Estate, Now: in.Now, Stores: in.Stores, Kind: w.kind, Subject: w.subject, Lost: w.lost, StoresOnly: w.stores, Withdrawn: in.Withdrawn, Returning: in.Returning})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(p.Steps, func(s plan.Step) bool {
		id := estate.StoreID(s.Component)
		return s.Verb == plan.Follow && len(s.Members) > 1 && in.concerns(o, id) && (slow || back(id)) && in.permit(w, id).act == Start
	})
}

// does says whether an open run takes care of a want.
func (in Input) does(o OpenRun, w want) bool {
	same := o.Kind == w.kind && o.Subject == w.subject
	switch w.kind {
	case plan.LoseSite:
		return o.Kind == plan.LoseSite && o.knows(w.lost)
	case plan.LoseStore:
		id := w.stores[0]
		switch o.Kind {
		case plan.LoseSite, plan.LoseStore:
			return in.concerns(o, id) && o.knows(w.lost)
		case plan.Evacuate, plan.Failover, plan.AdoptNew:
			return in.concerns(o, id) // it stops the primary on purpose, and takes that back if it fails
		}
		return false
	case plan.CutUsers:
		return same || (o.Kind == plan.LoseSite || o.Kind == plan.Evacuate) && (o.Subject == w.subject || slices.Contains(o.Lost, w.subject))
	case plan.LevelDNS:
		return same
	case plan.Reseat:
		return same || o.Seats // one change at a time
	}
	if returns(o.Kind) || o.Kind == plan.VerifyAll || o.Kind == plan.Restore || o.Kind == plan.GiveUp {
		return false // they take long, and what saves data or has writes acknowledged does not wait for them
	}
	if o.Kind == plan.FenceOld && o.Status == run.StatusAsked && w.kind != o.Kind {
		return false // whether a former primary is to be stopped holds nothing else up
	}
	return slices.ContainsFunc(w.stores, func(id estate.StoreID) bool { return in.concerns(o, id) })
}

// concerns says whether a run is about a store. One that is still open, and done with a store, is
// not any more, as soon as what it did can be seen: what happens to that store then is new.
func (in Input) concerns(o OpenRun, id estate.StoreID) bool {
	if at, ok := o.Settled[id]; ok && o.open() && in.Now.At.Sub(at) >= follow {
		return false
	}
	if o.Stores != nil {
		return slices.Contains(o.Stores, id)
	}
	switch o.Kind {
	case plan.LoseSite:
		return slices.ContainsFunc(o.Lost, func(s string) bool { return in.standsIn(id, estate.SiteID(s)) })
	case plan.Evacuate:
		return in.siteOf(id, in.primary(id)) == estate.SiteID(o.Subject)
	case plan.CutUsers, plan.Serve, plan.LevelDNS, plan.Reseat:
		return false
	case plan.Recover:
		return in.standsIn(id, estate.SiteID(o.Subject))
	}
	return o.Subject == string(id)
}

// yields says whether a run has to make room for what is wanted: what is planned gives
// way to what is lost, a run that knows of fewer losses to one that knows of all, and one that only compares a
// store to what brings a member of it back, which compares them after that.
func (in Input) yields(o OpenRun, w want) bool {
	lost := func(s string) bool { return slices.Contains(w.lost, estate.SiteID(s)) }
	ours := func(id estate.StoreID) bool { return in.concerns(o, id) }
	hit := func(id estate.StoreID) bool { return in.concerns(o, id) && len(in.lostOf(id)) > 0 }
	switch {
	case returns(w.kind):
		return slices.ContainsFunc(w.stores, func(id estate.StoreID) bool { return in.compares(o, id) })
	case w.kind == plan.VerifyAll:
		return in.asksToCompare(o, w.stores[0])
	}
	switch o.Kind {
	case plan.LoseSite:
		return w.kind == plan.LoseSite && !o.knows(w.lost) || moves(w.kind) && slices.ContainsFunc(w.stores, ours)
	case plan.LoseStore, plan.GoAlone, plan.EndAlone, plan.FenceOld, plan.LetGo, plan.Uncount, plan.AdoptNew:
		return moves(w.kind) && slices.ContainsFunc(w.stores, ours)
	case plan.Evacuate, plan.Failover:
		return in.passes(o, w) || w.kind == plan.LoseSite && (lost(o.Subject) || slices.ContainsFunc(in.storeIDs(), hit))
	case plan.CutUsers, plan.Serve:
		return w.kind == plan.LoseSite && lost(o.Subject) || w.kind == plan.CutUsers && o.Subject == w.subject
	case plan.Recover, plan.BringBack, plan.VerifyAll, plan.Restore, plan.GiveUp, plan.Reseat:
		// Their steps may need what is lost now. What changes the same record does not wait for hours either:
		// they are wanted again after it, and go on where they were.
		rules := moves(w.kind) || w.kind == plan.GoAlone || w.kind == plan.EndAlone
		return w.kind == plan.LoseSite || rules && slices.ContainsFunc(w.stores, ours) || w.kind == plan.CutUsers && o.Subject == w.subject
	}
	return false
}

func (in Input) storeIDs() []estate.StoreID { return in.Estate.StoreIDs() }

// tried says that a run about the same cause has ended and the cause is still there: then
// a person decides, not a loop. What was lost anew since is a new cause, and so is a store that
// the run did not try.
func (in Input) tried(w want, stores []estate.StoreID) string {
	if w.deaf {
		return "" // see triedInVain
	}
	for _, o := range slices.Backward(in.Open) {
		if o.open() || o.Status == run.StatusTaken || o.Kind == plan.LetGo || o.Kind != w.kind || o.Subject != w.subject || !o.knows(w.lost) {
			continue
		}
		if w.kind == plan.LoseSite && len(o.Lost) != len(w.lost) {
			continue // it took more sites for lost, so it could do less
		}
		if o.Member != w.member && w.kind == plan.BringBack {
			continue
		}
		if len(stores) > 0 && !slices.ContainsFunc(stores, func(id estate.StoreID) bool { return in.concerns(o, id) }) {
			continue
		}
		if w.since.IsZero() && in.Now.At.Sub(o.Closed) > rest || o.Closed.Before(w.since) || o.Closed.Before(w.anew) {
			continue
		}
		return fmt.Sprintf("run %s for the same cause ended %s, and the cause is still there: see haechi run show %s, then approve another try", o.ID, o.Status, o.ID)
	}
	return ""
}
