package situation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/situation"
)

// TestScenarios tells what really happens and shows what each tower believes of
// it. Refresh with -rewrite and read the difference.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "sites" {
				w = raise(d)
				return "ok\n"
			}
			if w == nil {
				d.Fatalf(t, "begin with: sites")
			}
			return w.act(t, d)
		})
	})
}

// raise reads "sites profile=fast names=(a,b,c) witness" and lets all come up.
func raise(d *datadriven.TestData) *world {
	names := []estate.SiteID{"pangyo", "ansan", "anyang"}
	profile := "fast"
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "names":
			names = nil
			for _, v := range a.Vals {
				names = append(names, estate.SiteID(v))
			}
		case "profile":
			profile = a.Vals[0]
		}
	}
	w := newWorld(sitesOf(d.HasArg("witness"), names...), situation.Profiles()[profile])
	w.run(2 * time.Second)
	return w
}

func (w *world) act(t *testing.T, d *datadriven.TestData) string {
	var args []string
	for _, a := range d.CmdArgs {
		args = append(args, a.Key)
	}
	link := func(on bool, both bool) {
		w.cut[[2]string{args[0], args[1]}] = on
		if both {
			w.cut[[2]string{args[1], args[0]}] = on
		}
	}
	switch d.Cmd {
	case "fire":
		w.fire(args[0])
	case "kill":
		w.dead[args[0]], w.refuse[args[0]] = true, slices.Contains(args, "refuses")
	case "start":
		w.dead[args[0]] = false
	case "cut":
		link(true, true)
	case "cut-one-way":
		link(true, false)
	case "heal":
		link(false, true)
	case "cut-off":
		w.cutOff(args[0], args[1:]...)
	case "heal-all":
		clear(w.cut)
	case "lossy":
		w.loses[[2]string{args[0], args[1]}], w.loses[[2]string{args[1], args[0]}] = 20, 20
	case "stun":
		w.stun(t, d, args)
	case "restart":
		w.restart(args[0])
	case "run":
		w.run(duration(t, d, args[0]))
	case "flap":
		return w.flap(args[0])
	case "show":
		return w.show(args[0])
	case "watch":
		return w.watch(t, d, args)
	default:
		d.Fatalf(t, "there is no command %s", d.Cmd)
	}
	return "ok\n"
}

// stun stops observers: stun 1.5s tower-a tower-b.
func (w *world) stun(t *testing.T, d *datadriven.TestData, args []string) {
	for _, name := range args[1:] {
		w.eyes[name].stall = duration(t, d, args[0])
		w.stunned[name] = w.now.Add(w.eyes[name].stall)
	}
}

// restart gives a tower a new process that remembers nothing.
func (w *world) restart(tower string) {
	o := w.eyes[tower]
	w.open(tower, o.site)
	w.eyes[tower].boot = o.boot + 1
	w.folds[tower] = situation.New(w.estate, w.profile)
}

// flap cuts a site off and heals it, over and over, and tells how often the other
// sites held it for up in between.
func (w *world) flap(site string) string {
	ups, verdict := 0, map[string]situation.State{}
	w.must = func(fold string, s situation.Situation) {
		is := s.Sites[estate.SiteID(site)].State
		if is == situation.Up && verdict[fold] != situation.Up && verdict[fold] != "" && fold != "tower-"+site {
			ups++
		}
		verdict[fold] = is
	}
	for range 10 {
		w.cutOff(site)
		w.run(time.Second)
		clear(w.cut)
		w.run(time.Second)
	}
	w.must = nil
	return fmt.Sprintf("up again in between: %d times\n", ups)
}

// watch lets time pass and shows each change of a verdict as one tower sees it, with
// the time since then: watch 2s tower-ansan.
func (w *world) watch(t *testing.T, d *datadriven.TestData, args []string) string {
	var b strings.Builder
	began, was := w.now, w.seen[args[1]]
	w.must = func(fold string, s situation.Situation) {
		if fold != args[1] {
			return
		}
		for _, site := range w.places() {
			id := estate.SiteID(site)
			if s.Sites[id].State != was.Sites[id].State {
				fmt.Fprintf(&b, "%4dms %s: %s\n", s.At.Sub(began).Milliseconds(), site, s.Sites[id].State)
			}
		}
		for _, x := range w.targets {
			if is := s.Things[x.ID].State; is != was.Things[x.ID].State && !s.Sites[x.Site].Gone() {
				fmt.Fprintf(&b, "%4dms %s: %s\n", s.At.Sub(began).Milliseconds(), x.ID, is)
			}
		}
		if fmt.Sprint(s.Cut) != fmt.Sprint(was.Cut) {
			fmt.Fprintf(&b, "%4dms alone: %v\n", s.At.Sub(began).Milliseconds(), s.Cut)
		}
		was = s
	}
	w.run(duration(t, d, args[0]))
	w.must = nil
	if b.Len() == 0 {
		return "nothing changes\n"
	}
	return b.String()
}

func duration(t *testing.T, d *datadriven.TestData, s string) time.Duration {
	out, err := time.ParseDuration(s)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return out
}
