package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/haechi/haechi/lab"
	"github.com/haechi/haechi/lab/patroni"
	"github.com/haechi/haechi/lab/trial"
)

// ReturnOptions say what to measure of the return of a site.
type ReturnOptions struct {
	Lab  lab.Options
	Out  string // for the report, as JSON; empty: nowhere
	Seed uint64
	GB   float64  // how much there is besides messages, where it is to be much; the goals are for 10
	Rows int      // that only the burned member holds, where they are to be many
	Only []string // parts, or rows, by their names; the others stay in the report as they were; nil: all
	Workload
	Say func(line string) // may be called by several at once
}

// goalGB is how large the database is for which must and goal are set.
const goalGB = 10

// mb is how large the large database is.
func (o ReturnOptions) mb() int { return int(o.GB * 1024) }

// ReturnReport is what was measured.
type ReturnReport struct {
	At      time.Time             `json:"at"`
	Machine Machine               `json:"machine"`
	Seed    uint64                `json:"seed"`
	Clients int                   `json:"clients"`
	Rate    float64               `json:"rate"`
	Numbers []ReturnNumber        `json:"numbers"`
	Backs   map[string]trial.Back `json:"returns,omitempty"` // by part
	Peace   map[string]rates      `json:"peace,omitempty"`   // by profile
	Patroni *patroni.Comeback     `json:"patroni,omitempty"`
}

// returns is one bench under way.
type returns struct {
	ReturnOptions
	r     ReturnReport
	now   part                    // that is being done; zero between two
	grown *grownLab               // the lab with the large database; nil: it is not up
	lab   atomic.Pointer[lab.Lab] // that is up; nil: none
}

// Return measures the return of a site, part by part. A part that fails leaves its rows as not measured,
// with the reason, and the others are done; an error means that there is no report.
func Return(ctx context.Context, o ReturnOptions) (r ReturnReport, err error) {
	clients, rate := trial.Bears(trial.PageCost())
	o.Clients, o.Rate = cmp.Or(o.Clients, clients), cmp.Or(o.Rate, rate)
	b := &returns{ReturnOptions: o, r: ReturnReport{At: time.Now().UTC(), Machine: thisMachine(), Seed: o.Seed, Clients: o.Clients, Rate: o.Rate}}
	if o.mb() < 16 || o.Rows < 3 {
		return b.r, fmt.Errorf("--gb %g, --rows %d: at least 0.016 and 3 are needed", o.GB, o.Rows)
	}
	wanted, err := chosen(o.Only)
	if err != nil {
		return b.r, err
	}
	if len(o.Only) > 0 {
		if err := b.goOn(); err != nil {
			return b.r, err
		}
	}
	defer func() { err = errors.Join(err, b.letGo()) }()
	for i, p := range wanted {
		b.Say(fmt.Sprintf("part %d of %d, %s: %s", i+1, len(wanted), p.name, p.what))
		if err := b.part(ctx, p); err != nil {
			return b.r, err
		}
	}
	return b.r, nil
}

// part does one. Its error is one of the bench, not of what is measured.
func (b *returns) part(ctx context.Context, p part) error {
	if !p.grown {
		if err := b.letGo(); err != nil {
			return err
		}
	}
	b.r.Numbers = slices.DeleteFunc(b.r.Numbers, func(n ReturnNumber) bool { return p.has(n.Row) })
	b.now = p
	stop := b.telling(ctx, p.name)
	why := p.do(b, ctx)
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.keep(ctx, why) // of a lab that goes on
	b.now = part{}
	for _, row := range p.rows {
		if !slices.ContainsFunc(b.r.Numbers, func(n ReturnNumber) bool { return n.Row == row.name }) {
			if why == nil {
				why = errors.New("it was not come to")
			}
			b.cannot(row.name, why.Error())
		}
	}
	return b.save()
}

// goOn takes over what an earlier bench of this machine measured.
func (b *returns) goOn() error {
	text, err := os.ReadFile(b.Out)
	if errors.Is(err, fs.ErrNotExist) || b.Out == "" {
		return nil
	}
	if err != nil {
		return err
	}
	var was ReturnReport
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("%s: %w", b.Out, err)
	}
	if was.Machine == b.r.Machine {
		b.r.Numbers, b.r.Backs, b.r.Peace, b.r.Patroni = was.Numbers, was.Backs, was.Peace, was.Patroni
	}
	return nil
}

func (b *returns) save() error {
	if b.Out == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.Out), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(b.Out+".new", append(text, '\n'), 0o644); err != nil { //nolint:gosec // a report is for everybody
		return err
	}
	return os.Rename(b.Out+".new", b.Out)
}

