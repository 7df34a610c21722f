package tower

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/pki"
	"github.com/haechi/haechi/tower/executor"
	"github.com/haechi/haechi/tower/state"
	"github.com/haechi/haechi/tower/web"
)

// What people may not do is refused with what to do instead, and changes nothing. One tower
// lives through the whole of it.
func TestTheDeskRefuses(t *testing.T) {
	leavesNothing(t)
	w := newTown(t, "a")
	n := w.up("a")
	w.driver()
	evacuate := web.Ask{Kind: plan.Evacuate, Subject: "a"}

	_, err := n.Start(within(t), "operator", evacuate)
	refusedAs(t, err, web.Unmet, "no estate")
	refusedAs(t, n.Arm(within(t), "operator", "*"), web.Unmet, "no estate")
	_, err = n.Plan(within(t), evacuate)
	refusedAs(t, err, web.Unmet, "no estate")

	text := withStore(w.estate(), 1)
	w.apply(n, text)
	before := n.store.Snapshot()
	for name, bad := range cannotBe(text) {
		_, err = n.Apply(within(t), operator, []web.File{{Name: "estate.yaml", Data: []byte(bad.text)}}, -1)
		if _, ok := errors.AsType[*estate.Invalid](err); !ok || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v\ndoes not say %q", name, err, bad.says)
		}
	}
	if now := n.store.Snapshot(); now.Estate != before.Estate || !bytes.Equal(now.EstateRaw, before.EstateRaw) {
		t.Fatalf("the estate in force was changed: %+v, before %+v", now.Estate, before.Estate)
	}
	_, err = n.Apply(within(t), operator, []web.File{{Name: "estate.yaml", Data: []byte(text)}}, 0)
	refusedAs(t, err, web.Conflict, "version 1")

	loose := []web.File{{Name: "estate.yaml", Data: []byte(strings.Replace(text, "site-loss: auto", "site-loss: auto, accept-data-loss: one-person", 1))}}
	_, err = n.Apply(within(t), operator, loose, -1)
	refusedAs(t, err, web.Forbidden, "accept-data-loss: one person instead of 2 people")
	_, err = n.Apply(within(t), pki.Identity{Kind: pki.Person, Name: "kim", Roles: []string{pki.Approver, pki.Operator}}, loose, -1)
	must(t, err)

	_, err = n.Start(within(t), "operator", web.Ask{Kind: plan.LoseSite, Subject: "a"})
	refusedAs(t, err, web.BadRequest, "not lost by order")
	refusedAs(t, n.Arm(within(t), "operator", "d"), web.NotFound, `"d"`)

	// The store is adopted: from now on a file does not change who may acknowledge.
	d, _ := n.driving()
	_, err = n.store.Append(within(t), d, []journal.Entry{{Kind: "note", Text: "adopted"}}, state.StorePut{ID: "talk-db",
		Store: situation.Store{Epoch: 1, Primary: "a", Any: 1, LeastAny: 1, Sync: []estate.MemberID{"b", "c"}}})
	must(t, err)
	until(t, "the tower knows what is unmet", func() bool { return len(n.beliefs().premises["talk-db"]) > 0 })
	refusedAs(t, n.Arm(within(t), "operator", "*"), web.Unmet, "talk-db: a: nothing is known of it")
	if len(n.store.Snapshot().Armed) != 0 {
		t.Fatal("it is armed all the same")
	}
	_, err = n.Apply(within(t), operator, []web.File{{Name: "estate.yaml", Data: []byte(withStore(w.estate(), 2))}}, -1)
	refusedAs(t, err, web.Unmet, "its rule (any 1)")
	_, err = n.Apply(within(t), operator, []web.File{{Name: "estate.yaml", Data: []byte(w.estate())}}, -1)
	refusedAs(t, err, web.Unmet, "epoch 1; it cannot be left out")
	memberOfC, another := ", c: {site: c, host: db-c, address: '127.0.1.3:1', unit: talk-db}", ", d: {site: c, host: db-c, address: '127.0.1.3:2', unit: more}"
	without := strings.Replace(text, memberOfC, "", 1)
	_, err = n.Apply(within(t), operator, []web.File{{Name: "estate.yaml", Data: []byte(without)}}, -1)
	refusedAs(t, err, web.Unmet, "c counts there")
	// A member more changes nothing about who acknowledges, nor does the loss of one that does not count.
	w.apply(n, strings.Replace(text, memberOfC, memberOfC+another, 1))
	w.apply(n, text)
	_, err = n.store.Append(within(t), d, []journal.Entry{{Kind: "note", Text: "counted out"}}, state.StorePut{ID: "talk-db", Was: n.store.Snapshot().Stores["talk-db"],
		Store: situation.Store{Epoch: 1, Primary: "a", Any: 1, LeastAny: 1, Sync: []estate.MemberID{"b"}, Former: []estate.MemberID{"c"}}})
	must(t, err)
	until(t, "the tower knows who counts", func() bool { return len(n.store.Snapshot().Stores["talk-db"].Sync) == 1 })
	files := []web.File{{Name: "estate.yaml", Data: []byte(without)}}
	_, err = n.Apply(within(t), operator, files, -1)
	refusedAs(t, err, web.Forbidden, "what only it holds would be read by nobody")
	kim := pki.Identity{Kind: pki.Person, Name: "kim", Roles: []string{pki.Approver, pki.Operator}}
	kept := situation.Salvage{ID: "r-1-a", Store: "talk-db", Member: "a", Rows: 3, Holders: []estate.MemberID{"b", "c"}, State: situation.SalvageOpen}
	keep := func(sv situation.Salvage) {
		t.Helper()
		_, err := n.store.Append(within(t), d, []journal.Entry{{Kind: "note", Text: "salvage"}}, state.SalvagePut{Salvage: sv})
		must(t, err)
		until(t, "the tower knows of the salvage", func() bool { return n.store.Snapshot().Salvages[sv.ID].State == sv.State })
	}
	keep(kept)
	_, err = n.Apply(within(t), kim, files, -1)
	refusedAs(t, err, web.Unmet, "a copy of salvage r-1-a lies on c")
	kept.State, kept.By, kept.Closed = situation.SalvageDiscarded, []string{"kim"}, time.Unix(1, 0).UTC()
	keep(kept)
	v, err := n.Apply(within(t), kim, files, -1)
	must(t, err)
	until(t, "it is known that c is left out", func() bool { return n.store.Snapshot().Estate.Version == v.Version })
	w.apply(n, text)

	must(t, n.Hold(within(t), "operator", "works on the cooling"))
	until(t, "the hold is known", func() bool { return len(n.store.Snapshot().Holds) == 1 })
	if n.held.Load() != nil {
		t.Fatal("it holds beside the records, so no other tower could release it")
	}
	_, err = n.Start(within(t), "operator", evacuate)
	refusedAs(t, err, web.Conflict, "works on the cooling")
	must(t, n.Release(within(t), "operator"))
	until(t, "the release is known", func() bool { return len(n.store.Snapshot().Holds) == 0 })

	refusedAs(t, n.Steer(within(t), "operator", "r-000009", web.Pause), web.NotFound, "r-000009")
	_, err = n.Run(within(t), "r-000009")
	refusedAs(t, err, web.NotFound, "r-000009")
}

