//go:build lab

package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/trial"
	"github.com/haechi/haechi/tower/web"
)

// moments is at how many moments a fault is tried, and what draws them: at one, or two where HAECHI_SOAK is set, which are
// ten in five rounds. The seed is printed; HAECHI_SEED draws the same again.
func (w world) moments() (int, *rand.Rand) {
	w.Helper()
	seed, err := strconv.ParseUint(os.Getenv("HAECHI_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	w.Logf("HAECHI_SEED=%d draws the moments", seed)
	n := 1
	if os.Getenv("HAECHI_SOAK") != "" {
		n = 2
	}
	return n, rand.New(rand.NewPCG(seed, 0))
}

// some are the variants of a row that are tried: all, but on a slow machine a third of them, which are drawn; all in the
// soak.
func some[T any](t *testing.T, all []T) []T {
	t.Helper()
	if !slow || os.Getenv("HAECHI_SOAK") != "" {
		return all
	}
	_, draw := world{T: t}.moments()
	all = slices.Clone(all)
	draw.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:(len(all)+2)/3]
}

// part is a part of a run, from one event to another.
type part struct {
	from, to func(run.Event, plan.Verb) bool
	about    time.Duration // how long it lasts in the lab
}

// stepOf is the first step with a verb in any run.
func stepOf(verb plan.Verb, about time.Duration) part {
	return part{after(run.Began, verb), after(run.Ended, verb), about}
}

// middle waits for a part of a run to begin, and then for a drawn while, or until the part is over.
func (w world) middle(events <-chan run.Event, p part, draw *rand.Rand) {
	w.Helper()
	wait := time.Duration(draw.Int64N(int64(p.about)))
	steps := map[run.ID][]plan.Step{}
	var begun run.Event
	var late <-chan time.Time
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				w.Fatal("no run came to the part in which the fire is to be")
			}
			if ev.Plan != nil {
				steps[ev.Run] = ev.Plan.Steps
			}
			var verb plan.Verb
			if ev.Step > 0 && ev.Step <= len(steps[ev.Run]) {
				verb = steps[ev.Run][ev.Step-1].Verb
			}
			switch {
			case late == nil && p.from(ev, verb):
				begun, late = ev, time.After(wait)
			case late != nil && ev.Run == begun.Run && p.to(ev, verb):
				w.Logf("run %s, step %d: %v were drawn, and it was over before", ev.Run, begun.Step, wait)
				return
			}
		case <-late:
			w.Logf("run %s, step %d: %v after it began", begun.Run, begun.Step, wait)
			return
		}
	}
}

// fireDuring has a site burn in the middle of some part of a return, at each of the moments, and brings it back
// each time: what was half done is done again or undone until all is whole, and in the end nothing that was
// acknowledged is missing anywhere. begin does what has to be done before, and returns what starts that part, and
// what else must be so when all is whole again.
func (w world) fireDuring(p part, begin func() (start, check func())) {
	n, draw := w.moments()
	f := w.under(func() (fire lab.Proof) {
		for i := range n {
			start, check := begin()
			burn := lab.Sites()[draw.IntN(len(lab.Sites()))]
			ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
			events := w.follow(ctx, w.agrees(others(burn)...))
			start()
			w.middle(events, p, draw)
			cancel()
			w.Logf("moment %d of %d, in %s", i+1, n, burn)
			fire = w.must(w.Fire(w.Context(), burn))
			w.goesOn(burn)
			w.whole(4 * time.Minute)
			check()
		}
		return fire
	}, unmoved, func(t *trial.Trial) { t.Clients, t.Rate, t.Patience = 20, 50, time.Minute })
	w.served(f)
}

// agrees is the first of some sites whose tower is one of a majority.
func (w world) agrees(among ...lab.Place) lab.Place {
	w.Helper()
	for _, p := range among {
		if n, err := w.now(p); err == nil && n.Quorum.Have {
			return p
		}
	}
	w.Fatalf("no tower in %v is one of a majority", among)
	return ""
}

