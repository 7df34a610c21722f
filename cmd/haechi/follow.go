package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/tower/web"
)

const followEvery = 200 * time.Millisecond

func startedText(s web.Started) func(io.Writer) {
	return func(w io.Writer) { fmt.Fprintf(w, "%s has begun; see haechi run show %s\n", s.Run, s.Run) }
}

// follow shows a run's steps as they end, until the run does. It is an error if it
// does not end well.
func (o *options) follow(c *cobra.Command, towers *client, id string) error {
	r, err := o.followed(c, towers, id, func(w io.Writer, r web.Run) { fmt.Fprintf(w, "%s: %s in %s\n", r.ID, r.Status, lasted(r)) })
	if err != nil {
		return err
	}
	return endedWell(r)
}

// followed does the same, and draws the run that has ended.
func (o *options) followed(c *cobra.Command, towers *client, id string, draw func(io.Writer, web.Run)) (web.Run, error) {
	say := io.Discard
	if o.output == "text" {
		say = c.OutOrStdout()
	}
	told := &teller{w: say, states: map[int]string{}, notes: map[int]string{}}
	r, err := watch(c.Context(), towers, id, told.tell)
	if err != nil {
		return r, err
	}
	return r, o.show(c, r, func(w io.Writer) { draw(w, r) })
}

// endedWell is an error where a run did not end well.
func endedWell(r web.Run) error {
	if r.Status != web.RunDone {
		return fmt.Errorf("%s ended as %s: %s; haechi run show %s has every step", r.ID, r.Status, r.Why, r.ID)
	}
	return nil
}

// watch asks until the run has ended. Towers that do not answer for a while are asked again.
func watch(ctx context.Context, towers *client, id string, tell func(web.Run)) (web.Run, error) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for misses := 0; ; {
		var r web.Run
		switch err := towers.get(ctx, "runs/"+url.PathEscape(id), &r); {
		case err == nil:
			misses = 0
			tell(r)
			if !r.Open() {
				return r, nil
			}
		case ctx.Err() == nil:
			if misses++; misses > 20 {
				return r, fmt.Errorf("%s has begun, but cannot be followed: %w", id, err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r, fmt.Errorf("%s goes on without this command; see haechi run show %s, haechi run pause %s", id, id, id)
		}
	}
}

// teller says of a run what it has not said yet.
type teller struct {
	w      io.Writer
	states map[int]string
	notes  map[int]string // of steps that go on
	begun  bool
	asked  string
}

func (t *teller) tell(r web.Run) {
	if !t.begun {
		t.begun = true
		fmt.Fprintf(t.w, "%s %s %s, %s\n", r.ID, r.Kind, r.Subject, count.Of(len(r.Steps), "step"))
	}
	for _, s := range r.Steps {
		if s.State != t.states[s.ID] && s.State != web.StepWaiting && s.State != web.StepRunning {
			drawStep(t.w, s)
		}
		t.states[s.ID] = s.State
		if s.State == web.StepRunning {
			if was, seen := t.notes[s.ID]; seen && was != s.Note {
				fmt.Fprintf(t.w, "     %8.0f s  %s\n", s.Seconds, s.Note)
			}
			t.notes[s.ID] = s.Note
		}
	}
	if r.Ask != "" && r.Ask != t.asked {
		fmt.Fprintf(t.w, "a person is needed: %s\n  answer with: haechi run approve %s, or haechi run abort %s\n", r.Ask, r.ID, r.ID)
	}
	t.asked = r.Ask
}
