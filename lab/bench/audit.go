package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/generate"
	"github.com/haechi/haechi/core/plan"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/core/situation"
)

// AuditOptions say what to measure of the audit and the simulation, by the command that people use.
type AuditOptions struct {
	Haechi string // the program
	Dir    string // for estates; made and removed
	Out    string // for the report, as JSON; empty: nowhere
	Times  int    // each call is made so often; its median counts
	Say    func(string)
}

// AuditReport is what was measured.
type AuditReport struct {
	Machine Machine       `json:"machine"`
	At      time.Time     `json:"at"`
	Figures []AuditFigure `json:"figures"`
	Sizes   []AuditSize   `json:"sizes"`
	Trees   []AuditTree   `json:"trees,omitempty"`
	NoTrees string        `json:"no_trees,omitempty"` // why nothing could be compared
}

// AuditFigure is one line of the table.
type AuditFigure struct {
	What string   `json:"what"`
	Unit string   `json:"unit"`
	Is   float64  `json:"is"`
	Must *float64 `json:"must,omitempty"` // at most
	Goal *float64 `json:"goal,omitempty"`
}

// AuditSize is one point of the curve of time over size.
type AuditSize struct {
	Services int     `json:"services"`
	Seconds  float64 `json:"seconds"` // of processor time
}

// AuditTree compares the minimal cut sets of one service, up to three things, with a tool for fault trees.
type AuditTree struct {
	Of     string  `json:"of"`
	Cuts   int     `json:"cuts"`
	Ours   float64 `json:"ours_s"`
	Theirs float64 `json:"theirs_s"`
	Equal  bool    `json:"equal"`
}

type auditBench struct {
	AuditOptions
	ctx context.Context
	r   AuditReport
}

// Audit measures. What fails to run is an error; what is slower than it must be stands in the report.
func Audit(ctx context.Context, o AuditOptions) (AuditReport, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return AuditReport{}, err
	}
	defer os.RemoveAll(o.Dir) //nolint:errcheck // what is left is small
	b := &auditBench{o, ctx, AuditReport{Machine: thisMachine(), At: time.Now().UTC()}}
	for _, part := range []func() error{b.calls, b.curve, b.planted, b.simulation, b.plan, b.trees} {
		if err := part(); err != nil {
			return b.r, err
		}
	}
	if o.Out == "" {
		return b.r, nil
	}
	text, err := json.MarshalIndent(b.r, "", " ")
	if err != nil {
		return b.r, err
	}
	return b.r, os.WriteFile(o.Out, append(text, '\n'), 0o644) //nolint:gosec // a report is for everybody
}

// figure notes a line of the table; a must or goal of nothing is none.
func (b *auditBench) figure(what, unit string, is, must, goal float64) {
	f := AuditFigure{What: what, Unit: unit, Is: is}
	if must > 0 {
		f.Must, f.Goal = &must, &goal
	}
	b.r.Figures = append(b.r.Figures, f)
	b.Say(f.String())
}

// call is what one process took.
type call struct {
	wall, processor time.Duration
	mb              float64 // the most that it held in memory
	out             []byte
}

// run starts haechi and waits; --fail-on's exit of 1 is no failure.
func (b *auditBench) run(args ...string) (call, error) { return b.start(b.Haechi, args...) }

func (b *auditBench) start(program string, args ...string) (call, error) {
	var out, told bytes.Buffer
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &told
	began := time.Now()
	err := cmd.Run()
	c := call{wall: time.Since(began), out: out.Bytes()}
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		return c, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, told.String())
	}
	c.processor = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.mb = float64(u.Maxrss) / 1024
	}
	return c, nil
}

// median makes a call several times and takes the one in the middle.
func (b *auditBench) median(args ...string) (call, error) {
	var all []call
	for range b.Times {
		c, err := b.run(args...)
		if err != nil {
			return c, err
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y call) int { return int(x.wall - y.wall) })
	return all[len(all)/2], nil
}

// draw writes a generated estate and returns its file.
func (b *auditBench) draw(o generate.Order) (string, error) {
	e, _, err := generate.Make(o, rand.New(rand.NewPCG(41, 0)))
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.Dir, fmt.Sprintf("%d-%d-%d.yaml", o.Sites, o.Servers, o.Services))
	return path, os.WriteFile(path, generate.Text(e), 0o644) //nolint:gosec // nothing in it is secret
}