// telling says every now and then that a part goes on, and what haechi is at, until stop is called.
func (b *returns) telling(ctx context.Context, what string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	begun := time.Now()
	go func() {
		defer close(done)
		for wait(ctx, 20*time.Second) == nil {
			b.Say(fmt.Sprintf("... %s, %s so far%s", what, time.Since(begun).Round(time.Second), b.openRuns(ctx)))
		}
	}()
	return func() {
		cancel()
		<-done
		b.Say(fmt.Sprintf("%s took %s", what, time.Since(begun).Round(time.Second)))
	}
}

// openRuns says what haechi is at, if it is at anything and says so.
func (b *returns) openRuns(ctx context.Context) string {
	l := b.lab.Load()
	if l == nil {
		return ""
	}
	for _, p := range lab.Sites() {
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		n, err := trial.Haechi{Lab: l}.Page(within, p)
		cancel()
		if err != nil {
			continue
		}
		var out strings.Builder
		for _, r := range n.Runs {
			if r.Ended.IsZero() {
				fmt.Fprintf(&out, "; %s, %s %s: %s", r.ID, r.Kind, r.Subject, r.At())
			}
		}
		return out.String()
	}
	return ""
}

// raise raises a lab of this bench.
func (b *returns) raise(ctx context.Context, o lab.Options) (*lab.Lab, func(*error), error) {
	if o.Progress == nil {
		o.Progress = func(line string) {
			if strings.HasPrefix(line, "bulk:") { // what takes minutes
				b.Say(line)
			}
		}
	}
	l, down, err := raise(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	b.lab.Store(l)
	return l, func(err *error) {
		b.keep(ctx, *err)
		b.lab.Store(nil)
		down(err)
	}, nil
}

// keep saves the logs and the journal of the lab that is up, beside the report, where the part that is done missed what
// it must, or failed. What it cannot save it says.
func (b *returns) keep(ctx context.Context, why error) {
	missed := func(n ReturnNumber) bool { return b.now.has(n.Row) && n.Reached == "no" }
	l := b.lab.Load()
	if l == nil || b.Out == "" || ctx.Err() != nil || why == nil && !slices.ContainsFunc(b.r.Numbers, missed) {
		return
	}
	to := strings.TrimSuffix(b.Out, filepath.Ext(b.Out)) + "-" + b.now.name
	b.Say(fmt.Sprintf("%s: what the lab's programs logged is kept in %s", b.now.name, to))
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(filepath.Join(l.Dir(), "log")))); err != nil {
		b.Say("... but not all: " + err.Error())
	}
	if err := keepJournal(ctx, l, filepath.Join(to, "journal.jsonl")); err != nil {
		b.Say("... without a journal: " + err.Error())
	}
}

// keepJournal saves the journal as any tower gives it, an entry a line.
func keepJournal(ctx context.Context, l *lab.Lab, path string) error {
	entries, err := trial.Haechi{Lab: l}.Journal(ctx, lab.Sites())
	if err != nil {
		return err
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	for _, e := range entries {
		if err := lines.Encode(e); err != nil {
			return err
		}
	}
	return os.WriteFile(path, out.Bytes(), 0o644) //nolint:gosec // a report is for everybody
}

// options are those of a lab with haechi.
func (b *returns) options() lab.Options {
	o := b.Lab
	o.Profile, o.Seed = "fast", b.Seed
	return o
}

// grownLab is the lab with the large database.
type grownLab struct {
	*lab.Lab
	down func(*error)
}

// largeLab is the lab with the large database, raised if it is not up.
func (b *returns) largeLab(ctx context.Context) (*lab.Lab, error) {
	if b.grown != nil {
		return b.grown.Lab, nil
	}
	o := b.options()
	o.Bulk = b.mb()
	l, down, err := b.raise(ctx, o)
	if err != nil {
		return nil, err
	}
	b.grown = &grownLab{l, down}
	return l, nil
}

// letGo takes the lab with the large database down, if it is up.
func (b *returns) letGo() (err error) {
	if b.grown != nil {
		b.grown.down(&err)
		b.grown = nil
	}
	return err
}

// scaled says what is less than asked: how large the large database is, and how many clients there are.
func (b *returns) scaled() string {
	var less []string
	if b.now.grown && b.GB != goalGB {
		less = append(less, fmt.Sprintf("%g GB instead of %d", b.GB, goalGB))
	}
	if b.Clients < trial.ManyClients {
		less = append(less, fmt.Sprintf("%d clients instead of %d", b.Clients, trial.ManyClients))
	}
	if less == nil {
		return ""
	}
	return "scaled: " + strings.Join(less, ", ")
}
