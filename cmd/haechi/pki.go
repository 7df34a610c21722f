package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/haechi/haechi/pki"
)

func pkiCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "pki", Short: "The own certificate authority: init, issue, renew, show", RunE: parent}
	c.AddCommand(initCommand(o), issueCommand(o), renewCommand(o), showCertCommand(o))
	return c
}

func initCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "init DIR", Short: "Make a certificate authority; its key belongs on no host that haechi runs on", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := pki.NewCA(args[0]); err != nil {
				return err
			}
			return o.show(c, map[string]string{"ca": args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "%s: ca.pem is for everybody, ca-key.pem for nobody\n", args[0])
			})
		},
	}
}

func issueCommand(o *options) *cobra.Command {
	var ca, out string
	var ips []net.IP
	var names, roles []string
	var valid time.Duration
	c := &cobra.Command{
		Use: "issue tower|agent|observer|person NAME", Short: "Make a key and a certificate for one identity", Args: cobra.ExactArgs(2),
		Example: "  haechi pki issue tower tower-pangyo --ca ca --out tower-pangyo --ip 10.0.1.11\n  haechi pki issue person kim --ca ca --out kim --role viewer --role operator",
		RunE: func(c *cobra.Command, args []string) error {
			if ca == "" || out == "" {
				return &misused{errors.New("--ca (the directory that pki init made) and --out are both required")}
			}
			id := pki.Identity{Kind: pki.Kind(args[0]), Name: args[1], Roles: slices.Sorted(slices.Values(roles))}
			if _, err := pki.Issue(ca, id, out, ips, names, valid); err != nil {
				return err
			}
			return o.showCerts(c, []string{out})
		},
	}
	c.Flags().StringVar(&ca, "ca", "", "the authority's `directory`")
	c.Flags().StringVar(&out, "out", "", "where ca.pem, cert.pem and key.pem go")
	c.Flags().IPSliceVar(&ips, "ip", nil, "an `address` of a tower: etcd checks it")
	c.Flags().StringSliceVar(&names, "dns", nil, "a host `name` of a tower")
	c.Flags().StringSliceVar(&roles, "role", nil, "of a person: viewer, operator, approver")
	c.Flags().DurationVar(&valid, "valid", pki.LeafValidity, "how long")
	return c
}

func renewCommand(o *options) *cobra.Command {
	var ca string
	var valid time.Duration
	c := &cobra.Command{
		Use: "renew DIR…", Short: "Give holders new certificates for the same identity and key; programs take them up by themselves", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if ca == "" {
				return &misused{errors.New("--ca is required: the directory that pki init made")}
			}
			for _, dir := range args {
				if err := pki.Renew(ca, pki.FilesIn(dir), valid); err != nil {
					return err
				}
			}
			return o.showCerts(c, args)
		},
	}
	c.Flags().StringVar(&ca, "ca", "", "the authority's `directory`")
	c.Flags().DurationVar(&valid, "valid", pki.LeafValidity, "how long")
	return c
}

func showCertCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show DIR…", Short: "Whose certificates these are, and until when", Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.showCerts(c, args) },
	}
}

// holder is one certificate, for people.
type holder struct {
	Dir      string    `json:"dir"`
	Identity string    `json:"identity"`
	Roles    []string  `json:"roles,omitempty"`
	Expires  time.Time `json:"expires"`
}

func (o *options) showCerts(c *cobra.Command, dirs []string) error {
	var all []holder
	for _, dir := range dirs {
		f := pki.FilesIn(dir)
		id, err := pki.WhoIs(f)
		if err != nil {
			return err
		}
		end, err := pki.Expiry(f)
		if err != nil {
			return err
		}
		all = append(all, holder{dir, id.String(), id.Roles, end})
	}
	return o.show(c, all, func(w io.Writer) {
		for _, h := range all {
			fmt.Fprintf(w, "%s: %s %v until %s\n", h.Dir, h.Identity, h.Roles, h.Expires.Local().Format(time.DateTime))
		}
	})
}
