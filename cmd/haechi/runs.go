package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower/report"
	"github.com/haechi/haechi/tower/web"
)

func runsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "runs", Short: "Open runs, then the newest that ended", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			var all []web.Run
			if err := towers.get(c.Context(), "runs", &all); err != nil {
				return err
			}
			return o.show(c, all, func(w io.Writer) { drawRuns(w, all) })
		},
	}
}

func drawRuns(w io.Writer, all []web.Run) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tSTATUS\tKIND\tSUBJECT\tSTARTED\tTOOK\tDRIVEN BY")
	for _, r := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Status, r.Kind, r.Subject, r.Started.Local().Format(time.DateTime), lasted(r), r.Driver)
	}
	_ = t.Flush()
}

func lasted(r web.Run) string {
	if r.Open() {
		return "open"
	}
	return fmt.Sprintf("%.2f s", r.Ended.Sub(r.Started).Seconds())
}

func runCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "run", Short: "One run: show, pause, resume, approve, abort", RunE: parent}
	c.AddCommand(
		showRunCommand(o),
		steerCommand(o, "pause ID", "Stop a run before its next step, or in the middle of a long one", web.Pause),
		steerCommand(o, "resume ID", "Let a paused run go on", web.Resume),
		steerCommand(o, "approve ID", "Allow what a run asks (role approver)", web.Approve),
		steerCommand(o, "abort ID", "Undo what can be undone, then end the run", web.Abort),
	)
	return c
}

func pauseCommand(o *options) *cobra.Command {
	return steerCommand(o, "pause ID", "Stop a run before its next step, or in the middle of a long one", web.Pause)
}

func resumeCommand(o *options) *cobra.Command {
	return steerCommand(o, "resume ID", "Let a paused run go on", web.Resume)
}

func showRunCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "One run, step by step", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			var r web.Run
			if err := towers.get(c.Context(), "runs/"+url.PathEscape(args[0]), &r); err != nil {
				return err
			}
			return o.show(c, r, func(w io.Writer) { drawRun(w, r) })
		},
	}
}

func drawRun(w io.Writer, r web.Run) {
	fmt.Fprintf(w, "%s %s %s: %s, %s, driven by %s\n", r.ID, r.Kind, r.Subject, r.Status, lasted(r), r.Driver)
	for _, because := range r.Because {
		fmt.Fprintln(w, "  because", because)
	}
	for _, s := range r.Steps {
		drawStep(w, s)
	}
	if f := r.Foreseen; f != nil {
		fmt.Fprintf(w, "foreseen at %s, by %d simulated losses of version %d of the estate; counted from when the run was on record:\n", f.At.Local().Format(time.DateTime), f.Runs, f.Version)
		report.Besides(w, f.Steps)
	}
	if r.Ask != "" {
		fmt.Fprintln(w, "asks:", r.Ask)
	}
	if r.Why != "" {
		fmt.Fprintln(w, "why:", r.Why)
	}
}

func drawStep(w io.Writer, s web.Step) {
	took := ""
	if s.State != web.StepWaiting {
		took = fmt.Sprintf("%.2f s", s.Seconds)
	}
	fmt.Fprintf(w, "%3d  %-8s  %8s  %-8s %s", s.ID, s.State, took, s.Verb, s.Component)
	if s.Note != "" {
		fmt.Fprintf(w, "  (%s)", s.Note)
	}
	fmt.Fprintln(w)
}

func steerCommand(o *options, use, short string, how web.Steering) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.do(c, http.MethodPost, "runs/"+url.PathEscape(args[0])+"/"+string(how), nil, string(how)+" "+args[0])
		},
	}
}

// do has one thing done, and says that it was.
func (o *options) do(c *cobra.Command, method, path string, in any, done string) error {
	towers, err := o.client()
	if err != nil {
		return err
	}
	var ok web.Accepted
	if err := towers.send(c.Context(), method, path, in, &ok); err != nil {
		return err
	}
	return o.show(c, ok, func(w io.Writer) { fmt.Fprintln(w, done+": done, and journaled") })
}
