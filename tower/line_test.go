package tower

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// All towers are lost and there is no snapshot: the cluster is a new one, and agents remember an older. It rises above
// them by itself, disarmed as each new cluster is, and they take its orders again.
func TestANewClusterRisesAboveWhatAgentsRemember(t *testing.T) {
	w := newTown(t, "a")
	srv, at := w.agent("db-a")
	old := agent.Order{Version: 1, Verb: agent.Start, Unit: "talk-db", Term: 40, Epoch: 7, Run: "r-000009"}
	if a := srv.Carry(t.Context(), old); a.Code != "" {
		t.Fatalf("%+v", a)
	}

	n := w.up("a")
	w.driver()
	w.apply(n, strings.Replace(withStore(w.estate(), 1), "'127.0.0.1:2'", "'"+at+"'", 1))
	until(t, "it drives above what the agent has seen", func() bool { d, ok := n.driving(); return ok && d.Term > 40 })
	d, _ := n.driving()
	s := n.store.Snapshot()
	if s.Stores["talk-db"].Next != 7 || s.Stores["talk-db"].Epoch != 0 || len(s.Armed) != 0 || len(s.Index) != 0 {
		t.Fatalf("store %+v, armed %v, runs %v", s.Stores["talk-db"], s.Armed, s.Index)
	}
	now := agent.Order{Version: 1, Verb: agent.Start, Unit: "talk-db", Term: d.Term, Epoch: s.Stores["talk-db"].Next + 1, Run: "r-000001"}
	if a := srv.Carry(t.Context(), now); a.Code != "" {
		t.Fatalf("its orders are still refused: %+v", a)
	}
	if a := srv.Carry(t.Context(), old); a.Code != agent.OldTerm {
		t.Fatalf("an order of the lost towers: %+v", a)
	}
	until(t, "doctor says so", func() bool {
		return slices.ContainsFunc(n.lineFindings(), func(f web.Finding) bool {
			return strings.Contains(f.Text, "took orders of towers whose records these are not: [db-a]") && strings.Contains(f.Do, "haechi adopt STORE")
		})
	})
}

// agent serves a real one whose unit does nothing, and returns where.
func (w *town) agent(name string) (*agent.Server, string) {
	w.t.Helper()
	return w.agentIn(name, w.t.TempDir())
}

// agentIn is the same with its state in a directory.
func (w *town) agentIn(name, dir string) (*agent.Server, string) {
	w.t.Helper()
	srv, err := agent.NewServer(filepath.Join(dir, "state.json"), "", map[string]agent.Unit{"talk-db": quiet{}}, logged(w.t))
	must(w.t, err)
	conf, err := pki.ServerTLS(place{w.t, w.ca}.files(pki.Agent, name).pki(), pki.Only(pki.Tower))
	must(w.t, err)
	at := taken(w.t)
	ctx, cancel := context.WithCancel(w.t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, at, conf) }()
	w.t.Cleanup(func() { cancel(); <-served })
	return srv, at.Addr().String()
}

// Two towers were each told to go on alone, neither seeing the other. An agent goes by the one that asked last, whatever the
// other's term, and that one starts nothing any more as soon as the agent shows it.
func TestOfTwoTowersThatGoOnAloneOneStandsDown(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	srv, at := w.agent("db-a")
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	w.apply(w.driver(), strings.Replace(withStore(w.estate(), 1), "'127.0.0.1:2'", "'"+at+"'", 1))
	for _, s := range []string{"a", "b", "c"} {
		w.down(s)
	}
	lost := map[string][]estate.SiteID{"a": {"b", "c"}, "b": {"c"}}
	alone := func(site string, waived ...string) *Node {
		t.Helper()
		n := w.up(site)
		until(t, site+" begins a line", func() bool { return n.store.Snapshot().Line.Kind == state.Recovered })
		for _, host := range waived {
			must(t, n.Waive(within(t), "kim", host, "there is no such host"))
		}
		until(t, site+" drives", n.isDriving)
		return n
	}
	for site, gone := range lost {
		_, err := Recover(t.Context(), w.cfg[site], kim("the others burned"), gone, time.Now())
		must(t, err)
	}
	orders := func(n *Node) agent.Order {
		d, _ := n.driving()
		return agent.Order{Version: 1, Verb: agent.Start, Unit: "talk-db", Term: d.Term, Epoch: 1, Line: n.store.Snapshot().Line.Code}
	}

	a := alone("a", "ns-a")
	ofA := orders(a)
	if got := srv.Carry(t.Context(), ofA); got.Code != "" {
		t.Fatalf("an order of the first: %+v", got)
	}
	w.down("a")
	b := alone("b", "ns-a", "db-b")
	ofB := orders(b)
	if ofA.Line == ofB.Line || ofA.Line == "" || a.store.Snapshot().Line.Number != b.store.Snapshot().Line.Number {
		t.Fatalf("two lines: %+v, %+v", ofA, ofB)
	}
	if got := srv.Carry(t.Context(), ofB); got.Code != "" {
		t.Fatalf("an order of the second: %+v", got)
	}
	ofA.Term = ofB.Term + 1000
	if got := srv.Carry(t.Context(), ofA); got.Code != agent.OldLine {
		t.Fatalf("the first is obeyed again: %+v", got)
	}

	a = w.up("a")
	until(t, "the first knows that it was given up", func() bool { return a.outlived() != "" && !a.quorum().Have && !a.isDriving() })
	if !slices.ContainsFunc(a.lineFindings(), func(f web.Finding) bool {
		return f.Level == web.Bad && strings.Contains(f.Text, "the agent of db-a") && strings.Contains(f.Do, "recover once more")
	}) {
		t.Fatalf("it does not say so: %+v", a.lineFindings())
	}
	if b.outlived() != "" || !b.isDriving() {
		t.Fatalf("the second stands down too: %q", b.outlived())
	}
	w.down("a")
	if _, err := MayRecover(t.Context(), w.cfg["a"]); err == nil || !strings.Contains(err.Error(), "where this one is to go on and they are not, stop them first") {
		t.Fatalf("a person who wants the first to go on: %v", err)
	}
}

