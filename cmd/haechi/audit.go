package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/audit"
	"github.com/haechi/haechi/core/count"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/core/simulate"
	"github.com/haechi/haechi/tower/forecast"
	"github.com/haechi/haechi/tower/report"
	"github.com/haechi/haechi/tower/web"
)

// asked is what audit is called with.
type asked struct {
	failOn string
	depth  int
	cuts   string
	before []string // files
}

func auditCommand(o *options) *cobra.Command {
	var a asked
	c := &cobra.Command{
		Use: "audit [FILE…]", Short: "What would be lost: every single point, every site, and why; of files, or of the estate in force", Args: cobra.ArbitraryArgs,
		Example: `  haechi audit estate.yaml
  haechi audit
  haechi audit --fail-on high --output sarif estate.yaml > audit.sarif
  haechi audit --cuts talk estate.yaml
  haechi audit --diff old.yaml new.yaml`,
		Long: `Takes components of the estate away, alone and together, follows what falls with them, and says what it finds, why, and what would help. Of files it needs no tower; without them a tower says it of the estate in force, with what it knows besides: which drills proved something, what nobody sees, where primaries are now.

Ends with 0 where nothing at or above --fail-on is found, with 1 where something is, with 2 where the call or the estate is not valid. What somebody has accepted is shown and does not count; with --diff only what is new or worse does. docs/audit.md explains each rule.`,
		RunE: func(c *cobra.Command, args []string) error {
			worst, err := a.check()
			switch {
			case err != nil:
				return &misused{err}
			case len(args) == 0 && (a.cuts != "" || len(a.before) > 0 || c.Flags().Changed("depth")):
				return &misused{errors.New("--cuts, --diff and --depth are about files; name some")}
			case len(args) == 0:
				return o.liveAudit(c, worst)
			case a.cuts != "":
				return o.cuts(c, a.cuts, args)
			case len(a.before) > 0:
				return o.difference(c, a, args, worst)
			}
			return o.audit(c, a, args, worst)
		},
	}
	c.Flags().StringVar(&a.failOn, "fail-on", string(audit.Critical), "the least `severity` with which it ends with 1: critical, high, medium, low")
	c.Flags().IntVar(&a.depth, "depth", 1, "2 also tries each site with each thing elsewhere")
	c.Flags().StringVar(&a.cuts, "cuts", "", "instead list what takes this `service` or store down: every smallest set of up to three things; -o open-psa prints its fault tree for other tools")
	c.Flags().StringArrayVar(&a.before, "diff", nil, "instead say what is better or worse than in this `file` (may be repeated)")
	o.draws(c, "text", "json", "sarif", "html", "markdown", "open-psa")
	return c
}

// check looks at the flags together.
func (a asked) check() (audit.Severity, error) {
	if a.depth < 1 || a.depth > 2 {
		return "", fmt.Errorf("--depth %d: 1 tries sites, pairs of sites and each thing alone, 2 also each site with each thing elsewhere", a.depth)
	}
	if a.cuts != "" && len(a.before) > 0 {
		return "", errors.New("--cuts and --diff ask different things; call it once for each")
	}
	worst := audit.Severity(a.failOn)
	if !slices.Contains(audit.Severities(), worst) {
		var all []string
		for _, x := range audit.Severities() {
			all = append(all, string(x))
		}
		return "", fmt.Errorf("--fail-on %q: it is one of %s", a.failOn, strings.Join(all, ", "))
	}
	return worst, nil
}

func (o *options) audit(c *cobra.Command, a asked, paths []string, worst audit.Severity) error {
	files, e, err := described(paths)
	if err != nil {
		return err
	}
	r, err := auditOf(e, audit.Input{Depth: a.depth, Parts: o.output == "html"})
	if err != nil {
		return err
	}
	return o.drawAudit(c, r, asJSON(r), estate.Places(files), worst)
}

// liveAudit shows what a tower says of the estate in force.
func (o *options) liveAudit(c *cobra.Command, worst audit.Severity) error {
	towers, err := o.client()
	if err != nil {
		return err
	}
	var r web.Audit
	if err := towers.get(c.Context(), "audit", &r); err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "version %d of the estate, in force, audited at %s\n", r.Version, r.At.Local().Format(time.DateTime))
	return o.drawAudit(c, r.Report, asJSON(r), nil, worst)
}

