// Package drivertest is the contract of a driver: what the executor relies on
// when it carries a run, dies, and is followed by another. Every driver's tests call [Conform].
package drivertest

import (
	"context"
	"testing"
	"time"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// World is a driver with something real, or a good fake of it, behind.
type World struct {
	Driver driver.Driver
	// Task is a step whose effect is not there yet. Term and Epoch are at least 2.
	Task driver.Task
	// Acts counts what was changed so far; looking changes nothing.
	Acts func() int
	// Hang makes the world take orders and say nothing until the caller gives up. nil
	// where that cannot be brought about.
	Hang func()
	// Terms says that what the driver acts on refuses old terms, Epochs the same of epochs.
	Terms, Epochs bool
}

// Conform checks a driver. open returns a fresh world.
func Conform(t *testing.T, open func(*testing.T) World) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, World){
		"LookBeforeSaysNotDone":    lookBefore,
		"LookAfterDoSaysDone":      lookAfter,
		"DoTwiceActsOnce":          doTwice,
		"OldTermIsRefused":         oldTerm,
		"OldEpochIsRefused":        oldEpoch,
		"CancelledDoIsNeverDone":   cancelled,
		"CancelledBeforehandIsNot": cancelledBefore,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func lookBefore(t *testing.T, w World) {
	before := w.Acts()
	res, err := w.Driver.Look(t.Context(), w.Task)
	if res.Outcome != run.NotDone {
		t.Errorf("look before anything was done: %v, %v", res.Outcome, err)
	}
	if w.Acts() != before {
		t.Error("looking changed something")
	}
}

func lookAfter(t *testing.T, w World) {
	mustDo(t, w)
	before := w.Acts()
	res, err := w.Driver.Look(t.Context(), w.Task)
	if res.Outcome != run.Done || err != nil {
		t.Errorf("look after do: %v, %v", res.Outcome, err)
	}
	if w.Acts() != before {
		t.Error("looking changed something")
	}
}

func doTwice(t *testing.T, w World) {
	mustDo(t, w)
	before := w.Acts()
	mustDo(t, w)
	if w.Acts() != before {
		t.Errorf("doing it again changed something: %d acts, then %d", before, w.Acts())
	}
}

func oldTerm(t *testing.T, w World) {
	if !w.Terms {
		return
	}
	mustDo(t, w)
	w.Task.Term--
	refused(t, w, "a deposed tower was obeyed")
}

func oldEpoch(t *testing.T, w World) {
	if !w.Epochs {
		return
	}
	mustDo(t, w)
	w.Task.Epoch--
	refused(t, w, "an order of an old epoch was obeyed")
}

func cancelled(t *testing.T, w World) {
	if w.Hang == nil {
		return
	}
	w.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	res, err := w.Driver.Do(ctx, w.Task)
	if res.Outcome != run.Unknown || err == nil {
		t.Errorf("nobody answered in time, so it is unknown; said %v, %v", res.Outcome, err)
	}
}

func cancelledBefore(t *testing.T, w World) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.Acts()
	res, err := w.Driver.Do(ctx, w.Task)
	if res.Outcome == run.Done || err == nil {
		t.Errorf("done though it was cancelled beforehand: %v, %v", res.Outcome, err)
	}
	if w.Acts() != before {
		t.Error("it acted though it was cancelled beforehand")
	}
}

func mustDo(t *testing.T, w World) {
	t.Helper()
	if res, err := w.Driver.Do(t.Context(), w.Task); err != nil || res.Outcome != run.Done {
		t.Fatalf("do: %v, %v (%s)", res.Outcome, err, res.Ask)
	}
}

func refused(t *testing.T, w World, what string) {
	t.Helper()
	before := w.Acts()
	if res, err := w.Driver.Do(t.Context(), w.Task); err == nil || res.Outcome != run.NotDone {
		t.Errorf("%s: %v, %v", what, res.Outcome, err)
	}
	if w.Acts() != before {
		t.Error(what)
	}
}
