package testkit

import (
	"context"

	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/driver"
)

// Driver is a fake: set only the functions that the test is about. What is not set says Done.
type Driver struct {
	LookFunc func(context.Context, driver.Task) (driver.Result, error)
	DoFunc   func(context.Context, driver.Task) (driver.Result, error)
	UndoFunc func(context.Context, driver.Task) (driver.Result, error)
}

var _ driver.Driver = (*Driver)(nil)

// Look implements driver.Driver.
func (d *Driver) Look(ctx context.Context, t driver.Task) (driver.Result, error) {
	return call(ctx, d.LookFunc, t)
}

// Do implements driver.Driver.
func (d *Driver) Do(ctx context.Context, t driver.Task) (driver.Result, error) {
	return call(ctx, d.DoFunc, t)
}

// Undo implements driver.Driver.
func (d *Driver) Undo(ctx context.Context, t driver.Task) (driver.Result, error) {
	return call(ctx, d.UndoFunc, t)
}

func call(ctx context.Context, f func(context.Context, driver.Task) (driver.Result, error), t driver.Task) (driver.Result, error) {
	if f == nil {
		return driver.Result{Outcome: run.Done}, nil
	}
	return f(ctx, t)
}
