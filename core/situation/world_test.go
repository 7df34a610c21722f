package situation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

const (
	tick  = 20 * time.Millisecond
	users = "users" // where the observers of users stand
)

// world is what really happens, in virtual time: who lives, which way is open,
// and one fold for each tower. Observers look and tell as the prober does.
type world struct {
	estate  estate.Estate
	profile situation.Profile
	targets []situation.Target
	now     time.Time
	cut     map[[2]string]bool   // from, to: no packet passes
	dead    map[string]bool      // targets whose process is gone
	refuse  map[string]bool      // of those, whose host still answers
	stunned map[string]time.Time // observers that do not run until then
	loses   map[[2]string]int    // from, to: one look in so many is lost
	eyes    map[string]*eyes
	folds   map[string]*situation.Fold
	steps   int
	seen    map[string]situation.Situation
	must    func(fold string, s situation.Situation) // checked after each tick
}

// eyes are one observer.
type eyes struct {
	name  string
	site  string
	boot  int
	seq   uint64
	born  time.Time
	last  map[string]time.Time // last answer
	stall time.Duration
	until time.Time // until when the stall is told
	since time.Time // silences are counted from here at the earliest
}

func newWorld(e estate.Estate, p situation.Profile) *world {
	w := &world{
		estate: e, profile: p, targets: situation.Targets(e), now: time.Date(2022, 10, 15, 6, 0, 0, 0, time.UTC),
		cut: map[[2]string]bool{}, dead: map[string]bool{}, refuse: map[string]bool{}, stunned: map[string]time.Time{},
		loses: map[[2]string]int{}, eyes: map[string]*eyes{}, folds: map[string]*situation.Fold{}, seen: map[string]situation.Situation{},
	}
	for name, t := range e.Towers {
		w.open(string(name), string(t.Site))
		w.folds[string(name)] = situation.New(e, p)
	}
	for name := range e.Observers {
		w.open(string(name), users)
	}
	return w
}

func (w *world) open(name, site string) {
	w.eyes[name] = &eyes{name: name, site: site, born: w.now, since: w.now, last: map[string]time.Time{}}
}

// run lets time pass. Every observer looks and tells once each Every; folds are
// asked at every tick.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(tick)
		w.steps++
		for i, name := range slices.Sorted(maps.Keys(w.eyes)) {
			w.live(w.eyes[name], i)
		}
		for _, name := range slices.Sorted(maps.Keys(w.folds)) {
			if w.runs(name) {
				w.seen[name] = w.folds[name].At(w.now)
				if w.must != nil {
					w.must(name, w.seen[name])
				}
			}
		}
	}
}

func (w *world) runs(observer string) bool {
	tower, isTower := w.estate.Towers[estate.TowerID(observer)]
	if isTower && w.dead[fmt.Sprintf("%s/tower/%s", tower.Site, observer)] {
		return false
	}
	return !w.now.Before(w.stunned[observer])
}

func (w *world) live(o *eyes, phase int) {
	if !w.runs(o.name) {
		return
	}
	if end, was := w.stunned[o.name]; was {
		delete(w.stunned, o.name)
		o.since, o.until = end, w.now.Add(w.profile.Silence)
	}
	every := int(w.profile.Every / tick)
	for i, t := range w.targets {
		if (w.steps+i+3*phase)%every == 0 && w.answers(o, t, w.steps/every) {
			o.last[t.ID] = w.now
		}
	}
	if (w.steps+phase)%every == 0 || w.crosses(o) {
		w.tell(o)
	}
}

func (w *world) answers(o *eyes, t situation.Target, look int) bool {
	there, back := [2]string{o.site, string(t.Site)}, [2]string{string(t.Site), o.site}
	if n := w.loses[there]; n > 0 && (look*7+len(t.ID)*3)%n == 0 {
		return false
	}
	return !w.dead[t.ID] && !w.cut[there] && !w.cut[back] && !w.stopped(t)
}

// stopped says that a target is a tower that is stunned.
func (w *world) stopped(t situation.Target) bool {
	return t.Kind == situation.KindTower && w.now.Before(w.stunned[t.Component])
}

// crosses says that a target has just become silent to an observer, who says so at once.
func (w *world) crosses(o *eyes) bool {
	for _, l := range w.looks(o) {
		if l.Ever && l.Silent >= w.profile.Silence && l.Silent < w.profile.Silence+tick {
			return true
		}
	}
	return false
}

func (w *world) tell(o *eyes) {
	o.seq++
	v := situation.View{Observer: o.name, Seq: o.seq, Boot: fmt.Sprint(o.boot), Looks: w.looks(o)}
	if o.site != users {
		v.Site = estate.SiteID(o.site)
	}
	if w.now.Before(o.until) {
		v.Late = o.stall
	}
	for name, f := range w.folds {
		to := string(w.estate.Towers[estate.TowerID(name)].Site)
		if !w.cut[[2]string{o.site, to}] && !w.cut[[2]string{to, o.site}] && w.runs(name) {
			f.Heard(v, w.now)
		}
	}
}

func (w *world) looks(o *eyes) (out []situation.Look) {
	for _, t := range w.targets {
		at, ever := o.last[t.ID]
		if at.Before(o.since) {
			at = o.since
		}
		if t.Kind == situation.KindTower && t.Component == o.name {
			at, ever = w.now, true
		}
		out = append(out, situation.Look{
			Target: t.ID, Ever: ever, Silent: w.now.Sub(at), Refused: w.refuse[t.ID] && w.dead[t.ID],
			Facts: map[string]string{"seen-by": o.name},
		})
	}
	return out
}

// fire cuts a site off and kills all that runs there.
func (w *world) fire(site string) {
	w.cutOff(site)
	for _, t := range w.targets {
		if string(t.Site) == site {
			w.dead[t.ID] = true
		}
	}
}

func (w *world) cutOff(site string, but ...string) {
	for _, other := range w.places() {
		if other != site && !slices.Contains(but, other) {
			w.cut[[2]string{site, other}], w.cut[[2]string{other, site}] = true, true
		}
	}
}

func (w *world) places() (out []string) {
	for s := range w.estate.Sites {
		out = append(out, string(s))
	}
	slices.Sort(out)
	return append(out, users)
}

// show draws what one tower believes: the sites, and the things that are not up
// in sites that live.
func (w *world) show(tower string) string {
	var b strings.Builder
	s := w.seen[tower]
	for _, site := range slices.Sorted(maps.Keys(s.Sites)) {
		draw(&b, s.Sites[site])
	}
	for _, id := range slices.Sorted(maps.Keys(s.Things)) {
		if v := s.Things[id]; v.State != situation.Up && !s.Sites[v.Site].Gone() {
			draw(&b, v)
		}
	}
	if len(s.Cut) > 0 {
		fmt.Fprintf(&b, "alone: %v\n", s.Cut)
	}
	return b.String()
}

func draw(b *strings.Builder, v situation.Verdict) {
	fmt.Fprintf(b, "%s: %s\n", v.Subject, v.State)
	if v.State != situation.Up {
		for _, why := range v.Because {
			fmt.Fprintf(b, "  %s\n", why)
		}
	}
}
