package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/core/journal"
	"github.com/haechi/haechi/tower/web"
)

func journalCommand(o *options) *cobra.Command {
	var from uint64
	var follow, verify bool
	c := &cobra.Command{
		Use: "journal", Short: "Everything that happened, in order: read, follow, verify", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			towers, err := o.client()
			if err != nil {
				return err
			}
			if verify {
				return o.verify(c, towers, max(from, 1))
			}
			return towers.journal(c.Context(), max(from, 1), follow, func(e journal.Entry) error { return o.entry(c, e) })
		},
	}
	c.Flags().Uint64Var(&from, "from", 1, "the first entry's `number`")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with those that come")
	c.Flags().BoolVar(&verify, "verify", false, "check the chain of hashes, show nothing else")
	c.MarkFlagsMutuallyExclusive("follow", "verify")
	return c
}

// entry shows one entry: a line of text, or a line of JSON.
func (o *options) entry(c *cobra.Command, e journal.Entry) error {
	if o.output == "json" {
		return json.NewEncoder(c.OutOrStdout()).Encode(e)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%6d  %s  %-14s %-8s %s\n", e.Seq, e.At.Local().Format("2006-01-02 15:04:05.000"), e.Tower, e.Kind, e.Text)
	return err
}

func (o *options) verify(c *cobra.Command, towers *client, from uint64) error {
	var all []journal.Entry
	keep := func(e journal.Entry) error { all = append(all, e); return nil }
	if err := towers.journal(c.Context(), from, false, keep); err != nil {
		return err
	}
	if err := journal.Verify(all); err != nil {
		return fmt.Errorf("the journal was altered: %w", err)
	}
	sum := struct {
		OK      bool   `json:"ok"`
		Entries int    `json:"entries"`
		Head    string `json:"head"`
	}{true, len(all), head(all)}
	return o.show(c, sum, func(w io.Writer) {
		fmt.Fprintf(w, "%d entries, each fits the one before; head %s\n", sum.Entries, sum.Head)
	})
}

func head(all []journal.Entry) string {
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1].Hash
}

// journal hands over the entries from seq on. With follow it goes on until ctx ends.
func (c *client) journal(ctx context.Context, seq uint64, follow bool, each func(journal.Entry) error) error {
	for {
		next, err := c.page(ctx, seq, follow, each)
		if follow && ctx.Err() != nil {
			return nil // asked to stop
		}
		if err != nil || next == seq {
			return err
		}
		seq = next
	}
}

// page reads one answer of a tower, and returns the seq that comes after it.
func (c *client) page(ctx context.Context, seq uint64, follow bool, each func(journal.Entry) error) (uint64, error) {
	path := fmt.Sprintf("journal?from=%d", seq)
	if follow {
		path += "&follow=1"
	}
	err := c.each(func(tower string) error {
		resp, err := c.open(ctx, tower, http.MethodGet, path, "", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		for in := json.NewDecoder(resp.Body); ; {
			var e journal.Entry
			if err := in.Decode(&e); err != nil {
				return ended(err, follow)
			}
			if err := each(e); err != nil {
				return &refused{tower, web.Failure{Why: err.Error()}} // our own writer: no other tower helps
			}
			seq = e.Seq + 1
			path = fmt.Sprintf("journal?from=%d&follow=1", seq) // where the next tower goes on, if this one dies
		}
	})
	return seq, err
}

// ended tells the end of an answer from its being cut off.
func ended(err error, follow bool) error {
	if errors.Is(err, io.EOF) && !follow {
		return nil
	}
	return fmt.Errorf("the journal's answer was cut off: %w", err)
}
