package demo

import (
	"context"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/talk"
	"github.com/haechi/haechi/lab/trial"
)

// eachSort is how many rows of each sort are left on the burning member alone.
const eachSort = 5

// comeback is what a full demo adds: rows that only the burning member holds, and its return.
type comeback struct {
	o      Options
	script *script
	lab    *lab.Lab
	haechi trial.Haechi
	from   lab.Place

	planted lab.Planted
	back    *trial.Back // nil: not to be shown
}

// burn sets the fire. Before a return, the lines go first, and rows are left that nobody else holds.
func (c *comeback) burn(ctx context.Context) (lab.Proof, error) {
	control := lab.NewControl(c.o.Lab.SocketFile())
	if !c.o.Full {
		return control.Act(ctx, "fire", string(c.o.Lose))
	}
	c.back = &trial.Back{Up: trial.Never, Salvaged: trial.Never, Counted: trial.Never, Home: trial.Never, Whole: trial.Never, FailbackPause: trial.Never}
	cut, err := control.Act(ctx, "sever", string(c.o.Lose))
	if err != nil {
		return cut, err
	}
	if c.planted, err = c.lab.PlantAlone(ctx, c.o.Lose, eachSort); err != nil {
		return cut, err
	}
	dead, err := control.Act(ctx, "fire", string(c.o.Lose))
	cut.What += "; then " + dead.What // what it says counts from the cut
	return cut, err
}

// run brings the site back.
func (c *comeback) run(ctx context.Context) error {
	back, err := trial.Comeback{
		Lab: c.lab, System: c.haechi, Site: c.o.Lose, From: c.from, Store: "talk-db", Say: func(row string) { c.script.say("lab", "%s", row) },
		Power: func(ctx context.Context) (lab.Proof, error) {
			p, err := lab.NewControl(c.o.Lab.SocketFile()).Act(ctx, "rebuild", string(c.o.Lose))
			if err == nil {
				c.script.add(line{at: p.At, word: "POWER", text: p.What, loud: true})
			}
			return p, err
		},
	}.Run(ctx, c.planted)
	c.back = &back
	return err
}

// measure takes what the clients saw of the way home.
func (c *comeback) measure(y talk.Tally) { c.back.Measure(y) }