// goesOn waits until one member acknowledges, or a tower shows that something is wrong; then the site that burned gets its
// machines back, and its database is started by hand only if it is the primary still, or was about to be.
func (w world) goesOn(burned lab.Place) {
	w.Helper()
	look, begun, two := others(burned)[0], time.Now(), 0
	w.eventually(30*time.Second, "service goes on, or a tower shows that it stands still", func() error {
		acked, err := w.acknowledges()
		if two++; len(acked) < 2 { // the first of two may have handed over between the looks
			two = 0
		}
		if two > 1 {
			w.Errorf("%v acknowledge, one after the other and again", acked)
		}
		if len(acked) == 1 {
			w.Logf("%v acknowledges, %v later", acked, time.Since(begun).Round(time.Millisecond))
			return nil
		}
		n, e := w.now(look)
		if e == nil && n.Headline.Level == web.Bad && time.Since(begun) > 15*time.Second {
			w.Log(brief(n))
			return nil
		}
		return errors.Join(fmt.Errorf("%v acknowledge; %s", acked, brief(n)), err, e)
	})
	w.must(w.Rebuild(w.Context(), burned))
	n, err := w.now(look)
	if err != nil || n.Stores[0].Primary != string(burned) && w.chosenBy(look) != burned {
		return
	}
	if acked, _ := w.acknowledges(); len(acked) == 0 && w.databaseRuns(burned) != nil { // people start one that nobody could replace
		said, err := w.StartDatabase(w.Context(), burned)
		w.Log(said, err) // another may be promoted in that moment, and this one fenced: what counts is how it ends
	}
}

// chosenBy is whom an open run has chosen to take over, as the tower in a site knows; "": none has.
func (w world) chosenBy(p lab.Place) (out lab.Place) {
	w.Helper()
	all, err := w.runs(p, time.Time{})
	if err != nil {
		w.Log(err)
	}
	for _, r := range all {
		for _, ev := range r.events {
			if member := ev.Facts["chosen"]; r.Closed == "" && member != "" {
				out = lab.Place(member) // members are named after their sites
			}
		}
	}
	return out
}

// whole waits until nothing is missing any more, and does meanwhile what people do: they have what failed tried
// again. They give nothing up as lost, and have nothing compared: haechi does that by itself.
func (w world) whole(most time.Duration) {
	w.Helper()
	answered := map[time.Time]bool{} // questions, by when they were put: what is asked again is answered again
	took := w.eventually(most, "all is whole again", func() error {
		var errs []error
		for _, p := range lab.Sites() {
			n, err := w.now(p)
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", p, err))
			case !allUp(n) || !n.Quorum.Have || len(n.Missing) > 0 || n.Stores[0].Writes != web.WritesAcknowledged || slices.ContainsFunc(n.Runs, web.Run.Open):
				errs = append(errs, fmt.Errorf("%s: %s; missing %v", p, brief(n), n.Missing))
			}
		}
		if len(errs) == 0 {
			return nil
		}
		w.while(250 * time.Millisecond)
		all, err := w.runs(lab.Ansan, time.Time{})
		for _, r := range all {
			if r.Status() != run.StatusAsked {
				continue
			}
			fresh, gives := false, false
			for _, q := range r.Questions() {
				fresh, answered[q.At] = fresh || !answered[q.At], true
				gives = gives || q.Accepts
			}
			if fresh && !gives { // nobody gives anything up
				errs = append(errs, w.approveAs(lab.Ansan, r))
			}
		}
		return errors.Join(append(errs, err)...)
	})
	w.Logf("all is whole again, %v later", took.Round(time.Millisecond))
	if p, err := w.primary(lab.Sites()...); err != nil {
		w.Errorf("primary %q: %v", p, err)
	}
	for _, p := range lab.Sites() {
		w.sends(p, 10*time.Second, lab.Sites()...)
	}
}

