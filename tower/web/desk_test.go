package web

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/history"
	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/response"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/pki"
)

// fakeDesk is a desk: set only the functions the test is about. Calls to others panic.
type fakeDesk struct {
	Desk
	NowFunc     func() Now
	ApplyFunc   func(by string, files []File, ifVersion int64) (Applied, error)
	PlanFunc    func(Ask) (plan.Plan, error)
	StartFunc   func(by string, ask Ask) (run.ID, error)
	ArmFunc     func(by, what string) error
	SteerFunc   func(by string, id run.ID, how Steering) error
	JournalFunc func(from uint64, limit int) ([]journal.Entry, error)
	EstateFunc  func() ([]byte, uint64, error)
	AuditFunc   func() Audit
	IfFunc      func(lose []string) (If, error)
	WeighFunc   func(store string) (response.Failback, error)
	HomeFunc    func(by, store string) (run.ID, error)
	HistoryFunc func(id estate.StoreID) (history.Life, error)
}

func (d fakeDesk) Failback(_ context.Context, store string) (response.Failback, error) {
	return d.WeighFunc(store)
}

func (d fakeDesk) Home(_ context.Context, by, store string) (run.ID, error) {
	return d.HomeFunc(by, store)
}

func (d fakeDesk) History(_ context.Context, id estate.StoreID) (history.Life, error) {
	return d.HistoryFunc(id)
}

func (d fakeDesk) Estate(context.Context) ([]byte, uint64, error) { return d.EstateFunc() }

func (d fakeDesk) Audit() Audit { return d.AuditFunc() }

func (d fakeDesk) If(_ context.Context, lose []string) (If, error) { return d.IfFunc(lose) }

func (d fakeDesk) Now() Now { return d.NowFunc() }

func (d fakeDesk) Apply(_ context.Context, by pki.Identity, files []File, ifVersion int64) (Applied, error) {
	return d.ApplyFunc(by.Name, files, ifVersion)
}

func (d fakeDesk) Plan(_ context.Context, ask Ask) (plan.Plan, error) { return d.PlanFunc(ask) }

func (d fakeDesk) Start(_ context.Context, by string, ask Ask) (run.ID, error) {
	return d.StartFunc(by, ask)
}

func (d fakeDesk) Arm(_ context.Context, by, what string) error { return d.ArmFunc(by, what) }

func (d fakeDesk) Steer(_ context.Context, by string, id run.ID, how Steering) error {
	return d.SteerFunc(by, id, how)
}

func (d fakeDesk) Journal(_ context.Context, from uint64, limit int) ([]journal.Entry, error) {
	return d.JournalFunc(from, limit)
}

// story reads one page of the storybook.
func story(t *testing.T, name string) Now {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "now-"+name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(strings.NewReader(string(raw)))
	in.DisallowUnknownFields()
	var n Now
	if err := in.Decode(&n); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// stories names every page of the storybook.
func stories(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/now-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no storybook: %v", err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "now-"), ".json"))
	}
	return names
}