func (o *options) drawAudit(c *cobra.Command, r audit.Report, inJSON func(io.Writer) error, places map[string]estate.Place, worst audit.Severity) error {
	err := o.draw(c, map[string]func(io.Writer) error{
		"json":     inJSON,
		"text":     plainly(func(w io.Writer) { report.Text(w, r) }),
		"markdown": plainly(func(w io.Writer) { report.Markdown(w, r) }),
		"html":     func(w io.Writer) error { return report.HTML(w, r) },
		"sarif":    func(w io.Writer) error { return report.SARIF(w, r, places) },
	})
	if err != nil {
		return err
	}
	if n := len(r.Open(worst)); n > 0 {
		return fmt.Errorf("%s at or above %s", count.Of(n, "finding"), worst)
	}
	return nil
}

// difference says what the files make better or worse than those before.
func (o *options) difference(c *cobra.Command, a asked, paths []string, worst audit.Severity) error {
	was, err := reportOf(a.before, a.depth)
	if err != nil {
		return fmt.Errorf("before the change:\n%w", err)
	}
	is, err := reportOf(paths, a.depth)
	if err != nil {
		return fmt.Errorf("after the change:\n%w", err)
	}
	d := audit.Diff(was, is)
	err = o.draw(c, map[string]func(io.Writer) error{
		"json":     asJSON(d),
		"text":     plainly(func(w io.Writer) { report.ChangeText(w, d) }),
		"markdown": plainly(func(w io.Writer) { report.ChangeMarkdown(w, d) }),
	})
	if err != nil {
		return err
	}
	if n := len(d.Open(worst)); n > 0 {
		return fmt.Errorf("%s new or worse, at or above %s", count.Of(n, "finding"), worst)
	}
	return nil
}

// cutSets is what --cuts prints as JSON.
type cutSets struct {
	Of   string     `json:"of"`
	Cuts [][]string `json:"cuts"`
}

func (o *options) cuts(c *cobra.Command, of string, paths []string) error {
	_, e, err := described(paths)
	if err != nil {
		return err
	}
	cuts, err := audit.Cuts(e, of)
	if err != nil {
		return &misused{err}
	}
	return o.draw(c, map[string]func(io.Writer) error{
		"open-psa": func(w io.Writer) error {
			t, err := audit.FaultTree(e, of)
			if err != nil {
				return err
			}
			return report.OpenPSA(w, t)
		},
		"json": asJSON(cutSets{of, cuts}),
		"text": plainly(func(w io.Writer) { report.CutsText(w, of, cuts) }),
	})
}

func blastCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "blast COMPONENT[,COMPONENT…] FILE…", Short: "What one thing takes along when it is lost, and why; needs no tower", Args: cobra.MinimumNArgs(2),
		Example: "  haechi blast pangyo/battery estate.yaml\n  haechi blast pangyo,talk-db/b estate.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			_, e, err := described(args[1:])
			if err != nil {
				return err
			}
			f, err := audit.Blast(e, strings.Split(args[0], ",")...)
			if err != nil {
				return &misused{err}
			}
			return o.show(c, f, func(w io.Writer) { report.BlastText(w, f) })
		},
	}
}

// described reads an estate that need not be one that haechi can act on: any engine will do.
func described(paths []string) ([]estate.File, estate.Estate, error) {
	files, err := readFiles(paths)
	if err != nil {
		return nil, estate.Estate{}, err
	}
	e, err := estate.Load(files, nil)
	return files, e, err
}

func reportOf(paths []string, depth int) (audit.Report, error) {
	_, e, err := described(paths)
	if err != nil {
		return audit.Report{}, err
	}
	return auditOf(e, audit.Input{Depth: depth})
}

// auditOf audits an estate today. That something is down with nothing lost is an error of the file.
func auditOf(e estate.Estate, in audit.Input) (audit.Report, error) {
	in.Estate, in.Now, in.Back = e, time.Now(), forecast.Back(e, simulate.Defaults(e))
	r, err := audit.Audit(in)
	if err != nil {
		return r, &misused{err}
	}
	return r, nil
}

// drawChange says for people what a next version makes better or worse than the one in force.
func drawChange(w io.Writer, have, next estate.Estate) {
	was, err := auditOf(have, audit.Input{Depth: 1})
	if err != nil {
		fmt.Fprintln(w, "what would be lost cannot be compared, in the version in force", err)
		return
	}
	is, err := auditOf(next, audit.Input{Depth: 1})
	if err != nil {
		fmt.Fprintln(w, "what would be lost cannot be said:", err)
		return
	}
	fmt.Fprintln(w)
	report.ChangeText(w, audit.Diff(was, is))
}