// lost burns the primary's site, where rows are left that nobody else holds. To start is to give it its power
// back; when all is whole again what it alone held must be among what was salvaged.
func (w world) lost() (start, check func()) {
	w.Helper()
	from, err := w.primary(lab.Sites()...)
	if err != nil {
		w.Fatal(err)
	}
	since := w.must(w.Sever(w.Context(), from)).At
	rows, err := w.PlantAlone(w.Context(), from, 3)
	if err != nil {
		w.Fatal(err)
	}
	w.must(w.Fire(w.Context(), from))
	w.ended(others(from)[0], 30*time.Second, since, string(plan.LoseSite), run.StatusDone)
	return func() { w.must(w.Rebuild(w.Context(), from)) }, func() { w.salvaged(from, since, rows.All()) }
}

// salvaged fails the test unless messages stand in salvages of a site's member that were made since an instant.
func (w world) salvaged(p lab.Place, since time.Time, ids []string) {
	w.Helper()
	shown := w.salvages(p, since)
	for _, id := range ids {
		if !strings.Contains(shown, id) {
			w.Errorf("%s, which %s alone held, was not salvaged", id, p)
		}
	}
}

// salvages are all rows in salvages of a site's member that were made since an instant, as haechi shows them.
func (w world) salvages(p lab.Place, since time.Time) (shown string) {
	w.Helper()
	said := w.haechi("salvage", "list", "-o", "json")
	w.Log(said)
	var all []situation.Salvage
	if err := json.Unmarshal([]byte(said), &all); err != nil {
		w.Fatalf("%v: %s", err, said)
	}
	for _, s := range all {
		if string(s.Member) == string(p) && s.At.After(since) && s.Rows > 0 {
			shown += w.haechi("salvage", "show", s.ID, "-o", "json")
		}
	}
	return shown
}

// salvagedOf counts the rows of a table in salvages of a site's member that were made since an instant.
func (w world) salvagedOf(p lab.Place, since time.Time, table string) int {
	w.Helper()
	return strings.Count(strings.ReplaceAll(w.salvages(p, since), " ", ""), fmt.Sprintf(`"table":%q`, table))
}

// haechi runs a command that has to end well.
func (w world) haechi(args ...string) string {
	w.Helper()
	said, err := w.Haechi(w.Context(), args...)
	if err != nil {
		w.Fatalf("haechi %v: %v: %s", args, err, said)
	}
	return said
}

// A site burns, any of the three, while the first that burned is read for what it alone holds.
func TestFireDuringASalvage(t *testing.T) {
	w := raise(t, "fast")
	w.fireDuring(stepOf(plan.Salvage, 1500*time.Millisecond), w.lost)
}

// The same while its member is rewound or copied, and catches up.
func TestFireDuringARejoin(t *testing.T) {
	w := raise(t, "fast")
	w.fireDuring(stepOf(plan.Rejoin, 3*time.Second), w.lost)
}

// The same while members are compared.
func TestFireDuringAVerification(t *testing.T) {
	w := raise(t, "fast")
	w.fireDuring(stepOf(plan.Verify, 5*time.Second), w.lost)
}

// A site burns, any of the three, while people move the primary home.
func TestFireDuringAFailback(t *testing.T) {
	w := raise(t, "fast")
	move := part{about: 1500 * time.Millisecond,
		from: func(ev run.Event, _ plan.Verb) bool { return ev.Plan != nil && ev.Plan.Kind == plan.Failover },
		to:   func(ev run.Event, _ plan.Verb) bool { return ev.Kind == run.Closed }}
	w.fireDuring(move, func() (start, check func()) {
		if p, err := w.primary(lab.Sites()...); err != nil || p == lab.Pangyo {
			w.haechi("failover", "talk-db", "--to", "ansan")
		}
		if found, err := w.compare(); err != nil || len(found) > 0 {
			t.Fatalf("members differ: %v %v", found, err)
		}
		return func() { w.order("failback", "talk-db") }, func() {}
	})
}

// A site burns, any of the three, while a tower whose disk is new is seated. Where too few towers are left to agree on
// anything nothing is done until one is back.
func TestFireDuringAReseat(t *testing.T) {
	w := raise(t, "fast")
	w.fireDuring(stepOf(plan.Seat, 3*time.Second), func() (start, check func()) {
		w.loseTower(lab.Anyang)
		return func() { w.must(w.StartProcess(w.Context(), lab.Anyang, lab.RoleTower)) }, func() {}
	})
}
