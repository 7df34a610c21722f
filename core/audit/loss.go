package audit

// loss is what is gone in a scenario, over one graph. It can be taken back to where it was, so that
// a thousand scenarios cost what they touch.
type loss struct {
	g     *graph
	gone  []bool
	count []int32 // children that are gone
	state []storeState
	trail []id // what went, in order
	taken []id // what the scenario itself names, in order
	marks []mark
	dirty []int // stores to be looked at again
	isIn  []bool
	queue []id

	islands []id  // of each site: the first site that it reaches over living links
	stale   bool  // islands are of another time
	spare   *loss // see aside
}

// mark is a point to which a loss can be taken back.
type mark struct{ trail, taken, states int }

// newLoss starts with nothing lost but what the estate can never have.
func newLoss(g *graph) *loss {
	l := &loss{g: g, gone: make([]bool, len(g.names)), count: make([]int32, len(g.names)), state: make([]storeState, len(g.stores)), isIn: make([]bool, len(g.stores)),
		islands: make([]id, len(g.names)), stale: true}
	for n, bears := range g.bears {
		if bears < 0 {
			l.queue = append(l.queue, id(n))
		}
	}
	for i := range g.stores {
		l.touch(i)
	}
	l.settle()
	return l
}

// take loses some components besides what is lost, and all that falls with them. The returned
// function takes it back; calls nest.
func (l *loss) take(what ...id) (back func()) {
	before := mark{trail: len(l.trail), taken: len(l.taken)}
	states := append([]storeState(nil), l.state...)
	l.taken = append(l.taken, what...)
	l.queue = append(l.queue, what...)
	l.settle()
	return func() {
		for len(l.trail) > before.trail {
			n := l.trail[len(l.trail)-1]
			l.trail = l.trail[:len(l.trail)-1]
			l.gone[n] = false
			l.stale = l.stale || l.g.kinds[n] == link || l.g.kinds[n] == site
			for _, p := range l.g.parents[n] {
				l.count[p]--
			}
		}
		l.taken = l.taken[:before.taken]
		copy(l.state, states)
	}
}

// settle follows what is queued to all that it takes along: the least set that is closed.
func (l *loss) settle() {
	for len(l.queue) > 0 || len(l.dirty) > 0 {
		for len(l.queue) > 0 {
			n := l.queue[len(l.queue)-1]
			l.queue = l.queue[:len(l.queue)-1]
			l.lose(n)
		}
		if len(l.dirty) > 0 {
			i := l.dirty[len(l.dirty)-1]
			l.dirty = l.dirty[:len(l.dirty)-1]
			l.isIn[i] = false
			if l.state[i] = l.judge(&l.g.stores[i]); l.state[i] == storeDown {
				l.queue = append(l.queue, l.g.stores[i].copies)
			}
		}
	}
}

func (l *loss) lose(n id) {
	if l.gone[n] {
		return
	}
	l.gone[n] = true
	l.trail = append(l.trail, n)
	l.stale = l.stale || l.g.kinds[n] == link || l.g.kinds[n] == site
	for _, p := range l.g.parents[n] {
		l.count[p]++
		switch {
		case l.gone[p]:
		case l.g.kinds[p] == copies:
			l.touch(l.g.storeAt[p])
		case l.count[p] > l.g.bears[p]:
			l.queue = append(l.queue, p)
		}
	}
}

func (l *loss) touch(store int) {
	if !l.isIn[store] {
		l.isIn[store] = true
		l.dirty = append(l.dirty, store)
	}
}

// aside is a second loss over the same graph, in which nothing is lost: for questions beside the scenario.
func (l *loss) aside() *loss {
	if l.spare == nil {
		l.spare = newLoss(l.g)
	}
	return l.spare
}
