package tower

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/forecast"
	"github.com/haechi/haechi/tower/web"
)

// Limits of what is foreseen beside all else.
const (
	foreseenRuns   = 100
	foreseenWithin = 10 * time.Second // for all sites together; the rest goes without
)

// foresight keeps in the tower's own directory what was foreseen of the loss of each site while all was
// calm, and how it went when it came to that. A forecast says something only if it was there before.
type foresight struct{ dir string } // "": nothing is kept

// foretold is a forecast with the time at which it was made.
type foretold struct {
	At       time.Time         `json:"at"`
	Version  uint64            `json:"version"` // of the estate
	Forecast simulate.Forecast `json:"forecast"`
}

// foresee holds the runs that have ended since beside what was foreseen, then foresees anew. What goes wrong
// costs only the forecast.
func (f foresight) foresee(b *beliefs, at time.Time) error {
	if f.dir == "" {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), foreseenWithin)
	defer done()
	var wrong []error
	for _, site := range b.estate.SiteIDs() {
		wrong = append(wrong, f.hold(b, site), f.again(ctx, b, site, at))
	}
	return errors.Join(wrong...)
}

// again foresees the loss of a site.
func (f foresight) again(ctx context.Context, b *beliefs, site estate.SiteID, at time.Time) error {
	s, err := simulate.New(b.inForce(), []string{string(site)}, b.model())
	if err != nil || ctx.Err() != nil {
		return nil // the audit says what is wrong with the estate
	}
	out, err := forecast.Run(ctx, s, foreseenRuns, 1, nil)
	if err != nil {
		return nil
	}
	return writeJSON(f.ofSite(site), foretold{at, b.snap.Estate.Version, out})
}

// hold keeps, of each run about the loss of a site that was opened after that was foreseen and has
// ended, how it went beside it.
func (f foresight) hold(b *beliefs, site estate.SiteID) error {
	var was foretold
	if err := readJSON(f.ofSite(site), &was); err != nil {
		return err
	}
	var wrong []error
	for id, r := range b.snap.Index {
		if r.Kind != plan.LoseSite || r.Open() || !r.Opened.After(was.At) {
			continue
		}
		if steps, ok := was.Forecast.Against(b.snap.Runs[id]); ok {
			wrong = append(wrong, writeJSON(f.ofRun(id), web.Foreseen{At: was.At, Version: was.Version, Runs: was.Forecast.Runs, Steps: steps, Forecast: was.Forecast}))
		}
	}
	return errors.Join(wrong...)
}

// of is what was foreseen of a run; nil where nothing was.
func (f foresight) of(id run.ID) *web.Foreseen {
	var out web.Foreseen
	if f.dir == "" || readJSON(f.ofRun(id), &out) != nil || out.At.IsZero() {
		return nil
	}
	return &out
}

func (f foresight) ofSite(id estate.SiteID) string {
	return filepath.Join(f.dir, "site-"+url.PathEscape(string(id))+".json")
}

func (f foresight) ofRun(id run.ID) string {
	return filepath.Join(f.dir, "run-"+url.PathEscape(string(id))+".json")
}

// readJSON fills v from a file; one that is not there leaves it as it is.
func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

// writeJSON replaces a file in one step.
func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
