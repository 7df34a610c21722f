package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/run"
	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/pki"
)

// Haechi is the system under test as it stands in the lab.
type Haechi struct{ Lab *lab.Lab }

var _ System = Haechi{}

// Name is "haechi".
func (Haechi) Name() string { return "haechi" }

// Account reads the journal, from any tower that stands, until the run that
// began after the fault has ended.
func (h Haechi) Account(ctx context.Context, since time.Time, alive []lab.Place) (Account, error) {
	for {
		entries, err := h.Journal(ctx, alive)
		var a Account
		if err == nil {
			var open bool
			if a, open, err = account(entries, since); err == nil && !open {
				return a, nil
			}
			if open {
				err = fmt.Errorf("run %s has not ended", a.Run)
			}
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return a, fmt.Errorf("haechi's journal: %w", err)
		}
	}
}

// Journal reads all of it, from the first tower that answers.
func (h Haechi) Journal(ctx context.Context, alive []lab.Place) ([]journal.Entry, error) {
	var errs []error
	for _, p := range alive {
		entries, err := h.journalOf(ctx, p)
		if err == nil {
			return entries, nil
		}
		errs = append(errs, fmt.Errorf("tower in %s: %w", p, err))
	}
	return nil, errors.Join(errs...)
}

func (h Haechi) journalOf(ctx context.Context, p lab.Place) (all []journal.Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	config, err := pki.ClientTLS(h.Lab.Operator(), pki.Only(pki.Tower))
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: h.Lab.DialIn(lab.Users), TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	for from := uint64(1); ; {
		page, err := journalPage(ctx, client, fmt.Sprintf("https://%s/api/v1/journal?from=%d", p.TowerAddr(), from))
		if err != nil || len(page) == 0 {
			return all, err
		}
		all, from = append(all, page...), page[len(page)-1].Seq+1
	}
}

func journalPage(ctx context.Context, client *http.Client, url string) (out []journal.Entry, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or not wanted
	if resp.StatusCode != http.StatusOK {
		said, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, errors.Join(fmt.Errorf("%s: %s", resp.Status, said), err)
	}
	for in := json.NewDecoder(resp.Body); ; {
		var e journal.Entry
		if err := in.Decode(&e); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
}

// account folds the journal since an instant into what was done about it: the
// first run that was opened after it and promotes, or else the first run of all.
func account(entries []journal.Entry, since time.Time) (a Account, open bool, err error) {
	runs, verdicts := map[run.ID]*tale{}, map[string]time.Time{}
	var order []*tale
	for _, e := range entries {
		switch {
		case e.At.Before(since):
		case e.Kind == "verdict" && verdicts[e.Subject].IsZero():
			verdicts[e.Subject] = verdictAt(e)
		case e.Kind == "run":
			var ev run.Event
			if err := json.Unmarshal(e.Data, &ev); err != nil {
				return a, false, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			if ev.Kind == run.Opened && ev.Plan != nil {
				runs[ev.Run] = newTale(ev)
				order = append(order, runs[ev.Run])
			}
			if t := runs[ev.Run]; t != nil {
				t.hear(ev)
			}
		}
	}
	if len(order) == 0 {
		return a, false, errors.New("no run was opened after the fault")
	}
	t := order[0]
	for _, other := range order {
		if !t.promotes && other.promotes {
			t = other
		}
	}
	if a.Verdict = verdicts[t.plan.Subject]; a.Verdict.IsZero() {
		a.Verdict = t.opened // of a store alone, which fell silent a moment before the rest of its site
	}
	return t.into(a), t.closed.IsZero(), nil
}

// verdictAt is when the verdict fell, a little before it was written: it says so.
func verdictAt(e journal.Entry) time.Time {
	said := sinceWhen.FindStringSubmatch(e.Text)
	if said == nil {
		return e.At
	}
	clock, err := time.Parse("15:04:05.000", said[1])
	if err != nil {
		return e.At
	}
	y, m, d := e.At.UTC().Date()
	at := time.Date(y, m, d, clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), time.UTC)
	if at.After(e.At) { // of the day before
		at = at.AddDate(0, 0, -1)
	}
	return at
}

var sinceWhen = regexp.MustCompile(` since (\d\d:\d\d:\d\d\.\d{3}):`)

// tale is one run as its events tell it.
type tale struct {
	id             run.ID
	plan           plan.Plan
	opened, closed time.Time
	acts           []Act // by step
	promotes       bool
}

func newTale(ev run.Event) *tale {
	t := &tale{id: ev.Run, plan: *ev.Plan, opened: ev.At}
	for _, s := range t.plan.Steps {
		t.acts = append(t.acts, Act{Verb: string(s.Verb), Component: s.Component})
		t.promotes = t.promotes || s.Verb == plan.Promote
	}
	return t
}

func (t *tale) hear(ev run.Event) {
	if ev.Kind == run.Closed {
		t.closed = ev.At
	}
	if ev.Step < 1 || ev.Step > len(t.acts) {
		return
	}
	a := &t.acts[ev.Step-1]
	switch {
	case ev.Kind == run.Began && a.Began.IsZero():
		a.Began = ev.At
	case ev.Kind == run.Ended:
		a.Ended, a.Outcome = ev.At, outcomes[ev.Outcome]
	}
}

var outcomes = map[run.Outcome]string{run.Done: "done", run.NotDone: "not done", run.Unknown: "unknown"}

func (t *tale) into(a Account) Account {
	a.Run, a.PlanHash, a.Opened, a.Steps = string(t.id), t.plan.Hash, t.opened, t.acts
	for _, s := range t.acts {
		switch {
		case s.Outcome != outcomes[run.Done]:
		case s.Verb == string(plan.Seal) || s.Verb == string(plan.Halt) && a.Sealed.IsZero():
			a.Sealed = s.Ended
		case s.Verb == string(plan.Promote):
			a.Promoted = s.Ended
		}
	}
	return a
}
