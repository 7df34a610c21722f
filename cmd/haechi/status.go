package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/situation"
	"github.com/haechi/haechi/tower/web"
)

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "What is believed and done now: sites, stores, names, runs, warnings", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			n, err := towers.now(c.Context())
			if err != nil {
				return err
			}
			return o.show(c, n, func(w io.Writer) { drawNow(w, n) })
		},
	}
}

func drawNow(w io.Writer, n web.Now) {
	fmt.Fprintf(w, "%s\n", n.Headline.Text)
	if n.Headline.Detail != "" {
		fmt.Fprintf(w, "%s\n", n.Headline.Detail)
	}
	fmt.Fprintf(w, "\n%s, estate %s version %d, %s, %s, profile %s\n", n.At.Local().Format("15:04:05 MST"), n.Estate.Name, n.Estate.Version, drives(n), arms(n), n.Profile)
	fmt.Fprintf(w, "as %s sees it, %s\n\n", n.Tower, quorum(n))
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, s := range n.Sites {
		fmt.Fprintf(t, "site\t%s\t%s\t%s\t%s\n", s.ID, s.State, intended(s), strings.Join(s.Because, "; "))
		for _, target := range s.Targets {
			if target.Seat != "" {
				fmt.Fprintf(t, "  tower\t%s\t%s\t%s\n", target.Component, target.State, target.Seat)
			}
		}
	}
	for _, s := range n.Stores {
		fmt.Fprintf(t, "store\t%s\tepoch %d\twrites\t%s\n", s.ID, s.Epoch, s.Writes)
		for _, m := range s.Members {
			fmt.Fprintf(t, "  member\t%s\t%s\t%s\t%s\n", m.ID, m.Role, m.Site, memberNotes(m))
		}
		for _, note := range storeNotes(s) {
			fmt.Fprintf(t, "  \t\t\t\t%s\n", note)
		}
		if s.Home != "" {
			could, _, _ := strings.Cut(s.Home, ". For it") // the reasons are for those who ask
			fmt.Fprintf(t, "  home\t\t\t\t%s; for and against: haechi failback %s --check\n", could, s.ID)
		}
	}
	for _, name := range n.Names {
		for _, a := range name.Answers {
			fmt.Fprintf(t, "name\t%s\t%s\t%s\t%s\n", name.Name, a.Site, served(a), strings.Join(a.Addresses, " "))
		}
	}
	for _, r := range n.Runs {
		if r.Open() {
			fmt.Fprintf(t, "run\t%s\t%s\t%s %s\t%s\n", r.ID, r.Status, r.Kind, r.Subject, r.Ask)
		}
	}
	_ = t.Flush() // a pipe that was closed: the reader has seen enough
	if n.Estate.Version > 0 && len(n.Missing) == 0 {
		fmt.Fprintf(w, "\nall is as redundant as declared\n")
	}
	for i, l := range n.Missing {
		if i == 0 {
			fmt.Fprintf(w, "\nmissing until all is as redundant as declared:\n")
		}
		fmt.Fprintf(w, "  %s\n", l.Text)
	}
	for _, warn := range n.Warnings {
		fmt.Fprintf(w, "\n%s: %s", warn.Severity, warn.Text)
		if warn.Do != "" {
			fmt.Fprintf(w, "\n  what to do: %s", warn.Do)
		}
	}
	if len(n.Warnings) > 0 {
		fmt.Fprintln(w)
	}
}

func drives(n web.Now) string {
	if n.Driver.Tower == "" {
		return "nobody drives"
	}
	return fmt.Sprintf("%s drives (term %d)", n.Driver.Tower, n.Driver.Term)
}

func arms(n web.Now) string {
	if len(n.Armed) == 0 {
		return "DISARMED"
	}
	return "armed " + strings.Join(n.Armed, " ")
}

func quorum(n web.Now) string {
	if n.Quorum.Have {
		return "with the quorum"
	}
	return "WITHOUT QUORUM: " + n.Quorum.Why
}

// intended is what people want of a site; that a lost one would serve says nothing.
func intended(s web.Site) string {
	if s.Intent == string(situation.Serving) && s.State != string(situation.Up) {
		return ""
	}
	return s.Intent
}

func served(a web.Answer) string {
	switch {
	case a.Serving:
		return "serving"
	case a.Part:
		return "coming back"
	}
	return "withdrawn"
}

// jobNote says how far a member's agent is with something long.
func jobNote(j web.Job) string {
	out := j.What + ": " + j.Phase
	if j.Of > 0 {
		out += fmt.Sprintf(", %d%%", 100*j.Bytes/j.Of)
	}
	if j.ETAS >= 0 {
		out += fmt.Sprintf(", about %s more", time.Duration(j.ETAS*float64(time.Second)).Round(time.Second))
	}
	return out
}

func memberNotes(m web.Member) string {
	var notes []string
	if m.Sync {
		notes = append(notes, "acknowledges")
	}
	if m.LagBytes > 0 {
		notes = append(notes, fmt.Sprintf("%d bytes behind", m.LagBytes))
	}
	for _, j := range m.Jobs {
		notes = append(notes, jobNote(j))
	}
	if m.CanaryMS > 0 {
		notes = append(notes, fmt.Sprintf("canary %.1f s behind", float64(m.CanaryMS)/1000))
	}
	if m.ReplayBlocked {
		notes = append(notes, "replay blocked")
	}
	if m.Note != "" {
		notes = append(notes, m.Note)
	}
	return strings.Join(notes, ", ")
}

// storeNotes are what is known of what a store's members hold; that they differ stands among what is missing.
func storeNotes(s web.Store) []string {
	var notes []string
	if s.Canary != "" {
		notes = append(notes, s.Canary)
	}
	if !s.Verified.IsZero() {
		notes = append(notes, "all members held the same at "+s.Verified.Local().Format(time.DateTime))
	}
	return notes
}
