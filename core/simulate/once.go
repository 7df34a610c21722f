package simulate

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/haechi/haechi/core/plan"
)

// Never is the time of what does not come back.
const Never = time.Duration(math.MaxInt64)

// itemKind is what a bar of the chart stands for.
type itemKind uint8

const (
	sure     itemKind = iota // the loss is noticed
	decided                  // a plan is on record
	asked                    // people answered
	stepped                  // a step of a run
	took                     // somebody is in command
	switched                 // by hand
	resolve                  // resolvers have forgotten the old answer
	powered                  // a pool has power and has booted
	checked                  // a store's data was checked
	started                  // a service was started on new servers
)

// item is one bar: what took from when to when, and what it waited for.
type item struct {
	kind     itemKind
	at       int // component; -1: none
	verb     plan.Verb
	failed   bool
	from, to time.Duration
	after    int // the item that it waited for; -1: none
}

// once is one loss as it goes with one luck.
type once struct {
	s      *Simulation
	c      Chance
	now    time.Duration
	queue  agenda
	number int

	up      []time.Duration // by component: since when it is there; Never
	because []int           // by component: the item that brought it back; -1: it was never gone
	left    []time.Duration // by name that loses answers: when users have forgotten them
	leaves  []int           // the item of that
	whole   []time.Duration // by service: since when it has servers enough; Never
	grown   []bool          // by service: what it takes besides its own has been started
	last    []int           // by service: the item that it waited for last before it was whole
	busy    []bool          // by service and by store, in that order: its start or check is under way
	marked  []bool          // by service: behind has met it
	waiting []int           // services that are not up and whole for good
	silent  []int           // stores that may still come back by themselves, or by a check
	queued  []task          // what waits for hands
	hands   int             // that are free
	manned  bool            // somebody is in command of hands
	known   int             // the item since when somebody acts on the loss; -1: nobody yet
	items   []item
}

// event is something that will happen.
type event struct {
	at     time.Duration
	number int // those of one time happen in the order in which they were arranged
	what   func()
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(a[i].at, a[j].at), a[i].number-a[j].number) < 0
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

// in arranges something for later.
func (o *once) in(d time.Duration, what func()) { o.at(min(o.now+d, endOfTime), what) }

func (o *once) at(t time.Duration, what func()) {
	o.number++
	heap.Push(&o.queue, event{t, o.number, what})
}

func (o *once) log(i item) int {
	o.items = append(o.items, i)
	return len(o.items) - 1
}

// Once lets the loss happen, with the luck of c.
func (s *Simulation) Once(c Chance) Outcome {
	o := &once{s: s, c: c, known: -1, up: make([]time.Duration, len(s.names)), because: make([]int, len(s.names)),
		left: make([]time.Duration, len(s.resolve)), leaves: make([]int, len(s.resolve)),
		whole: make([]time.Duration, len(s.services)), grown: make([]bool, len(s.services)), marked: make([]bool, len(s.services)), last: make([]int, len(s.services)), busy: make([]bool, len(s.services)+len(s.stores))}
	o.begin()
	o.settle()
	for len(o.queue) > 0 {
		e := heap.Pop(&o.queue).(event)
		o.now = e.at
		e.what()
	}
	return o.outcome()
}

// begin is the moment of the loss: what is there, what is gone, what is set in motion.
func (o *once) begin() {
	for i := range o.up {
		o.because[i] = -1
		if o.s.gone[i] {
			o.up[i] = Never
		}
	}
	for _, st := range o.s.stores {
		if st.moves {
			o.up[st.at] = Never
		}
	}
	for i, svc := range o.s.services {
		o.up[svc.at], o.whole[i], o.last[i] = Never, Never, -1 // settle says which of them are up all the time
		o.waiting = append(o.waiting, i)
	}
	for i := range o.s.stores {
		o.silent = append(o.silent, i)
	}
	for i := range o.left {
		o.left[i], o.leaves[i] = Never, -1
	}
	o.power()
	o.byHand()
	if len(o.s.e.Towers) > 0 {
		o.in(o.s.model.Sure.Draw(o.c), o.noticed)
	}
}

// noticed is the moment of the verdict.
func (o *once) noticed() {
	verdict := o.log(item{kind: sure, at: -1, to: o.now, after: -1})
	o.in(o.s.model.Decide.Draw(o.c), func() {
		o.known = o.log(item{kind: decided, at: -1, from: o.items[verdict].to, to: o.now, after: verdict})
		for i := range o.s.openings {
			o.open(i, o.known)
		}
		o.settle()
	})
}