// calls are the audits of the table, from YAML to JSON, each in a process of its own.
func (b *auditBench) calls() error {
	for _, c := range []struct {
		what                           string
		o                              generate.Order
		depth                          string
		must, goal, mustRoom, goalRoom float64
	}{
		{"32,000 servers, 134 services", generate.Order{Sites: 3, Servers: 32_000, Services: 134}, "1", 0.3, 0.1, 150, 60},
		{"32,000 servers, 134 services, --depth 2", generate.Order{Sites: 3, Servers: 32_000, Services: 134}, "2", 2, 0.5, 0, 0},
		{"1,000,000 servers, 2,000 services, 30 sites", generate.Order{Sites: 30, Servers: 1_000_000, Services: 2000}, "1", 10, 3, 1000, 400},
	} {
		file, err := b.draw(c.o)
		if err != nil {
			return err
		}
		m, err := b.median("audit", "-o", "json", "--depth", c.depth, file)
		if err != nil {
			return err
		}
		b.figure(c.what, "s", m.wall.Seconds(), c.must, c.goal)
		b.figure(c.what, "MB", m.mb, c.mustRoom, c.goalRoom)
	}
	return nil
}

// curve measures how time grows with size: the slope of a straight line through the logarithms.
func (b *auditBench) curve() error {
	var x, y []float64
	for _, services := range []int{250, 500, 1000, 2000, 4000} {
		file, err := b.draw(generate.Order{Sites: 3, Servers: 50 * services, Services: services})
		if err != nil {
			return err
		}
		m, err := b.median("audit", "-o", "json", file)
		if err != nil {
			return err
		}
		b.r.Sizes = append(b.r.Sizes, AuditSize{services, m.processor.Seconds()})
		x, y = append(x, math.Log(float64(services))), append(y, math.Log(m.processor.Seconds()))
	}
	b.figure("exponent of time, 250 to 4,000 services", "", slope(x, y), 1.6, 1.2)
	return nil
}

// slope is that of the line of least squares.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	n := float64(len(x))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

// seeds and estates are how many generated estates are searched for planted faults.
const (
	seeds   = 5
	estates = 200
)

// planted counts the planted faults that are found, and findings above low that nobody planted.
func (b *auditBench) planted() error {
	planted, missed, wrong := 0, 0, 0
	rules := generate.Rules()
	for n := range estates {
		luck := rand.New(rand.NewPCG(uint64(n%seeds), uint64(n)))
		o := generate.Order{Sites: 2 + luck.IntN(4), Services: 20 + luck.IntN(60)}
		o.Servers = 10*o.Services + 50*o.Sites + luck.IntN(20_000)
		for range 1 + luck.IntN(6) {
			o.Plant = append(o.Plant, rules[luck.IntN(len(rules))])
		}
		e, answers, err := generate.Make(o, luck)
		if err != nil {
			continue // too small for so many faults
		}
		e, err = estate.Load([]estate.File{{Name: "generated.yaml", Data: generate.Text(e)}}, nil)
		if err != nil {
			return err
		}
		back := simulate.Back(e, simulate.Defaults(e), func(n int) simulate.Chance { return rand.New(rand.NewPCG(1, uint64(n))) })
		r, err := audit.Audit(audit.Input{Estate: e, Now: b.r.At, Back: back})
		if err != nil {
			return err
		}
		found := map[generate.Answer]bool{}
		for _, f := range r.Findings {
			a := generate.Answer{Rule: string(f.Rule), Component: f.Component, Severity: string(f.Severity), Cause: f.Cause}
			found[a] = true
			if f.Severity != audit.Low && !slices.Contains(answers, a) {
				wrong++
			}
		}
		for _, a := range answers {
			planted++
			if !found[a] {
				missed++
			}
		}
	}
	b.figure(fmt.Sprintf("planted faults found, of %d in %d estates", planted, estates), "%", 100*float64(planted-missed)/float64(planted), 0, 0)
	b.figure("findings above low that nobody planted", "", float64(wrong), 0, 0)
	return nil
}

func (b *auditBench) simulation() error {
	file, err := b.draw(generate.Order{Sites: 3, Servers: 32_000, Services: 134})
	if err != nil {
		return err
	}
	files, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	e, err := estate.Load([]estate.File{{Name: file, Data: files}}, nil)
	if err != nil {
		return err
	}
	m, err := b.median("simulate", "--lose", string(e.SiteIDs()[0]), "--runs", "10000", "--seed", "1", "-o", "json", file)
	if err != nil {
		return err
	}
	b.figure("10,000 runs of the 134-service estate", "s", m.wall.Seconds(), 60, 10)
	return nil
}

