package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/agent"
	"github.com/haechi/haechi/core/estate"
	"github.com/haechi/haechi/tower"
)

func reseatCommand(o *options) *cobra.Command {
	return starting(o, &cobra.Command{
		Use: "reseat", Short: "Give the towers the seats that they should have, so that the next loss can be borne", Args: cobra.NoArgs,
	}, "reseat", func([]string) any { return struct{}{} })
}

func waiveCommand(o *options) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "waive HOST", Short: "Go on without asking a host's agent what it has seen, after the towers were restored", Args: cobra.ExactArgs(1),
		Long: `After the towers' records were restored nobody drives before every agent was asked for the highest term and
epochs that it has seen. A host that is lost for good is waived by name: terms and epochs then rise by far
more than it can have seen, and it is asked as soon as it is there again.`,
		RunE: func(c *cobra.Command, args []string) error {
			if why == "" {
				return &misused{errors.New("--why is required: the journal keeps who went on without asking it, and why")}
			}
			return o.do(c, http.MethodPost, "waive", map[string]string{"host": args[0], "why": why}, "waive "+args[0])
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `reason`, for the journal")
	return c
}

// own adds the flag of commands that are about the tower on this host.
func own(c *cobra.Command) *string {
	return c.Flags().String("config", "/etc/haechi/tower.yaml", "the tower's own `file`")
}

// person adds the flags of acts that no tower does by itself.
func person(c *cobra.Command) *tower.Person {
	var p tower.Person
	c.Flags().StringVar(&p.By, "by", "", "your `name`, for the journal")
	c.Flags().StringVar(&p.Why, "why", "", "the `reason`, for the journal")
	return &p
}

func towerInitCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "init", Short: "Say that the whole cluster is new, before its towers' first start", Args: cobra.NoArgs,
		Long: `Run it on each tower's host, as the user that the tower runs as, before the first of the towers starts; towers
that wait already are stopped first. A tower without data that was not told so takes no vote for itself, since its
data may have been lost: it waits until the others seat it.`,
	}
	file := own(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := tower.ReadConfig(*file)
		if err != nil {
			return err
		}
		err = tower.Init(c.Context(), cfg)
		if errors.Is(err, tower.ErrStandsBy) {
			fmt.Fprintf(c.OutOrStdout(), "%s: %v\n", cfg.Name, err)
			return nil
		}
		if err == nil {
			fmt.Fprintf(c.OutOrStdout(), "%s makes its data at its next start\n", cfg.Name)
		}
		return err
	}
	return c
}

func towerSnapshotCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "snapshot FILE", Short: "Copy the towers' records into a file, from a tower that runs", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			h, err := towers.snapshot(c.Context(), args[0])
			if err != nil {
				return err
			}
			return o.show(c, h, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", args[0], h) })
		},
	}
}

