package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

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
	c.Flags().BoolVar(&verify, "verify", false, "check the chain of hashes up to the end that the quorum confirms, show nothing else")
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

// verified is what came of a verification.
type verified struct {
	OK      bool   `json:"ok"`
	Entries int    `json:"entries"`
	Head    string `json:"head"`            // hash of the last entry
	Error   string `json:"error,omitempty"` // why the end could not be confirmed
}

// verify checks the chain from an entry to the end that the quorum confirms. Without a
// quorum it checks what there is, which is an error: the end may be missing.
func (o *options) verify(c *cobra.Command, towers *client, from uint64) error {
	var head journal.Head
	unconfirmed := towers.get(c.Context(), "journal/head", &head)
	if no, ok := errors.AsType[*refused](unconfirmed); unconfirmed != nil && (!ok || no.Code != web.NoQuorum) {
		return unconfirmed
	}
	if unconfirmed == nil && head.Seq < from {
		return fmt.Errorf("there is no entry %d to verify: by its head the journal ends at %d", from, head.Seq)
	}
	all, err := towers.until(c.Context(), from, head.Seq)
	if err != nil {
		return err
	}
	if unconfirmed != nil && len(all) > 0 {
		head = all[len(all)-1].Head()
	}
	if err := journal.VerifyTo(all, from, head); err != nil {
		return fmt.Errorf("the journal was altered: %w", err)
	}
	sum := verified{OK: unconfirmed == nil, Entries: len(all), Head: head.Hash}
	if !sum.OK {
		sum.Error = unconfirmed.Error()
	}
	if err := o.show(c, sum, func(w io.Writer) {
		fmt.Fprintf(w, "%d entries, each fits the one before; head %s\n", sum.Entries, sum.Head)
	}); err != nil || sum.OK {
		return err
	}
	return fmt.Errorf("the journal's end could not be confirmed, entries may be missing there: %w", unconfirmed)
}

// behindFor is how long a tower may be behind the head that the others have confirmed.
const behindFor = 300 * time.Millisecond

// until returns the entries from seq to the last one asked for, which is 0 where it is not known. A
// tower answers with what it has, which may be a moment behind: what is missing is asked for again.
func (c *client) until(ctx context.Context, seq, last uint64) (all []journal.Entry, err error) {
	late := time.Now().Add(behindFor)
	for {
		err = c.journal(ctx, seq, false, func(e journal.Entry) error {
			if seq = e.Seq + 1; last == 0 || e.Seq <= last { // others came since the head was read
				all = append(all, e)
			}
			return nil
		})
		if err != nil || seq > last || time.Now().After(late) {
			return all, err
		}
		select {
		case <-time.After(behindFor / 6):
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
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