type badEstate struct{ text, says string }

// cannotBe is each kind of bad input, made of a good estate.
func cannotBe(text string) map[string]badEstate {
	with := func(old, new string) string { return strings.Replace(text, old, new, 1) }
	return map[string]badEstate{
		"unknown key":   {text + "wings: 2\n", "wings"},
		"misspelt name": {with("service: talk,", "service: tlak,"), `did you mean "talk"?`},
		"duplicate":     {text + "estate: again\n", "estate"},
		"ring":          {text + "domains: {x: {requires: [y]}, y: {requires: [x]}}\n", "need each other in a ring"},
		"site missing":  {with(", c: {}}", "}"), `"c"`},
		"two primaries": {with("primary: a", "primary: [a, b]"), "primary"},
		"any too large": {with("any: 1", "any: 3"), "3 members besides the primary"},
		"too much":      {text + strings.Repeat("# much\n", estate.MaxBytes/7), "more than the 10 MB"},
		"alias bomb":    {text + "x: &x [a, a]\ny: [*x, *x]\n", "anchors and aliases"},
		"not UTF-8":     {text + "# \xff\n", "is not UTF-8"},
	}
}

// A person's run is the only one while it is open, and ends as told.
func TestOneRunAtATime(t *testing.T) {
	w := newTown(t, "a")
	n := w.up("a")
	w.driver()
	w.apply(n, w.estate())
	hung := make(chan struct{})
	w.hang(hung)
	id, err := n.Start(within(t), "operator", web.Ask{Kind: plan.Evacuate, Subject: "a"})
	must(t, err)
	<-hung
	until(t, "the run is known", func() bool { return len(n.store.Snapshot().OpenRuns()) == 1 })
	_, err = n.Start(within(t), "operator", web.Ask{Kind: plan.Evacuate, Subject: "b"})
	refusedAs(t, err, web.Conflict, string(id)+" (evacuate a) is open")

	// A decision that does not know of it opens nothing beside it.
	d, _ := n.driving()
	_, err = n.open(within(t), d, func(run.ID) bool { return false }, nil, nil)
	if !errors.Is(err, executor.ErrRefused) {
		t.Fatalf("err = %v", err)
	}

	must(t, n.Steer(within(t), "operator", id, web.Abort))
	r := closed(t, n, id)
	if r.Status != web.RunUndone && r.Status != web.RunFailed {
		t.Fatalf("run = %+v", r)
	}
	until(t, "the answer is journaled once", func() bool { return len(n.store.Snapshot().Asks) == 0 })
	head, err := n.JournalHead(within(t)) // first: more may come
	must(t, err)
	entries, err := n.Journal(within(t), 1, 0)
	must(t, err)
	answers := 0
	for _, e := range entries {
		if e.Kind == "ask" && e.Text == "operator: abort "+string(id) {
			answers++
		}
	}
	if answers != 1 {
		t.Fatalf("the answer stands %d times in the journal", answers)
	}
	must(t, journal.VerifyTo(entries[:min(int(head.Seq), len(entries))], 1, head))
}
