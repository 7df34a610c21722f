package simulate

import (
	"slices"
	"sort"
	"time"

	"github.com/haechi/haechi/core/estate"
)

// power lets power come back as the model says: people or machines boot servers in the order of
// their tiers, as fast as hands and power allow.
func (o *once) power() {
	if len(o.s.model.Power) == 0 {
		return
	}
	first := time.Duration(o.s.model.Power[0].At)
	ends := map[int]time.Duration{}
	for _, p := range o.s.pools {
		ends[p.at] = Never
		if p.last != Never {
			ends[p.at] = p.last + p.boot.Draw(o.c)
			o.back(p.at, p.first, ends[p.at], powered)
		}
	}
	for i, gone := range o.s.gone {
		switch {
		case !gone || o.booted(i) || o.isWork(i):
		case len(o.s.stands[i]) > 0:
			last := time.Duration(0)
			for _, p := range o.s.stands[i] {
				last = max(last, ends[p])
			}
			if last != Never {
				o.back(i, first, last, powered)
			}
		default:
			o.back(i, first, first+o.s.model.Boot.Draw(o.c), powered)
		}
	}
}

// back arranges that a component is there again.
func (o *once) back(at int, from, to time.Duration, k itemKind) {
	o.at(to, func() { o.rise(at, o.log(item{kind: k, at: at, from: from, to: to, after: -1})) })
}

// booted says whether a component is a pool, which comes back in its turn.
func (o *once) booted(at int) bool {
	return slices.ContainsFunc(o.s.pools, func(p lostPool) bool { return p.at == at })
}

// isWork says whether a component is a service or a store, which come back by what they need.
func (o *once) isWork(at int) bool {
	return slices.ContainsFunc(o.s.services, func(s service) bool { return s.at == at }) ||
		slices.ContainsFunc(o.s.stores, func(s store) bool { return s.at == at })
}

// bootedAt is when the n-th of the lost servers has been switched on: power comes in steps, and
// between them so many are booted in an hour as there are hands for.
func (s *Simulation) bootedAt(n, total int) time.Duration {
	rate := s.model.Hand.Boots
	if total == 0 || n > total {
		return Never
	}
	done, now := 0.0, time.Duration(0)
	for i, p := range s.model.Power {
		now = max(now, time.Duration(p.At))
		most := p.Share * float64(total)
		if float64(n) <= most+1e-9 && rate <= 0 {
			return now
		}
		if rate <= 0 {
			continue
		}
		end := Never
		if i+1 < len(s.model.Power) {
			end = time.Duration(s.model.Power[i+1].At)
		}
		can := most - done
		if end != Never {
			can = min(can, rate*(end-now).Hours())
		}
		if float64(n) <= done+can+1e-9 {
			return now + time.Duration(min((float64(n)-done)/rate*float64(time.Hour), float64(endOfTime-now)))
		}
		done += max(can, 0)
	}
	return Never
}

// start starts a service on servers that it did not have: on those that it takes besides its own, or,
// where it was down, on its own as soon as some of them run and what it needs is there. It serves then;
// it is whole when all of them run.
func (o *once) start(i int) {
	svc := &o.s.services[i]
	fallen := o.s.gone[svc.at]
	if o.busy[i] || fallen == (svc.grows > 0) || fallen && (o.up[svc.at] != Never || svc.least > 0 && o.serversOf(i) == 0) {
		return
	}
	if o.known < 0 || !o.holds(svc.requires) || !o.holds(svc.after) {
		return
	}
	o.busy[i] = true
	began, because := o.now, o.reasonToStart(svc)
	o.in(o.s.model.Start.Draw(o.c), func() {
		at := o.log(item{kind: started, at: svc.at, from: began, to: o.now, after: because})
		if fallen {
			o.rise(svc.at, at)
			return
		}
		o.grown[i] = true
		if o.up[svc.at] == Never { // it had none of its own
			o.because[svc.at] = at
		}
		o.last[i] = at
		o.settle()
	})
}

// complete notes that a service serves all that it has to.
func (o *once) complete(i int) {
	svc := &o.s.services[i]
	if o.whole[i] != Never || o.up[svc.at] > o.now || o.serversOf(i) < svc.least-1e-6 {
		return
	}
	o.whole[i] = o.now
	later := func(b int) {
		if o.last[i] < 0 || b >= 0 && o.items[b].to > o.items[o.last[i]].to {
			o.last[i] = b
		}
	}
	later(o.because[svc.at])
	for _, r := range svc.runs {
		if o.up[r.pool] <= o.now {
			later(o.because[r.pool])
		}
	}
}

// serversOf is how many servers a service has now.
func (o *once) serversOf(i int) float64 {
	svc, have := &o.s.services[i], 0.0
	if o.grown[i] {
		have = svc.grows
	}
	for _, r := range svc.runs {
		if o.up[r.pool] <= o.now {
			have += r.servers
		}
	}
	return have
}

// reasonToStart is the item that a start waited for last.
func (o *once) reasonToStart(svc *service) int {
	last := o.known
	later := func(i int) {
		if i >= 0 && (last < 0 || o.items[i].to > o.items[last].to) {
			last = i
		}
	}
	later(o.reason(svc))
	o.reasons(svc.after, later)
	for _, r := range svc.runs {
		if o.up[r.pool] <= o.now {
			later(o.because[r.pool])
		}
	}
	return last
}

