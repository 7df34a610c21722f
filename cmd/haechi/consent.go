package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/tower/web"
)

func armCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "arm SITE|tier-N|'*'", Short: "Let haechi act by itself there", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.do(c, http.MethodPost, "arm", map[string]string{"what": args[0]}, "arm "+args[0])
		},
	}
}

func disarmCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "disarm SITE|tier-N|'*'", Short: "Let haechi only say what it would do", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.do(c, http.MethodDelete, "arm", map[string]string{"what": args[0]}, "disarm "+args[0])
		},
	}
}

func holdCommand(o *options) *cobra.Command {
	var why string
	var release bool
	c := &cobra.Command{
		Use: "hold", Short: "Stop all acts, also where there is no quorum", Args: cobra.NoArgs,
		Example: "  haechi hold --why 'rewiring the ansan link until 05:00'\n  haechi hold --release",
		RunE: func(c *cobra.Command, _ []string) error {
			if release {
				return o.everywhere(c, http.MethodDelete, nil)
			}
			if why == "" {
				return &misused{errors.New("--why is required: whoever sees the hold at night has to know what it is for")}
			}
			return o.everywhere(c, http.MethodPost, map[string]string{"why": why})
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `reason`, for those who see the hold")
	c.Flags().BoolVar(&release, "release", false, "end every hold")
	return c
}

// told is what one tower said to a hold.
type told struct {
	Tower string `json:"tower"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// everywhere tells every tower by itself: a hold must also reach one that is cut off
// from the others. It is an error if not one of them took it.
func (o *options) everywhere(c *cobra.Command, method string, in any) error {
	towers, err := o.client()
	if err != nil {
		return err
	}
	var all []told
	taken := 0
	for _, tower := range towers.towers {
		one := told{Tower: tower}
		if err := towers.tell(c.Context(), tower, method, in); err != nil {
			one.Error = err.Error()
		} else {
			one.OK = true
			taken++
		}
		all = append(all, one)
	}
	if err := o.show(c, all, func(w io.Writer) { drawTold(w, all) }); err != nil {
		return err
	}
	if taken == 0 {
		return errors.New("no tower took it: what stops a single host without any tower is its agent's hold_file")
	}
	return nil
}

// tell has one tower hold, or release.
func (c *client) tell(ctx context.Context, tower, method string, in any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var ok web.Accepted
	return c.ask(ctx, tower, method, "hold", "application/json", raw, &ok)
}

func drawTold(w io.Writer, all []told) {
	for _, t := range all {
		if t.OK {
			fmt.Fprintf(w, "%s: done\n", t.Tower)
		} else {
			fmt.Fprintf(w, "%s: %s\n", t.Tower, t.Error)
		}
	}
}