// snapshot fetches the records into a file that appears whole or not at all. One that is there already is
// not replaced.
func (c *client) snapshot(ctx context.Context, file string) (h tower.SnapshotHead, err error) {
	if _, err := os.Lstat(file); err == nil {
		return h, fmt.Errorf("%s is there already; name another file", file)
	}
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".new-*") // made 0600
	if err != nil {
		return h, err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	err = c.each(func(tower string) error {
		resp, err := c.open(ctx, tower, http.MethodGet, "snapshot", "", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := errors.Join(part.Truncate(0), rewind(part)); err != nil {
			return err
		}
		if _, err := io.Copy(part, resp.Body); err != nil {
			return fmt.Errorf("the snapshot was cut off: %w", err)
		}
		return nil
	})
	if err != nil {
		return h, err
	}
	if err := errors.Join(part.Sync(), part.Close()); err != nil {
		return h, err
	}
	if h, err = tower.ReadSnapshot(part.Name(), io.Discard); err != nil {
		return h, err
	}
	if err := os.Rename(part.Name(), file); err != nil {
		return h, err
	}
	return h, agent.SyncDir(filepath.Dir(file))
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func towerRestoreCommand() *cobra.Command {
	var r tower.Restoration
	var first bool
	c := &cobra.Command{
		Use: "restore FILE", Short: "Make this tower's data of a snapshot, after all towers have lost theirs", Args: cobra.ExactArgs(1),
		Long: `Run it on the host of every tower that votes, with the same file, while none of them runs; then start them. On one of
them, whichever it is, with --first; it prints a code, and on the others it is run with that. Towers with different
codes are no cluster together.

Nothing is promoted, moved or wiped because of it. Everything is disarmed; runs that were open are left as they
stand; nobody drives before every agent was asked what terms and epochs it has seen. What the records say of
stores may be of yesterday, so each store has to be adopted anew: haechi adopt STORE.`,
	}
	file, who := own(c), person(c)
	c.Flags().BoolVar(&first, "first", false, "this is the first tower of this restore: draw a code for the others")
	c.Flags().StringVar(&r.Code, "code", "", "the `code` that the first one printed")
	c.Flags().StringVar(&r.Of, "of", "", "take the snapshot of a cluster with another certificate authority, by the `name` of its estate")
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := tower.ReadConfig(*file)
		if err != nil {
			return err
		}
		if first == (r.Code != "") {
			return &misused{errors.New("is this the first host on which it is restored? Then --first; it prints a code. On each other host: --code CODE")}
		}
		r.File = args[0]
		h, code, err := tower.Restore(c.Context(), cfg, r, *who)
		if errors.Is(err, tower.ErrStandsBy) {
			fmt.Fprintf(c.OutOrStdout(), "%s: %v\n", cfg.Name, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s holds what was in %s.\n", cfg.Name, h)
		if first {
			fmt.Fprintf(c.OutOrStdout(), "On the host of each other tower that votes, from the same file, before any of them starts:\n  haechi tower restore FILE --code %s --by NAME --why REASON\n", code)
		}
		fmt.Fprintf(c.OutOrStdout(), "When it is done on all of them, start them; then: haechi doctor, haechi adopt, haechi arm\n")
		return nil
	}
	return c
}

func towerRecoverCommand() *cobra.Command {
	var lost []string
	var yes string
	c := &cobra.Command{
		Use: "recover", Short: "Have this tower go on alone, when the majority of the towers is lost for good", Args: cobra.NoArgs,
		Long: `Stop the tower first. It then goes on as the only voter, with what it had heard of. Towers of lost sites that
come back find that they were given up, and start nothing; haechi reseat seats them, or new ones.`,
	}
	file, who := own(c), person(c)
	c.Flags().StringArrayVar(&lost, "lost", nil, "a `site` that is lost for good; its agents are not waited for")
	c.Flags().StringVar(&yes, "yes", "", "the tower's `name`, instead of typing it")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := tower.ReadConfig(*file)
		if err != nil {
			return err
		}
		known, err := tower.MayRecover(c.Context(), cfg)
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		drawRisk(c.ErrOrStderr(), cfg, known, lost)
		if yes == "" {
			fmt.Fprintf(c.ErrOrStderr(), "\nType the name of this tower to go on: ")
			yes = typed(c.InOrStdin())
		}
		if yes != cfg.Name {
			return fmt.Errorf("nothing was changed: %q is not %q", yes, cfg.Name)
		}
		var sites []estate.SiteID
		for _, s := range lost {
			sites = append(sites, estate.SiteID(s))
		}
		kept, err := tower.Recover(c.Context(), cfg, *who, sites, time.Now())
		if err != nil {
			return fmt.Errorf("nothing was changed: %w", err)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s goes on alone when it is started; what it held before is kept at %s\n", cfg.Name, kept)
		return nil
	}
	return c
}

// drawRisk says in plain words what is at stake.
func drawRisk(w io.Writer, cfg tower.Config, known tower.Recovery, lost []string) {
	fmt.Fprintf(w, `%s is about to go on alone, without the other towers of %v (%d of them answer now).

What this risks:
- If the others are not lost but only cut off, they go on as well: two sets of towers then order agents. Agents
  refuse whichever is behind, and the others start nothing as soon as they hear of this tower; but until then a store
  whose members stand on both sides may be promoted on one while its primary goes on on the other.
  Be sure that the other sites are down, or switch their towers off.
- What the others agreed to last, and this tower had not heard of, is gone: an entry of the journal, a move
  of a store. Look at each store before you arm anything.
- Until two more towers are seated, the loss of this one leaves nobody.

Everything is disarmed, and open runs are left as they stand.
`, cfg.Name, known.Voters, known.Answer)
	if len(lost) == 0 {
		fmt.Fprintf(w, "No site is given up (--lost SITE): every agent of the estate has to be asked before anything is driven.\n")
	} else {
		fmt.Fprintf(w, "Not waited for: the agents of %s.\n", strings.Join(lost, ", "))
	}
	for _, site := range lost {
		if !slices.ContainsFunc(slices.Collect(maps.Values(cfg.Cluster)), func(s tower.Seat) bool { return string(s.Site) == site }) {
			fmt.Fprintf(w, "No tower stands in %s by this host's file: is it spelled as in the estate?\n", site)
		}
	}
}

// typed is the line that a person types; "" where nobody does.
func typed(r io.Reader) string {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return strings.TrimSpace(line)
}