// check checks the data of a store that was lost whole, once its members run again, and lets it serve.
func (o *once) check(i int) {
	st := &o.s.stores[i]
	busy := &o.busy[len(o.s.services)+i]
	if *busy || !o.s.gone[st.at] || o.up[st.at] != Never || !o.holds(st.requires) || !o.holds(st.after) {
		return
	}
	last := -1
	for _, m := range st.members {
		if o.up[m] > o.now {
			return
		}
		if b := o.because[m]; b >= 0 && (last < 0 || o.items[b].to > o.items[last].to) {
			last = b
		}
	}
	*busy = true
	began := o.now
	o.in(o.s.model.Check.Draw(o.c), func() {
		o.rise(st.at, o.log(item{kind: checked, at: st.at, from: began, to: o.now, after: last}))
	})
}

// revive lets a store serve again whose primary came back before anybody moved it. Where there are
// towers, agents keep a former primary down.
func (o *once) revive(i int) {
	st := &o.s.stores[i]
	busy := &o.busy[len(o.s.services)+i]
	if *busy || !st.moves || !o.s.gone[st.primary] || len(o.s.e.Towers) > 0 || o.up[st.at] != Never || o.up[st.primary] > o.now || !o.holds(st.requires) {
		return
	}
	*busy = true
	began := o.now
	o.in(o.s.model.Start.Draw(o.c), func() {
		if o.up[st.at] == Never {
			o.rise(st.at, o.log(item{kind: started, at: st.at, from: began, to: o.now, after: o.because[st.primary]}))
		}
	})
}

// task is something for hands.
type task struct {
	at    int // component
	store bool
	needs []need // that are needed for the short way
	done  func(because int)
}

// byHand queues what no run does: stores that have to move and are not planned, names likewise. A
// store that people may only move by accepting a loss waits for their answer first.
func (o *once) byHand() {
	for _, st := range o.s.stores {
		if st.moves && !o.s.planned(st.id) {
			o.queued = append(o.queued, o.moving(st))
		}
	}
	for _, r := range o.s.resolve {
		if !o.s.withdrawn(r.id) {
			o.queued = append(o.queued, o.withdrawing(string(r.id)))
		}
	}
	towers := len(o.s.e.Towers) > 0
	if len(o.queued) == 0 && towers {
		return
	}
	begin := o.s.model.Hand.Begin.Draw(o.c)
	if towers { // haechi asks at once
		begin = o.s.model.Sure.Draw(o.c) + o.s.model.Answer.Draw(o.c)
		if o.s.e.Policy.AcceptDataLoss != estate.OnePerson {
			begin += o.s.model.Answer.Draw(o.c)
		}
	}
	o.at(begin, func() {
		command := o.log(item{kind: took, at: -1, to: o.now, after: -1})
		if o.known < 0 {
			o.known = command
		}
		o.command()
		o.settle()
	})
}

// command lets hands begin.
func (o *once) command() {
	if !o.manned {
		o.manned, o.hands = true, max(o.s.model.Hand.Crews, 1)
	}
}

func (o *once) moving(st store) task {
	return task{st.at, true, st.after, func(because int) { o.rise(st.at, because) }}
}

func (o *once) withdrawing(name string) task {
	return task{o.s.by[name], false, nil, func(because int) { o.answersLeave(name, because) }}
}

// instead has people do by hand what a run did not bring about.
func (o *once) instead(component string) {
	for _, st := range o.s.stores {
		if string(st.id) == component {
			o.queued = append(o.queued, o.moving(st))
		}
	}
	for _, r := range o.s.resolve {
		if string(r.id) == component {
			o.queued = append(o.queued, o.withdrawing(component))
		}
	}
	o.command()
	o.assign()
}

// assign gives free hands the next tasks.
func (o *once) assign() {
	for o.hands > 0 && len(o.queued) > 0 {
		t := o.queued[0]
		o.queued = o.queued[1:]
		if t.store && o.up[t.at] <= o.now {
			continue // it came back by itself
		}
		o.hands--
		d := o.s.model.Hand.Switch
		if !o.holds(t.needs) {
			d = o.s.model.Hand.Without
		}
		began, because := o.now, o.lastByHand()
		o.in(d.Draw(o.c), func() {
			o.hands++
			t.done(o.log(item{kind: switched, at: t.at, from: began, to: o.now, after: because}))
			o.assign()
		})
	}
}

// lastByHand is the latest item of people's work: what a free hand came from.
func (o *once) lastByHand() int {
	best := -1
	for i, it := range o.items {
		if (it.kind == took || it.kind == switched) && (best < 0 || it.to >= o.items[best].to) {
			best = i
		}
	}
	return best
}

// Booting is how many of the lost servers have been booted by then, without luck.
func (s *Simulation) Booting(by time.Duration) int {
	total := s.lostServers()
	return sort.Search(total, func(n int) bool { return s.bootedAt(n+1, total) > by })
}

func (s *Simulation) lostServers() int {
	total := 0
	for _, p := range s.pools {
		total += p.servers
	}
	return total
}
