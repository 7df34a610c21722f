package plan_test

import (
	"errors"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/situation"
)

// decision is what a person decided about a salvage of talk-db, whose primary stands in ansan.
func decision(kind plan.Kind) plan.Input {
	return plan.Input{
		Kind: kind, Subject: "talk-db",
		Estate: estate.Estate{
			Sites: map[estate.SiteID]estate.Site{"pangyo": {}, "ansan": {}},
			Stores: map[estate.StoreID]estate.Store{"talk-db": {Engine: "postgres", Members: map[estate.MemberID]estate.Member{
				"a": {Site: "pangyo"}, "b": {Site: "ansan"}}}},
		},
		Now:    situation.Situation{Sites: map[estate.SiteID]situation.Verdict{"pangyo": {State: situation.Up}, "ansan": {State: situation.Up}}},
		Stores: map[estate.StoreID]situation.Store{"talk-db": {Epoch: 2, Primary: "b"}},
		Choice: plan.Choice{Salvage: situation.Salvage{ID: "r-000012-a", Store: "talk-db", State: situation.SalvageOpen, Rows: 3}, Rows: "1,3", Overwrite: true, By: "kim"},
	}
}

func TestWhatPeopleDecideAboutASalvageIsOneStep(t *testing.T) {
	for kind, verb := range map[plan.Kind]plan.Verb{plan.Restore: plan.Apply, plan.GiveUp: plan.Discard} {
		p, err := plan.Make(decision(kind))
		if err != nil || len(p.Steps) != 1 {
			t.Fatalf("%s: %+v, %v", kind, p, err)
		}
		s := p.Steps[0]
		if s.Verb != verb || s.Members[0] != "b" || s.Args[plan.ArgSalvage] != "r-000012-a" || s.Args[plan.ArgRows] != "1,3" || s.Args[plan.ArgBy] != "kim" || s.Args[plan.ArgOverwrite] != "true" || s.Limit <= 0 || s.Checks == "" {
			t.Errorf("%+v", s)
		}
	}
}

func TestWhatCannotBeDecidedAboutASalvage(t *testing.T) {
	for what, c := range map[string]struct {
		edit func(*plan.Input)
		why  plan.Obstacle
	}{
		"no such salvage":     {func(in *plan.Input) { in.Choice.Salvage = situation.Salvage{} }, plan.NotDeclared},
		"of another store":    {func(in *plan.Input) { in.Choice.Salvage.Store = "mail-db" }, plan.NotDeclared},
		"no such store":       {func(in *plan.Input) { in.Subject = "mail-db" }, plan.NotDeclared},
		"given up already":    {func(in *plan.Input) { in.Choice.Salvage.State = situation.SalvageDiscarded }, plan.AlreadySo},
		"nothing in it":       {func(in *plan.Input) { in.Choice.Salvage.State = situation.SalvageEmpty }, plan.AlreadySo},
		"the primary is away": {func(in *plan.Input) { in.Now.Sites["ansan"] = situation.Verdict{Site: "ansan", State: situation.Lost} }, plan.NotReachable},
	} {
		in := decision(plan.Restore)
		c.edit(&in)
		_, err := plan.Make(in)
		if stuck, ok := errors.AsType[*plan.Stuck](err); !ok || stuck.Because != c.why {
			t.Errorf("%s: %v", what, err)
		}
	}
	in := decision(plan.GiveUp)
	in.Now.Sites["ansan"] = situation.Verdict{Site: "ansan", State: situation.Lost}
	if p, err := plan.Make(in); err != nil || len(p.Steps) != 1 {
		t.Errorf("to give up needs nobody's server: %v", err)
	}
}