// rise notes that a component is there, and looks what that brings back.
func (o *once) rise(at, because int) {
	if o.up[at] <= o.now {
		return
	}
	o.up[at], o.because[at] = o.now, because
	o.settleAmong(o.behind(at))
}

// behind are the services that may resume now that a component is there: those that require it or run on it, and
// whoever waits for them.
func (o *once) behind(at int) []int {
	var out []int
	for todo := []int{at}; len(todo) > 0; {
		last := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, i := range o.s.users[last] {
			if svc := o.s.services[i].at; o.up[svc] == Never && !o.marked[i] {
				o.marked[i] = true
				out, todo = append(out, i), append(todo, svc)
			}
		}
	}
	for _, i := range out {
		o.marked[i] = false
	}
	slices.Sort(out)
	return out
}

// answersLeave notes that no server gives a lost site's answers any more; resolvers forget later.
func (o *once) answersLeave(name string, because int) {
	for i, r := range o.s.resolve {
		if string(r.id) != name || o.left[i] != Never {
			continue
		}
		began := o.now
		o.in(r.ttl, func() {
			o.left[i] = o.now
			o.leaves[i] = o.log(item{kind: resolve, at: o.s.by[name], from: began, to: o.now, after: because})
			o.settle()
		})
	}
}

// holds says whether all that is needed is there.
func (o *once) holds(needs []need) bool {
	for i := range needs {
		if !o.met(&needs[i]) {
			return false
		}
	}
	return true
}

func (o *once) met(n *need) bool {
	if n.of == nil {
		return o.up[n.at] <= o.now
	}
	have := 0
	for i := range n.of {
		if o.met(&n.of[i]) {
			have++
		}
	}
	return have >= n.atleast
}

// settle brings back all that can be: services that run and only waited for others, at once, rings of
// them included; and begins what has to be begun: starts, checks, the work of hands.
func (o *once) settle() { o.settleAmong(o.waiting) }

// settleAmong is settle where some services, and no others, may be able to resume.
func (o *once) settleAmong(some []int) {
	o.resume(some)
	for _, i := range o.waiting {
		o.start(i)
		o.complete(i)
	}
	for _, i := range o.silent {
		o.check(i)
		o.revive(i)
	}
	o.assign()
	o.waiting = slices.DeleteFunc(o.waiting, func(i int) bool {
		svc := &o.s.services[i]
		return o.up[svc.at] != Never && o.whole[i] != Never && (o.busy[i] || svc.grows == 0 || o.s.gone[svc.at])
	})
	o.silent = slices.DeleteFunc(o.silent, func(i int) bool {
		return o.up[o.s.stores[i].at] != Never || o.busy[len(o.s.services)+i]
	})
}

// resume finds, among some, the greatest set of services that run and have all that they require, each other
// included: nothing in a ring of them was ever stopped.
func (o *once) resume(some []int) {
	var able []int
	for _, i := range some {
		svc := &o.s.services[i]
		if o.up[svc.at] == Never && !o.s.gone[svc.at] && o.forgotten(svc) && (svc.least == 0 || o.serversOf(i) > 0) {
			able = append(able, i)
			o.up[svc.at] = o.now
		}
	}
	for changed := true; changed; {
		changed = false
		able = slices.DeleteFunc(able, func(i int) bool {
			svc := &o.s.services[i]
			if o.holds(svc.requires) {
				return false
			}
			o.up[svc.at], changed = Never, true
			return true
		})
	}
	for again := true; again; { // one may have waited for another of them
		again = false
		for _, i := range able {
			svc := &o.s.services[i]
			if r := o.reason(svc); r != o.because[svc.at] {
				o.because[svc.at], again = r, true
			}
		}
	}
}

// forgotten says whether users have forgotten all answers that led into a lost site.
func (o *once) forgotten(svc *service) bool {
	for _, n := range svc.names {
		if o.left[n] > o.now {
			return false
		}
	}
	return true
}

// reason is the item that a service waited for last.
func (o *once) reason(svc *service) int {
	last := o.because[svc.at]
	later := func(i int) {
		if i >= 0 && (last < 0 || o.items[i].to > o.items[last].to) {
			last = i
		}
	}
	for _, n := range svc.names {
		later(o.leaves[n])
	}
	o.reasons(svc.requires, later)
	return last
}

func (o *once) reasons(needs []need, later func(int)) {
	for _, n := range needs {
		if n.of != nil {
			o.reasons(n.of, later)
			continue
		}
		if o.up[n.at] <= o.now {
			later(o.because[n.at])
		}
	}
}