// plan times the plan for the loss of a site that holds the primaries of 500 stores.
func (b *auditBench) plan() error {
	in := plan.Input{Kind: plan.LoseSite, Subject: "s0", Stores: map[estate.StoreID]situation.Store{}, Now: situation.Situation{}}
	in.Estate = estate.Estate{Sites: map[estate.SiteID]estate.Site{"s0": {}, "s1": {}, "s2": {}}, Stores: map[estate.StoreID]estate.Store{}, Services: map[estate.ServiceID]estate.Service{}}
	for i := range 500 {
		id := estate.StoreID(fmt.Sprintf("db-%d", i))
		in.Estate.Stores[id] = estate.Store{Engine: "postgres", Primary: "a", Any: 1, Members: map[estate.MemberID]estate.Member{"a": {Site: "s0"}, "b": {Site: "s1"}, "c": {Site: "s2"}}}
		in.Stores[id] = situation.Store{Epoch: 1, Next: 1, Primary: "a", Sync: []estate.MemberID{"b", "c"}, Any: 1, LeastAny: 1}
	}
	for i := range 134 {
		s := estate.Service{Tier: i % 4, Requires: []estate.Need{{Name: fmt.Sprintf("db-%d", i)}, {Name: fmt.Sprintf("db-%d", (7*i)%500)}}}
		if i > 0 {
			s.Requires = append(s.Requires, estate.Need{Name: fmt.Sprintf("service-%d", i/2)})
		}
		in.Estate.Services[estate.ServiceID(fmt.Sprintf("service-%d", i))] = s
	}
	var took []time.Duration
	for range b.Times {
		began := time.Now()
		p, err := plan.Make(in)
		took = append(took, time.Since(began))
		if err != nil || len(p.Steps) != 2000 {
			return fmt.Errorf("a plan for 500 stores has %d steps: %w", len(p.Steps), err)
		}
	}
	slices.Sort(took)
	b.figure("plan for 500 stores, 134 services", "s", took[len(took)/2].Seconds(), 1, 0.1)
	return nil
}

// String draws the line: what it is, and what it must be.
func (f AuditFigure) String() string {
	out := fmt.Sprintf("%-56s %9.3f %-2s", f.What, f.Is, f.Unit)
	if f.Must == nil {
		return strings.TrimRight(out, " ")
	}
	verdict := "over"
	switch {
	case f.Is <= *f.Goal:
		verdict = "goal reached"
	case f.Is <= *f.Must:
		verdict = "must reached"
	}
	return fmt.Sprintf("%s  must %g, goal %g: %s", out, *f.Must, *f.Goal, verdict)
}

// String draws the whole report.
func (r AuditReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine)
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "%s\n", f)
	}
	for _, s := range r.Sizes {
		fmt.Fprintf(&b, "  %5d services: %.3f s of processor time\n", s.Services, s.Seconds)
	}
	if r.NoTrees != "" {
		fmt.Fprintf(&b, "cut sets were compared with nothing: %s\n", r.NoTrees)
	}
	for _, t := range r.Trees {
		equal := "the same sets"
		if !t.Equal {
			equal = "OTHER SETS"
		}
		fmt.Fprintf(&b, "cut sets of %-24s %5d, %s; haechi %.3f s, SCRAM %.3f s\n", t.Of, t.Cuts, equal, t.Ours, t.Theirs)
	}
	return b.String()
}

// Short is the error of a report in which something is slower or larger than it must be, or wrong.
func (r AuditReport) Short() error {
	var errs []error
	for _, f := range r.Figures {
		if f.Must != nil && f.Is > *f.Must {
			errs = append(errs, fmt.Errorf("%s: %.3f %s, must be at most %g", f.What, f.Is, f.Unit, *f.Must))
		}
		if f.Unit == "%" && f.Is < 100 || strings.HasPrefix(f.What, "findings above low") && f.Is > 0 {
			errs = append(errs, fmt.Errorf("%s: %g", f.What, f.Is))
		}
	}
	for _, t := range r.Trees {
		if !t.Equal {
			errs = append(errs, fmt.Errorf("cut sets of %s are not those of SCRAM", t.Of))
		}
	}
	return errors.Join(errs...)
}