// An agent that cannot write down by whom it goes has told nothing that lasts: towers that were given up could still have their
// term and epochs rise there. Nobody drives before it can.
func TestAnAgentThatCannotFollowIsAskedAgain(t *testing.T) {
	w := newTown(t, "a", "b", "c")
	dir := filepath.Join(t.TempDir(), "agent")
	srv, at := w.agentIn("db-a", dir)
	for _, s := range []string{"a", "b", "c"} {
		w.up(s)
	}
	w.apply(w.driver(), strings.Replace(withStore(w.estate(), 1), "'127.0.0.1:2'", "'"+at+"'", 1))
	for _, s := range []string{"a", "b", "c"} {
		w.down(s)
	}
	_, err := Recover(t.Context(), w.cfg["a"], kim("the others burned"), []estate.SiteID{"b", "c"}, time.Now())
	must(t, err)
	must(t, os.Rename(dir, dir+".away"))
	a := w.up("a")
	until(t, "a line begins", func() bool { s := a.beliefs().snap; return s.Line.Kind == state.Recovered && s.Estate.Version > 0 })
	must(t, a.Waive(within(t), "kim", "ns-a", "there is no such host"))
	if err := a.learnFrom(within(t), a.beliefs().estate, "db-a"); err == nil || !strings.Contains(err.Error(), "does not go by these records") {
		t.Fatalf("it counts as asked: %v", err)
	}
	if s := a.store.Snapshot(); slices.Contains(s.Line.Heard, "db-a") || a.isDriving() {
		t.Fatalf("%+v, drives: %v", s.Line, a.isDriving())
	}
	must(t, os.Rename(dir+".away", dir))
	until(t, "it drives", a.isDriving)
	d, _ := a.driving()
	o := agent.Order{Version: 1, Verb: agent.Start, Unit: "talk-db", Term: d.Term, Epoch: 1, Line: a.store.Snapshot().Line.Code}
	if got := srv.Carry(t.Context(), o); got.Code != "" {
		t.Fatalf("%+v", got)
	}
}

// One whose records an etcd cluster of people's own keeps claims nothing either, as long as it is given up: it would drive, stand down
// and drive again under a higher term each time.
func TestATowerThatWasGivenUpHasNoQuorumInAClusterOfPeoplesOwn(t *testing.T) {
	n := &Node{}
	n.answered.Store(true)
	n.believed.Store(&beliefs{})
	if q := n.quorum(); !q.Have {
		t.Fatalf("%+v", q)
	}
	n.believed.Store(&beliefs{givenUp: "whoever the agent of db-a goes by"})
	if q := n.quorum(); q.Have || !strings.Contains(q.Why, "the agent of db-a") {
		t.Fatalf("%+v", q)
	}
}

// quiet is a unit that does nothing.
type quiet struct{}

func (quiet) Look(context.Context, agent.Order, *agent.Memory) (map[string]string, error) {
	return map[string]string{}, nil
}

func (quiet) Do(context.Context, agent.Order, *agent.Memory) (map[string]string, error) {
	return map[string]string{}, nil
}
